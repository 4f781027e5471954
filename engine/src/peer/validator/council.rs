//! Deciding with the other validators: when a height begins, which blocks are good, what is shared,
//! and noticing that one has fallen behind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ed25519_dalek::SigningKey;
use rand_core::CryptoRng;

use super::outlines::Outlines;
use super::{Pending, Validator};
use crate::ledger::agreement::{
    Agreement, AgreementError, AgreementEvent, Message, Pace, ProposedBlock, Record,
};
use crate::ledger::{
    Anchor, BEACON_LINKS, BeaconChain, Block, Body, CertifiedBlock, Chain, CheckedBlock, Digest32,
    Entry, Equivocation, Proposer, RegisteredAnchor, VALIDATORS_MAX, ValidatorUpdate,
    VerifiedEntry,
};
use crate::names::NodeId;
use crate::signature::node_id;

/// Messages of one validator that wait for their height.
const EARLY_MAX: usize = 64;
/// Proposals among them.
const EARLY_PROPOSALS_MAX: usize = 2;
/// Entries of one author that others shared before those that come first.
const GAP_MAX: u64 = 64;
/// Entries of all authors that wait for those that come first.
const GAPS_MAX: usize = 1024;
/// After so long an entry that a submitter brought here, and that is not ordered yet, is shared
/// again: the others may not have got it, and do not begin a height for one validator's word.
const SHARING_PATIENCE: Duration = Duration::from_secs(1);
/// Entries shared again at once.
const SHARED_AGAIN_MAX: usize = 256;
/// Links of a beacon chain that are left when the next one is registered: many more than the blocks
/// until that is in use.
const LINKS_LEFT_MIN: u32 = 1 << 10;
/// After a block of so many entries more are on their way: the next height waits for twice as
/// many, but not longer than this. A block costs each validator several syncs and dozens of messages,
/// however much is in it.
const LOADED_ENTRIES_MIN: usize = 8;
const GATHER_TIME_MAX: Duration = Duration::from_millis(25);
/// A validator that is one block behind is most often about to decide on it.
const BEHIND_PATIENCE: Duration = Duration::from_millis(300);

/// What time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Since any fixed moment; only runs forward.
    pub elapsed: Duration,
    /// Unix milliseconds, as far as this machine knows.
    pub unix_millis: u64,
}

/// What a validator among others wants done, in this order: **all records so far must be durable
/// before a message leaves**.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// For the voting log.
    Record(Record),
    /// For every other validator.
    Send(Message),
    /// For one other validator.
    Tell(NodeId, Message),
    /// For every other validator: an entry that a submitter brought here.
    Share(Box<Entry>),
    /// For the chain's log; then [`Validator::handle_durable`].
    Block(Box<CertifiedBlock>),
}

/// What deciding with others needs beside the chain.
pub(super) struct Council {
    pub(super) agreement: Agreement,
    /// Blocks of the height under way that the chain found good.
    pub(super) checked: BTreeMap<Digest32, CheckedBlock>,
    /// Messages of heights that have not begun here.
    early: BTreeMap<NodeId, Vec<Message>>,
    gaps: BTreeMap<(NodeId, u64), Entry>,
    pub(super) outlines: Outlines,
    behind: Behind,
    pub(super) work: VecDeque<Work>,
    /// When what submitters wait for is shared again.
    share_at: Option<Duration>,
    gather: Gather,
    links: Option<BeaconChain>,
    fault: Option<AgreementError>,
}

/// Waiting for more entries between two heights.
#[derive(Default)]
struct Gather {
    /// Entries of the newest block.
    entries: usize,
    /// When the waiting ends.
    until: Option<Duration>,
}

impl Gather {
    /// Whether a height with so many entries is worth waiting with.
    fn waits(&mut self, entries: usize, now: Duration) -> bool {
        let wanted = match self.entries {
            loaded if loaded >= LOADED_ENTRIES_MIN => 2 * loaded,
            _ => 0,
        };
        if entries == 0 || entries >= wanted {
            self.until = None;
            return false;
        }
        now < *self.until.get_or_insert(now + GATHER_TIME_MAX)
    }
}

/// Who says that its chain is longer. A claim is worth one question: a liar must not keep the
/// others from being asked, and who is ahead says so again.
#[derive(Default)]
struct Behind {
    claims: BTreeMap<NodeId, u64>,
    since: Duration,
}

