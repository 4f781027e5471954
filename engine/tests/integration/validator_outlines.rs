//! Proposals in outline among four validators: who lacks entries asks, and all come to one block.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ledger_network::{START, key};
use crate::ledger_validators::{FOUR, genesis_of, machine};
use kakera_engine::ledger::agreement::{Message, Outline};
use kakera_engine::ledger::{Body, Chain, Entry, Genesis, Pointer};
use kakera_engine::names::NodeId;
use kakera_engine::peer::{Clock, Validator, Work};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const STEP: Duration = Duration::from_millis(5);

/// Four validators whose messages arrive at once, in order.
struct Council {
    validators: BTreeMap<NodeId, Validator>,
    clock: Clock,
    rng: ChaCha20Rng,
    /// Who is told nothing of entries.
    uninformed: Vec<NodeId>,
    /// Everything said, with who said it.
    said: Vec<(NodeId, Message)>,
}

impl Council {
    fn of_version(version: u32) -> Self {
        let genesis =
            Genesis { version: Some(version), anchors: BTreeMap::new(), ..genesis_of(&FOUR) };
        let validator = |number: &u8| {
            let chain = Chain::new(genesis.clone()).unwrap();
            (machine(*number), Validator::new(key(*number), chain, None).unwrap())
        };
        Self {
            validators: FOUR.iter().map(validator).collect(),
            clock: Clock { elapsed: Duration::ZERO, unix_millis: START },
            rng: ChaCha20Rng::from_seed([1; 32]),
            uninformed: Vec::new(),
            said: Vec::new(),
        }
    }

    /// The proposer of the first height, and the others.
    fn turn(&self) -> (NodeId, Vec<NodeId>) {
        let first = self.validators.values().next().unwrap();
        let proposer = first.chain().validators().proposer(1, 0);
        let others = self.validators.keys().copied().filter(|id| *id != proposer).collect();
        (proposer, others)
    }

    fn entry(&self, author: u8, body: Body) -> Entry {
        let network = self.validators.values().next().unwrap().chain().network();
        Entry::sign(&network, &key(author), 1, body)
    }

    fn pointer(&self, author: u8) -> Entry {
        let network = self.validators.values().next().unwrap().chain().network();
        self.entry(author, Body::Pointer(Pointer::sign(&network, &key(99), vec![1; 1000])))
    }

    fn submit(&mut self, to: NodeId, entry: Entry) {
        self.validators.get_mut(&to).unwrap().handle_submit(1, entry);
    }

    /// Until all have the block of height 1.
    fn run(&mut self) {
        for _ in 0..200 {
            while self.work() {}
            if self.validators.values().all(|validator| validator.chain().head().header.height == 1)
            {
                return;
            }
            self.clock.elapsed += STEP;
            let clock = self.clock;
            self.validators.values_mut().for_each(|validator| validator.handle_time(clock));
        }
        panic!("no block after {:?}: {:?}", self.clock.elapsed, self.said);
    }

    /// Lets everybody do one thing. Whether there was one.
    fn work(&mut self) -> bool {
        let clock = self.clock;
        let mut busy = false;
        for from in self.validators.keys().copied().collect::<Vec<_>>() {
            let validator = self.validators.get_mut(&from).unwrap();
            let Some(work) = validator.poll_work(clock, &mut self.rng) else { continue };
            busy = true;
            match work {
                Work::Record(_) => {}
                Work::Block(_) => validator.handle_durable(),
                Work::Send(message) => {
                    self.said.push((from, message.clone()));
                    for (id, other) in &mut self.validators {
                        if *id != from {
                            other.handle_message(from, message.clone(), clock);
                        }
                    }
                }
                Work::Tell(to, message) => {
                    self.said.push((from, message.clone()));
                    let hearer = self.validators.get_mut(&to).unwrap();
                    hearer.handle_message(from, message, clock);
                }
                Work::Share(entry) => {
                    for (id, other) in &mut self.validators {
                        if *id != from && !self.uninformed.contains(id) {
                            other.handle_shared(Entry::clone(&entry), clock);
                        }
                    }
                }
            }
        }
        busy
    }

