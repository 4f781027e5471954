//! Giving an object's parts to the holders of its group.
//!
//! All holders are asked at once. The put is *durable* when
//! [`put_quorum`](crate::policy::durability::put_quorum) distinct holders have sent valid receipts;
//! the machine goes on until every holder has answered or was given up, so that the driver can
//! finish the rest in the background. Memory: the n fragments, each freed with its receipt.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::{Answer, Ask, AskFailure, Fault, FaultKind, Member};
use crate::keyshare::Share;
use crate::names::{Epoch, GroupId, NetworkId, ObjectId, Slot};
use crate::object::SealedObject;
use crate::policy::durability;
use crate::wire::{
    Authorisation, Operation, PartReference, RefusalKind, Response, Store, VouchedDescriptor,
};

const STORE_TIMEOUT: Duration = Duration::from_secs(30);

/// The put of one object.
pub struct PutObject {
    network: NetworkId,
    group: GroupId,
    object_id: ObjectId,
    epoch: Epoch,
    object: VouchedDescriptor,
    quorum: usize,
    slots: BTreeMap<Slot, Placement>,
    faults: Vec<Fault>,
}

struct Placement {
    member: Member,
    state: State,
    /// What is still to be given; dropped with the receipt or when given up.
    part: Option<(Share, Bytes)>,
    attempts: u32,
    /// Why the last attempt failed.
    failure: Failure,
}

#[derive(Default)]
struct Failure {
    /// For want of room.
    full: bool,
    message: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting { until: Duration },
    Asked,
    Stored,
    GivenUp,
}

/// How far a put has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutReport {
    /// Holders with a valid receipt.
    pub stored: usize,
    /// Holders wanted for success.
    pub quorum: usize,
    /// Slots of the group.
    pub slots: usize,
}

/// The put cannot reach its quorum any more. Parts already given stay with their holders; they are
/// useless without a pointer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{} of {} holders stored the object, {} are needed ({})",
    report.stored, report.slots, report.quorum, failures.join("; "))]
pub struct PutError {
    /// The counts.
    pub report: PutReport,
    /// Why each missing holder failed.
    pub failures: Vec<String>,
    /// Whether every missing holder failed for want of room.
    pub full: bool,
}

impl PutObject {
    /// A put of `object` to `members`, one for every slot of the group. Slots without a member
    /// count as given up.
    pub fn new(
        network: NetworkId,
        object: SealedObject,
        authorisation: Authorisation,
        members: &[Member],
    ) -> Self {
        let quorum = durability::put_quorum(&object.descriptor.code, &object.descriptor.key);
        let descriptor = object.descriptor.encode();
        let slots = object
            .shares
            .into_iter()
            .zip(object.fragments)
            .filter_map(|(share, fragment)| {
                let member = *members.iter().find(|member| member.slot == share.slot())?;
                let placement = Placement {
                    member,
                    state: State::Waiting { until: Duration::ZERO },
                    part: Some((share, fragment.into())),
                    attempts: 0,
                    failure: Failure::default(),
                };
                Some((member.slot, placement))
            })
            .collect();
        Self {
            network,
            group: object.descriptor.group,
            object_id: object.object_id,
            epoch: object.descriptor.epoch,
            object: VouchedDescriptor { descriptor, authorisation },
            quorum,
            slots,
            faults: Vec::new(),
        }
    }

    /// The counts so far.
    pub fn report(&self) -> PutReport {
        PutReport {
            stored: self.count(State::Stored),
            quorum: self.quorum,
            slots: self.slots.len(),
        }
    }

    /// Whether enough holders have made their parts durable.
    pub fn is_durable(&self) -> bool {
        self.count(State::Stored) >= self.quorum
    }

    /// Whether no holder is waited for any more.
    pub fn is_finished(&self) -> bool {
        self.count(State::Stored) + self.count(State::GivenUp) == self.slots.len()
    }

    /// The failure, once the quorum is out of reach.
    pub fn failure(&self) -> Option<PutError> {
        let lost = self.count(State::GivenUp);
        if self.slots.len() - lost >= self.quorum {
            return None;
        }
        let given_up = || self.slots.values().filter(|p| p.state == State::GivenUp);
        Some(PutError {
            report: self.report(),
            failures: given_up()
                .map(|p| format!("slot {}: {}", p.member.slot, p.failure.message))
                .collect(),
            full: lost > 0 && given_up().all(|p| p.failure.full),
        })
    }

    /// Holders whose receipts proved wrong.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The next question, if any is due.
    pub fn poll_ask(&mut self, now: Duration) -> Option<Ask> {
        let (slot, placement) = self.slots.iter_mut().find(
            |(_, placement)| matches!(placement.state, State::Waiting { until } if until <= now),
        )?;
        let (share, fragment) = placement.part.as_ref()?;
        placement.state = State::Asked;
        placement.attempts += 1;
        let store = Store { object: self.object.clone(), share: share.clone() };
        Some(Ask {
            id: u64::from(slot.point()),
            to: placement.member,
            operation: Operation::Store(Box::new(store)),
            body: fragment.clone(),
            timeout: STORE_TIMEOUT,
        })
    }

    /// When to poll again even if nothing happens.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.slots
            .values()
            .filter_map(|placement| match placement.state {
                State::Waiting { until } => Some(until),
                _ => None,
            })
            .min()
    }

    /// Takes the answer to a question.
    pub fn handle_answer(&mut self, now: Duration, id: u64, answer: Result<Answer, AskFailure>) {
        let slot = u8::try_from(id).ok().and_then(Slot::new);
        let Some(placement) = slot.and_then(|slot| self.slots.get_mut(&slot)) else {
            return;
        };
        if placement.state != State::Asked {
            return;
        }
        let part = PartReference {
            group: self.group,
            slot: placement.member.slot,
            object: self.object_id,
        };
        match answer.map(|answer| answer.response) {
            Ok(Response::Stored(receipt))
                if receipt.part == part
                    && receipt.epoch == self.epoch
                    && receipt.holder == placement.member.node
                    && receipt.verify(&self.network) =>
            {
                placement.state = State::Stored;
                placement.part = None;
            }
            Ok(Response::Refused(refusal)) => match refusal.kind {
                RefusalKind::Unavailable => placement.retry(now, refusal.message),
                kind => {
                    let full = kind == RefusalKind::Full;
                    placement.give_up(Failure { full, message: refusal.message });
                }
            },
            Ok(_) => {
                let member = placement.member;
                placement.give_up(Failure { full: false, message: FaultKind::Receipt.to_string() });
                self.faults.push(Fault { member, kind: FaultKind::Receipt });
            }
            Err(failure) => placement.retry(now, failure.to_string()),
        }
    }

    fn count(&self, state: State) -> usize {
        self.slots.values().filter(|placement| placement.state == state).count()
    }
}

impl Placement {
    fn retry(&mut self, now: Duration, message: String) {
        let failure = Failure { full: false, message };
        match durability::retry_delay(self.attempts) {
            Some(delay) => {
                self.failure = failure;
                self.state = State::Waiting { until: now + delay };
            }
            None => self.give_up(failure),
        }
    }

    fn give_up(&mut self, failure: Failure) {
        self.failure = failure;
        self.state = State::GivenUp;
        self.part = None;
    }
}