impl Council {
    pub(super) fn new(chain: &Chain, key: &SigningKey) -> Self {
        let agreement = Agreement::new(chain.network(), key.clone(), Pace::default(), true);
        let mut council = Self {
            agreement,
            checked: BTreeMap::new(),
            early: BTreeMap::new(),
            gaps: BTreeMap::new(),
            outlines: Outlines::default(),
            behind: Behind::default(),
            work: VecDeque::new(),
            share_at: None,
            gather: Gather::default(),
            links: None,
            fault: None,
        };
        council.find_links(chain, key);
        council
    }

    /// The chain of the own active anchor.
    pub(super) fn links(&self) -> Option<&BeaconChain> {
        self.links.as_ref()
    }

    /// The block under way is final, or another one is; with so many entries.
    pub(super) fn head_moved(&mut self, chain: &Chain, entries: usize, key: &SigningKey) {
        self.gather = Gather { entries, until: None };
        self.agreement.end();
        self.checked.clear();
        let head = chain.head().header.height;
        self.outlines.head_moved(head);
        for messages in self.early.values_mut() {
            messages.retain(|message| message.height() > head);
        }
        self.early.retain(|_, messages| !messages.is_empty());
        self.behind.claims.retain(|_, height| *height > head);
        self.find_links(chain, key);
    }

    /// Keeps the chain of the anchor that the next block opens.
    fn find_links(&mut self, chain: &Chain, key: &SigningKey) {
        let registered = chain.state().validator(&node_id(key));
        let active = registered.active_anchor(chain.head().header.height + 1);
        let opens = |links: &BeaconChain| {
            active.is_none_or(|active| links.link(active.revealed, &active.anchor).is_some())
        };
        if !self.links.as_ref().is_some_and(opens) {
            self.links =
                active.map(|active| BeaconChain::new(&chain.network(), key, active.number));
        }
    }

    /// Validators that have begun a height which has not begun here, and whether one of them put a
    /// block with entries forward.
    fn begun_elsewhere(&self, height: u64) -> (BTreeSet<NodeId>, bool) {
        let of_height =
            |messages: &Vec<Message>| messages.iter().any(|message| message.height() == height);
        let begun = self.early.iter().filter(|(_, messages)| of_height(messages));
        let has_entries = |message: &Message| match message {
            Message::Proposal(proposed) => !proposed.block.entries.is_empty(),
            Message::Outline(outline) => outline.has_entries(),
            _ => false,
        };
        let mut of_this = self.early.values().flatten().filter(|it| it.height() == height);
        let orders = of_this.any(has_entries);
        (begun.map(|(validator, _)| *validator).collect(), orders)
    }
}

impl Validator {
    /// How long the steps of agreement may take, and whether this validator votes: one that lost
    /// its voting log must not, since it may have voted otherwise before. Before anything else.
    pub fn set_voting(&mut self, pace: Pace, votes: bool) {
        let (network, key) = (self.chain.network(), self.key.clone());
        self.council.agreement = Agreement::new(network, key, pace, votes);
    }

    /// Goes on where a voting log of an earlier run ends. Before anything else.
    pub fn recall(&mut self, records: &[Record], clock: Clock) {
        let next = self.chain.head().header.height + 1;
        if self.decides_alone() || !records.iter().any(|record| record.height == next) {
            return;
        }
        let validators = self.chain.validators().clone();
        let resumed = self.council.agreement.resume(next, &validators, records, clock.elapsed);
        self.note(resumed);
        self.advance(clock);
    }

    /// Why this validator stopped voting, if it did: its voting log contradicts it.
    pub fn fault(&self) -> Option<&AgreementError> {
        self.council.fault.as_ref()
    }

    /// A message that another validator sent; the connection proves that `from` sent it.
    pub fn handle_message(&mut self, from: NodeId, message: Message, clock: Clock) {
        if !self.chain.validators().contains(&from) || from == self.id {
            return;
        }
        self.council.agreement.heard_of(&from);
        if let Message::Want(want) = message {
            return self.handle_want(from, want);
        }
        let next = self.chain.head().header.height + 1;
        let height = message.height();
        if height > next {
            self.handle_height(from, height - 1, clock);
        }
        if self.council.agreement.height() == Some(height) {
            self.take(message, clock);
        } else if (next..=next + 1).contains(&height) {
            self.keep_early(from, message);
        }
        self.advance(clock);
    }

