//! Owners that have objects destroyed, and holders that hear of it later.

use std::time::Duration;

use kakera_engine::names::ObjectId;
use kakera_engine::peer::{
    Answer, Ask, AskFailure, Condemned, GatherOrders, Member, ShredObject, ShredReport,
};
use kakera_engine::wire::{
    Authorisation, InventorySummary, Operation, Orders, Shred, ShredOrder, VouchedDescriptor,
};

use super::{GROUP, Machine, VirtualNetwork, Written, slot};

impl VirtualNetwork {
    /// The owner has the object destroyed.
    pub(crate) fn shred(&mut self, written: &Written) -> ShredReport {
        let salt = &written.sealed.descriptor.salt;
        let condemned = Condemned {
            network: self.id(),
            group: GROUP,
            object: written.sealed.object_id,
            key: self.plan.key,
            write_key: self.root.write_key(salt),
            authorisation: written.authorisation.clone(),
        };
        let group = self.view.state.group(GROUP).unwrap();
        let left = group.vacated.iter().map(|left| Member { slot: left.slot, node: left.node });
        let left: Vec<Member> = left.collect();
        let read_key = self.root.read_key(salt);
        let mut machine = ShredObject::new(condemned, &self.members(), &left);
        self.drive(&self.client(), Some(&read_key), &mut machine)
    }

    /// The owner's order.
    pub(crate) fn order(&self, written: &Written) -> ShredOrder {
        let object = VouchedDescriptor {
            descriptor: written.sealed.descriptor.encode(),
            authorisation: Authorisation::sign(
                &self.id(),
                &written.sealed.object_id,
                &self.client(),
            ),
        };
        let write_key = self.root.write_key(&written.sealed.descriptor.salt);
        ShredOrder::sign(&self.id(), object, &written.sealed.object_id, &write_key)
    }

    pub(crate) fn shred_question(&self, written: &Written, point: u8) -> Operation {
        Operation::Shred(Box::new(Shred { slot: slot(point), order: self.order(written) }))
    }

    pub(crate) fn orders_question(&self, point: u8) -> Operation {
        let known = InventorySummary::of(&[]);
        Operation::Orders(Orders { group: GROUP, slot: slot(point), known, after: None })
    }

    /// A holder asks the others what was destroyed, and follows; how many orders were new.
    pub(crate) fn gather(&mut self, point: u8) -> usize {
        let asker = self.at(point).key.clone();
        let known = self.at(point).disk.shredded(GROUP);
        let (network, members, now) = (self.id(), self.members(), self.unix());
        let machine = GatherOrders::new(network, GROUP, slot(point), &members, known, now);
        let mut gathering = Gathering { machine, found: Vec::new() };
        self.drive(&asker, None, &mut gathering);
        let found = gathering.found;
        for (object, order) in &found {
            self.at(point).disk.shred(GROUP, *object, order.clone());
        }
        found.len()
    }
}

impl Machine for ShredObject {
    type Outcome = ShredReport;
    fn poll_ask(&mut self, now: Duration) -> Option<Ask> {
        self.poll_ask(now)
    }
    fn poll_timeout(&self) -> Option<Duration> {
        self.poll_timeout()
    }
    fn handle_answer(&mut self, now: Duration, id: u64, answer: Result<Answer, AskFailure>) {
        self.handle_answer(now, id, answer);
    }
    fn poll_outcome(&mut self) -> Option<ShredReport> {
        self.is_finished().then(|| self.report())
    }
}

struct Gathering {
    machine: GatherOrders,
    found: Vec<(ObjectId, ShredOrder)>,
}

impl Machine for Gathering {
    type Outcome = ();
    fn poll_ask(&mut self, _: Duration) -> Option<Ask> {
        self.machine.poll_ask()
    }
    fn poll_timeout(&self) -> Option<Duration> {
        None
    }
    fn handle_answer(&mut self, _: Duration, id: u64, answer: Result<Answer, AskFailure>) {
        self.machine.handle_answer(id, answer);
        self.found.extend(std::iter::from_fn(|| self.machine.poll_order()));
    }
    fn poll_outcome(&mut self) -> Option<()> {
        self.machine.is_finished().then_some(())
    }
}
