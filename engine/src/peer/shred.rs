//! Having an object destroyed: its owner's order goes to every machine that knows a share of it.
//!
//! The order is made of the object's descriptor, which any holder gives to whoever has the read key,
//! a tombstone as well as a part. With receipts of [`destruction_quorum`] slots, fewer than k_key
//! shares are left, which say nothing of V, unless one of those who signed has lied. A machine that
//! left a slot in this epoch knows a good share as well: its receipt is wanted beside its successor's.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use ed25519_dalek::SigningKey;

use super::{Answer, Ask, AskFailure, Member};
use crate::keyshare::KeyParameters;
use crate::names::{GroupId, NetworkId, ObjectId, Slot};
use crate::object::Descriptor;
use crate::policy::durability::{destruction_quorum, retry_delay};
use crate::wire::{
    Authorisation, DestructionReceipt, Operation, PartReference, Read, RefusalKind, Response,
    Shred, ShredOrder, VouchedDescriptor,
};

const TIMEOUT: Duration = Duration::from_secs(10);

/// Which object, and the owner's right to it.
pub struct Condemned {
    /// The network.
    pub network: NetworkId,
    /// The group.
    pub group: GroupId,
    /// The object.
    pub object: ObjectId,
    /// The group's key code.
    pub key: KeyParameters,
    /// The object's write key.
    pub write_key: SigningKey,
    /// The word of the submitter that asks.
    pub authorisation: Authorisation,
}

/// The destruction of one object.
pub struct ShredObject {
    condemned: Condemned,
    order: Option<ShredOrder>,
    seats: Vec<Seat>,
}

/// A machine that holds a slot, or left it in this epoch.
struct Seat {
    member: Member,
    left: bool,
    state: State,
    attempts: u32,
}

#[derive(Clone, Debug)]
enum State {
    /// To be asked for the descriptor, which nobody has sent yet.
    Describe {
        at: Duration,
    },
    Describing,
    /// To be sent the order once there is one.
    Order {
        at: Duration,
    },
    Ordered,
    Attested(Box<DestructionReceipt>),
    GivenUp(String),
}

/// Who has attested the destruction of an object and who has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShredReport {
    /// Slots of which a receipt is needed.
    pub needed: usize,
    /// Receipts: of the holders of slots, then of machines that left one in this epoch.
    pub receipts: Vec<DestructionReceipt>,
    /// Slots whose present holder and all that left it in this epoch have attested.
    pub slots: BTreeSet<Slot>,
    /// Who has not, and why.
    pub missing: Vec<(Member, String)>,
}

impl ShredReport {
    /// Whether so few shares are left that they tell nothing, unless somebody lied.
    pub fn is_enough(&self) -> bool {
        self.slots.len() >= self.needed
    }
}

impl ShredObject {
    /// Has it destroyed by the holders of its group and by those who `left` a slot in this epoch.
    pub fn new(condemned: Condemned, members: &[Member], left: &[Member]) -> Self {
        let seat = |left| {
            move |member: &Member| Seat {
                member: *member,
                left,
                state: State::Describe { at: Duration::ZERO },
                attempts: 0,
            }
        };
        let seats = members.iter().map(seat(false)).chain(left.iter().map(seat(true))).collect();
        Self { condemned, order: None, seats }
    }

    /// The next question, if any is due.
    pub fn poll_ask(&mut self, now: Duration) -> Option<Ask> {
        let (group, object) = (self.condemned.group, self.condemned.object);
        for (id, seat) in self.seats.iter_mut().enumerate() {
            let slot = seat.member.slot;
            let operation = match (&seat.state, &self.order) {
                (State::Describe { at }, None) if *at <= now => {
                    seat.state = State::Describing;
                    Operation::Read(Read::description(PartReference { group, slot, object }))
                }
                (State::Describe { at } | State::Order { at }, Some(order)) if *at <= now => {
                    seat.state = State::Ordered;
                    Operation::Shred(Box::new(Shred { slot, order: order.clone() }))
                }
                _ => continue,
            };
            let (id, to) = (id as u64, seat.member);
            return Some(Ask { id, to, operation, body: Bytes::new(), timeout: TIMEOUT });
        }
        None
    }

