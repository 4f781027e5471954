//! A deterministic network on virtual time: storage nodes (holder and disk), clients and newcomers
//! over the real ledger, with seeded delay, loss, crashes and lies. No sockets, threads or clock.
//!
//! The fault model: a question is lost with probability [`Plan::loss_percent`] and then times out;
//! an answer takes [`Plan::delay`] milliseconds, plus a node's own slowness; a node that is down,
//! or crashes before the answer leaves, is unreachable; a liar changes its answers as its [`Lie`]
//! says. Every fault that really happens is counted in [`VirtualNetwork::fired`].

mod refresh;
mod shred;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::{self, KeyParameters};
use kakera_engine::ledger::{
    Body, Genesis, GroupCreate, NodeJoin, Roles, SlotReassign, State, WrongSymbol,
};
use kakera_engine::names::{Epoch, GroupId, NetworkId, NodeId, ObjectId, Slot};
use kakera_engine::object::{ObjectBuilder, Placement, SealedObject};
use kakera_engine::peer::refresh::{Seats, Shares, stale};
use kakera_engine::peer::{
    Answer, Ask, AskFailure, DiskError, Fault, Gathered, GetError, GetObject, Holder, IllFormed,
    Member, PutError, PutObject, PutReport, RenewedPart, RepairAction, RepairSlot, RepairedPart,
    Step, StoredPart, SymbolUse, Wanted,
};
use kakera_engine::policy::LedgerView;
use kakera_engine::seal::{Suite, VaultRoot};
use kakera_engine::signature::node_id;
use kakera_engine::wire::{
    Authorisation, GroupRange, Operation, PartReference, RepairProgress, Request, Response, Session,
};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

pub(crate) use crate::ledger_network::{START, key};
pub(crate) use kakera_sim::protocol::{Disk, Lie, Misfit};

const CLIENT: u8 = 200;
/// Bytes of fragments that each holder keeps for the client.
pub(crate) const CLIENT_QUOTA: u64 = 8 << 20;
const FIRST_MACHINE: u8 = 10;

/// What the seed decided; printed when a test fails.
#[derive(Debug)]
pub(crate) struct Plan {
    code: CodeParameters,
    key: KeyParameters,
    delay: Range<u64>,
    pub(crate) loss_percent: u64,
}

pub(crate) struct VirtualNode {
    pub(crate) key: SigningKey,
    pub(crate) disk: Disk,
    holder: Holder,
    seats: Seats,
    pub(crate) ill_formed: IllFormed,
    pub(crate) up: bool,
    /// It answers and does not follow the ledger.
    pub(crate) asleep: bool,
    pub(crate) crashes_at: Option<Duration>,
    pub(crate) slowness: Duration,
    pub(crate) lie: Option<Lie>,
}

/// The ledger's state as a node sees it.
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) attested_at: u64,
}

pub(crate) struct VirtualNetwork {
    seed: u64,
    pub(crate) plan: Plan,
    ledger: crate::ledger_network::Network,
    pub(crate) view: View,
    pub(crate) nodes: BTreeMap<NodeId, VirtualNode>,
    pub(crate) now: Duration,
    pub(crate) fired: BTreeMap<&'static str, u64>,
    pub(crate) root: VaultRoot,
    pub(crate) rng: ChaCha20Rng,
    /// Of the objects that are written.
    pub(crate) retain_until: Option<u64>,
    trace: blake3::Hasher,
}

/// An object as its writer knows it.
pub(crate) struct Written {
    pub(crate) sealed: SealedObject,
    pub(crate) authorisation: Authorisation,
    /// Coded bytes.
    pub(crate) coded: Vec<u8>,
    /// V.
    pub(crate) secret: [u8; 32],
}

/// What a repair came to.
pub(crate) struct Repaired {
    pub(crate) progress: RepairProgress,
    pub(crate) symbol_use: SymbolUse,
    pub(crate) faults: Vec<Fault>,
    pub(crate) parts: Vec<RepairedPart>,
    /// Key shares rebuilt alone.
    pub(crate) shares_renewed: usize,
    pub(crate) evidence: Vec<WrongSymbol>,
    pub(crate) whole: bool,
    /// The slots whose holders were asked, one for each question.
    pub(crate) asked: Vec<u8>,
}

