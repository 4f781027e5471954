//! A connection between two machines, on which both may ask.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kakera_engine::names::NodeId;
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::{Exporter, RequestError, exporter};

/// An open connection, its exporter, and what is asked on it. Clones share it.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) peer: NodeId,
    pub(super) connection: Connection,
    pub(super) exporter: Exporter,
    pub(super) opened_here: bool,
    /// Streams that this side may still open: the receive window has room for so many, however many
    /// the peer allows.
    turns: Arc<Semaphore>,
    uses: Arc<Mutex<Uses>>,
}

struct Uses {
    /// Requests of both sides.
    under_way: usize,
    /// When the last one began or ended.
    last: Instant,
    /// Whether the peer lets this side open streams; `None` until that was tried.
    may_ask: Option<bool>,
}

/// A request under way.
pub(super) struct Use(Arc<Mutex<Uses>>);

/// A fresh stream to a peer.
pub(super) struct Line {
    pub(super) connection: Connection,
    pub(super) exporter: Exporter,
    pub(super) send: SendStream,
    pub(super) receive: RecvStream,
    /// Held as long as the stream is in use.
    pub(super) turn: (OwnedSemaphorePermit, Use),
}

impl Link {
    /// `streams`: how many this side opens at a time.
    pub(super) fn new(
        peer: NodeId,
        connection: Connection,
        opened_here: bool,
        streams: u32,
    ) -> Result<Self, RequestError> {
        let uses =
            Uses { under_way: 0, last: Instant::now(), may_ask: opened_here.then_some(true) };
        Ok(Self {
            peer,
            exporter: exporter(&connection)?,
            connection,
            opened_here,
            turns: Arc::new(Semaphore::new(streams.max(1) as usize)),
            uses: Arc::new(Mutex::new(uses)),
        })
    }

    /// A fresh stream; `None` if the peer opened the connection and lets nobody ask it, as a client
    /// does.
    pub(super) async fn open(self) -> Result<Option<Line>, RequestError> {
        let using = self.begin();
        let Ok(turn) = self.turns.acquire_owned().await else {
            unreachable!("the turns of a link are never closed")
        };
        let is_known_to_answer = lock(&self.uses).may_ask == Some(true);
        let opening = self.connection.open_bi();
        let (send, receive) = if is_known_to_answer {
            opening.await?
        } else {
            // The first streams are there from the start, or never.
            let opened = timeout(Duration::ZERO, opening).await;
            lock(&self.uses).may_ask = Some(opened.is_ok());
            let Ok(opened) = opened else { return Ok(None) };
            opened?
        };
        let (connection, exporter) = (self.connection, self.exporter);
        Ok(Some(Line { connection, exporter, send, receive, turn: (turn, using) }))
    }

    /// Whether the peer is known to let nobody ask it on this connection.
    pub(super) fn only_asks(&self) -> bool {
        lock(&self.uses).may_ask == Some(false)
    }

    /// A request of either side, from here on.
    pub(super) fn begin(&self) -> Use {
        let mut uses = lock(&self.uses);
        uses.under_way += 1;
        uses.last = Instant::now();
        Use(Arc::clone(&self.uses))
    }

    /// Since when nothing is asked on it; `None` if something is, or it has ended.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let uses = lock(&self.uses);
        let is_idle = uses.under_way == 0 && self.connection.close_reason().is_none();
        is_idle.then_some(uses.last)
    }

    /// Whether it is the same connection.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.connection.stable_id() == other.connection.stable_id()
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut uses = lock(&self.0);
        uses.under_way -= 1;
        uses.last = Instant::now();
    }
}

/// The connections opened here that wait for who answers on them.
#[derive(Default)]
pub(super) struct OpenedHere {
    links: Mutex<Vec<Link>>,
    more: Notify,
}

impl OpenedHere {
    pub(super) fn add(&self, link: Link) {
        let mut links = self.lock();
        // If nobody comes to answer, no more are kept than there are.
        links.retain(|link| link.connection.close_reason().is_none());
        links.push(link);
        self.more.notify_one();
    }

    pub(super) async fn next(&self) -> Link {
        loop {
            let link = self.lock().pop();
            match link {
                Some(link) => return link,
                None => self.more.notified().await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Link>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn lock(uses: &Mutex<Uses>) -> MutexGuard<'_, Uses> {
    uses.lock().unwrap_or_else(PoisonError::into_inner)
}
