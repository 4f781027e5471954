//! The newest value of something, and waiting for the next one.
//!
//! As `tokio::sync::watch`, but those who wait are woken in the order in which they began to; tokio
//! draws their order from randomness that cannot be seeded, and a simulated network would not do
//! the same again. And values are given away as copies: whoever looks holds up nobody, and may look
//! twice. (With guards of a lock for readers, a second look while a new value waits is a deadlock.)

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Shows a value; those who wait are told when it is gone.
pub struct Sender<T>(Arc<Shared<T>>);

/// Sees the newest value.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

/// The sender is gone.
#[derive(Debug)]
pub struct Closed;

struct Shared<T> {
    newest: Mutex<Newest<T>>,
    changed: Notify,
}

struct Newest<T> {
    value: T,
    /// Grows with every change.
    version: u64,
    closed: bool,
}

impl<T: Clone> Sender<T> {
    /// Shows a first value.
    pub fn new(value: T) -> Self {
        let newest = Mutex::new(Newest { value, version: 0, closed: false });
        Self(Arc::new(Shared { newest, changed: Notify::new() }))
    }

    /// For whom the present value is no news.
    pub fn subscribe(&self) -> Receiver<T> {
        Receiver { seen: self.0.lock().version, shared: Arc::clone(&self.0) }
    }

    /// The newest value.
    pub fn newest(&self) -> T {
        self.0.lock().value.clone()
    }

    /// Shows another value and tells those who wait.
    pub fn send(&self, value: T) {
        self.send_if_modified(|kept| {
            *kept = value;
            true
        });
    }

    /// Changes the value in place; tells nobody unless `change` says that there is something new.
    pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) {
        {
            let mut newest = self.0.lock();
            if !change(&mut newest.value) {
                return;
            }
            newest.version += 1;
        }
        self.0.changed.notify_waiters();
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_waiters();
    }
}

impl<T: Clone> Receiver<T> {
    /// The newest value, which stays news if it is.
    pub fn newest(&self) -> T {
        self.shared.lock().value.clone()
    }

    /// The newest value, which is no news any more.
    pub fn take_newest(&mut self) -> T {
        let newest = self.shared.lock();
        self.seen = newest.version;
        newest.value.clone()
    }

    /// Waits for news.
    pub async fn changed(&mut self) -> Result<(), Closed> {
        let Self { shared, seen } = self;
        loop {
            // Told of all that comes from here on.
            let changed = shared.changed.notified();
            {
                let newest = shared.lock();
                if newest.version != *seen {
                    *seen = newest.version;
                    return Ok(());
                }
                if newest.closed {
                    return Err(Closed);
                }
            }
            changed.await;
        }
    }

    /// Waits for a value that is as wanted; the present one may be.
    pub async fn wait_for(&mut self, is_wanted: impl Fn(&T) -> bool) -> Result<T, Closed> {
        let Self { shared, seen } = self;
        loop {
            let changed = shared.changed.notified();
            {
                let newest = shared.lock();
                *seen = newest.version;
                if is_wanted(&newest.value) {
                    return Ok(newest.value.clone());
                }
                if newest.closed {
                    return Err(Closed);
                }
            }
            changed.await;
        }
    }

    /// Whether a value may still come.
    pub fn is_open(&self) -> bool {
        !self.shared.lock().closed
    }

    /// Whether the values are those of `sender`.
    pub fn is_of(&self, sender: &Sender<T>) -> bool {
        Arc::ptr_eq(&self.shared, &sender.0)
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, Newest<T>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_their_order() {
        let sender = Sender::new(0);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..20 {
            let (mut receiver, woken) = (sender.subscribe(), Arc::clone(&woken));
            tasks.spawn(async move {
                receiver.changed().await.unwrap();
                woken.lock().unwrap().push(number);
            });
        }
        tokio::task::yield_now().await;
        sender.send(1);
        tasks.join_all().await;
        assert!(woken.lock().unwrap().iter().copied().eq(0..20));
    }

    #[tokio::test]
    async fn news_before_waiting_is_news_and_the_end_is_told() {
        let sender = Sender::new(1);
        let mut receiver = sender.subscribe();
        sender.send(2);
        sender.send_if_modified(|_| false);
        receiver.changed().await.unwrap();
        assert_eq!(receiver.take_newest(), 2);
        assert_eq!(receiver.wait_for(|value| *value == 2).await.unwrap(), 2);
        assert!(receiver.is_open() && receiver.is_of(&sender));
        let waiting = tokio::spawn(async move { receiver.changed().await.is_err() });
        tokio::task::yield_now().await;
        drop(sender);
        assert!(waiting.await.unwrap());
    }
}
