//! The machine, who waits for what becomes of it, and what readers are shown of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kakera_engine::ledger::Entry;
use kakera_engine::peer::{Clock, Place, SubmitError, Validator};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::chain_view::ChainView;
use crate::clock::unix_milliseconds;
use crate::watch;

/// What a submitter gets.
pub(super) type Outcome = Result<Place, SubmitError>;

/// A short lock around the machine. Whatever happens to it happens here.
pub(super) struct Desk {
    inside: Mutex<Inside>,
    /// There may be something to write or to say.
    work: Notify,
    /// The final chain.
    view: watch::Sender<Arc<ChainView>>,
    start: Instant,
}

struct Inside {
    machine: Validator,
    next_ticket: u64,
    submitters: BTreeMap<u64, oneshot::Sender<Outcome>>,
}

impl Desk {
    /// `view` shows the machine's chain.
    pub(super) fn new(machine: Validator, view: ChainView) -> Self {
        let inside = Inside { machine, next_ticket: 0, submitters: BTreeMap::new() };
        Self {
            inside: Mutex::new(inside),
            work: Notify::new(),
            view: watch::Sender::new(Arc::new(view)),
            start: Instant::now(),
        }
    }

    /// The final chain; attested, since this validator is who attests it.
    pub(super) fn view(&self) -> Arc<ChainView> {
        self.view.newest()
    }

    /// The final chain, whenever there is a new one.
    pub(super) fn views(&self) -> watch::Receiver<Arc<ChainView>> {
        self.view.subscribe()
    }

    /// Now, as the machine tells time.
    pub(super) fn clock(&self) -> Clock {
        Clock { elapsed: self.start.elapsed(), unix_millis: unix_milliseconds() }
    }

    /// How long until a moment of the machine's time.
    pub(super) fn until(&self, moment: Duration) -> Duration {
        moment.saturating_sub(self.start.elapsed())
    }

    /// Wakes the writer.
    pub(super) fn notify_writer(&self) {
        self.work.notify_one();
    }

    /// Waits until the writer is woken.
    pub(super) async fn writer_notified(&self) {
        self.work.notified().await;
    }

    /// Lets the machine act and tells everyone what came of it.
    pub(super) fn act<T>(&self, act: impl FnOnce(&mut Validator) -> T) -> T {
        let mut inside = self.lock();
        let result = act(&mut inside.machine);
        let head = inside.machine.chain().head().header.height;
        self.view.send_if_modified(|view| {
            let moved = view.height() != head;
            if moved {
                *view = Arc::new(view.at(inside.machine.chain()));
            }
            moved
        });
        while let Some((ticket, outcome)) = inside.machine.poll_outcome() {
            if let Some(submitter) = inside.submitters.remove(&ticket) {
                // Fails if the submitter no longer waits.
                let _ = submitter.send(outcome);
            }
        }
        result
    }

    /// Takes an entry; what becomes of it is sent.
    pub(super) fn submit(&self, entry: Entry, outcome: oneshot::Sender<Outcome>) {
        let ticket = {
            let mut inside = self.lock();
            inside.next_ticket += 1;
            let ticket = inside.next_ticket;
            inside.submitters.insert(ticket, outcome);
            ticket
        };
        self.act(|machine| machine.handle_submit(ticket, entry));
        self.notify_writer();
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
