//! The ledger of a simulated network: real blocks and rules, ordered by a perfect agreement.

use std::collections::BTreeMap;

use ed25519_dalek::SigningKey;
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{
    Body, Certificate, Chain, Entry, Genesis, Group, GroupCreate, NodeJoin, Proposer,
    RULES_VERSION_MAX, Roles, State, Suite, VerifiedEntry, Vote, VoteKind,
};
use kakera_engine::names::{GroupId, NetworkId, NodeId, Slot};
use kakera_engine::peer::Member;
use kakera_engine::policy::LedgerView;
use kakera_engine::signature::node_id;
use rand_chacha::ChaCha8Rng;

use super::Network;

/// Unix milliseconds of every founding.
pub(super) const CREATED: u64 = 1_700_000_000_000;
/// Bytes that a node offers, and that each keeps for the submitter.
pub(super) const QUOTA_BYTES: u64 = 1 << 30;

/// The chain and those who write on it.
pub(super) struct Ledger {
    chain: Chain,
    validators: Vec<SigningKey>,
    sequences: BTreeMap<NodeId, u64>,
    /// Entries that no block has yet.
    waiting: Vec<Entry>,
}

impl Ledger {
    /// Founds a network; the machines join in its first block, each in its zone, the groups are asked
    /// for in the next.
    pub(super) fn found(
        validators: Vec<SigningKey>,
        nodes: impl IntoIterator<Item = (NodeId, u32)>,
        submitter: NodeId,
        network: &Network,
        rng: &mut ChaCha8Rng,
    ) -> Self {
        let Network { code, key, groups, .. } = *network;
        // The ledger makes groups of these codes by itself, as many as its machines can fill: none,
        // up to 254 machines. The groups that count are asked for below.
        let kind = CodeKind::Rs;
        let wide = CodeParameters { kind, n: u8::MAX, k: 1, d: 1 };
        let wide_key = KeyParameters::new(u8::MAX, 2, 2).expect("a key code that exists");
        let genesis = Genesis {
            suite: Suite,
            name: "simulated".into(),
            created: CREATED,
            validators: validators.iter().map(|key| (node_id(key), 1)).collect(),
            operators: [].into(),
            code: wide,
            key: wide_key,
            pointers_per_author_max: 1000,
            version: Some(RULES_VERSION_MAX),
            anchors: BTreeMap::new(),
        };
        let chain = Chain::new(genesis).expect("a genesis that keeps the rules");
        let (sequences, waiting) = (BTreeMap::new(), Vec::new());
        let mut ledger = Self { chain, validators, sequences, waiting };
        for (node, zone) in nodes {
            ledger.enrol(node, zone);
        }
        let founder = ledger.validators[0].clone();
        ledger.post(&founder, Body::NodeJoin(join(submitter, false, "office".into())));
        ledger.seal(0, rng);
        for _ in 0..groups {
            ledger.post(&founder, Body::GroupCreate(GroupCreate { code, key }));
        }
        ledger.seal(0, rng);
        ledger.seal(0, rng);
        ledger
    }

    /// Has a storage node join with the next block.
    pub(super) fn enrol(&mut self, node: NodeId, zone: u32) {
        let founder = self.validators[0].clone();
        self.post(&founder, Body::NodeJoin(join(node, true, format!("site {zone}"))));
    }

    pub(super) fn network(&self) -> NetworkId {
        self.chain.network()
    }

    pub(super) fn state(&self) -> &State {
        self.chain.state()
    }

    pub(super) fn height(&self) -> u64 {
        self.chain.head().header.height
    }

    pub(super) fn beacon(&self) -> [u8; 32] {
        self.chain.head().header.beacon
    }

    pub(super) fn validators(&self) -> &[SigningKey] {
        &self.validators
    }

    /// Takes an entry for the next block.
    pub(super) fn post(&mut self, author: &SigningKey, body: Body) {
        let id = node_id(author);
        let next = self.chain.state().next_sequence(&id);
        let sequence = self.sequences.entry(id).or_insert(next);
        *sequence = next.max(*sequence);
        let entry = Entry::sign(&self.chain.network(), author, *sequence, body);
        *sequence += 1;
        self.waiting.push(entry);
    }

    /// Whether a block would hold something or decide a draw.
    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty() || self.chain.state().has_pending()
    }

    /// Makes the next block, `now` in milliseconds since the founding. Entries that break a rule
    /// are dropped, and with them those that count on.
    pub(super) fn seal(&mut self, now: u64, rng: &mut ChaCha8Rng) {
        let network = self.chain.network();
        let waiting = std::mem::take(&mut self.waiting).into_iter();
        let entries = waiting.filter_map(|entry| VerifiedEntry::new(&network, entry).ok());
        let height = self.chain.head().header.height + 1;
        let name = self.chain.validators().proposer(height, 0);
        let key = self.validators.iter().find(|key| node_id(key) == name);
        let proposer = Proposer { key: key.expect("a validator of the set"), links: None };
        let proposal = self.chain.propose(entries.collect(), CREATED + now, &proposer, rng);
        let proposal = proposal.expect("a block of good entries");
        self.sequences.clear();
        let header = proposal.block.header.clone();
        let vote = |key: &SigningKey| {
            let (kind, value) = (VoteKind::Precommit, Some(header.hash()));
            let validator = node_id(key);
            Vote { kind, height, round: 0, value, validator }.sign(&network, key)
        };
        let votes = self.validators.iter().map(vote).collect();
        let certificate = Certificate::of_precommits(0, votes);
        self.chain.commit(proposal.checked, certificate).expect("the block just made");
    }
}

fn join(node: NodeId, storage: bool, zone: String) -> NodeJoin {
    let roles = Roles { storage, submitter: !storage };
    let (operator, quota_bytes) = (node, QUOTA_BYTES);
    NodeJoin { node, roles, address: String::new(), zone, operator, quota_bytes, generation: 1 }
}

/// The state as one machine has it.
#[derive(Clone)]
pub(super) struct View {
    pub(super) state: State,
    pub(super) attested_at: u64,
}

impl View {
    pub(super) fn of(ledger: &Ledger, now: u64) -> Self {
        Self { state: ledger.state().clone(), attested_at: now }
    }

    pub(super) fn members(&self, group: GroupId) -> Vec<Member> {
        self.state.group(group).map_or_else(Vec::new, members)
    }
}

/// The holders of a group's slots.
pub(super) fn members(group: &Group) -> Vec<Member> {
    let seats = Slot::all(group.code.n).zip(&group.holders);
    seats.map(|(slot, holder)| Member { slot, node: holder.node }).collect()
}

impl LedgerView for View {
    fn state(&self) -> &State {
        &self.state
    }

    fn attested_at(&self) -> u64 {
        self.attested_at
    }
}
