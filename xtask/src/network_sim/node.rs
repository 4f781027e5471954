//! A simulated storage node: the engine's holder, custody and repairs over a disk in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use kakera_engine::keyshare::{ProvenSymbol, Share};
use kakera_engine::names::{GroupId, NetworkId, NodeId, ObjectId, Slot};
use kakera_engine::peer::{
    Answer, Ask, AskFailure, Custody, CustodySettings, DiskError, DiskRequest, DiskResult, Holder,
    RepairAction, RepairSlot, Step, StoredPart, is_sound,
};
use kakera_engine::wire::{
    Operation, PartReference, RepairProgress, Request, Response, Session, SymbolStatement,
    VouchedDescriptor, canonical,
};

use super::chain::View;

/// What is kept of a part.
#[derive(Clone)]
pub(super) struct Kept {
    pub(super) object: VouchedDescriptor,
    pub(super) share: Share,
    pub(super) fragment: Bytes,
}

/// A storage node.
pub(super) struct SimulatedNode {
    pub(super) key: SigningKey,
    pub(super) id: NodeId,
    holder: Holder,
    pub(super) custody: Custody,
    pub(super) repairs: BTreeMap<(GroupId, Slot), RepairSlot>,
    pub(super) parts: BTreeMap<PartReference, Kept>,
    pub(super) view: View,
    pub(super) dead: bool,
    pub(super) asleep_until: Duration,
    pub(super) liar: bool,
    /// Since when nobody reaches it, if so.
    pub(super) silent_since: Option<Duration>,
    /// When its last silence ended, and how long it was.
    pub(super) last_silence: Option<(Duration, Duration)>,
}

/// What a repair wants of the world.
pub(super) enum Wish {
    Ask {
        group: GroupId,
        slot: Slot,
        ask: Ask,
    },
    /// The repair ended.
    Done {
        group: GroupId,
        slot: Slot,
        whole: bool,
        progress: RepairProgress,
    },
}

impl SimulatedNode {
    pub(super) fn new(network: NetworkId, key: SigningKey, view: View) -> Self {
        let holder = Holder::new(network, key.clone());
        let (id, settings) = (holder.id(), CustodySettings::default());
        Self {
            key,
            id,
            holder,
            custody: Custody::new(id, settings),
            repairs: BTreeMap::new(),
            parts: BTreeMap::new(),
            view,
            dead: false,
            asleep_until: Duration::ZERO,
            liar: false,
            silent_since: None,
            last_silence: None,
        }
    }

    pub(super) fn is_up(&self, now: Duration) -> bool {
        !self.dead && self.asleep_until <= now
    }

    pub(super) fn objects(&self, group: GroupId, slot: Slot) -> BTreeSet<ObjectId> {
        let of_slot = |part: &&PartReference| (part.group, part.slot) == (group, slot);
        self.parts.keys().filter(of_slot).map(|part| part.object).collect()
    }

    /// Begins the repair of a slot that this node holds.
    pub(super) fn begin_repair(&mut self, network: NetworkId, group: GroupId, slot: Slot) {
        let Some(seats) = self.view.state.group(group) else { return };
        let (held, members) = (self.objects(group, slot), self.view.members(group));
        let codes = (seats.code, seats.key);
        let machine = RepairSlot::new(network, group, slot, codes, &members, held);
        self.repairs.insert((group, slot), machine);
    }