    /// Another validator says how long its chain is.
    pub fn handle_height(&mut self, from: NodeId, height: u64, clock: Clock) {
        if height > self.chain.head().header.height {
            let Behind { claims, since } = &mut self.council.behind;
            if claims.is_empty() {
                *since = clock.elapsed;
            }
            if claims.len() < VALIDATORS_MAX || claims.contains_key(&from) {
                claims.insert(from, height);
            }
        }
    }

    /// An entry that another validator shares.
    pub fn handle_shared(&mut self, entry: Entry, clock: Clock) {
        let author = entry.author;
        let next = self.ahead.next_sequence(&author);
        if entry.sequence > next {
            let near = entry.sequence - next <= GAP_MAX && self.ahead.is_enrolled(&author);
            if near && self.council.gaps.len() < GAPS_MAX {
                self.council.gaps.insert((author, entry.sequence), entry);
            }
        } else {
            // What is refused here is refused to its submitter where it came in.
            let _ = self.admit(entry);
            self.fill_gaps(author);
        }
        self.advance(clock);
    }

    /// Lets time pass.
    pub fn handle_time(&mut self, clock: Clock) {
        let passed = self.council.agreement.handle_time(clock.elapsed);
        self.note(passed);
        self.advance(clock);
    }

    /// When [`Validator::handle_time`] has something to do.
    pub fn next_wake(&self) -> Option<Duration> {
        let Council { agreement, share_at, outlines, gather, .. } = &self.council;
        let idle = agreement.height().is_none() && self.pending.is_none();
        let gathered = gather.until.filter(|_| idle);
        let wakes = [agreement.next_wake(), *share_at, outlines.next_wake(), gathered];
        wakes.into_iter().flatten().min()
    }

    /// When [`Validator::poll_behind`] has an answer, unless the chain moves before.
    pub fn next_fetch(&self) -> Option<Duration> {
        let Behind { claims, since } = &self.council.behind;
        let waits = !claims.is_empty() && self.pending.is_none();
        waits.then(|| *since + BEHIND_PATIENCE)
    }

    /// What is to be done next to decide with others. `rng` salts the leaves of a block.
    pub fn poll_work(&mut self, clock: Clock, rng: &mut impl CryptoRng) -> Option<Work> {
        self.advance(clock);
        if let Some(round) = self.council.agreement.wants_block() {
            self.put_forward(round, clock, rng);
            self.advance(clock);
        }
        self.council.work.pop_front()
    }

    /// From whom to fetch blocks, from which height on, if the chain here has stayed behind.
    pub fn poll_behind(&mut self, clock: Clock) -> Option<(NodeId, u64)> {
        let next = self.chain.head().header.height + 1;
        let Behind { claims, since } = &mut self.council.behind;
        let far = claims.values().any(|height| *height > next);
        let late = far || clock.elapsed.saturating_sub(*since) >= BEHIND_PATIENCE;
        if self.pending.is_some() || !late {
            return None;
        }
        claims.pop_first().map(|(ahead, _)| (ahead, next))
    }

    /// A block that the others decided on, checked against the final chain and durable here.
    pub fn handle_stored(&mut self, block: CertifiedBlock, checked: CheckedBlock, clock: Clock) {
        // The same block may have been decided here meanwhile, and wait to be stored.
        self.council.work.retain(|work| !matches!(work, Work::Block(_)));
        self.council.agreement.end();
        self.pending = Some(Pending::new(block, checked, true));
        self.settle();
        self.advance(clock);
    }

    /// Begins the next height when there is a reason to, and does what agreement asks for.
    fn advance(&mut self, clock: Clock) {
        self.share_again(clock);
        self.begin_height(clock);
        self.complete_outlines(clock);
        while let Some(event) = self.council.agreement.poll_event() {
            match event {
                AgreementEvent::Record(record) => self.council.work.push_back(Work::Record(record)),
                AgreementEvent::Send(message) => {
                    let message = self.outlined(message);
                    self.council.work.push_back(Work::Send(message));
                }
                AgreementEvent::Decided { block, certificate } => {
                    let checked = self.checked(&block);
                    let block = CertifiedBlock { block: Block::clone(&block), certificate };
                    self.make_pending(block, checked);
                }
                AgreementEvent::Equivocated(proof) => self.accuse(*proof),
            }
        }
    }

