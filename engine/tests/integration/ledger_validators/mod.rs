//! A network of several validators under rules of version 2, for the tests of the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use kakera_engine::ledger::{
    BeaconChain, BlockError, Body, Certificate, CertifiedBlock, Chain, Entry, EntryError, Genesis,
    HeadAttestation, Header, Proposal, Proposer, SetChange, SignedHeader, SignedVote, Upgrade,
    ValidatorChange, ValidatorSet, VerifiedEntry, Vote, VoteKind,
};
use kakera_engine::names::{NetworkId, NodeId};
use kakera_engine::signature::node_id;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::ledger_network::{START, genesis, join, key};

pub(crate) const FOUR: [u8; 4] = [201, 202, 203, 204];

pub(crate) fn machine(number: u8) -> NodeId {
    node_id(&key(number))
}

pub(crate) fn set(numbers: &[u8]) -> ValidatorSet {
    numbers.iter().map(|number| (machine(*number), 1)).collect()
}

/// Validators of equal power with anchors.
pub(crate) fn genesis_of(numbers: &[u8]) -> Genesis {
    let anchor = |number: &u8| (machine(*number), links(&NetworkId([0; 32]), *number, 0).anchor());
    Genesis {
        validators: set(numbers),
        version: Some(2),
        anchors: numbers.iter().map(anchor).collect(),
        ..genesis()
    }
}

type Chains = BTreeMap<(NetworkId, u8, u32), Arc<BeaconChain>>;

/// Made once for all tests of a crate: that costs more than the rest of most tests.
pub(crate) fn links(network: &NetworkId, number: u8, registration: u32) -> Arc<BeaconChain> {
    static MADE: Mutex<Chains> = Mutex::new(BTreeMap::new());
    let network = if registration == 0 { NetworkId([0; 32]) } else { *network };
    let mut made = MADE.lock().unwrap();
    let make = || Arc::new(BeaconChain::new(&network, &key(number), registration));
    Arc::clone(made.entry((network, number, registration)).or_insert_with(make))
}

/// The precommit of a validator for a header.
pub(crate) fn precommit(header: &Header, round: u32, number: u8) -> SignedVote {
    let (kind, value) = (VoteKind::Precommit, Some(header.hash()));
    let vote = Vote { kind, height: header.height, round, value, validator: machine(number) };
    vote.sign(&header.network, &key(number))
}

pub(crate) fn certificate(header: &Header, round: u32, numbers: &[u8]) -> Certificate {
    let votes = numbers.iter().map(|number| precommit(header, round, *number)).collect();
    Certificate::of_precommits(round, votes)
}

/// The chain with its stored blocks and set changes, and each author's next sequence number.
pub(crate) struct Consortium {
    pub(crate) chain: Chain,
    pub(crate) blocks: Vec<Vec<u8>>,
    pub(crate) heads: Vec<SignedHeader>,
    pub(crate) changes: Vec<SetChange>,
    pub(crate) now: u64,
    /// Validators that neither propose nor vote.
    pub(crate) down: BTreeSet<u8>,
    sequences: BTreeMap<u8, u64>,
    rng: ChaCha20Rng,
}

impl Consortium {
    pub(crate) fn of(genesis: Genesis) -> Self {
        Self::on(Chain::new(genesis).unwrap(), START)
    }

    /// After the blocks of a chain.
    pub(crate) fn on(chain: Chain, now: u64) -> Self {
        Self {
            chain,
            blocks: Vec::new(),
            heads: Vec::new(),
            changes: Vec::new(),
            now,
            down: BTreeSet::new(),
            sequences: BTreeMap::new(),
            rng: ChaCha20Rng::from_seed([6; 32]),
        }
    }

    pub(crate) fn four() -> Self {
        Self::of(genesis_of(&FOUR))
    }

