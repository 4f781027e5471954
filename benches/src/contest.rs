//! Several implementations of one operation.

use std::fmt;

use anyhow::{Result, ensure};

/// Ours, and who it is compared with.
pub struct Contest {
    /// `module/operation/parameters`.
    pub name: String,
    /// The side that has to win.
    pub ours: Side,
    /// The others.
    pub peers: Vec<Peer>,
}

/// A side that ours is compared with.
pub struct Peer {
    /// The side.
    pub side: Side,
    /// How many times faster ours should be.
    pub goal: Option<f64>,
    /// Whether ours is hardly faster, whatever it does.
    pub is_limit: bool,
}

/// An operation that can be repeated at will.
pub struct Side {
    /// Who does it.
    pub name: &'static str,
    /// Bytes of user data that one run handles; `None` where only the time of a run matters.
    pub bytes: Option<u64>,
    operation: Box<dyn Operation>,
}

/// The work of a side, with the buffers that it needs.
pub trait Operation {
    /// Does it once.
    fn run(&mut self);

    /// What the last run made, if all sides of the contest have to make the same.
    fn output(&self) -> Option<Vec<&[u8]>> {
        None
    }
}

impl Contest {
    /// A contest without peers yet.
    pub fn new(name: impl Into<String>, ours: Side) -> Self {
        Self { name: name.into(), ours, peers: Vec::new() }
    }

    /// Adds a peer.
    #[must_use]
    pub fn beside(mut self, side: Side) -> Self {
        self.peers.push(Peer { side, goal: None, is_limit: false });
        self
    }

    /// Adds what no code can do without, if this processor can measure it.
    #[must_use]
    pub fn limited_by(mut self, side: Option<Side>) -> Self {
        self.peers.extend(side.map(|side| Peer { side, goal: None, is_limit: true }));
        self
    }

    /// Adds a peer that ours should beat so many times.
    #[must_use]
    pub fn beats(mut self, times: f64, side: Side) -> Self {
        self.peers.push(Peer { side, goal: Some(times), is_limit: false });
        self
    }

    /// Adds a peer if it is there.
    #[must_use]
    pub fn beats_if_any(self, times: f64, side: Option<Side>) -> Self {
        match side {
            Some(side) => self.beats(times, side),
            None => self,
        }
    }

    /// Runs every side once and compares what they made, as far as their formats agree.
    pub fn check(&mut self) -> Result<()> {
        self.ours.run();
        let ours = self.ours.operation.output();
        for Peer { side, .. } in &mut self.peers {
            side.run();
            if let (Some(ours), Some(theirs)) = (&ours, side.operation.output()) {
                ensure!(*ours == theirs, "{}: {} computes something else", self.name, side.name);
            }
        }
        Ok(())
    }
}

impl Side {
    /// A side that handles `bytes` of user data in a run.
    pub fn new(name: &'static str, bytes: u64, operation: impl Operation + 'static) -> Self {
        Self { name, bytes: Some(bytes), operation: Box::new(operation) }
    }

    /// A side of which only the time counts.
    pub fn timed(name: &'static str, operation: impl FnMut() + 'static) -> Self {
        Self { name, bytes: None, operation: Box::new(Unseen(operation)) }
    }

    /// A side that makes bytes of a format of its own.
    pub fn unseen(name: &'static str, bytes: u64, operation: impl FnMut() + 'static) -> Self {
        Self::new(name, bytes, Unseen(operation))
    }

    /// A side that returns what it makes.
    pub fn returning(
        name: &'static str,
        bytes: u64,
        operation: impl FnMut() -> Vec<Vec<u8>> + 'static,
    ) -> Self {
        Self::new(name, bytes, Returning { operation, returned: Vec::new() })
    }

    /// Does the operation once.
    pub fn run(&mut self) {
        self.operation.run();
    }
}

impl fmt::Debug for Side {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}

struct Unseen<F>(F);

impl<F: FnMut()> Operation for Unseen<F> {
    fn run(&mut self) {
        self.0();
    }
}

struct Returning<F> {
    operation: F,
    returned: Vec<Vec<u8>>,
}

impl<F: FnMut() -> Vec<Vec<u8>>> Operation for Returning<F> {
    fn run(&mut self) {
        self.returned = (self.operation)();
    }

    fn output(&self) -> Option<Vec<&[u8]>> {
        Some(self.returned.iter().map(Vec::as_slice).collect())
    }
}