pub(crate) const GROUP: GroupId = GroupId(0);

pub(crate) fn code(kind: CodeKind, n: u8, k: u8, d: u8) -> CodeParameters {
    CodeParameters { kind, n, k, d }
}

pub(crate) fn slot(point: u8) -> Slot {
    Slot::new(point).unwrap()
}

/// The codes of the tests, each with its key code.
pub(crate) fn all_codes() -> [(CodeParameters, KeyParameters); 7] {
    let key = |n, k, d| KeyParameters::new(n, k, d).unwrap();
    [
        (code(CodeKind::Mbr, 3, 2, 2), key(3, 2, 2)),
        (code(CodeKind::Rs, 5, 3, 3), key(5, 3, 4)),
        (code(CodeKind::Msr, 5, 3, 4), key(5, 3, 4)),
        (code(CodeKind::Mbr, 10, 5, 7), key(10, 5, 6)),
        (code(CodeKind::Msr, 10, 5, 8), key(10, 5, 6)),
        (code(CodeKind::Mbr, 20, 8, 14), key(20, 10, 11)),
        (code(CodeKind::Clay, 6, 4, 5), key(6, 3, 4)),
    ]
}

impl VirtualNetwork {
    /// n holders of one group, a spare machine, and an enrolled client.
    pub(crate) fn new(seed: u64, codes: (CodeParameters, KeyParameters)) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let delay_min = 1 + rng.next_u64() % 20;
        let delay = delay_min..delay_min + 1 + rng.next_u64() % 100;
        let (code, key_code) = codes;
        let plan = Plan { code, key: key_code, delay, loss_percent: 0 };
        let mut ledger = crate::ledger_network::Network::with_machines(code.n + 1);
        ledger.seal_body(
            crate::ledger_network::VALIDATOR,
            Body::GroupCreate(GroupCreate { code, key: key_code }),
        );
        let client = NodeJoin {
            node: node_id(&key(CLIENT)),
            roles: Roles { storage: false, submitter: true },
            address: "192.0.2.200:4433".into(),
            zone: "office".into(),
            operator: node_id(&key(CLIENT)),
            quota_bytes: CLIENT_QUOTA,
            generation: 1,
        };
        ledger.seal_body(crate::ledger_network::VALIDATOR, Body::NodeJoin(client));
        let machines = (FIRST_MACHINE..=FIRST_MACHINE + code.n).map(key);
        let nodes = machines.map(|key| (node_id(&key), VirtualNode::new(ledger.id(), key)));
        Self {
            view: View { state: ledger.chain.state().clone(), attested_at: START },
            nodes: nodes.collect(),
            ledger,
            seed,
            plan,
            now: Duration::ZERO,
            fired: BTreeMap::new(),
            root: VaultRoot::generate(&mut rng),
            rng,
            retain_until: None,
            trace: blake3::Hasher::new(),
        }
    }

    pub(crate) fn id(&self) -> NetworkId {
        self.ledger.id()
    }

    pub(crate) fn client(&self) -> SigningKey {
        key(CLIENT)
    }

    /// The head of the chain before its first block.
    pub(crate) fn genesis(&self) -> Genesis {
        self.ledger.chain.genesis().clone()
    }

    /// Unix milliseconds.
    pub(crate) fn unix(&self) -> u64 {
        START + self.now.as_millis() as u64
    }

    /// The holders, in slot order.
    pub(crate) fn members(&self) -> Vec<Member> {
        let holders = &self.view.state.group(GROUP).unwrap().holders;
        let seats = Slot::all(self.plan.code.n).zip(holders);
        seats.map(|(slot, holder)| Member { slot, node: holder.node }).collect()
    }

    pub(crate) fn at(&mut self, point: u8) -> &mut VirtualNode {
        let node = self.members()[slot(point).index()].node;
        self.nodes.get_mut(&node).unwrap()
    }

    /// Takes the holders of these slots down.
    pub(crate) fn down(&mut self, points: impl IntoIterator<Item = u8>) {
        points.into_iter().for_each(|point| self.at(point).up = false);
    }

    pub(crate) fn part(&self, point: u8, object: ObjectId) -> PartReference {
        PartReference { group: GROUP, slot: slot(point), object }
    }

    /// Takes a slot from its holder; the ledger draws another.
    pub(crate) fn reassign(&mut self, point: u8) {
        let reassign = SlotReassign { group: GROUP, slot: slot(point) };
        self.ledger.seal_body(crate::ledger_network::VALIDATOR, Body::SlotReassign(reassign));
        self.ledger.seal(Vec::new());
        self.view.state = self.ledger.chain.state().clone();
    }

    /// How often a kind of fault happened.
    pub(crate) fn fired(&self, kind: &str) -> u64 {
        self.fired.get(kind).copied().unwrap_or(0)
    }

    /// Of everything that was answered, and when.
    pub(crate) fn event_hash(&self) -> blake3::Hash {
        self.trace.finalize()
    }

    /// An object of about `len` random bytes, not yet put.
    pub(crate) fn write(&mut self, len: usize) -> Written {
        let code = self.plan.code.build().unwrap();
        let mut bytes = vec![0; len];
        self.rng.fill_bytes(&mut bytes);
        let mut builder = ObjectBuilder::new(Suite::Aes256Gcm, &mut self.rng);
        builder.push(&self.root.catalogue(), 1, &bytes).unwrap();
        let placement =
            Placement { group: GROUP, epoch: Epoch(0), code: &code, key: self.plan.key };
        builder.retain_until(self.retain_until);
        let sealed = builder.finish(&placement, &self.root, &mut self.rng).unwrap();
        let authorisation = Authorisation::sign(&self.id(), &sealed.object_id, &self.client());
        let pieces: Vec<(Slot, &[u8])> = Slot::all(self.plan.code.k)
            .map(|slot| (slot, sealed.fragments[slot.index()].as_slice()))
            .collect();
        let coded = code.decode(&code.layout(sealed.descriptor.coded_len), &pieces).unwrap();
        let binding = sealed.descriptor.binding();
        let parts: Vec<_> = sealed.shares.iter().map(|share| share.prove_part(&binding)).collect();
        let (secret, _) = keyshare::read(&binding, &sealed.descriptor.rows, &parts).unwrap();
        Written { authorisation, coded, secret: *secret.expose(), sealed }
    }

    /// Puts the object and waits for every holder; the outcome and who answered wrongly.
    pub(crate) fn put(&mut self, written: &Written) -> (Result<PutReport, PutError>, Vec<Fault>) {
        let sealed = SealedObject {
            descriptor: written.sealed.descriptor.clone(),
            object_id: written.sealed.object_id,
            fragments: written.sealed.fragments.clone(),
            shares: written.sealed.shares.clone(),
        };
        let authorisation = written.authorisation.clone();
        let mut machine = PutObject::new(self.id(), sealed, authorisation, &self.members());
        let outcome = self.drive(&self.client(), None, &mut machine);
        (outcome, machine.faults().to_vec())
    }

    /// Writes an object and puts it at every holder.
    pub(crate) fn stored(&mut self, len: usize) -> Written {
        let written = self.write(len);
        self.put_everywhere(&written);
        written
    }

    /// The same where not every holder may be reached.
    pub(crate) fn stored_at_most(&mut self, len: usize) -> Written {
        let written = self.write(len);
        self.put(&written).0.unwrap();
        written
    }

    /// An object in which the part of one slot fits none of the others.
    pub(crate) fn stored_ill_formed(&mut self, len: usize, misfit: Misfit, point: u8) -> Written {
        let (mut written, other) = (self.write(len), self.write(len));
        misfit.put_into(&mut written.sealed, &other.sealed, slot(point));
        let object = written.sealed.object_id;
        written.authorisation = Authorisation::sign(&self.id(), &object, &self.client());
        self.put_everywhere(&written);
        written
    }

    fn put_everywhere(&mut self, written: &Written) {
        let (outcome, faults) = self.put(written);
        let report = outcome.unwrap();
        assert_eq!((report.stored, faults.len()), (report.slots, 0));
    }

    pub(crate) fn get(
        &mut self,
        written: &Written,
        groups: Option<GroupRange>,
    ) -> (Result<Gathered, GetError>, Vec<Fault>) {
        let wanted = Wanted {
            group: GROUP,
            object: written.sealed.object_id,
            code: self.plan.code,
            key: self.plan.key,
            groups,
            epochs: self.view.state.group(GROUP).unwrap().epochs(),
            answer_len: written.sealed.fragments[0].len() as u64,
        };
        let read_key = self.root.read_key(&written.sealed.descriptor.salt);
        let mut machine = GetObject::new(wanted, self.members(), Duration::from_millis(500));
        let outcome = self.drive(&self.client(), Some(&read_key), &mut machine);
        (outcome, machine.faults().to_vec())
    }

    /// Fills a slot at its holder and keeps what was rebuilt there.
    pub(crate) fn repair(&mut self, point: u8) -> Repaired {
        self.compare(point, None)
    }

    /// The same; with a `helper` that one is looked at first.
    pub(crate) fn compare(&mut self, point: u8, helper: Option<u8>) -> Repaired {
        let asker = self.at(point).key.clone();
        let held = self.at(point).disk.objects(GROUP, slot(point));
        let shredded = self.at(point).disk.shredded(GROUP);
        let codes = (self.plan.code, self.plan.key);
        let group = self.view.state.group(GROUP).unwrap().clone();
        let ill_formed = self.at(point).ill_formed.of(GROUP, slot(point), group.epoch);
        let mut machine =
            RepairSlot::new(self.id(), GROUP, slot(point), codes, &self.members(), held)
                .in_group(&group)
                .without(ill_formed);
        machine.leave_out(shredded);
        let list = || self.at(point).disk.list(GROUP, slot(point));
        machine.renew(stale(&group, slot(point), list));
        if let Some(helper) = helper {
            machine = machine.level_with(slot(helper));
        }
        let full = self.at(point).disk.full;
        let mut repair =
            Repair { machine, full, parts: Vec::new(), renewed: Vec::new(), asked: Vec::new() };
        self.drive(&asker, None, &mut repair);
        for part in &repair.parts {
            let (object, share) = (part.object.clone(), part.share.clone());
            let stored = StoredPart { object, share, renewed: part.renewed.clone() };
            self.at(point).disk.keep_part(part.part, stored, part.fragment.clone());
        }
        let Repair { machine, parts, renewed, asked, .. } = repair;
        self.at(point).ill_formed.learn(&machine);
        let shares_renewed = renewed.len();
        self.at(point).disk.renew(GROUP, slot(point), renewed);
        let (progress, symbol_use) = (machine.progress(), machine.symbol_use());
        let SymbolUse { useful, replaced, refused, failed, .. } = symbol_use;
        assert_eq!(useful + replaced + refused + failed, progress.symbol_bytes, "each byte once");
        Repaired {
            progress,
            symbol_use,
            faults: machine.faults().to_vec(),
            evidence: machine.evidence().to_vec(),
            whole: machine.is_whole(),
            shares_renewed,
            parts,
            asked,
        }
    }

    fn drive<M: Machine>(
        &mut self,
        asker: &SigningKey,
        capability: Option<&SigningKey>,
        machine: &mut M,
    ) -> M::Outcome {
        let mut flight = BTreeMap::new();
        let mut questions = 0;
        loop {
            while let Some(ask) = machine.poll_ask(self.now) {
                questions += 1;
                let id = ask.id;
                let (delay, answer) = self.send(asker, capability, ask);
                flight.insert((self.now + delay, questions), (id, answer));
            }
            if let Some(outcome) = machine.poll_outcome() {
                return outcome;
            }
            let due = flight.keys().next().map(|(at, _)| *at);
            let wake = machine.poll_timeout().filter(|at| *at > self.now);
            let next = due.into_iter().chain(wake).min();
            self.now = next.expect("stuck: nothing asked, nothing awaited, and no outcome");
            if due == next
                && let Some((_, (id, answer))) = flight.pop_first()
            {
                self.trace(&answer);
                machine.handle_answer(self.now, id, answer);
            }
        }
    }

    /// When the answer comes, and what it is.
    fn send(
        &mut self,
        asker: &SigningKey,
        capability: Option<&SigningKey>,
        ask: Ask,
    ) -> (Duration, Result<Answer, AskFailure>) {
        let Range { start, end } = self.plan.delay;
        let delay = Duration::from_millis(start + self.rng.next_u64() % (end - start));
        let lost = self.rng.next_u64() % 100 < self.plan.loss_percent;
        let node = &self.nodes[&ask.to.node];
        let delay = delay + node.slowness;
        if node.crashes_at.is_some_and(|at| at <= self.now + delay) {
            self.count("crash");
            return (delay, Err(AskFailure::Unreachable));
        }
        if !node.up {
            self.count("down");
            return (delay, Err(AskFailure::Unreachable));
        }
        if lost || delay > ask.timeout {
            self.count(if lost { "loss" } else { "late" });
            return (ask.timeout, Err(AskFailure::TimedOut));
        }
        if node.slowness > Duration::ZERO {
            self.count("slow");
        }
        (delay, self.serve(asker, capability, ask))
    }

    /// The whole path of a request: encoded, verified, served, perhaps falsified, encoded, decoded.
    fn serve(
        &mut self,
        asker: &SigningKey,
        capability: Option<&SigningKey>,
        ask: Ask,
    ) -> Result<Answer, AskFailure> {
        let now = self.unix();
        let (network, receiver) = (self.id(), ask.to.node);
        let session = Session { network, author: node_id(asker), receiver, exporter: [7; 32] };
        let deadline = now + ask.timeout.as_millis() as u64;
        let header = Request::encode(&ask.operation, &session, deadline, capability);
        let request = Request::verify(&header, &session, now).unwrap();
        let node = self.nodes.get_mut(&receiver).unwrap();
        let mut step = node.holder.handle_request(&self.view, now, request, ask.body);
        while let Step::Disk(wanted, pending) = step {
            let result = node.disk.perform(wanted);
            step = node.holder.handle_disk(&self.view, now, pending, result);
        }
        let mut answer = match step {
            Step::Reply(answer) => answer,
            step => self.serve_refresh(receiver, step),
        };
        let node = self.nodes.get_mut(&receiver).unwrap();
        if let Some(lie) = node.lie
            && lie.tell(&network, &node.key, &node.disk, &ask.operation, &mut answer)
        {
            self.count("lie");
        }
        let response = Response::from_header(&answer.response.to_header())
            .map_err(|error| AskFailure::Misbehaved(error.to_string()))?;
        Ok(Answer { response, body: answer.body })
    }

    /// Asks one node one thing.
    pub(crate) fn ask(&mut self, asker: &SigningKey, point: u8, operation: Operation) -> Response {
        self.ask_with_body(asker, point, operation, Bytes::new())
    }

    pub(crate) fn ask_with_body(
        &mut self,
        asker: &SigningKey,
        point: u8,
        operation: Operation,
        body: Bytes,
    ) -> Response {
        let to = self.members()[slot(point).index()];
        let ask = Ask { id: 0, to, operation, body, timeout: Duration::from_secs(10) };
        self.serve(asker, None, ask).unwrap().response
    }

    /// The answer to a question that is not lost.
    pub(crate) fn send_now(&mut self, asker: &SigningKey, ask: Ask) -> Result<Answer, AskFailure> {
        if !self.nodes[&ask.to.node].up {
            self.count("down");
            return Err(AskFailure::Unreachable);
        }
        self.serve(asker, None, ask)
    }

    fn trace(&mut self, answer: &Result<Answer, AskFailure>) {
        self.trace.update(&self.now.as_nanos().to_be_bytes());
        match answer {
            Ok(answer) => {
                self.trace.update(blake3::hash(&answer.response.to_header()).as_bytes());
                self.trace.update(blake3::hash(&answer.body).as_bytes());
            }
            Err(failure) => {
                self.trace.update(failure.to_string().as_bytes());
            }
        }
    }

    fn count(&mut self, kind: &'static str) {
        *self.fired.entry(kind).or_insert(0) += 1;
    }
}

