//! Samples of what several validators sign: version 2 of the ledger's rules.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use kakera_engine::ledger::agreement::{
    Agreement, AgreementEvent, Message, Pace, Polka, ProposedBlock, RoundVotes,
};
use kakera_engine::ledger::{
    Anchor, Body, Certificate, CertifiedBlock, Chain, Commit, Entry, Equivocation, Genesis,
    NodeLost, Proposer, RetentionFloor, SetChange, SignedProposal, SignedVote, Upgrade,
    ValidatorChange, ValidatorSet, ValidatorUpdate, VerifiedEntry, Vote, VoteKind,
};
use kakera_engine::names::NodeId;
use kakera_engine::signature::node_id;
use kakera_engine::wire::canonical;

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
    [
        Message::Vote(voted),
        Message::Polka(polka),
        Message::Round(votes),
        Message::Proposal(ProposedBlock { proposal, block }),
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
        Body::NodeLost(NodeLost { node: node(VALIDATORS[0]), generation: 1 }),
        Body::Equivocation(Equivocation::Votes(votes[0], votes[1])),
        Body::Equivocation(Equivocation::Proposals(proposal(None), proposal(Some(0)))),
    ];
    bodies.into_iter().map(|body| entry(VALIDATORS[0], body).to_bytes()).collect()
}

fn genesis_of_four() -> Genesis {
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
    let network = chain.network();
    let votes = VALIDATORS[..3].iter().map(|author| entry(*author, change_of_four()));
    let votes = votes.map(|vote| VerifiedEntry::new(&network, vote)).collect::<Result<_, _>>();
    let key = signing_key(VALIDATORS[0]);
    let proposer = Proposer { key: &key, links: None };
    let proposal = votes.map(|votes| chain.propose(votes, NOW, &proposer, &mut rng()));
    let Ok(Ok(proposal)) = proposal else { unreachable!("our own votes: {proposal:?}") };
    let header = &proposal.block.header;
    let precommit = |number: &u8| {
        let (kind, value) = (VoteKind::Precommit, Some(header.hash()));
        let vote = Vote { kind, height: 1, round: 0, value, validator: node(*number) };
        vote.sign(&network, &signing_key(*number))
    };
    let certificate = Certificate::of_precommits(0, VALIDATORS.iter().map(precommit).collect());
    let block = CertifiedBlock { block: proposal.block, certificate };
    match (chain.apply(&block, Some(NOW)), chain.set_change()) {
        (Ok(()), Some(change)) => (change, block),
        other => unreachable!("our own block: {other:?}"),
    }
}
