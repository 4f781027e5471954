//! A holder looks whether the others of its groups still have what they promised.
//!
//! Now and then it draws one of its slots, an object in it, another holder and some groups of that
//! holder's fragment from the newest beacon, and asks for an answer that needs both parts: the bytes,
//! and a code made from the pair symbol that the two share ([`AuditAnswer`]). Each slot's fragment is
//! another one, and to rebuild it takes an authorised repair, so who does not keep it cannot answer
//! by the deadline. One failure proves nothing: the object may just not have come there yet. Whoever
//! fails several audits in a row and passes none is named to the validators, who count the accusers
//! ([`Watch`](super::Watch)).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Answer, Ask, AskFailure, Member, StoredPart};
use crate::code::GROUP_LEN;
use crate::hash::hash;
use crate::keyshare::AuditAnswer;
use crate::ledger::State;
use crate::names::{GroupId, NodeId, ObjectId, Slot};
use crate::object::{Descriptor, GroupHashes};
use crate::policy::audit::sample;
use crate::wire::{Audit, Operation, PartReference, Response};

/// Groups of a fragment that one audit asks for: 64 KiB.
const GROUPS: u32 = 4;
/// Failures in a row after which a holder is named.
const FAILURES_MAX: u32 = 3;
/// Names told at a time.
const SUSPECTS_MAX: usize = 16;

/// How often a node audits, and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Between two audits.
    pub every: Duration,
    /// How long an answer may take.
    pub deadline: Duration,
}

impl Default for AuditSettings {
    /// One a minute, about 1.1 KB/s a node; ten seconds for 64 KiB over a slow link.
    fn default() -> Self {
        Self { every: Duration::from_secs(60), deadline: Duration::from_secs(10) }
    }
}

/// What an auditor wants done.
#[derive(Debug)]
pub enum AuditAction {
    /// Read what is kept here of the first object of a slot after this id, or of the first of all if
    /// there is none after it; then call [`Auditor::handle_loaded`].
    Load {
        /// The group.
        group: GroupId,
        /// The slot.
        slot: Slot,
        /// The id.
        after: ObjectId,
    },
    /// Ask, then call [`Auditor::handle_answer`].
    Ask(Ask),
}

/// Audits the other holders of one node's groups.
pub struct Auditor {
    own: NodeId,
    settings: AuditSettings,
    seats: Vec<Seat>,
    beacon: [u8; 32],
    /// Audits begun: no two are drawn alike.
    count: u64,
    next: Duration,
    stage: Stage,
    failures: BTreeMap<NodeId, u32>,
}

/// A slot of this node and those that it can audit.
struct Seat {
    group: GroupId,
    slot: Slot,
    others: Vec<Member>,
}

enum Stage {
    Idle,
    Loading { seat: usize },
    Loaded(Box<Challenge>),
    Asked(Box<Challenge>),
}

struct Challenge {
    member: Member,
    part: PartReference,
    own: StoredPart,
    descriptor: Descriptor,
    nonce: [u8; 32],
    groups: BTreeSet<u32>,
}

impl Auditor {
    /// An auditor that knows of no slots.
    pub fn new(own: NodeId, settings: AuditSettings) -> Self {
        Self {
            own,
            settings,
            seats: Vec::new(),
            beacon: [0; 32],
            count: 0,
            next: settings.every,
            stage: Stage::Idle,
            failures: BTreeMap::new(),
        }
    }

