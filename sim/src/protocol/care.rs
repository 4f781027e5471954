//! What nodes do for their slots, and the questions and answers between them.

use std::time::Duration;

use kakera_engine::ledger::{Body, WrongSymbol};
use kakera_engine::names::NodeId;
use kakera_engine::peer::{Answer, Ask, AskFailure, AuditAction, CustodyAction};
use kakera_engine::signature::node_id;
use kakera_engine::wire::{PartReference, RepairProgress, Response};
use rand_core::Rng;

use super::ledger::View;
use super::node::{Reply, Seat, Wish, unix};
use super::world::{Arrival, Asker, BLOCK_TIME, Change, Event, World};
use super::{Fault, Kept, Lie};

/// A lost question or answer is asked again no sooner.
const UNREACHABLE_DELAYS: u32 = 20;

impl<E> World<E> {
    pub(super) fn poll_node(&mut self, node: usize) {
        if !self.nodes[node].is_up(self.now) {
            return; // one that sleeps is polled when it wakes
        }
        self.hear_of_ledger(node);
        while let Some(action) = self.nodes[node].custody.poll_action(self.now) {
            match action {
                CustodyAction::Repair(group, slot, helper) => {
                    let network = self.ledger.network();
                    self.nodes[node].begin_repair(network, (group, slot), helper);
                    self.go_on(node, (group, slot));
                }
                CustodyAction::Tell(filled) => {
                    if self.is_near(node) {
                        let key = self.nodes[node].key.clone();
                        self.ledger.post(&key, Body::SlotFilled(filled));
                        self.want_block();
                    }
                    self.at(self.now + BLOCK_TIME * 2, Event::Told { node, filled });
                }
            }
        }
        self.audit(node);
        if let Some(wake) = self.nodes[node].next_wake() {
            self.wake_node(node, wake.max(self.now + Duration::from_millis(1)));
        }
    }

    /// A node that is not cut off follows the chain.
    pub(super) fn hear_of_ledger(&mut self, node: usize) {
        if !self.is_near(node) {
            return;
        }
        let height = self.ledger.height();
        if self.nodes[node].has_seen(height) {
            self.nodes[node].attest(self.now);
        } else if self.ledger.state().is_enrolled(&self.nodes[node].id) {
            let view = View::of(&self.ledger, unix(self.now));
            self.nodes[node].see(self.now, height, self.ledger.beacon(), view);
        }
    }

    fn audit(&mut self, node: usize) {
        while let Some(action) = self.nodes[node].auditor.poll_action(self.now) {
            match action {
                AuditAction::Load { group, slot, after } => {
                    let mut nonce = [0; 32];
                    self.rng.fill_bytes(&mut nonce);
                    let node = &mut self.nodes[node];
                    let loaded = node.disk.next_of_slot(group, slot, after);
                    node.auditor.handle_loaded(loaded, nonce);
                }
                AuditAction::Ask(ask) => self.ask(Asker::Audit(node), ask),
            }
        }
    }

    fn go_on(&mut self, node: usize, seat: Seat) {
        let (truths, mut wrong) = (&self.truths, None);
        let check = |part: &PartReference, kept: &Kept| {
            // A refreshed share is not what was dealt at first: it is looked at with others.
            let right = truths.get(&part.object).is_some_and(|truth| {
                truth.fragments[part.slot.index()][..] == kept.fragment[..]
                    && (kept.renewed.is_some() || truth.shares[part.slot.index()] == kept.share)
            });
            if !right {
                wrong = Some(format!("slot {} of {} was rebuilt wrongly", part.slot, part.object));
            }
        };
        let wishes = self.nodes[node].poll_repair(self.now, seat, check);
        if let Some(wrong) = wrong {
            self.broken(&wrong);
        }
        for wish in wishes {
            match wish {
                Wish::Ask(ask) => self.ask(Asker::Repair { node, seat }, ask),
                Wish::Look(part) => self.check_rebuilt(node, &part),
                Wish::Done { whole, progress, evidence } => {
                    self.show(node, evidence);
                    self.end_repair(node, seat, whole, progress);
                }
            }
        }
    }

    /// Puts proofs on the ledger.
    fn show(&mut self, node: usize, evidence: Vec<WrongSymbol>) {
        for proof in evidence {
            if self.is_near(node) {
                let key = self.nodes[node].key.clone();
                self.ledger.post(&key, Body::WrongSymbol(proof));
                self.want_block();
            }
        }
    }