    /// With machines 10 to 9 + `count`, each its own operator, in the first block.
    pub(crate) fn with_machines(count: u8) -> Self {
        let mut network = Self::four();
        let joins = (10..10 + count)
            .map(|number| network.say(FOUR[0], join(number, machine(number))))
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

    /// The validators that are up.
    pub(crate) fn up(&self) -> Vec<u8> {
        let validators = self.chain.validators();
        (0..=u8::MAX)
            .filter(|number| validators.contains(&machine(*number)) && !self.down.contains(number))
            .collect()
    }

    /// The first round of the next height whose proposer is up, and who that is.
    pub(crate) fn turn(&self) -> (u32, u8) {
        let (height, up) = (self.chain.head().header.height + 1, self.up());
        let proposer = |round| {
            let name = self.chain.validators().proposer(height, round);
            up.iter().copied().find(|number| machine(*number) == name)
        };
        (0..).find_map(|round| Some((round, proposer(round)?))).unwrap()
    }

    pub(crate) fn propose(&mut self, entries: Vec<Entry>) -> Proposal {
        let (_, number) = self.turn();
        self.propose_by(number, entries)
    }

    pub(crate) fn propose_by(&mut self, number: u8, entries: Vec<Entry>) -> Proposal {
        self.now += 1000;
        let network = self.id();
        let verified =
            entries.into_iter().map(|entry| VerifiedEntry::new(&network, entry).unwrap()).collect();
        let registered = self.chain.state().validator(&machine(number));
        let active = registered.active_anchor(self.chain.head().header.height + 1);
        let links = active.map(|active| links(&network, number, active.number));
        let key = key(number);
        let proposer = Proposer { key: &key, links: links.as_deref() };
        let proposal = self.chain.propose(verified, self.now, &proposer, &mut self.rng).unwrap();
        // What the proposer believes of its own block is what everybody finds.
        let checked = self.chain.check(&proposal.block, None, &|_| false).unwrap();
        assert_eq!(checked.header(), proposal.checked.header());
        assert_eq!(checked.state().root(), proposal.checked.state().root());
        proposal
    }

    /// Makes, checks, certifies and commits a block of these entries, all of which are good.
    pub(crate) fn seal(&mut self, entries: Vec<Entry>) {
        let (round, number) = self.turn();
        let proposal = self.propose_by(number, entries);
        assert!(proposal.refused.is_empty(), "{:?}", proposal.refused);
        self.accept(proposal, round).unwrap();
    }

    pub(crate) fn accept(&mut self, proposal: Proposal, round: u32) -> Result<(), BlockError> {
        let block = proposal.block;
        let certificate = certificate(&block.header, round, &self.up());
        let checked = self.chain.check(&block, Some(self.now), &|_| true)?;
        self.chain.commit(checked, certificate.clone())?;
        self.blocks.push(CertifiedBlock { block, certificate }.to_bytes());
        self.heads.push(self.chain.head().clone());
        self.changes.extend(self.chain.set_change());
        Ok(())
    }

    /// Says one thing in a block of its own.
    pub(crate) fn seal_body(&mut self, author: u8, body: Body) {
        let entry = self.say(author, body);
        self.seal(vec![entry]);
    }

    /// Several authors say the same in one block.
    pub(crate) fn vote(&mut self, authors: &[u8], body: &Body) {
        let votes = authors.iter().map(|author| self.say(*author, body.clone())).collect();
        self.seal(votes);
    }

    /// Three of four decide on another set.
    pub(crate) fn change(&mut self, numbers: &[u8]) {
        let body = self.change_to(set(numbers));
        let deciding = self.up();
        let power = self.chain.validators().0.len();
        self.vote(&deciding[..power * 2 / 3 + 1], &body);
    }

    pub(crate) fn change_to(&self, validators: ValidatorSet) -> Body {
        let from = Some(self.chain.validators().hash());
        Body::ValidatorChange(ValidatorChange { validators, from })
    }

    /// Why the author cannot say this; its sequence number is not used up.
    pub(crate) fn refusal(&mut self, author: u8, body: Body) -> EntryError {
        let entry = self.say(author, body);
        *self.sequences.get_mut(&author).unwrap() -= 1;
        let mut state = self.chain.state().clone();
        let root = state.root();
        let error = state.apply(&entry).unwrap_err();
        assert_eq!(state.root(), root, "a refused entry changes nothing");
        error
    }

    pub(crate) fn attest(&self, nonce: [u8; 32], numbers: &[u8]) -> Vec<HeadAttestation> {
        let head = &self.chain.head().header;
        let attest = |number: &u8| HeadAttestation::sign(head, nonce, self.now, &key(*number));
        numbers.iter().map(attest).collect()
    }
}

pub(crate) fn upgrade(version: u32) -> Body {
    Body::Upgrade(Upgrade { version })
}
