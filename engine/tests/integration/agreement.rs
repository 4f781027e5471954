//! What validators tell each other and remember. A changed hash here is a new version.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::ledger_network::*;
use crate::ledger_validators::{Consortium, FOUR, machine, set};
use kakera_engine::hash::hash;
use kakera_engine::ledger::agreement::{
    Agreement, AgreementEvent, Message, Outline, Pace, Polka, ProposedBlock, Record, RoundVotes,
    Want,
};
use kakera_engine::ledger::{Block, Commit, SignedProposal, SignedVote, Vote, VoteKind};
use kakera_engine::wire::canonical::CanonicalError;
use proptest::prelude::*;

fn digest(bytes: &[u8]) -> String {
    hash("frozen", &[bytes])[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn vote(network: &Consortium, kind: VoteKind, value: Option<[u8; 32]>, number: u8) -> SignedVote {
    let vote = Vote { kind, height: 1, round: 3, value, validator: machine(number) };
    vote.sign(&network.id(), &key(number))
}

fn block(network: &mut Consortium) -> Block {
    let entry = network.say(FOUR[0], join(10, machine(10)));
    network.seal(vec![entry]);
    kakera_engine::ledger::CertifiedBlock::from_bytes(&network.blocks[0]).unwrap().block
}

fn proposed(network: &mut Consortium) -> ProposedBlock {
    let block = Arc::new(block(network));
    let value = block.header.hash();
    let key = key(FOUR[1]);
    let proposal = SignedProposal::sign(&network.id(), 1, 3, Some(1), value, &key);
    ProposedBlock { proposal, block }
}

fn messages() -> &'static [Message] {
    static MESSAGES: LazyLock<Vec<Message>> = LazyLock::new(make_messages);
    &MESSAGES
}

fn make_messages() -> Vec<Message> {
    let mut network = Consortium::four();
    let proposed = proposed(&mut network);
    let value = Some(proposed.proposal.value);
    let prevote = |number: &u8| vote(&network, VoteKind::Prevote, value, *number);
    let signatures = FOUR.iter().map(prevote);
    let signatures = signatures
        .map(|SignedVote { vote, signature }| Commit { validator: vote.validator, signature });
    let polka = Polka { height: 1, round: 3, value: [7; 32], signatures: signatures.collect() };
    let precommit = |number: &u8| vote(&network, VoteKind::Precommit, None, *number);
    let votes = FOUR.iter().map(precommit).collect();
    let outline = Outline::of(&proposed);
    vec![
        Message::Vote(prevote(&FOUR[2])),
        Message::Vote(precommit(&FOUR[2])),
        Message::Proposal(proposed),
        Message::Polka(polka),
        Message::Round(RoundVotes { height: 1, round: 3, skip: false, votes }),
        Message::Outline(outline),
        Message::Want(Want { height: 1, round: 3 }),
    ]
}

/// The records of a validator that sees a proposal, votes, and runs out of time.
fn records() -> Vec<Record> {
    let mut network = Consortium::four();
    let genesis_set = set(&FOUR);
    let proposer = genesis_set.proposer(1, 0);
    let own = *FOUR.iter().find(|number| machine(**number) != proposer).unwrap();
    let turn = *FOUR.iter().find(|number| machine(**number) == proposer).unwrap();
    let mut agreement = Agreement::new(network.id(), key(own), Pace::default(), true);
    agreement.begin(1, &genesis_set, Duration::ZERO).unwrap();
    let block = Arc::new(block(&mut network));
    let value = block.header.hash();
    let proposal = SignedProposal::sign(&network.id(), 1, 0, None, value, &key(turn));
    let proposed = ProposedBlock { proposal, block };
    assert!(agreement.welcomes(&proposed));
    agreement.handle_message(&Message::Proposal(proposed), Duration::ZERO).unwrap();
    for number in FOUR.iter().filter(|number| **number != own).take(2) {
        let kind = VoteKind::Prevote;
        let vote = Vote { kind, height: 1, round: 0, value: None, validator: machine(*number) };
        let message = Message::Vote(vote.sign(&network.id(), &key(*number)));
        agreement.handle_message(&message, Duration::ZERO).unwrap();
    }
    agreement.handle_time(Duration::from_secs(5)).unwrap();
    let mut records = Vec::new();
    while let Some(event) = agreement.poll_event() {
        if let AgreementEvent::Record(record) = event {
            records.push(record);
        }
    }
    records
}

#[test]
fn every_message_is_frozen_and_read_back() {
    let messages = messages();
    for message in messages {
        assert_eq!(Message::from_bytes(&message.to_bytes()).as_ref(), Ok(message));
    }
    let digests: Vec<_> = messages.iter().map(|message| digest(&message.to_bytes())).collect();
    assert_eq!(digests, MESSAGES);
}

#[test]
fn every_record_is_frozen_and_read_back() {
    let records = records();
    for record in &records {
        assert_eq!(Record::from_bytes(&record.to_bytes()).as_ref(), Ok(record));
    }
    let digests: Vec<_> = records.iter().map(|record| digest(&record.to_bytes())).collect();
    assert_eq!(digests, RECORDS);
}

#[test]
fn a_validator_that_starts_again_says_what_it_said_before() {
    let records = records();
    let network = Consortium::four();
    let validators = set(&FOUR);
    let proposer = validators.proposer(1, 0);
    let own = *FOUR.iter().find(|number| machine(**number) != proposer).unwrap();
    let said = |length: usize| {
        let mut again = Agreement::new(network.id(), key(own), Pace::default(), true);
        again.resume(1, &validators, &records[..length], Duration::from_secs(9)).unwrap();
        let mut votes = Vec::new();
        while let Some(event) = again.poll_event() {
            match event {
                AgreementEvent::Send(Message::Vote(vote)) => votes.push(vote),
                AgreementEvent::Record(record) => panic!("recorded twice: {record:?}"),
                _ => {}
            }
        }
        votes
    };
    let all = said(records.len());
    assert!(all.iter().any(|vote| vote.vote.kind == VoteKind::Prevote));
    assert!(all.iter().any(|vote| vote.vote.kind == VoteKind::Precommit));
    // Whatever the crash left of the log, no vote contradicts one that may have been heard.
    for length in 0..records.len() {
        for vote in said(length) {
            assert!(all.iter().all(|other| !vote.vote.contradicts(&other.vote)), "{length}");
        }
    }
}

/// A header commits to the entries, but its hash does not show that they are beside it.
#[test]
fn other_entries_under_a_known_header_do_not_replace_the_block() {
    let mut network = Consortium::four();
    let validators = set(&FOUR);
    let turn = |round| {
        let proposer = validators.proposer(1, round);
        *FOUR.iter().find(|number| machine(**number) == proposer).unwrap()
    };
    let block = Arc::new(block(&mut network));
    let value = block.header.hash();
    let mut emptied = Block::clone(&block);
    emptied.entries.clear();
    let own = turn(3);
    let mut agreement = Agreement::new(network.id(), key(own), Pace::default(), true);
    agreement.begin(1, &validators, Duration::ZERO).unwrap();
    for (round, block) in [(0, &block), (1, &Arc::new(emptied))] {
        let key = key(turn(round));
        let proposal = SignedProposal::sign(&network.id(), 1, round, None, value, &key);
        let proposed = ProposedBlock { proposal, block: Arc::clone(block) };
        assert!(agreement.welcomes(&proposed));
        agreement.handle_message(&Message::Proposal(proposed), Duration::ZERO).unwrap();
    }
    for number in FOUR.iter().filter(|number| **number != own) {
        for kind in [VoteKind::Prevote, VoteKind::Precommit] {
            let value = Some(value);
            let vote = Vote { kind, height: 1, round: 1, value, validator: machine(*number) };
            let message = Message::Vote(vote.sign(&network.id(), &key(*number)));
            agreement.handle_message(&message, Duration::ZERO).unwrap();
        }
    }
    let mut events = std::iter::from_fn(|| agreement.poll_event());
    let decided = events.find_map(|event| match event {
        AgreementEvent::Decided { block, certificate } => Some((block, certificate)),
        _ => None,
    });
    let (decided, certificate) = decided.unwrap();
    assert_eq!(decided, block);
    assert!(certificate.certifies(&block.header, &validators));
}

#[test]
fn a_proposer_makes_others_check_two_blocks_of_a_round_at_most() {
    let mut network = Consortium::four();
    let validators = set(&FOUR);
    let turn = *FOUR.iter().find(|number| machine(**number) == validators.proposer(1, 0)).unwrap();
    let own = *FOUR.iter().find(|number| **number != turn).unwrap();
    let mut agreement = Agreement::new(network.id(), key(own), Pace::default(), true);
    agreement.begin(1, &validators, Duration::ZERO).unwrap();
    let mut block = block(&mut network);
    let welcome = [1, 2, 3].map(|later| {
        block.header.time += later;
        let (value, block) = (block.header.hash(), Arc::new(block.clone()));
        let proposal = SignedProposal::sign(&network.id(), 1, 0, None, value, &key(turn));
        agreement.welcomes(&ProposedBlock { proposal, block })
    });
    assert_eq!(welcome, [true, true, false]);
}

#[test]
fn who_lost_its_voting_log_listens_and_says_nothing() {
    let network = Consortium::four();
    for number in FOUR {
        let mut agreement = Agreement::new(network.id(), key(number), Pace::default(), false);
        agreement.begin(1, &set(&FOUR), Duration::ZERO).unwrap();
        assert_eq!(agreement.wants_block(), None);
        agreement.handle_time(Duration::from_secs(60)).unwrap();
        let said = std::iter::from_fn(|| agreement.poll_event())
            .filter(|event| matches!(event, AgreementEvent::Send(_)));
        assert_eq!(said.count(), 0);
    }
}

proptest! {
    #[test]
    fn a_damaged_message_is_refused_or_another(place in any::<prop::sample::Index>(), bit in 0u8..8) {
        for message in messages() {
            let mut bytes = message.to_bytes();
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            match Message::from_bytes(&bytes) {
                Ok(other) => prop_assert_ne!(&other, message),
                Err(CanonicalError::TooLong { .. }) => prop_assert!(false, "it is no longer"),
                Err(_) => {}
            }
        }
    }
}

const MESSAGES: [&str; 7] = [
    "89b6fe718070af38",
    "786e2ea2bd2749fa",
    "dc9b84f5168b2294",
    "458bdb49aa12fc27",
    "cfec3d6bf622c327",
    "871bb4b6eefa04b3",
    "88922b3ae326f073",
];
const RECORDS: [&str; 7] = [
    "9df76ebb1863eb9b",
    "8e568202096199aa",
    "951cc630b6ee5ddf",
    "92f99028281d2f34",
    "879ec6b25663a694",
    "27db04c009452190",
    "e3f91af3df9445c0",
];