    /// Takes the state of the newest block and its beacon.
    pub fn handle_state(&mut self, state: &State, beacon: [u8; 32]) {
        self.beacon = beacon;
        let seat = |(group, seats): (GroupId, crate::ledger::Group)| {
            let slot = seats
                .slot_of(&self.own)
                .filter(|slot| seats.holder(*slot).is_some_and(|holder| !holder.is_filling()))?;
            let places = Slot::all(seats.code.n).zip(&seats.holders);
            let whole = places.filter(|(other, holder)| *other != slot && !holder.is_filling());
            let others = whole.map(|(slot, holder)| Member { slot, node: holder.node }).collect();
            Some(Seat { group, slot, others })
        };
        self.seats = state.groups().filter_map(seat).collect();
        if let Stage::Loading { .. } = self.stage {
            self.stage = Stage::Idle;
        }
        let seats = &self.seats;
        let present =
            |node: &NodeId| seats.iter().any(|s| s.others.iter().any(|m| m.node == *node));
        self.failures.retain(|node, _| present(node));
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self, now: Duration) -> Option<AuditAction> {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle if now >= self.next && !self.seats.is_empty() => {
                self.next = now + self.settings.every;
                self.count += 1;
                let seat = self.draw("slot", self.seats.len())?;
                let Seat { group, slot, .. } = self.seats[seat];
                self.stage = Stage::Loading { seat };
                let after = ObjectId(self.seed("object"));
                Some(AuditAction::Load { group, slot, after })
            }
            Stage::Loaded(challenge) => {
                let audit = Audit {
                    part: challenge.part,
                    auditor: challenge.own.share.slot(),
                    nonce: challenge.nonce,
                    groups: challenge.groups.iter().copied().collect(),
                };
                let ask = Ask {
                    id: self.count,
                    to: challenge.member,
                    operation: Operation::Audit(audit),
                    body: bytes::Bytes::new(),
                    timeout: self.settings.deadline,
                };
                self.stage = Stage::Asked(challenge);
                Some(AuditAction::Ask(ask))
            }
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// What is kept here; `nonce` is fresh and random.
    pub fn handle_loaded(&mut self, loaded: Option<(ObjectId, StoredPart)>, nonce: [u8; 32]) {
        let Stage::Loading { seat } = self.stage else { return };
        self.stage = Stage::Idle;
        let Some((object, own)) = loaded else { return };
        let Ok(descriptor) = Descriptor::decode(&own.object.descriptor) else { return };
        let Seat { group, ref others, .. } = self.seats[seat];
        let Some(member) = self.draw("holder", others.len()).map(|place| others[place]) else {
            return;
        };
        let Ok(code) = descriptor.code.build() else { return };
        let fragment_len = code.layout(descriptor.coded_len).fragment_len();
        let total = u32::try_from(fragment_len.div_ceil(GROUP_LEN)).unwrap_or(u32::MAX);
        let groups = sample(self.seed("groups"), total, GROUPS);
        let part = PartReference { group, slot: member.slot, object };
        let challenge = Challenge { member, part, own, descriptor, nonce, groups };
        self.stage = Stage::Loaded(Box::new(challenge));
    }

    /// Takes the answer. One that is not reached is the watchers' concern, not the auditors'.
    pub fn handle_answer(&mut self, id: u64, answer: Result<Answer, AskFailure>) {
        let Stage::Asked(challenge) = std::mem::replace(&mut self.stage, Stage::Idle) else {
            return;
        };
        if id != self.count {
            self.stage = Stage::Asked(challenge);
            return;
        }
        let passed = match answer {
            Ok(Answer { response: Response::Audit { answer, hashes }, body }) => {
                challenge.is_met(&answer, &hashes, &body)
            }
            Err(AskFailure::Unreachable | AskFailure::NotAdmitted) => return,
            Ok(_) | Err(AskFailure::TimedOut | AskFailure::Misbehaved(_)) => false,
        };
        if passed {
            self.failures.remove(&challenge.member.node);
        } else {
            *self.failures.entry(challenge.member.node).or_default() += 1;
        }
    }

    /// Those that failed several audits in a row.
    pub fn suspects(&self) -> Vec<NodeId> {
        let failed = self.failures.iter().filter(|(_, failures)| **failures >= FAILURES_MAX);
        failed.map(|(node, _)| *node).take(SUSPECTS_MAX).collect()
    }

    /// When to poll again, if nothing happens before; not before it holds a whole slot.
    pub fn next_wake(&self) -> Option<Duration> {
        let idle = matches!(self.stage, Stage::Idle) && !self.seats.is_empty();
        idle.then_some(self.next)
    }

    fn seed(&self, of: &str) -> [u8; 32] {
        let count = self.count.to_be_bytes();
        hash("audit", &[&self.beacon, self.own.as_bytes(), &count, of.as_bytes()])
    }

    /// A number below `total`.
    fn draw(&self, of: &str, total: usize) -> Option<usize> {
        let total = u32::try_from(total).ok()?;
        sample(self.seed(of), total, 1).first().map(|drawn| *drawn as usize)
    }
}

impl Challenge {
    fn is_met(&self, answer: &AuditAnswer, hashes: &GroupHashes, body: &[u8]) -> bool {
        let Self { member, own, descriptor, nonce, groups, .. } = self;
        let (binding, _) = own.commitments(descriptor);
        let Some(root) = descriptor.fragment_roots.get(member.slot.index()) else { return false };
        let Ok(code) = descriptor.code.build() else { return false };
        let length = code.layout(descriptor.coded_len).fragment_len();
        let mut rest = body;
        let whole = groups.iter().all(|&group| {
            let start = u64::from(group) * GROUP_LEN;
            let len = GROUP_LEN.min(length.saturating_sub(start)) as usize;
            let Some((bytes, after)) = rest.split_at_checked(len) else { return false };
            rest = after;
            hashes.check_group(group as usize, bytes)
        });
        whole
            && rest.is_empty()
            && hashes.verify(root, length)
            && own.share.check_audit(&binding, member.slot, nonce, answer).is_ok()
    }
}
