//! A simulated storage node: the engine's holder, custody, audits and repairs over a disk in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use kakera_engine::ledger::WrongSymbol;
use kakera_engine::names::{GroupId, NetworkId, NodeId, Slot};
use kakera_engine::peer::refresh::{Seats, Shares, Turn, Turns, stale};
use kakera_engine::peer::{
    Alarm, Answer, Ask, AskFailure, AuditSettings, Auditor, Custody, CustodySettings, Holder,
    IllFormed, Member, RepairAction, RepairSlot, Step,
};
use kakera_engine::policy::refresh::RefreshTimes;
use kakera_engine::wire::{
    PartReference, RefreshPlace, RepairProgress, Request, Response, Session, canonical,
};
use rand_chacha::ChaCha8Rng;

use super::ledger::{CREATED, View};
use super::{Disk, Kept, Lie};

/// A group and the slot of it that a node holds.
pub(super) type Seat = (GroupId, Slot);

/// A storage node.
pub(super) struct Node {
    pub(super) key: SigningKey,
    pub(super) id: NodeId,
    holder: Holder,
    pub(super) custody: Custody,
    pub(super) auditor: Auditor,
    repairs: BTreeMap<Seat, RepairSlot>,
    ill_formed: IllFormed,
    seats: Seats,
    /// Its turns to lead refreshes, and how many it leads.
    turns: Option<Turns>,
    pub(super) leading: usize,
    pub(super) disk: Disk,
    pub(super) view: View,
    /// The height of the view.
    seen: u64,
    pub(super) dead: bool,
    /// As the newest block has it.
    pub(super) retired: bool,
    pub(super) asleep_until: Duration,
    pub(super) lie: Option<Lie>,
    /// It keeps for an attacker what it ever held.
    pub(super) hostile: bool,
    /// When its next poll is due; `Duration::MAX` if none is.
    pub(super) poll_at: Duration,
    /// Until when its link is busy with what was sent to it.
    pub(super) busy_until: Duration,
    /// Since when nobody reaches it, if so.
    pub(super) silent_since: Option<Duration>,
    /// When its last silence ended, and how long it was.
    pub(super) last_silence: Option<(Duration, Duration)>,
}

/// What a repair wants of the world.
pub(super) enum Wish {
    Ask(Ask),
    /// A look at a refreshed share that was rebuilt.
    Look(PartReference),
    /// The repair ended.
    Done {
        whole: bool,
        progress: RepairProgress,
        evidence: Vec<WrongSymbol>,
    },
}

/// An answer's header and body.
pub(super) type Reply = Result<(Vec<u8>, Bytes), AskFailure>;

impl Node {
    pub(super) fn new(
        network: NetworkId,
        key: SigningKey,
        view: View,
        refresh: Option<RefreshTimes>,
    ) -> Self {
        let holder = Holder::new(network, key.clone());
        let id = holder.id();
        Self {
            seats: Seats::new(network, key.clone()),
            turns: refresh.map(|times| Turns::new(id, times)),
            leading: 0,
            key,
            id,
            holder,
            custody: Custody::new(id, CustodySettings::default()),
            auditor: Auditor::new(network, id, AuditSettings::default()),
            repairs: BTreeMap::new(),
            ill_formed: IllFormed::default(),
            disk: Disk::default(),
            view,
            seen: 0,
            dead: false,
            retired: false,
            asleep_until: Duration::ZERO,
            lie: None,
            hostile: false,
            poll_at: Duration::MAX,
            busy_until: Duration::ZERO,
            silent_since: None,
            last_silence: None,
        }
    }

    pub(super) fn is_up(&self, now: Duration) -> bool {
        !self.dead && self.asleep_until <= now
    }

    /// Hears from a validator that the chain it knows is the newest.
    pub(super) fn attest(&mut self, now: Duration) {
        self.view.attested_at = unix(now);
    }

    /// Takes the newest state, made by the block of this height.
    pub(super) fn see(&mut self, now: Duration, height: u64, beacon: [u8; 32], view: View) {
        if self.seen != height {
            self.seen = height;
            self.seats.handle_state(&view.state);
            self.custody.handle_state(now, &view.state);
            self.auditor.handle_state(&view.state, beacon);
            self.disk.settle(&view.state);
            self.view = view;
        }
        self.attest(now);
    }

    pub(super) fn has_seen(&self, height: u64) -> bool {
        self.seen == height
    }

    /// The refreshes that it should lead now: one after the other, but for those that come together.
    pub(super) fn take_turns(&mut self, now: Duration) -> Vec<Turn> {
        let Some(turns) = self.turns.as_mut().filter(|_| self.leading == 0) else {
            return Vec::new();
        };
        turns.handle_state(now, unix(now), &self.view.state)
    }

    /// What it has to send to each other holder as a dealer.
    pub(super) fn rows(&self, place: &RefreshPlace) -> Vec<(Member, Bytes)> {
        self.seats.rows(place)
    }

    /// Begins the repair of a slot that this node holds, or its comparison with a helper.
    pub(super) fn begin_repair(
        &mut self,
        network: NetworkId,
        (group, slot): Seat,
        helper: Option<Slot>,
    ) {
        let Some(seats) = self.view.state.group(group) else { return };
        let (held, members) = (self.disk.objects(group, slot), self.view.members(group));
        let codes = (seats.code, seats.key);
        let mut machine = RepairSlot::new(network, group, slot, codes, &members, held)
            .without(self.ill_formed.of(group, slot, seats.epoch))
            .in_group(seats);
        machine.renew(stale(seats, slot, || self.disk.list(group, slot)));
        if let Some(helper) = helper {
            machine = machine.level_with(helper);
        }
        self.repairs.insert((group, slot), machine);
    }