    fn end_repair(&mut self, node: usize, seat: Seat, whole: bool, progress: RepairProgress) {
        self.changes.push(Change::Repaired { node, seat, whole, progress });
        self.nodes[node].custody.handle_repaired(self.now, seat.0, seat.1, whole);
        self.wake_node(node, self.now);
    }

    pub(super) fn ask(&mut self, asker: Asker, ask: Ask) {
        let (id, timeout) = (ask.id, ask.timeout);
        let helper = self.place(&ask.to.node);
        let reached = helper.filter(|helper| match asker.node() {
            Some(node) => self.reach(node, *helper),
            None => self.is_near(*helper) && self.nodes[*helper].is_up(self.now),
        });
        let (at, reply) = match reached {
            None => (self.now + self.delay() * UNREACHABLE_DELAYS, Err(AskFailure::Unreachable)),
            // What a node asks itself does not get lost.
            Some(helper) if asker.node() != Some(helper) && self.loses() => {
                self.count(Fault::Loss);
                (self.now + timeout, Err(AskFailure::TimedOut))
            }
            Some(helper) => {
                let reply = self.serve(helper, self.name(asker), ask);
                let length = reply.as_ref().map_or(0, |(header, body)| header.len() + body.len());
                let at = self.now + self.delay() * 2;
                match asker.node().map_or(at, |node| self.transfer(node, at, length)) {
                    late if late > self.now + timeout => {
                        (self.now + timeout, Err(AskFailure::TimedOut))
                    }
                    at => (at, reply),
                }
            }
        };
        self.at(at, Event::Answer(Box::new(Arrival { asker, id, reply })));
    }

    pub(super) fn serve(&mut self, helper: usize, author: NodeId, ask: Ask) -> Reply {
        self.hear_of_ledger(helper);
        self.deal(helper, &ask.operation);
        let network = self.ledger.network();
        let node = &mut self.nodes[helper];
        let (reply, lied) = node.serve(network, author, ask, self.now, &mut self.rng);
        match (lied, self.nodes[helper].lie) {
            (true, Some(Lie::OldShare)) => self.count(Fault::OldShare),
            (true, _) => self.count(Fault::Lie),
            (false, _) => {}
        }
        reply
    }

    fn name(&self, asker: Asker) -> NodeId {
        asker.node().map_or_else(|| node_id(&self.submitter), |node| self.nodes[node].id)
    }

    /// When so many bytes that begin to come at `at` are there.
    fn transfer(&mut self, node: usize, at: Duration, length: usize) -> Duration {
        let Some(rate) = self.network.bytes_per_second else { return at };
        let begin = at.max(self.nodes[node].busy_until);
        let end = begin + Duration::from_nanos((length as f64 / rate * 1e9) as u64);
        self.nodes[node].busy_until = end;
        end
    }

    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let Arrival { asker, id, mut reply } = arrival;
        if let Some(node) = asker.node() {
            if self.nodes[node].dead {
                return;
            }
            if !self.nodes[node].is_up(self.now) {
                // It came too late for one that slept.
                let at = self.nodes[node].asleep_until;
                reply = Err(AskFailure::TimedOut);
                return self.at(at, Event::Answer(Box::new(Arrival { asker, id, reply })));
            }
        }
        let answer = self.open(reply);
        match asker {
            Asker::Repair { node, seat } => {
                self.nodes[node].hear(self.now, seat, id, answer);
                self.go_on(node, seat);
            }
            Asker::Audit(node) => {
                self.nodes[node].auditor.handle_answer(id, answer);
                let evidence = self.nodes[node].auditor.take_evidence();
                self.show(node, evidence);
                if let Some(wake) = self.nodes[node].next_wake() {
                    self.wake_node(node, wake.max(self.now + Duration::from_millis(1)));
                }
            }
            Asker::Lead { number, .. } => self.lead_hears(number, id, answer),
            Asker::Put(put) => self.put_answered(put, id, answer),
        }
    }

    /// Decodes what came, which enters the trace.
    fn open(&mut self, reply: Reply) -> Result<Answer, AskFailure> {
        let (header, body) = reply?;
        self.mark(&header);
        self.mark(&body);
        let response = Response::from_header(&header)
            .map_err(|error| AskFailure::Misbehaved(error.to_string()))?;
        Ok(Answer { response, body })
    }
}

impl Asker {
    /// The node, unless a client asked.
    fn node(self) -> Option<usize> {
        match self {
            Self::Repair { node, .. } | Self::Audit(node) | Self::Lead { node, .. } => Some(node),
            Self::Put(_) => None,
        }
    }
}
