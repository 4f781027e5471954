//! What a holder has to destroy that it was not told of: the orders that the others of its group keep.
//!
//! An order proves itself, so that one honest holder that was there is enough for whoever was away,
//! is new to the group, or restored its disk from a copy. It is run before every comparison of a
//! slot, with the same helpers, so that no repair brings back what was destroyed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;

use super::{Answer, Ask, AskFailure, Member};
use crate::names::{GroupId, NetworkId, ObjectId, Slot};
use crate::object::Descriptor;
use crate::policy::require_not_retained;
use crate::wire::{
    BODY_LEN_MAX, InventorySummary, ORDERS_LIMIT_MAX, Operation, Orders, OrdersPage, Response,
    ShredOrder, canonical,
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Pages that one helper may send.
const PAGES_MAX: u32 = 4096;

/// The orders of a group, from all helpers.
pub struct GatherOrders {
    network: NetworkId,
    group: GroupId,
    slot: Slot,
    /// Unix milliseconds.
    now: u64,
    own: InventorySummary,
    known: BTreeSet<ObjectId>,
    helpers: BTreeMap<Slot, Helper>,
    found: Vec<(ObjectId, ShredOrder)>,
}

struct Helper {
    member: Member,
    after: Option<ObjectId>,
    pages: u32,
    state: State,
}

#[derive(PartialEq, Eq)]
enum State {
    Due,
    Asked,
    Ended,
}

impl GatherOrders {
    /// For the holder of `slot`, which knows the destruction of the objects `known`; `now` in Unix
    /// milliseconds.
    pub fn new(
        network: NetworkId,
        group: GroupId,
        slot: Slot,
        members: &[Member],
        known: BTreeSet<ObjectId>,
        now: u64,
    ) -> Self {
        let helper = |member: &Member| {
            let helper = Helper { member: *member, after: None, pages: 0, state: State::Due };
            (member.slot, helper)
        };
        let others = members.iter().filter(|member| member.slot != slot);
        let own = InventorySummary::of(&known);
        let helpers = others.map(helper).collect();
        Self { network, group, slot, now, own, known, helpers, found: Vec::new() }
    }

    /// From one helper only, as in [`RepairSlot::level_with`](super::RepairSlot::level_with).
    pub fn level_with(mut self, helper: Slot) -> Self {
        self.helpers.retain(|slot, _| *slot == helper);
        self
    }

    /// The next question: a page of every helper at once.
    pub fn poll_ask(&mut self) -> Option<Ask> {
        let due = self.helpers.values_mut().find(|helper| helper.state == State::Due)?;
        due.state = State::Asked;
        let orders =
            Orders { group: self.group, slot: self.slot, known: self.own, after: due.after };
        Some(Ask {
            id: u64::from(due.member.slot.point()),
            to: due.member,
            operation: Operation::Orders(orders),
            body: Bytes::new(),
            timeout: TIMEOUT,
        })
    }

    /// Takes the answer to a question. A helper that answers something else has nothing to say.
    pub fn handle_answer(&mut self, id: u64, answer: Result<Answer, AskFailure>) {
        let slot = u8::try_from(id).ok().and_then(Slot::new);
        let Some(helper) = slot.and_then(|slot| self.helpers.get_mut(&slot)) else { return };
        helper.state = State::Ended;
        let Ok(Answer { response: Response::Orders, body }) = answer else { return };
        let Ok(page) = canonical::decode::<OrdersPage>(&body, BODY_LEN_MAX) else { return };
        if page.orders.len() > ORDERS_LIMIT_MAX {
            return;
        }
        helper.pages += 1;
        if page.more_after.is_some() && page.more_after > helper.after && helper.pages < PAGES_MAX {
            (helper.after, helper.state) = (page.more_after, State::Due);
        }
        for order in page.orders {
            if let Some(object) = self.applies(&order)
                && self.known.insert(object)
            {
                self.found.push((object, order));
            }
        }
    }

    /// An order to follow now: make it durable, then erase every part of its object.
    pub fn poll_order(&mut self) -> Option<(ObjectId, ShredOrder)> {
        self.found.pop()
    }

    /// Whether nobody is waited for any more and all orders were taken.
    pub fn is_finished(&self) -> bool {
        self.found.is_empty() && self.helpers.values().all(|helper| helper.state == State::Ended)
    }

    /// The object of an order of this group whose time has come.
    fn applies(&self, order: &ShredOrder) -> Option<ObjectId> {
        // What is known is not verified again.
        let descriptor = Descriptor::decode(&order.object.descriptor).ok()?;
        if descriptor.group != self.group || self.known.contains(&descriptor.object_id()) {
            return None;
        }
        let (object, descriptor) = order.verify(&self.network)?;
        require_not_retained(&descriptor, self.now).ok()?;
        Some(object)
    }
}