impl Drop for VirtualNetwork {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { seed, plan, fired, now, .. } = self;
            eprintln!("seed {seed}: {plan:?}\nfaults: {fired:?}, virtual time: {now:?}");
        }
    }
}

impl VirtualNode {
    fn new(network: NetworkId, key: SigningKey) -> Self {
        Self {
            holder: Holder::new(network, key.clone()),
            seats: Seats::new(network, key.clone()),
            ill_formed: IllFormed::default(),
            key,
            disk: Disk::default(),
            up: true,
            asleep: false,
            crashes_at: None,
            slowness: Duration::ZERO,
            lie: None,
        }
    }
}

impl LedgerView for View {
    fn state(&self) -> &State {
        &self.state
    }

    fn attested_at(&self) -> u64 {
        self.attested_at
    }
}

/// What every machine of the engine has.
trait Machine {
    type Outcome;
    fn poll_ask(&mut self, now: Duration) -> Option<Ask>;
    fn poll_timeout(&self) -> Option<Duration>;
    fn handle_answer(&mut self, now: Duration, id: u64, answer: Result<Answer, AskFailure>);
    fn poll_outcome(&mut self) -> Option<Self::Outcome>;
}

impl Machine for GetObject {
    type Outcome = Result<Gathered, GetError>;
    fn poll_ask(&mut self, now: Duration) -> Option<Ask> {
        self.poll_ask(now)
    }
    fn poll_timeout(&self) -> Option<Duration> {
        self.poll_timeout()
    }
    fn handle_answer(&mut self, _: Duration, id: u64, answer: Result<Answer, AskFailure>) {
        self.handle_answer(id, answer);
    }
    fn poll_outcome(&mut self) -> Option<Self::Outcome> {
        self.poll_outcome()
    }
}