    /// Lets a repair go on; the parts that it rebuilt are kept and shown to `check`.
    pub(super) fn poll_repair(
        &mut self,
        now: Duration,
        (group, slot): (GroupId, Slot),
        mut check: impl FnMut(&PartReference, &Kept),
    ) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let Some(machine) = self.repairs.get_mut(&(group, slot)) else { return wishes };
        while let Some(action) = machine.poll_action(now) {
            match action {
                RepairAction::Ask(ask) => wishes.push(Wish::Ask { group, slot, ask }),
                RepairAction::Store(part) => {
                    machine.handle_stored(&part, Ok(()));
                    let (object, share) = (part.object, part.share);
                    let kept = Kept { object, share, fragment: part.fragment };
                    check(&part.part, &kept);
                    self.parts.insert(part.part, kept);
                }
            }
        }
        if machine.is_finished() {
            let (whole, progress) = (machine.is_whole(), machine.progress());
            wishes.push(Wish::Done { group, slot, whole, progress });
        }
        wishes
    }

    /// Takes the evidence of a repair that ended, and forgets the repair.
    pub(super) fn end_repair(
        &mut self,
        seat: (GroupId, Slot),
    ) -> Vec<kakera_engine::ledger::WrongSymbol> {
        let ended = self.repairs.remove(&seat);
        ended.map_or_else(Vec::new, |machine| machine.evidence().to_vec())
    }

    /// Sets aside what rotted; the slots that lost something.
    pub(super) fn scrub(&mut self) -> BTreeSet<(GroupId, Slot)> {
        let rotten = |(part, kept): &(&PartReference, &Kept)| {
            let (object, share) = (kept.object.clone(), kept.share.clone());
            let stored = StoredPart { object, share, renewed: None };
            !is_sound(part, &stored, &kept.fragment)
        };
        let rotten: Vec<PartReference> =
            self.parts.iter().filter(rotten).map(|(part, _)| *part).collect();
        rotten.iter().for_each(|part| drop(self.parts.remove(part)));
        rotten.iter().map(|part| (part.group, part.slot)).collect()
    }

    /// Answers a question, whole path: encoded, verified, served, perhaps falsified. True if it lied.
    pub(super) fn serve(
        &mut self,
        network: NetworkId,
        author: NodeId,
        ask: Ask,
        now: u64,
    ) -> (Result<Answer, AskFailure>, bool) {
        let session = Session { network, author, receiver: self.id, exporter: [7; 32] };
        let deadline = now + ask.timeout.as_millis() as u64;
        let header = Request::encode(&ask.operation, &session, deadline, None);
        let request = Request::verify(&header, &session, now).expect("a request just made");
        if !self.view.state.is_enrolled(&author) {
            return (Err(AskFailure::NotAdmitted), false);
        }
        let mut step = self.holder.handle_request(&self.view, now, request, ask.body);
        while let Step::Disk(wanted, pending) = step {
            let result = self.perform(wanted);
            step = self.holder.handle_disk(&self.view, now, pending, result);
        }
        let Step::Reply(mut answer) = step else { unreachable!("only parts are asked for here") };
        let lied = self.liar && falsify(&network, &self.key, &ask.operation, &mut answer);
        (Ok(answer), lied)
    }

    fn perform(&mut self, request: DiskRequest) -> DiskResult {
        match request {
            DiskRequest::Write { part, stored, fragment, .. } => {
                let StoredPart { object, share, .. } = *stored;
                self.parts.insert(part, Kept { object, share, fragment });
                DiskResult::Written
            }
            DiskRequest::Describe(part) => {
                DiskResult::Described(self.parts.get(&part).map(|kept| {
                    let Kept { object, share, .. } = kept.clone();
                    Box::new(StoredPart { object, share, renewed: None })
                }))
            }
            DiskRequest::Fragment(part) => {
                DiskResult::Fragment(self.parts.get(&part).map(|kept| kept.fragment.clone()))
            }
            DiskRequest::SetAside(part) => {
                self.parts.remove(&part);
                DiskResult::Failed(DiskError::Damaged)
            }
            DiskRequest::List { group, slot, after, limit } => {
                let objects = self.objects(group, slot).into_iter();
                DiskResult::Listed(objects.filter(|id| Some(*id) > after).take(limit).collect())
            }
            DiskRequest::Order(..) => DiskResult::Order(None),
            DiskRequest::Shred { .. } | DiskRequest::Shredded(_) | DiskRequest::Orders(..) => {
                unreachable!("no owner destroys anything here")
            }
        }
    }
}

/// A wrong pair symbol, signed as if it were right.
fn falsify(
    network: &NetworkId,
    key: &SigningKey,
    operation: &Operation,
    answer: &mut Answer,
) -> bool {
    let Operation::Symbols(request) = operation else { return false };
    let Response::Symbols { key_symbol, signature, .. } = &mut answer.response else {
        return false;
    };
    let mut bytes = canonical::encode(key_symbol);
    let Some(head) = bytes.windows(2).position(|head| head == [0x58, 32]) else { return false };
    bytes[head + 2] ^= 1;
    let Ok(wrong) = canonical::decode::<ProvenSymbol>(&bytes, usize::MAX) else { return false };
    *key_symbol = wrong;
    let statement = SymbolStatement {
        network,
        part: &request.part,
        lost: request.lost,
        key_symbol,
        fragment_symbols: &answer.body,
        epoch: None,
    };
    *signature = statement.sign(key);
    true
}