    fn share_again(&mut self, clock: Clock) {
        let next = clock.elapsed + SHARING_PATIENCE;
        let waits = !self.tickets.is_empty() && !self.decides_alone();
        self.council.share_at = match self.council.share_at.filter(|_| waits) {
            Some(due) if due > clock.elapsed => Some(due),
            Some(_) => {
                // With those before it, which others brought here.
                let authors: BTreeSet<NodeId> =
                    self.tickets.keys().map(|(author, _)| *author).collect();
                let by_them = |entry: &&VerifiedEntry| authors.contains(&entry.entry().author);
                let again = self.waiting.iter().filter(by_them).take(SHARED_AGAIN_MAX);
                let again = again.map(|entry| Work::Share(Box::new(entry.entry().clone())));
                self.council.work.extend(again);
                Some(next)
            }
            None => waits.then_some(next),
        };
    }

    fn begin_height(&mut self, clock: Clock) {
        let idle = self.council.agreement.height().is_none() && self.pending.is_none();
        let member = self.chain.validators().contains(&self.id);
        if !idle || !member || self.council.fault.is_some() || self.decides_alone() {
            return;
        }
        let height = self.chain.head().header.height + 1;
        let has_work = !self.waiting.is_empty() || self.chain.state().has_pending();
        let (begun, orders) = self.council.begun_elsewhere(height);
        let begun = orders || self.chain.validators().vouches(&begun);
        let gathers = has_work && self.council.gather.waits(self.waiting.len(), clock.elapsed);
        if !begun && (!has_work || gathers) {
            return;
        }
        self.council.gather.until = None;
        let validators = self.chain.validators().clone();
        let started = self.council.agreement.begin(height, &validators, clock.elapsed);
        self.note(started);
        let early: Vec<Message> = self.council.early.values().flatten().cloned().collect();
        for message in early.into_iter().filter(|message| message.height() == height) {
            self.take(message, clock);
        }
    }

    /// A message of the height under way.
    fn take(&mut self, message: Message, clock: Clock) {
        match message {
            Message::Proposal(proposed) => self.take_proposal(proposed, clock),
            Message::Outline(outline) => self.take_outline(outline, clock),
            other => self.take_checked(&other, clock),
        }
    }

    /// A proposal of the height under way. A block that is not good is as if it was never proposed.
    pub(super) fn take_proposal(&mut self, proposed: ProposedBlock, clock: Clock) {
        if !self.council.agreement.welcomes(&proposed) {
            return;
        }
        let value = proposed.proposal.value;
        if !self.council.agreement.knows(&value) {
            let now = Some(clock.unix_millis);
            let checked = self.chain.check(&proposed.block, now, &self.verified());
            let Ok(checked) = checked else { return };
            self.council.checked.insert(value, checked);
        }
        self.take_checked(&Message::Proposal(proposed), clock);
    }

    /// A message whose block, if any, is good.
    pub(super) fn take_checked(&mut self, message: &Message, clock: Clock) {
        let taken = self.council.agreement.handle_message(message, clock.elapsed);
        self.note(taken);
    }

    /// Puts the block of a round forward. One without entries, if others began the height.
    fn put_forward(&mut self, round: u32, clock: Clock, rng: &mut impl CryptoRng) {
        let waiting = self.waiting.iter().cloned().collect();
        let proposer = Proposer { key: &self.key, links: self.council.links.as_ref() };
        // Without its links it cannot propose: its turn passes.
        let Ok(proposal) = self.chain.propose(waiting, clock.unix_millis, &proposer, rng) else {
            return;
        };
        let block = Arc::new(proposal.block);
        self.council.checked.insert(block.header.hash(), proposal.checked);
        let proposed = self.council.agreement.propose(round, block, clock.elapsed);
        self.note(proposed);
    }

    /// What the chain made of a block that was decided on; checked anew if it comes from the voting
    /// log.
    fn checked(&mut self, block: &Block) -> CheckedBlock {
        if let Some(checked) = self.council.checked.remove(&block.header.hash()) {
            return checked;
        }
        match self.chain.check(block, None, &self.verified()) {
            Ok(checked) => checked,
            Err(error) => {
                unreachable!("this validator voted for a block that is not good: {error}")
            }
        }
    }

