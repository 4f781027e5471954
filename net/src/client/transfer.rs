//! Drives the engine's put and get machines over the network.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use kakera_engine::names::{NetworkId, NodeId};
use kakera_engine::object::SealedObject;
use kakera_engine::peer::{
    Condemned, Fault, Gathered, GetError, GetObject, Member, PutError, PutObject, PutReport,
    ShredObject, ShredReport, Wanted,
};
use kakera_engine::policy::reading::LatencyBook;
use kakera_engine::wire::Authorisation;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::warn;

use crate::exchange::{Asking, Exchange};

/// Puts whose last holders have not answered yet; more than this many are not waited for.
const STRAGGLERS_MAX: usize = 4;

/// Moves objects to and from their holders.
pub struct Transfers {
    exchange: Exchange,
    network: NetworkId,
    latencies: Arc<Mutex<LatencyBook>>,
    stragglers: Mutex<VecDeque<JoinHandle<()>>>,
    delivered: Arc<Mutex<Delivered>>,
}

/// What finished puts have reached since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delivered {
    /// Objects of which every slot has its part.
    pub objects_complete: u64,
    /// Bytes of fragments with receipts.
    pub bytes: u64,
}

impl Transfers {
    /// Transfers over `exchange`.
    pub fn new(exchange: Exchange, network: NetworkId) -> Self {
        Self {
            exchange,
            network,
            latencies: Arc::default(),
            stragglers: Mutex::default(),
            delivered: Arc::default(),
        }
    }

    /// What finished puts have reached; those that [`Transfers::settle`] gave up do not count.
    pub fn delivered(&self) -> Delivered {
        *lock(&self.delivered)
    }

    /// Gives an object to the holders of its group and returns when enough have made it durable.
    /// The rest goes on in the background; [`Transfers::settle`] waits for it.
    pub async fn put(
        &self,
        object: SealedObject,
        authorisation: Authorisation,
        members: &[Member],
    ) -> Result<(), PutError> {
        let fragment_len = object.fragments.first().map_or(0, Vec::len) as u64;
        let mut machine = PutObject::new(self.network, object, authorisation, members);
        let mut asking = Asking::new(self.exchange.clone(), None);
        loop {
            drive_put(&mut machine, &mut asking).await;
            if let Some(failure) = machine.failure() {
                return Err(failure);
            }
            if machine.is_durable() {
                break;
            }
        }
        if machine.is_finished() {
            lock(&self.delivered).add(&machine.report(), fragment_len);
        } else {
            self.finish_in_background(machine, asking, fragment_len);
        }
        Ok(())
    }

    /// Waits until every put has been answered by all holders, but no longer than `patience`: what
    /// a holder misses it gets by repair.
    pub async fn settle(&self, patience: Duration) {
        let stragglers = std::mem::take(&mut *lock(&self.stragglers));
        let all = async {
            for task in stragglers {
                // A cancelled straggler was not waited for on purpose.
                drop(task.await);
            }
        };
        // Too slow is no failure: the put is durable.
        let _ = tokio::time::timeout(patience, all).await;
    }

    /// Reads an object or a range of it. `read_key` is the object's capability.
    pub async fn get(
        &self,
        wanted: Wanted,
        read_key: Arc<SigningKey>,
        members: &[Member],
    ) -> Result<Gathered, GetError> {
        let mut members = members.to_vec();
        let hedge_delay = {
            let book = lock(&self.latencies);
            book.order(&mut members, |member| member.node);
            let likely = members.iter().take(usize::from(wanted.code.k)).map(|m| &m.node);
            book.hedge_delay(likely)
        };
        let mut machine = GetObject::new(wanted, members, hedge_delay);
        let mut asking = Asking::new(self.exchange.clone(), Some(read_key));
        let mut asked: Vec<Option<(NodeId, Instant)>> = Vec::new();
        let outcome = loop {
            while let Some(ask) = machine.poll_ask(asking.now()) {
                asked.push(Some((ask.to.node, Instant::now())));
                asking.send(ask);
            }
            if let Some(outcome) = machine.poll_outcome() {
                break outcome;
            }
            if let Some((id, answer)) = asking.next(machine.poll_timeout()).await {
                // The machine numbers its questions from 0 in the order asked.
                if let Some((node, at)) = asked.get_mut(id as usize).and_then(Option::take) {
                    match &answer {
                        Ok(_) => lock(&self.latencies).record(node, at.elapsed()),
                        Err(_) => lock(&self.latencies).record_failure(node),
                    }
                }
                machine.handle_answer(id, answer);
            }
        };
        // Who has not answered yet takes at least this long.
        for (node, at) in asked.into_iter().flatten() {
            lock(&self.latencies).record(node, at.elapsed());
        }
        warn_of(machine.faults());
        outcome
    }