    fn said(&self, is: impl Fn(&Message) -> bool) -> Vec<NodeId> {
        self.said.iter().filter(|(_, message)| is(message)).map(|(from, _)| *from).collect()
    }

    fn wholes(&self) -> Vec<NodeId> {
        self.said(|message| matches!(message, Message::Proposal(_)))
    }

    fn wants(&self) -> Vec<NodeId> {
        self.said(|message| matches!(message, Message::Want(_)))
    }

    fn heads(&self) -> Vec<[u8; 32]> {
        let heads = self.validators.values().map(|validator| validator.chain().head());
        let mut heads: Vec<_> = heads.map(|head| head.header.hash()).collect();
        heads.dedup();
        heads
    }
}

#[test]
fn who_has_the_entries_needs_only_the_outline() {
    let mut council = Council::of_version(3);
    let (proposer, others) = council.turn();
    let entry = council.pointer(FOUR[0]);
    let length = entry.to_bytes().len();
    council.submit(others[0], entry);
    council.run();
    assert_eq!(council.said(|message| matches!(message, Message::Outline(_))), [proposer]);
    assert_eq!((council.wholes().len(), council.wants().len()), (0, 0));
    let outline = council.said.iter().find_map(|(_, message)| match message {
        Message::Outline(outline) => {
            Some(message.to_bytes().len()).filter(|_| outline.has_entries())
        }
        _ => None,
    });
    assert!(outline.unwrap() < length / 3, "{outline:?} bytes for an entry of {length}");
    assert_eq!(council.heads().len(), 1);
}

#[test]
fn who_lacks_an_entry_asks_the_proposer_once() {
    let mut council = Council::of_version(3);
    let (proposer, others) = council.turn();
    council.uninformed = vec![others[1]];
    let entry = council.pointer(FOUR[0]);
    council.submit(others[0], entry);
    council.run();
    assert_eq!(council.wants(), [others[1]]);
    assert_eq!(council.wholes(), [proposer]);
    assert_eq!(council.heads().len(), 1);
}

#[test]
fn an_author_that_says_two_things_delays_nobody() {
    let mut council = Council::of_version(3);
    let (proposer, others) = council.turn();
    council.uninformed = vec![others[1]];
    let network = council.validators[&proposer].chain().network();
    let another = Body::Pointer(Pointer::sign(&network, &key(98), vec![2; 500]));
    let (one, other) = (council.pointer(FOUR[0]), council.entry(FOUR[0], another));
    council.submit(proposer, one);
    council.submit(others[1], other);
    council.run();
    assert_eq!(council.wants(), [others[1]]);
    assert_eq!(council.heads().len(), 1);
    let first = &council.validators[&others[1]];
    assert_eq!(first.chain().head().header.log_size, 1);
    let outcomes: Vec<_> = council
        .validators
        .values_mut()
        .flat_map(|validator| std::iter::from_fn(|| validator.poll_outcome()))
        .collect();
    assert_eq!(outcomes.iter().filter(|(_, outcome)| outcome.is_ok()).count(), 1);
    assert_eq!(outcomes.iter().filter(|(_, outcome)| outcome.is_err()).count(), 1);
}

#[test]
fn a_proposer_gives_its_block_to_each_once() {
    let mut council = Council::of_version(3);
    let (proposer, others) = council.turn();
    council.uninformed = others.clone();
    let entry = council.pointer(FOUR[0]);
    council.submit(proposer, entry);
    council.run();
    let mut wants = council.wants();
    wants.sort_unstable();
    assert_eq!(wants, others);
    assert_eq!(council.wholes(), [proposer; 3]);
    let outline = council.said.iter().find_map(|(_, message)| match message {
        Message::Outline(outline) => Some(outline.clone()),
        _ => None,
    });
    let outline: Outline = outline.unwrap();
    assert_eq!(outline.proposal.validator, proposer);
}

#[test]
fn older_rules_send_proposals_whole() {
    let mut council = Council::of_version(2);
    let (proposer, others) = council.turn();
    let entry = council.pointer(FOUR[0]);
    council.submit(others[0], entry);
    council.run();
    assert_eq!(council.wholes(), [proposer]);
    assert_eq!(council.said(|message| matches!(message, Message::Outline(_))), []);
}