    /// Lets a repair go on; the parts that it rebuilt are kept and shown to `check`.
    pub(super) fn poll_repair(
        &mut self,
        now: Duration,
        seat: Seat,
        mut check: impl FnMut(&PartReference, &Kept),
    ) -> Vec<Wish> {
        let mut wishes = Vec::new();
        let Some(machine) = self.repairs.get_mut(&seat) else { return wishes };
        while let Some(action) = machine.poll_action(now) {
            match action {
                RepairAction::Ask(ask) => wishes.push(Wish::Ask(ask)),
                RepairAction::Store(part) => {
                    machine.handle_stored(&part, Ok(()));
                    let (object, share, renewed) = (part.object, part.share, part.renewed);
                    let kept = Kept { object, share, renewed, fragment: part.fragment };
                    check(&part.part, &kept);
                    wishes.extend(kept.renewed.is_some().then_some(Wish::Look(part.part)));
                    self.disk.parts.insert(part.part, kept);
                }
                RepairAction::Renew(parts) => {
                    machine.handle_renewed(Ok(()));
                    let part_of = |object| PartReference { group: seat.0, slot: seat.1, object };
                    wishes.extend(parts.iter().map(|part| Wish::Look(part_of(part.object))));
                    self.disk.renew(seat.0, seat.1, parts);
                }
            }
        }
        if machine.is_finished() {
            let (whole, progress) = (machine.is_whole(), machine.progress());
            let evidence = machine.evidence().to_vec();
            self.ill_formed.learn(machine);
            self.repairs.remove(&seat);
            wishes.push(Wish::Done { whole, progress, evidence });
        }
        wishes
    }

    /// Gives an answer to a repair.
    pub(super) fn hear(
        &mut self,
        now: Duration,
        seat: Seat,
        id: u64,
        answer: Result<Answer, AskFailure>,
    ) {
        if let Some(machine) = self.repairs.get_mut(&seat) {
            machine.handle_answer(now, id, answer);
        }
    }

    /// Answers a question, whole path: encoded, verified, served, perhaps falsified, encoded. True if
    /// it lied.
    pub(super) fn serve(
        &mut self,
        network: NetworkId,
        author: NodeId,
        ask: Ask,
        now: Duration,
        rng: &mut ChaCha8Rng,
    ) -> (Reply, bool) {
        let session = Session { network, author, receiver: self.id, exporter: [7; 32] };
        let moment = unix(now);
        let deadline = moment + ask.timeout.as_millis() as u64;
        let header = Request::encode(&ask.operation, &session, deadline, None);
        let Ok(request) = Request::verify(&header, &session, moment) else {
            return (Err(AskFailure::Misbehaved("no such request".into())), false);
        };
        if !self.view.state.is_enrolled(&author) {
            return (Err(AskFailure::NotAdmitted), false);
        }
        let mut step = self.holder.handle_request(&self.view, moment, request, ask.body);
        while let Step::Disk(wanted, pending) = step {
            let result = self.disk.perform(wanted);
            step = self.holder.handle_disk(&self.view, moment, pending, result);
        }
        for part in std::mem::take(&mut self.disk.set_aside) {
            self.custody.handle_alarm(now, Alarm::Damage(part.group, part.slot));
        }
        let mut answer = self.refresh(step, rng);
        let if_not_found = Alarm::if_not_found(&ask.operation);
        if let Some(alarm) = if_not_found.filter(|_| answer.is_not_found()) {
            self.custody.handle_alarm(now, alarm);
        }
        let tell =
            |lie: Lie| lie.tell(&network, &self.key, &self.disk, &ask.operation, &mut answer);
        let lied = self.lie.is_some_and(tell);
        (Ok((answer.response.to_header(), answer.body)), lied)
    }

    /// Does what a step of a refresh asks for; any other is answered by now.
    fn refresh(&mut self, step: Step, rng: &mut ChaCha8Rng) -> Answer {
        let outcome = match step {
            Step::Reply(answer) => return answer,
            Step::Misfit(part) => return self.ill_formed.answer(&part),
            Step::ListShares(group, slot) => {
                let body = canonical::encode(&self.disk.list(group, slot)).into();
                return Answer { response: Response::Shares, body };
            }
            Step::Deal(place, dealer, rows) => {
                let taken = self.seats.handle_rows(&place, dealer, &rows);
                taken.map(|()| Answer::bare(Response::RowsTaken))
            }
            Step::Refresh(step, body) => {
                let state = &self.view.state;
                let reply = self.seats.handle_step(state, &step, &body, &self.disk, rng);
                reply.map(|body| Answer { response: Response::Refreshed, body })
            }
            _ => unreachable!("only parts and refreshes are asked for here"),
        };
        outcome.unwrap_or_else(|refusal| Answer::bare(Response::Refused(refusal)))
    }

    /// Sets aside what rotted, and has it repaired.
    pub(super) fn scrub(&mut self, now: Duration) {
        for (group, slot) in self.disk.scrub() {
            self.custody.handle_alarm(now, Alarm::Damage(group, slot));
        }
    }

    /// When this node has something to do by itself.
    pub(super) fn next_wake(&self) -> Option<Duration> {
        self.custody.next_wake().into_iter().chain(self.auditor.next_wake()).min()
    }
}

/// Unix milliseconds.
pub(super) fn unix(now: Duration) -> u64 {
    CREATED + now.as_millis() as u64
}
