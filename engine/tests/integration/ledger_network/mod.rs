//! A network of one validator for the tests of the ledger.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::SigningKey;
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{
    Body, Certificate, CertifiedBlock, Chain, Entry, EntryError, Genesis, GroupCreate, Header,
    NodeJoin, Pointer, Proposal, Proposer, Roles, Suite, ValidatorSet, VerifiedEntry, Vote,
    VoteKind,
};
use kakera_engine::names::{NetworkId, NodeId};
use kakera_engine::signature::node_id;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

pub(crate) const START: u64 = 1_764_000_000_000;

pub(crate) fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

pub(crate) const VALIDATOR: u8 = 1;
pub(crate) const OPERATOR: u8 = 2;

pub(crate) fn code(n: u8) -> CodeParameters {
    CodeParameters { kind: CodeKind::Mbr, n, k: 2, d: 3 }
}

pub(crate) fn key_code(n: u8, k: u8) -> KeyParameters {
    KeyParameters::new(n, k, k + 1).unwrap()
}

pub(crate) fn genesis() -> Genesis {
    Genesis {
        suite: Suite,
        name: "clinic".into(),
        created: START,
        validators: ValidatorSet::from_iter([(node_id(&key(VALIDATOR)), 1)]),
        operators: BTreeSet::from([node_id(&key(OPERATOR))]),
        code: code(5),
        key: key_code(5, 3),
        pointers_per_author_max: 1000,
        version: None,
        anchors: BTreeMap::new(),
    }
}

/// A machine of the given operator.
pub(crate) fn join(number: u8, operator: NodeId) -> Body {
    Body::NodeJoin(NodeJoin {
        node: node_id(&key(number)),
        roles: Roles { storage: true, submitter: true },
        address: format!("192.0.2.{number}:4433"),
        zone: ["north", "east", "south"][number as usize % 3].into(),
        operator,
        quota_bytes: 1 << 30,
        generation: 1,
    })
}

pub(crate) fn create_group(n: u8, k: u8) -> Body {
    Body::GroupCreate(GroupCreate { code: code(n), key: key_code(n, k) })
}

/// The chain with its stored blocks, and each author's next sequence number.
pub(crate) struct Network {
    pub(crate) chain: Chain,
    pub(crate) blocks: Vec<Vec<u8>>,
    pub(crate) now: u64,
    sequences: BTreeMap<u8, u64>,
    rng: ChaCha20Rng,
}

impl Network {
    pub(crate) fn new() -> Self {
        Self::of(genesis())
    }

    pub(crate) fn of(genesis: Genesis) -> Self {
        Self {
            chain: Chain::new(genesis).unwrap(),
            blocks: Vec::new(),
            now: START,
            sequences: BTreeMap::new(),
            rng: ChaCha20Rng::from_seed([5; 32]),
        }
    }

    /// With machines 10 to 9 + `count`, each its own operator, in the first block.
    pub(crate) fn with_machines(count: u8) -> Self {
        let mut network = Self::new();
        let joins = (10..10 + count)
            .map(|number| network.say(VALIDATOR, join(number, node_id(&key(number)))))
            .collect();
        network.seal(joins);
        network
    }

    pub(crate) fn id(&self) -> NetworkId {
        self.chain.network()
    }

    /// The author's next entry.
    pub(crate) fn say(&mut self, author: u8, body: Body) -> Entry {
        let sequence = self.sequences.entry(author).or_insert(0);
        *sequence += 1;
        Entry::sign(&self.chain.network(), &key(author), *sequence, body)
    }

    pub(crate) fn pointer(&self, one_time: u8, sealed: &[u8]) -> Pointer {
        Pointer::sign(&self.id(), &key(one_time), sealed.to_vec())
    }

    /// A block of these entries, without those whose signatures are not valid.
    pub(crate) fn propose(&mut self, entries: Vec<Entry>) -> Proposal {
        self.now += 1000;
        let network = self.id();
        let verified =
            entries.into_iter().filter_map(|entry| VerifiedEntry::new(&network, entry).ok());
        let key = key(VALIDATOR);
        let proposer = Proposer { key: &key, links: None };
        let proposal =
            self.chain.propose(verified.collect(), self.now, &proposer, &mut self.rng).unwrap();
        // What the proposer believes of its own block is what everybody finds.
        let checked = self.chain.check(&proposal.block, None, &|_| false).unwrap();
        assert_eq!(checked.header(), proposal.checked.header());
        assert_eq!(checked.state().root(), proposal.checked.state().root());
        proposal
    }

    /// Makes and applies a block of these entries, all of which are good.
    pub(crate) fn seal(&mut self, entries: Vec<Entry>) {
        let proposal = self.propose(entries);
        assert!(proposal.refused.is_empty(), "{:?}", proposal.refused);
        assert!(proposal.deferred.is_empty());
        let header = &proposal.block.header;
        let certificate = match self.chain.state().version() {
            1 => Certificate::solo(header, &key(VALIDATOR)),
            _ => agreed(header),
        };
        let block = CertifiedBlock { block: proposal.block, certificate };
        self.chain.apply(&block, Some(self.now)).unwrap();
        self.blocks.push(block.to_bytes());
    }

    /// Says one thing in a block of its own.
    pub(crate) fn seal_body(&mut self, author: u8, body: Body) {
        let entry = self.say(author, body);
        self.seal(vec![entry]);
    }

    /// Says it in a block of its own, unless it is refused: then nothing happens.
    pub(crate) fn take(&mut self, author: u8, body: Body) -> bool {
        let entry = self.say(author, body);
        if self.chain.state().clone().apply(&entry).is_ok() {
            self.seal(vec![entry]);
            return true;
        }
        *self.sequences.get_mut(&author).unwrap() -= 1;
        false
    }

    /// Why the author cannot say this; its sequence number is not used up.
    pub(crate) fn refusal(&mut self, author: u8, body: Body) -> EntryError {
        let entry = self.say(author, body);
        *self.sequences.get_mut(&author).unwrap() -= 1;
        self.refusal_of(&entry)
    }

    /// Why the state refuses an entry, which no proposal takes in.
    pub(crate) fn refusal_of(&mut self, entry: &Entry) -> EntryError {
        assert!(self.propose(vec![entry.clone()]).block.entries.is_empty());
        self.chain.state().clone().apply(entry).unwrap_err()
    }
}

/// The validator agrees with itself: the certificate of later rules.
fn agreed(header: &Header) -> Certificate {
    let (kind, value) = (VoteKind::Precommit, Some(header.hash()));
    let validator = node_id(&key(VALIDATOR));
    let vote = Vote { kind, height: header.height, round: 0, value, validator };
    Certificate::of_precommits(0, vec![vote.sign(&header.network, &key(VALIDATOR))])
}

/// A block with any one byte changed is refused.
pub(crate) fn assert_every_byte_counts(genesis: Genesis, blocks: &[Vec<u8>]) {
    let mut chain = Chain::new(genesis).unwrap();
    for bytes in blocks {
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1 << (place % 8);
            let accepted = CertifiedBlock::from_bytes(&changed)
                .is_ok_and(|block| chain.clone().apply(&block, None).is_ok());
            assert!(!accepted, "byte {place}");
        }
        chain.apply(&CertifiedBlock::from_bytes(bytes).unwrap(), None).unwrap();
    }
}
