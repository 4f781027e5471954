//! A client that puts objects.

use kakera_engine::code::Code;
use kakera_engine::keyshare::{KeyParameters, ProvenPart, SECRET_LEN, read_robust};
use kakera_engine::ledger::Group;
use kakera_engine::names::{Epoch, GroupId, ObjectId};
use kakera_engine::object::{ObjectBuilder, Placement, SealedObject};
use kakera_engine::peer::{Answer, AskFailure, PutObject};
use kakera_engine::seal::Suite;
use kakera_engine::wire::Authorisation;
use rand_core::Rng;

use super::ledger::members;
use super::node::Seat;
use super::world::{Asker, Change, Event, Truth, World};
use super::{Fault, Misfit};

/// A put under way.
pub(super) struct Put {
    object: ObjectId,
    machine: PutObject,
}

impl<E> World<E> {
    /// Begins to put an object of a record of so many random bytes.
    pub(super) fn put(&mut self, code: &Code, group: GroupId, record_len: usize) {
        let Some(seats) = self.ledger.state().group(group).cloned() else { return };
        let sealed = self.seal(code, group, seats.epoch, record_len);
        self.give(sealed, &seats, false);
    }

    /// Begins to put an object of which one slot's part does not fit the others.
    pub(super) fn put_ill_formed(&mut self, code: &Code, (group, slot): Seat, record_len: usize) {
        let Some(seats) = self.ledger.state().group(group).cloned() else { return };
        let mut sealed = self.seal(code, group, seats.epoch, record_len);
        let other = self.seal(code, group, seats.epoch, record_len);
        let misfit = [Misfit::Fragment, Misfit::Share][self.below(2) as usize];
        misfit.put_into(&mut sealed, &other, slot);
        self.count(Fault::IllFormed);
        self.give(sealed, &seats, true);
    }

    fn give(&mut self, sealed: SealedObject, seats: &Group, ill_formed: bool) {
        let network = self.ledger.network();
        let authorisation = Authorisation::sign(&network, &sealed.object_id, &self.submitter);
        let object = sealed.object_id;
        let truth = Truth {
            group: sealed.descriptor.group,
            secret: secret(&sealed, self.network.key),
            fragments: sealed.fragments.clone(),
            shares: sealed.shares.clone(),
            acknowledged: false,
            ill_formed,
        };
        self.truths.insert(object, truth);
        let machine = PutObject::new(network, sealed, authorisation, &members(seats));
        let put = self.puts_begun;
        self.puts_begun += 1;
        self.puts.insert(put, Put { object, machine });
        self.poll_put(put);
    }

    fn seal(
        &mut self,
        code: &Code,
        group: GroupId,
        epoch: Epoch,
        record_len: usize,
    ) -> SealedObject {
        let mut bytes = vec![0; record_len];
        self.rng.fill_bytes(&mut bytes);
        let mut builder = ObjectBuilder::new(Suite::Aes256Gcm, &mut self.rng);
        builder.push(&self.root.catalogue(), 1, &bytes).expect("an object that is not full");
        let placement = Placement { group, epoch, code, key: self.network.key };
        builder.finish(&placement, &self.root, &mut self.rng).expect("a code that exists")
    }

    pub(super) fn poll_put(&mut self, number: u64) {
        let Some(mut put) = self.puts.remove(&number) else { return };
        while let Some(ask) = put.machine.poll_ask(self.now) {
            self.ask(Asker::Put(number), ask);
        }
        let durable = put.machine.is_durable();
        if let Some(truth) = self.truths.get_mut(&put.object) {
            truth.acknowledged |= durable;
        }
        if put.machine.is_finished() {
            let report = put.machine.report();
            if report.stored < report.slots {
                self.count(Fault::MissedPut);
            }
            self.changes.push(Change::Put);
            return;
        }
        if let Some(at) = put.machine.poll_timeout() {
            self.at(at.max(self.now), Event::PollPut(number));
        }
        self.puts.insert(number, put);
    }

    pub(super) fn put_answered(
        &mut self,
        number: u64,
        id: u64,
        answer: Result<Answer, AskFailure>,
    ) {
        if let Some(put) = self.puts.get_mut(&number) {
            put.machine.handle_answer(self.now, id, answer);
            self.poll_put(number);
        }
    }
}

/// What the shares of an object give together.
fn secret(sealed: &SealedObject, key: KeyParameters) -> [u8; SECRET_LEN] {
    let binding = sealed.descriptor.binding();
    let proven = sealed.shares.iter().take(key.k().into());
    let parts: Vec<ProvenPart> = proven.map(|share| share.prove_part(&binding)).collect();
    let said: Vec<_> = parts.iter().map(|part| (part.slot(), part.part())).collect();
    read_robust(key, &said).map_or([0; SECRET_LEN], |(secret, _)| *secret.expose())
}
