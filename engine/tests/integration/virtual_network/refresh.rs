//! Refreshes on the virtual network: a lead, the seats of all holders, and the ledger between them.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::{Body, RULES_VERSION_MAX, SlotFilled, Upgrade, WrongSymbol};
use kakera_engine::names::NodeId;
use kakera_engine::peer::refresh::{Lead, LeadError, Turn, Turns};
use kakera_engine::peer::{Answer, Ask, Step};
use kakera_engine::policy::refresh::RefreshTimes;
use kakera_engine::signature::node_id;
use kakera_engine::wire::{Operation, RefreshPlace, RefreshStage, Refusal, Response, canonical};
use rand_chacha::rand_core::Rng;

use super::{FIRST_MACHINE, GROUP, VirtualNetwork, key, slot};
use kakera_engine::peer::refresh::Shares;

/// Minutes where a network in use has months.
pub(crate) const TIMES: RefreshTimes = RefreshTimes {
    epoch: Duration::from_secs(3600),
    round: Duration::from_secs(30),
    pause: Duration::from_secs(60),
};

impl VirtualNetwork {
    /// Has the ledger follow the newest rules.
    pub(crate) fn upgrade(&mut self) {
        self.upgrade_to(RULES_VERSION_MAX);
    }

    pub(crate) fn upgrade_to(&mut self, version: u32) {
        let upgrade = Body::Upgrade(Upgrade { version });
        self.ledger.seal_body(crate::ledger_network::VALIDATOR, upgrade);
        self.after_block();
    }

    /// Has a machine's proof put on the ledger; whether it was taken.
    pub(crate) fn show(&mut self, proof: &WrongSymbol) -> bool {
        let taken =
            self.ledger.take(crate::ledger_network::VALIDATOR, Body::WrongSymbol(proof.clone()));
        self.after_block();
        taken
    }

    /// Lets whoever's turn it is begin, until a refresh ended or so much time is over; what the
    /// attempts came to, the last one last.
    pub(crate) fn refresh(&mut self, patience: Duration) -> Vec<Result<u32, LeadError>> {
        let (until, mut outcomes) = (self.now + patience, Vec::new());
        let ids: Vec<NodeId> = self.members().iter().map(|member| member.node).collect();
        let mut turns: BTreeMap<NodeId, Turns> =
            ids.iter().map(|id| (*id, Turns::new(*id, TIMES))).collect();
        while self.now < until {
            let unix = self.unix();
            self.view.attested_at = unix;
            for (id, turns) in &mut turns {
                if !self.nodes[id].up {
                    continue;
                }
                for turn in turns.handle_state(self.now, unix, &self.view.state) {
                    let outcome = self.lead(*id, turn);
                    let done = outcome.is_ok();
                    outcomes.push(outcome);
                    if done {
                        return outcomes;
                    }
                }
            }
            self.now += Duration::from_secs(1);
        }
        outcomes
    }

    /// Leads one attempt to its end.
    pub(crate) fn lead(&mut self, own: NodeId, turn: Turn) -> Result<u32, LeadError> {
        let asker = self.nodes[&own].key.clone();
        let mut lead = Lead::new(self.id(), turn, TIMES, self.now);
        let (mut flight, mut questions) = (BTreeMap::new(), 0);
        loop {
            self.view.attested_at = self.unix();
            let group = self.view.state.group(GROUP).unwrap();
            lead.handle_state(self.now, group);
            if let Some(entry) = lead.poll_entry() {
                let heard = self.tell(own, entry);
                lead.handle_told(heard);
                continue;
            }
            if let Some(outcome) = lead.poll_outcome() {
                return outcome;
            }
            while let Some(ask) = lead.poll_ask(self.now) {
                questions += 1;
                let id = ask.id;
                let (delay, answer) = self.send(&asker, None, ask);
                flight.insert((self.now + delay, questions), (id, answer));
            }
            let due = flight.keys().next().map(|(at, _)| *at);
            let next = due.into_iter().chain([lead.poll_timeout()]).min().unwrap();
            self.now = next.max(self.now);
            if due == Some(next)
                && let Some((_, (id, answer))) = flight.pop_first()
            {
                self.trace(&answer);
                lead.handle_answer(self.now, id, answer);
            }
        }
    }

