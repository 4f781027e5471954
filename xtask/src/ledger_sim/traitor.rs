//! What a validator under an adversary says instead of what it should.

use std::sync::Arc;

use ed25519_dalek::SigningKey;
use kakera_engine::ledger::agreement::{Message, ProposedBlock};
use kakera_engine::ledger::{Block, SignedProposal, Vote};
use kakera_engine::names::NetworkId;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::fault::Fault;

/// What the traitor tells one of the others in place of `message`; nothing if it withholds it.
pub(super) fn distort(
    message: &Message,
    network: &NetworkId,
    key: &SigningKey,
    rng: &mut ChaCha8Rng,
) -> (Option<Message>, Option<Fault>) {
    match rng.next_u32() % 6 {
        0 => (None, Some(Fault::Withheld)),
        1 | 2 => match contradict(message, network, key, rng) {
            Some(other) => (Some(other), Some(Fault::Equivocation)),
            None => (Some(message.clone()), None),
        },
        3 => match spoil(message, network, key) {
            Some(other) => (Some(other), Some(Fault::InvalidBlock)),
            None => (Some(message.clone()), None),
        },
        _ => (Some(message.clone()), None),
    }
}

/// Another vote, or another good block, under the traitor's genuine signature.
fn contradict(
    message: &Message,
    network: &NetworkId,
    key: &SigningKey,
    rng: &mut ChaCha8Rng,
) -> Option<Message> {
    match message {
        Message::Vote(signed) if signed.vote.validator.0 == key.verifying_key().to_bytes() => {
            let value = signed.vote.value.is_none().then(|| invented(rng));
            Some(Message::Vote(Vote { value, ..signed.vote }.sign(network, key)))
        }
        Message::Proposal(proposed) => {
            let mut block = Block::clone(&proposed.block);
            block.header.time += 1;
            Some(sign(proposed, block, network, key))
        }
        Message::Outline(outline) => {
            let SignedProposal { height, round, pol_round, .. } = outline.proposal;
            let proposal =
                SignedProposal::sign(network, height, round, pol_round, invented(rng), key);
            let mut other = outline.clone();
            other.proposal = proposal;
            Some(Message::Outline(other))
        }
        _ => None,
    }
}

fn invented(rng: &mut ChaCha8Rng) -> [u8; 32] {
    let mut value = [0; 32];
    rng.fill_bytes(&mut value);
    value
}

/// A proposal whose header is not what its entries lead to.
fn spoil(message: &Message, network: &NetworkId, key: &SigningKey) -> Option<Message> {
    match message {
        Message::Proposal(proposed) => {
            let mut block = Block::clone(&proposed.block);
            block.header.state_root[0] ^= 1;
            Some(sign(proposed, block, network, key))
        }
        Message::Outline(outline) => {
            let mut other = outline.clone();
            other.time += 1;
            Some(Message::Outline(other))
        }
        _ => None,
    }
}

fn sign(proposed: &ProposedBlock, block: Block, network: &NetworkId, key: &SigningKey) -> Message {
    let SignedProposal { height, round, pol_round, .. } = proposed.proposal;
    let proposal =
        SignedProposal::sign(network, height, round, pol_round, block.header.hash(), key);
    Message::Proposal(ProposedBlock { proposal, block: Arc::new(block) })
}