    /// When to poll again even if nothing happens.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let has_order = self.order.is_some();
        let due = |seat: &Seat| match seat.state {
            State::Describe { at } => Some(at),
            State::Order { at } if has_order => Some(at),
            _ => None,
        };
        self.seats.iter().filter_map(due).min()
    }

    /// Takes the answer to a question.
    pub fn handle_answer(&mut self, now: Duration, id: u64, answer: Result<Answer, AskFailure>) {
        let index = usize::try_from(id).unwrap_or(usize::MAX);
        let Some(seat) = self.seats.get_mut(index) else { return };
        let answer = answer.map(|answer| answer.response);
        match seat.state {
            State::Describing => {
                let passing = match &answer {
                    Err(failure) => Some(failure.to_string()),
                    Ok(Response::Refused(refusal)) if refusal.kind == RefusalKind::Unavailable => {
                        Some(refusal.message.clone())
                    }
                    Ok(_) => None,
                };
                match passing {
                    Some(why) => seat.retry(now, why, |at| State::Describe { at }),
                    None => (seat.state, seat.attempts) = (State::Order { at: now }, 0),
                }
                if let (Ok(Response::Read { descriptor: Some(bytes), .. }), None) =
                    (answer, &self.order)
                {
                    self.order = self.condemned.order(bytes);
                }
            }
            State::Ordered => seat.take_receipt(now, &self.condemned, answer),
            _ => {}
        }
    }

    /// Whether nobody is waited for any more.
    pub fn is_finished(&self) -> bool {
        let has_order = self.order.is_some();
        self.seats.iter().all(|seat| match seat.state {
            State::Attested(_) | State::GivenUp(_) => true,
            State::Order { .. } => !has_order && !self.is_described_later(),
            _ => false,
        })
    }

    fn is_described_later(&self) -> bool {
        let later = |seat: &Seat| matches!(seat.state, State::Describe { .. } | State::Describing);
        self.seats.iter().any(later)
    }

    /// Who has attested so far.
    pub fn report(&self) -> ShredReport {
        let mut report = ShredReport {
            needed: destruction_quorum(&self.condemned.key),
            receipts: Vec::new(),
            slots: BTreeSet::new(),
            missing: Vec::new(),
        };
        for seat in &self.seats {
            let why = match &seat.state {
                State::Attested(receipt) => {
                    report.receipts.push((**receipt).clone());
                    if !seat.left {
                        report.slots.insert(seat.member.slot);
                    }
                    continue;
                }
                State::GivenUp(why) => why.clone(),
                _ => "no holder that answers knows what the object is".to_owned(),
            };
            report.missing.push((seat.member, why));
        }
        for (member, _) in &report.missing {
            report.slots.remove(&member.slot);
        }
        report
    }
}

impl Condemned {
    /// The order, if these are the bytes of the object's descriptor.
    fn order(&self, descriptor: Vec<u8>) -> Option<ShredOrder> {
        let decoded = Descriptor::decode(&descriptor).ok()?;
        let is_it = decoded.object_id() == self.object && decoded.group == self.group;
        let authorisation = self.authorisation.clone();
        let object = VouchedDescriptor { descriptor, authorisation };
        is_it.then(|| ShredOrder::sign(&self.network, object, &self.object, &self.write_key))
    }
}

impl Seat {
    fn take_receipt(
        &mut self,
        now: Duration,
        condemned: &Condemned,
        answer: Result<Response, AskFailure>,
    ) {
        let Condemned { network, group, object, .. } = condemned;
        let part = PartReference { group: *group, slot: self.member.slot, object: *object };
        match answer {
            Ok(Response::Shredded(receipt))
                if receipt.part == part
                    && receipt.holder == self.member.node
                    && receipt.verify(network) =>
            {
                self.state = State::Attested(Box::new(receipt));
            }
            Ok(Response::Refused(refusal)) if refusal.kind == RefusalKind::Unavailable => {
                self.retry(now, refusal.message, |at| State::Order { at });
            }
            Ok(Response::Refused(refusal)) => self.state = State::GivenUp(refusal.message),
            Ok(_) => self.state = State::GivenUp("its receipt is wrong".to_owned()),
            Err(failure) => self.retry(now, failure.to_string(), |at| State::Order { at }),
        }
    }

    fn retry(&mut self, now: Duration, why: String, again: impl FnOnce(Duration) -> State) {
        self.attempts += 1;
        self.state = match retry_delay(self.attempts) {
            Some(delay) => again(now + delay),
            None => State::GivenUp(why),
        };
    }
}