impl Machine for PutObject {
    type Outcome = Result<PutReport, PutError>;
    fn poll_ask(&mut self, now: Duration) -> Option<Ask> {
        self.poll_ask(now)
    }
    fn poll_timeout(&self) -> Option<Duration> {
        self.poll_timeout()
    }
    fn handle_answer(&mut self, now: Duration, id: u64, answer: Result<Answer, AskFailure>) {
        self.handle_answer(now, id, answer);
    }
    fn poll_outcome(&mut self) -> Option<Self::Outcome> {
        let failure = self.failure();
        self.is_finished().then(|| failure.map_or_else(|| Ok(self.report()), Err))
    }
}

/// A newcomer: keeps what it rebuilds.
struct Repair {
    machine: RepairSlot,
    /// Whether its disk is full.
    full: bool,
    parts: Vec<RepairedPart>,
    renewed: Vec<RenewedPart>,
    asked: Vec<u8>,
}

impl Machine for Repair {
    type Outcome = ();
    fn poll_ask(&mut self, now: Duration) -> Option<Ask> {
        loop {
            match self.machine.poll_action(now)? {
                RepairAction::Ask(ask) => {
                    self.asked.push(ask.to.slot.point());
                    return Some(ask);
                }
                RepairAction::Store(part) if self.full => {
                    let full = DiskError::Full("the disk is full".into());
                    self.machine.handle_stored(&part, Err(full));
                }
                RepairAction::Store(part) => {
                    self.machine.handle_stored(&part, Ok(()));
                    self.parts.push(part);
                }
                RepairAction::Renew(parts) => {
                    self.machine.handle_renewed(Ok(()));
                    self.renewed.extend(parts);
                }
            }
        }
    }
    fn poll_timeout(&self) -> Option<Duration> {
        None
    }
    fn handle_answer(&mut self, now: Duration, id: u64, answer: Result<Answer, AskFailure>) {
        self.machine.handle_answer(now, id, answer);
    }
    fn poll_outcome(&mut self) -> Option<()> {
        self.machine.is_finished().then_some(())
    }
}

/// The slots of the faults.
pub(crate) fn liars(faults: &[Fault]) -> BTreeSet<u8> {
    faults.iter().map(|fault| fault.member.slot.point()).collect()
}
