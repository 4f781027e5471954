//! Samples of what several validators sign: version 2 of the ledger's rules.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use kakera_engine::ledger::agreement::{
    Agreement, AgreementEvent, Message, Outline, Pace, Polka, ProposedBlock, RoundVotes, Want,
};
use kakera_engine::ledger::{
    Anchor, Body, Certificate, CertifiedBlock, Chain, Claim, Commit, CompactBlock, Entry,
    Equivocation, Genesis, LedgerProof, NodeLost, Proposer, RetentionFloor, SentBlock, SetChange,
    SignedProposal, SignedVote, StateKey, Upgrade, ValidatorChange, ValidatorSet, ValidatorUpdate,
    VerifiedEntry, Vote, VoteKind,
};
use kakera_engine::names::NodeId;
use kakera_engine::signature::node_id;
use kakera_engine::wire::{Remark, canonical};

use super::ledger::genesis;
use super::{NOW, rng, signing_key};

const VALIDATORS: [u8; 4] = [31, 32, 33, 34];

pub(crate) fn chain_before_blocks() -> Chain {
    static CHAIN: LazyLock<Chain> = LazyLock::new(|| match Chain::new(genesis_of_four()) {
        Ok(chain) => chain,
        Err(error) => unreachable!("the sample genesis is valid: {error}"),
    });
    CHAIN.clone()
}

pub(crate) fn geneses() -> Vec<Vec<u8>> {
    let anchors = validators().0.into_keys().map(|node| (node, Anchor([9; 32]))).collect();
    let with_anchors = Genesis { anchors, ..genesis_of_four() };
    [genesis_of_four(), with_anchors].iter().map(canonical::encode).collect()
}

pub(crate) fn votes() -> Vec<Vec<u8>> {
    let pair = [VoteKind::Prevote, VoteKind::Precommit];
    pair.iter()
        .zip([None, Some([1; 32])])
        .map(|(kind, value)| canonical::encode(&vote(*kind, value)))
        .collect()
}

pub(crate) fn proposals() -> Vec<Vec<u8>> {
    [None, Some(0)].map(|pol_round| canonical::encode(&proposal(pol_round))).into()
}

/// One of the four validators, before its first height, and the set.
pub(crate) fn agreement() -> (Agreement, ValidatorSet) {
    let key = signing_key(VALIDATORS[0]);
    (Agreement::new(chain_before_blocks().network(), key, Pace::default(), true), validators())
}

pub(crate) fn remarks() -> Vec<Vec<u8>> {
    let messages = messages();
    let messages = messages.iter().filter_map(|bytes| Message::from_bytes(bytes).ok());
    let messages = messages.map(|message| Remark::Message(Box::new(message)));
    let entries = super::ledger::first_entries().into_iter();
    let entries = entries.map(|entry| Remark::Entry(Box::new(entry)));
    let remarks: Vec<Vec<u8>> = messages.chain(entries).map(|remark| remark.to_bytes()).collect();
    vec![Remark::list::<Vec<u8>>(&[]), Remark::list(&remarks)]
}

pub(crate) fn messages() -> Vec<Vec<u8>> {
    let voted = vote(VoteKind::Precommit, None);
    let SignedVote { vote: Vote { height, round, validator, .. }, signature } = voted;
    let polka =
        Polka { height, round, value: [1; 32], signatures: vec![Commit { validator, signature }] };
    let votes = RoundVotes { height, round, skip: true, votes: vec![voted] };
    let block = Arc::new(change().1.block);
    let proposal = SignedProposal::sign(
        &chain_before_blocks().network(),
        block.header.height,
        0,
        None,
        block.header.hash(),
        &signing_key(VALIDATORS[0]),
    );
    let proposed = ProposedBlock { proposal, block };
    [
        Message::Vote(voted),
        Message::Polka(polka),
        Message::Round(votes),
        Message::Outline(Outline::of(&proposed)),
        Message::Proposal(proposed),
        Message::Want(Want { height, round }),
    ]
    .iter()
    .map(Message::to_bytes)
    .collect()
}

/// What a validator records that sees no proposal in time.
pub(crate) fn records() -> Vec<Vec<u8>> {
    let (mut agreement, validators) = agreement();
    let late = agreement
        .begin(1, &validators, Duration::ZERO)
        .and_then(|()| agreement.handle_time(Duration::from_secs(60)));
    if let Err(error) = late {
        unreachable!("nothing contradicts an empty log: {error}");
    }
    let events = std::iter::from_fn(|| agreement.poll_event());
    let record = |event| match event {
        AgreementEvent::Record(record) => Some(record.to_bytes()),
        _ => None,
    };
    events.filter_map(record).collect()
}

pub(crate) fn blocks() -> Vec<Vec<u8>> {
    vec![change().1.to_bytes()]
}

pub(super) fn compact_block() -> Option<CompactBlock> {
    CompactBlock::of(&change().1, &validators())
}

pub(crate) fn signed_headers() -> Vec<Vec<u8>> {
    vec![change().0.header.to_bytes()]
}

pub(crate) fn set_changes() -> Vec<Vec<u8>> {
    vec![change().0.to_bytes()]
}