    fn make_pending(&mut self, block: CertifiedBlock, checked: CheckedBlock) {
        self.council.agreement.end();
        self.council.work.push_back(Work::Block(Box::new(block.clone())));
        self.pending = Some(Pending::new(block, checked, false));
        self.look_ahead();
    }

    /// Which entries need no second look at their signatures.
    fn verified(&self) -> impl Fn(&Entry) -> bool {
        let waiting = self.waiting_by_name();
        move |entry| {
            let known = waiting.get(&(entry.author, entry.sequence));
            known.is_some_and(|known| known.entry() == entry)
        }
    }

    /// What waits, by author and sequence number.
    pub(super) fn waiting_by_name(&self) -> BTreeMap<(NodeId, u64), &VerifiedEntry> {
        let name = |entry: &VerifiedEntry| (entry.entry().author, entry.entry().sequence);
        self.waiting.iter().map(|entry| (name(entry), entry)).collect()
    }

    fn keep_early(&mut self, from: NodeId, message: Message) {
        let is_proposal =
            |message: &&Message| matches!(message, Message::Proposal(_) | Message::Outline(_));
        let messages = self.council.early.entry(from).or_default();
        let proposals = messages.iter().filter(is_proposal).count();
        let one_too_many = is_proposal(&&message) && proposals >= EARLY_PROPOSALS_MAX;
        if messages.len() < EARLY_MAX && !one_too_many && !messages.contains(&message) {
            messages.push(message);
        }
    }

    fn fill_gaps(&mut self, author: NodeId) {
        loop {
            let next = self.ahead.next_sequence(&author);
            let Some(entry) = self.council.gaps.remove(&(author, next)) else { break };
            if self.admit(entry).is_err() {
                break;
            }
        }
        let next = self.ahead.next_sequence(&author);
        self.council.gaps.retain(|(other, sequence), _| *other != author || *sequence > next);
    }

    /// Puts the proof against a validator on the ledger.
    fn accuse(&mut self, proof: Equivocation) {
        self.post(Body::Equivocation(proof));
    }

    /// Puts an entry of its own on the ledger. What is refused now is nothing new.
    pub fn post(&mut self, body: Body) {
        let sequence = self.ahead.next_sequence(&self.id);
        let entry = Entry::sign(&self.chain.network(), &self.key, sequence, body);
        if self.admit(entry.clone()).is_ok() {
            self.share(entry);
        }
    }

    /// Which of its beacon chains this validator should register now: it is of the set, and the
    /// chain in use has few links left, or there is none.
    pub fn wants_anchor(&self) -> Option<u32> {
        let next = self.chain.head().header.height + 1;
        let registered = self.chain.state().validator(&self.id);
        let left = |active: RegisteredAnchor| BEACON_LINKS - active.revealed;
        let lasts = registered.active_anchor(next).is_some_and(|it| left(it) > LINKS_LEFT_MIN);
        let follows = registered.next_anchor.is_some_and(|anchor| anchor.from > next);
        let pending = self.pending.iter().flat_map(|pending| &pending.block.block.entries);
        let waiting = self.waiting.iter().map(VerifiedEntry::entry);
        let under_way = pending
            .map(|salted| &salted.entry)
            .chain(waiting)
            .any(|entry| entry.author == self.id && matches!(entry.body, Body::ValidatorUpdate(_)));
        let member = self.chain.version() >= 2 && self.chain.validators().contains(&self.id);
        (member && !lasts && !follows && !under_way).then_some(registered.anchors + 1)
    }

    /// Registers the anchor of the chain that [`Validator::wants_anchor`] names.
    pub fn register_anchor(&mut self, anchor: Anchor) {
        let state = self.chain.state();
        let mut address = state.validator(&self.id).address;
        if address.is_empty() {
            // Clients that know the validators of the genesis only ask where the others listen.
            address = state.node(&self.id).map(|node| node.join.address).unwrap_or_default();
        }
        self.post(Body::ValidatorUpdate(ValidatorUpdate { address, anchor: Some(anchor) }));
    }

    /// Lets the other validators have an entry.
    pub(super) fn share(&mut self, entry: Entry) {
        if !self.decides_alone() {
            self.council.work.push_back(Work::Share(Box::new(entry)));
        }
    }

    fn note(&mut self, outcome: Result<(), AgreementError>) {
        if let Err(fault) = outcome {
            self.council.agreement.end();
            self.council.fault = Some(fault);
        }
    }
}