    /// Reads a range of an object from every holder; how many have both parts right, and what was
    /// read. `read_key` is the object's capability.
    pub async fn survey(
        &self,
        wanted: Wanted,
        read_key: Arc<SigningKey>,
        members: &[Member],
    ) -> (usize, Result<Gathered, GetError>) {
        let mut machine = GetObject::survey(wanted, members.to_vec());
        let mut asking = Asking::new(self.exchange.clone(), Some(read_key));
        loop {
            while let Some(ask) = machine.poll_ask(asking.now()) {
                asking.send(ask);
            }
            let sound = machine.sound_slots();
            if let Some(outcome) = machine.poll_outcome() {
                warn_of(machine.faults());
                return (sound, outcome);
            }
            if let Some((id, answer)) = asking.next(machine.poll_timeout()).await {
                machine.handle_answer(id, answer);
            }
        }
    }

    /// Has an object destroyed by its holders and by those who left a slot; who has attested it.
    /// `read_key` is the object's capability.
    pub async fn shred(
        &self,
        condemned: Condemned,
        read_key: Arc<SigningKey>,
        members: &[Member],
        left: &[Member],
    ) -> ShredReport {
        let mut machine = ShredObject::new(condemned, members, left);
        let mut asking = Asking::new(self.exchange.clone(), Some(read_key));
        while !machine.is_finished() {
            while let Some(ask) = machine.poll_ask(asking.now()) {
                asking.send(ask);
            }
            if let Some((id, answer)) = asking.next(machine.poll_timeout()).await {
                machine.handle_answer(asking.now(), id, answer);
            }
        }
        machine.report()
    }

    fn finish_in_background(&self, mut machine: PutObject, mut asking: Asking, fragment_len: u64) {
        let delivered = Arc::clone(&self.delivered);
        let task = tokio::spawn(async move {
            while !machine.is_finished() {
                drive_put(&mut machine, &mut asking).await;
            }
            lock(&delivered).add(&machine.report(), fragment_len);
        });
        let mut stragglers = lock(&self.stragglers);
        stragglers.retain(|task| !task.is_finished());
        stragglers.push_back(task);
        if stragglers.len() > STRAGGLERS_MAX
            && let Some(oldest) = stragglers.pop_front()
        {
            oldest.abort();
        }
    }
}

impl Delivered {
    fn add(&mut self, report: &PutReport, fragment_len: u64) {
        self.objects_complete += u64::from(report.stored == report.slots);
        self.bytes += report.stored as u64 * fragment_len;
    }
}

/// One event: send what is due, then take an answer or let time pass.
async fn drive_put(machine: &mut PutObject, asking: &mut Asking) {
    while let Some(ask) = machine.poll_ask(asking.now()) {
        asking.send(ask);
    }
    if let Some((id, answer)) = asking.next(machine.poll_timeout()).await {
        let faults = machine.faults().len();
        machine.handle_answer(asking.now(), id, answer);
        warn_of(&machine.faults()[faults..]);
    }
}

fn warn_of(faults: &[Fault]) {
    for fault in faults {
        warn!(node = %fault.member.node, slot = %fault.member.slot, what = %fault.kind, "a peer answered wrongly");
    }
}

/// The data behind these locks is valid after every statement, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