/// One entry of each kind that version 2 adds.
pub(crate) fn entries() -> Vec<Vec<u8>> {
    let votes = [None, Some([1; 32])].map(|value| vote(VoteKind::Precommit, value));
    let update = ValidatorUpdate { address: "[::1]:4434".to_owned(), anchor: None };
    let anchored = ValidatorUpdate { anchor: Some(Anchor([2; 32])), ..update.clone() };
    let bodies = [
        change_of_four(),
        Body::Upgrade(Upgrade { version: 2 }),
        Body::ValidatorUpdate(update),
        Body::ValidatorUpdate(anchored),
        Body::RetentionFloor(RetentionFloor { height: 1 << 40 }),
        Body::NodeLost(NodeLost { node: node(VALIDATORS[0]), generation: 1, exclusions: Some(2) }),
        Body::Equivocation(Equivocation::Votes(votes[0], votes[1])),
        Body::Equivocation(Equivocation::Proposals(proposal(None), proposal(Some(0)))),
    ];
    bodies.into_iter().map(|body| entry(VALIDATORS[0], body).to_bytes()).collect()
}

pub(crate) fn genesis_of_four() -> Genesis {
    Genesis { validators: validators(), version: Some(2), ..genesis().clone() }
}

fn validators() -> ValidatorSet {
    VALIDATORS.iter().map(|number| (node(*number), 1)).collect()
}

fn node(number: u8) -> NodeId {
    node_id(&signing_key(number))
}

fn entry(author: u8, body: Body) -> Entry {
    Entry::sign(&chain_before_blocks().network(), &signing_key(author), 1, body)
}

fn vote(kind: VoteKind, value: Option<[u8; 32]>) -> SignedVote {
    let validator = node(VALIDATORS[0]);
    let vote = Vote { kind, height: 3, round: 1, value, validator };
    vote.sign(&chain_before_blocks().network(), &signing_key(VALIDATORS[0]))
}

fn proposal(pol_round: Option<u32>) -> SignedProposal {
    let network = chain_before_blocks().network();
    SignedProposal::sign(&network, 3, 1, pol_round, [1; 32], &signing_key(VALIDATORS[0]))
}

fn change_of_four() -> Body {
    let rest = validators().0.into_iter().skip(1).collect();
    Body::ValidatorChange(ValidatorChange { validators: rest, from: Some(validators().hash()) })
}

/// The block in which three of four send the other away.
fn change() -> (SetChange, CertifiedBlock) {
    let mut chain = chain_before_blocks();
    let votes = VALIDATORS[..3].iter().map(|author| entry(*author, change_of_four()));
    let block = seal(&mut chain, votes.collect());
    match chain.set_change() {
        Some(change) => (change, block),
        None => unreachable!("our own votes"),
    }
}

/// The chain one block later.
pub(super) fn chain_after_change() -> Chain {
    let mut chain = chain_before_blocks();
    if let Err(error) = chain.apply(&change().1, Some(NOW)) {
        unreachable!("our own block: {error}");
    }
    seal(&mut chain, Vec::new());
    chain
}

/// Appends a block that all validators certified.
fn seal(chain: &mut Chain, entries: Vec<Entry>) -> CertifiedBlock {
    let network = chain.network();
    let verified = entries.into_iter().map(|entry| VerifiedEntry::new(&network, entry));
    let entries = verified.collect::<Result<_, _>>();
    let members = VALIDATORS.iter().filter(|number| chain.validators().contains(&node(**number)));
    let members: Vec<u8> = members.copied().collect();
    let key = signing_key(members[0]);
    let proposer = Proposer { key: &key, links: None };
    let proposal = entries.map(|entries| chain.propose(entries, NOW, &proposer, &mut rng()));
    let Ok(Ok(proposal)) = proposal else { unreachable!("our own entries: {proposal:?}") };
    let header = &proposal.block.header;
    let precommit = |number: &u8| {
        let (kind, value) = (VoteKind::Precommit, Some(header.hash()));
        let vote = Vote { kind, height: header.height, round: 0, value, validator: node(*number) };
        vote.sign(&network, &signing_key(*number))
    };
    let certificate = Certificate::of_precommits(0, members.iter().map(precommit).collect());
    let block = CertifiedBlock { block: proposal.block, certificate };
    if let Err(error) = chain.apply(&block, Some(NOW)) {
        unreachable!("our own block: {error}");
    }
    block
}

/// What a machine sends of a block, in both forms.
pub(crate) fn sent_blocks() -> Vec<Vec<u8>> {
    let block = change().1;
    [None, Some(validators())]
        .map(|known| SentBlock::of(block.clone(), known.as_ref()).to_bytes())
        .to_vec()
}

/// Proofs over a change of the set: of a value, of its absence, of an entry.
pub(crate) fn ledger_proofs() -> Vec<Vec<u8>> {
    let chain = chain_after_change();
    let of_state = |key| {
        let (value, proof) = chain.state_proof(&key);
        Claim::State { key, value, proof }
    };
    let entry = change().1.block.entries.swap_remove(0);
    let of_entry = chain.entry_proof(0).map(|proof| Claim::Entry { entry: Box::new(entry), proof });
    let claims = [of_state(StateKey::Validators), of_state(StateKey::Counts)];
    let proof = |claim| {
        let (changes, head) = (chain.set_changes().to_vec(), chain.head().clone());
        LedgerProof::new(changes, head, claim).to_bytes()
    };
    claims.into_iter().chain(of_entry).map(proof).collect()
}