    /// What a storage node's driver does for a refresh, or where a part is missing.
    pub(super) fn serve_refresh(&mut self, receiver: NodeId, step: Step) -> Answer {
        let outcome = match step {
            Step::Misfit(part) => {
                return self.nodes.get_mut(&receiver).unwrap().ill_formed.answer(&part);
            }
            Step::ListShares(group, slot) => {
                let list = self.nodes[&receiver].disk.list(group, slot);
                let body = canonical::encode(&list).into();
                return Answer { response: Response::Shares, body };
            }
            Step::Deal(place, dealer, rows) => {
                let node = self.nodes.get_mut(&receiver).unwrap();
                let taken = node.seats.handle_rows(&place, dealer, &rows);
                taken.map(|()| Answer::bare(Response::RowsTaken))
            }
            Step::Refresh(step, body) => {
                if step.stage == RefreshStage::Deal {
                    self.deal(receiver, step.place);
                }
                let node = self.nodes.get_mut(&receiver).unwrap();
                let (state, rng) = (&self.view.state, &mut self.rng);
                let reply = node.seats.handle_step(state, &step, &body, &node.disk, rng);
                reply.map(|body| Answer { response: Response::Refreshed, body })
            }
            _ => panic!("not asked for in these tests"),
        };
        outcome.unwrap_or_else(|refusal: Refusal| Answer::bare(Response::Refused(refusal)))
    }

    /// Sends a dealer's rows, each of which may be lost, and again if so.
    fn deal(&mut self, dealer: NodeId, place: RefreshPlace) {
        let key = self.nodes[&dealer].key.clone();
        let spoils = self.nodes[&dealer].lie == Some(super::Lie::Rows);
        for (to, rows) in self.nodes[&dealer].seats.rows(&place) {
            let mut rows = rows.to_vec();
            if spoils {
                self.count("lie");
                let end = rows.len() - 1;
                rows[end] ^= 1;
            }
            let operation = Operation::Deal {
                place: RefreshPlace { slot: to.slot, ..place },
                dealer: place.slot,
            };
            for _ in 0..3 {
                if self.rng.next_u64() % 100 < self.plan.loss_percent {
                    self.count("loss");
                    continue;
                }
                let timeout = Duration::from_secs(10);
                let (id, body) = (0, Bytes::from(rows.clone()));
                let ask = Ask { id, to, operation, body, timeout };
                let _ = self.send_now(&key, ask);
                break;
            }
        }
    }

    /// Takes the holders of these slots up; they see the newest block.
    pub(crate) fn up(&mut self, points: impl IntoIterator<Item = u8>) {
        points.into_iter().for_each(|point| self.at(point).up = true);
        self.settle();
    }

    /// A holder says that its slot is whole.
    pub(crate) fn tell_filled(&mut self, point: u8) {
        let holder = self.view.state.group(GROUP).unwrap().holders[slot(point).index()];
        let filled = SlotFilled { group: GROUP, slot: slot(point), since: holder.since };
        assert!(self.tell(holder.node, Body::SlotFilled(filled)));
    }

    /// Whether the ledger took an entry.
    fn tell(&mut self, author: NodeId, body: Body) -> bool {
        let number = (FIRST_MACHINE..).find(|number| node_id(&key(*number)) == author).unwrap();
        let taken = self.ledger.take(number, body);
        self.after_block();
        taken
    }

    /// Blocks without entries are made while something waits for one; then all that are up see it.
    pub(super) fn after_block(&mut self) {
        while self.ledger.chain.state().has_pending() {
            self.ledger.seal(Vec::new());
        }
        self.view.state = self.ledger.chain.state().clone();
        self.view.attested_at = self.unix();
        self.settle();
    }

    /// Machines that are up act on the ledger; others when they are back.
    pub(crate) fn settle(&mut self) {
        for node in self.nodes.values_mut().filter(|node| node.up && !node.asleep) {
            node.disk.settle(&self.view.state);
        }
    }

    /// The slot of whoever leads the first attempt at an epoch.
    pub(crate) fn first_lead(&self, epoch: u64) -> u8 {
        let epoch = kakera_engine::names::Epoch(epoch);
        kakera_engine::policy::refresh::leader(epoch, 0, self.plan.code.n).unwrap().point()
    }

    /// Whether a holder still has in memory what it needed for the first attempt at an epoch.
    pub(crate) fn remembers_refresh(&mut self, point: u8, epoch: u64) -> bool {
        self.at(point).seats.get(&first_attempt(point, epoch)).is_some()
    }

    /// Shows a holder's refreshes the newest state.
    pub(crate) fn show_state(&mut self, point: u8) {
        let state = self.view.state.clone();
        self.at(point).seats.handle_state(&state);
    }

    /// The dealers that a holder found to have dealt wrong, in the attempt that led to the epoch.
    pub(crate) fn excluded_dealers(&mut self, point: u8, epoch: u64) -> Vec<u8> {
        let seat = self.at(point).seats.get(&first_attempt(point, epoch)).unwrap();
        seat.faults().0.keys().map(|dealer| dealer.point()).collect()
    }

    pub(crate) fn part_of(&self, point: u8, object: super::ObjectId) -> super::PartReference {
        super::PartReference { group: GROUP, slot: slot(point), object }
    }
}

/// A holder's part in the first attempt at an epoch.
fn first_attempt(point: u8, epoch: u64) -> RefreshPlace {
    let epoch = kakera_engine::names::Epoch(epoch);
    RefreshPlace { group: GROUP, epoch, attempt: 0, slot: slot(point) }
}
