//! The voting log: what a validator must remember so that it never signs two things where it may
//! sign one, whatever happens to its machine.
//!
//! Everything that moves the core is recorded before what follows from it leaves the machine. A
//! block is recorded once; what speaks of it names it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_malachitebft_core_consensus::{Input, ProposedValue};
use arc_malachitebft_core_types as malachite;
use malachite::{Round, Timeout, TimeoutKind, Validity, ValueOrigin};
use minicbor::{Decode, Encode};

use super::context::{Address, Context, Height, Value, round_number};
use super::message::{
    Polka, ProposedBlock, proposal_from_core, shared_block, vote_from_core, vote_to_core,
};
use crate::ledger::block::{BLOCK_LEN_MAX, Block};
use crate::ledger::log::Digest32;
use crate::ledger::vote::{SignedProposal, SignedVote};
use crate::names::NodeId;
use crate::wire::canonical::{self, CanonicalError};

/// Longest record, in bytes.
pub const RECORD_LEN_MAX: usize = BLOCK_LEN_MAX + 4096;

/// One line of the voting log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// The height it is about. Once the block of this height is durable the record has done its
    /// work.
    #[n(0)]
    pub height: u64,
    #[n(1)]
    event: Event,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
enum Event {
    /// A block that later records name by its header's hash.
    #[n(0)]
    Block(#[cbor(n(0), with = "shared_block")] Arc<Block>),
    /// A block that this machine made or was shown, and the round.
    #[n(1)]
    Value {
        #[n(0)]
        round: u32,
        #[n(1)]
        valid_round: Option<u32>,
        #[n(2)]
        proposer: NodeId,
        #[cbor(n(3), with = "minicbor::bytes")]
        id: Digest32,
    },
    #[n(2)]
    Proposal(#[n(0)] SignedProposal),
    #[n(3)]
    Vote(#[n(0)] SignedVote),
    #[n(4)]
    Polka(#[n(0)] Polka),
    #[n(5)]
    Timeout {
        #[n(0)]
        step: Step,
        #[n(1)]
        round: u32,
    },
}

/// The step of a round that took too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
enum Step {
    #[n(0)]
    Propose,
    #[n(1)]
    Prevote,
    #[n(2)]
    Precommit,
}

impl Record {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads the canonical bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode(bytes, RECORD_LEN_MAX)
    }
}

/// The records of an input, the block it speaks of first unless `recorded` has it. Inputs that the
/// core can do without after a restart have none.
pub(super) fn records_of(
    height: u64,
    input: &Input<Context>,
    recorded: &mut BTreeSet<Digest32>,
) -> Vec<Record> {
    let (value, event) = match input {
        Input::Vote(vote) => (None, Event::Vote(vote_from_core(vote))),
        Input::Proposal(proposal) => {
            (Some(&proposal.message.value), Event::Proposal(proposal_from_core(proposal)))
        }
        Input::ProposedValue(proposed, _) => {
            let event = Event::Value {
                round: round_number(proposed.round),
                valid_round: proposed.valid_round.as_u32(),
                proposer: proposed.proposer.0,
                id: proposed.value.id.0,
            };
            (Some(&proposed.value), event)
        }
        Input::PolkaCertificate(polka) => (None, Event::Polka(Polka::from_core(polka))),
        Input::TimeoutElapsed(Timeout { kind, round }) => {
            let step = match kind {
                TimeoutKind::Propose => Step::Propose,
                TimeoutKind::Prevote => Step::Prevote,
                TimeoutKind::Precommit => Step::Precommit,
                TimeoutKind::Rebroadcast | TimeoutKind::FinalizeHeight(_) => return Vec::new(),
            };
            (None, Event::Timeout { step, round: round_number(*round) })
        }
        Input::StartHeight(..)
        | Input::RoundCertificate(_)
        | Input::Propose(_)
        | Input::SyncValueResponse(_) => return Vec::new(),
    };
    let unseen = value.filter(|value| recorded.insert(value.id.0));
    let block = unseen.map(|value| Event::Block(Arc::clone(&value.block)));
    block.into_iter().chain([event]).map(|event| Record { height, event }).collect()
}

/// The inputs that the records of one height stand for, and the blocks in them. A record that
/// names a block which is not there is skipped: what followed from it was never sent.
pub(super) fn inputs_of(
    height: u64,
    records: &[Record],
) -> (Vec<Input<Context>>, BTreeMap<Digest32, Arc<Block>>) {
    let mut blocks: BTreeMap<Digest32, Arc<Block>> = BTreeMap::new();
    let mut inputs = Vec::new();
    for record in records.iter().filter(|record| record.height == height) {
        if let Event::Block(block) = &record.event {
            blocks.insert(block.header.hash(), Arc::clone(block));
        } else {
            inputs.extend(input_of(record, &blocks));
        }
    }
    (inputs, blocks)
}

fn input_of(record: &Record, blocks: &BTreeMap<Digest32, Arc<Block>>) -> Option<Input<Context>> {
    let height = Height(record.height);
    let value = |id: &Digest32| blocks.get(id).map(|block| Value::new(Arc::clone(block)));
    Some(match &record.event {
        Event::Block(_) => return None,
        Event::Value { round, valid_round, proposer, id } => Input::ProposedValue(
            ProposedValue {
                height,
                round: Round::new(*round),
                valid_round: Round::from(*valid_round),
                proposer: Address(*proposer),
                value: value(id)?,
                validity: Validity::Valid,
            },
            ValueOrigin::Consensus,
        ),
        Event::Proposal(proposal) => {
            let block = Arc::clone(blocks.get(&proposal.value)?);
            Input::Proposal(ProposedBlock { proposal: *proposal, block }.to_core())
        }
        Event::Vote(vote) => Input::Vote(vote_to_core(vote)),
        Event::Polka(polka) => Input::PolkaCertificate(polka.to_core()?),
        Event::Timeout { step, round } => {
            let kind = match step {
                Step::Propose => TimeoutKind::Propose,
                Step::Prevote => TimeoutKind::Prevote,
                Step::Precommit => TimeoutKind::Precommit,
            };
            Input::TimeoutElapsed(Timeout::new(Round::new(*round), kind))
        }
    })
}
