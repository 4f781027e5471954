//! Protocol mode: the engine's own machines on virtual time.
//!
//! Every storage node is a [`Holder`], a [`Custody`], an [`Auditor`] and repairs over a [`Disk`] in
//! memory; every validator watches them with a [`Watch`]; the ledger is a real chain with its rules,
//! signatures and proofs. They are the state machines that `kakera node` and `kakera validator` drive
//! over sockets, with the real codes, key shares, hashes and signatures: nothing of the cryptography
//! is left out or made cheaper.
//!
//! # What is modelled
//! - **Messages** take 5 to 64 ms each way, are lost with [`Network::loss_percent`], and what a node
//!   is sent comes through its link at [`Network::bytes_per_second`], one after the other. A
//!   connection is there at once; TLS is left out.
//! - **Agreement** is perfect: a block is made a second after the first entry that waits, signed by all
//!   validators, and everyone who is not cut off has it at once (`cargo xtask ledger-sim` is for
//!   agreement that is not).
//! - **Disks** write at once, can rot, and are scrubbed every [`Network::scrub_every`].
//! - **Refreshes** of key shares ([`Network::refresh`]) go through all their rounds, led by whose turn it
//!   is and decided by the ledger. The rows of dealers are there at once, or lost.
//! - **Probes** between validators and nodes are answered or not; their bytes are not made.
//!
//! # What happens
//! A [`Course`] decides. [`simulate`] is the course of a [`Fleet`](crate::fleet::Fleet): lives, pauses, outages
//! and a mass loss by its laws, from the same random numbers as in fast mode, counted in the same
//! [`Tally`](crate::fleet::Tally). [`storm`] is a course in which everything goes wrong and promises
//! are checked.
//!
//! A run is a function of its arguments: its trace, a hash of every event's time, of every answer and
//! of every state of the ledger, repeats.
//!
//! [`Holder`]: kakera_engine::peer::Holder
//! [`Custody`]: kakera_engine::peer::Custody
//! [`Auditor`]: kakera_engine::peer::Auditor
//! [`Watch`]: kakera_engine::peer::Watch

mod care;
mod churn;
mod disk;
mod epochs;
mod fault;
mod faults;
mod health;
mod ledger;
mod lie;
mod misfit;
mod node;
mod puts;
mod queue;
pub mod storm;
mod world;

use std::time::Duration;

use kakera_engine::code::CodeParameters;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::policy::refresh::RefreshTimes;

pub use churn::simulate;
pub use disk::{Disk, Kept};
pub use fault::Fault;
pub use lie::Lie;
pub use misfit::Misfit;

/// A network of full nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Network {
    /// Storage nodes at the start, at least n.
    pub nodes: u32,
    /// Places; node i is in zone i modulo this.
    pub zones: u32,
    /// Validators, at least 1.
    pub validators: u32,
    /// Placement groups.
    pub groups: u32,
    /// The data code.
    pub code: CodeParameters,
    /// The key code.
    pub key: KeyParameters,
    /// Objects that are put into each group when the run of a fleet starts.
    pub objects_per_group: u32,
    /// Coded bytes of an object.
    pub object_bytes: u32,
    /// Silence after which a machine is given up, at least a minute.
    pub lost_after: Duration,
    /// How often a node checks all that it keeps.
    pub scrub_every: Duration,
    /// When key shares are refreshed, if ever.
    pub refresh: Option<RefreshTimes>,
    /// Messages lost, of a hundred.
    pub loss_percent: u64,
    /// What comes through a node's link; without it, any message at once.
    pub bytes_per_second: Option<f64>,
}

impl Network {
    /// A record that sealed and padded becomes an object of [`object_bytes`](Self::object_bytes), if
    /// that is a power of two of at least 4 KiB.
    fn record_len(&self) -> usize {
        // Chunks have tags, and so has the padding.
        let tags = self.object_bytes / 1024 + 256;
        self.object_bytes.saturating_sub(tags).max(1) as usize
    }

    /// Bytes of memory that one run takes, about: parts on disks, and the machines.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes_of(u64::from(self.groups) * u64::from(self.objects_per_group))
    }

    /// The same if there were so many objects in all groups.
    pub(crate) fn memory_bytes_of(&self, objects: u64) -> u64 {
        let coded = u64::from(self.object_bytes);
        let fragment = self.code.build().map_or(coded, |code| code.layout(coded).fragment_len());
        let parts = objects.saturating_mul(self.code.n.into());
        let of_parts = parts.saturating_mul(fragment + PART_OVERHEAD);
        of_parts.saturating_add(u64::from(self.nodes) * NODE_BYTES)
    }
}

/// What is kept of a part beside its fragment.
const PART_OVERHEAD: u64 = 4096;
/// A node's machines and its view of the ledger.
const NODE_BYTES: u64 = 64 << 10;
