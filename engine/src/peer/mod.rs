//! Who does what: the protocols as state machines without IO.
//!
//! Every machine has methods of four families: `new` and getters; `handle_*`, which take events in
//! (an answer, a failure, the passing of time, a finished disk request); commands; and `poll_*`,
//! which give actions out (a question to a peer, a disk request, the next time to wake). A driver
//! polls until `None` after every event and passes `now`, a duration since any fixed start.
//! The network driver and the simulator are such drivers.
//!
//! - [`Holder`] answers requests of readers, writers and newcomers.
//! - [`PutObject`] gives an object's parts to the holders of a group.
//! - [`GetObject`] gathers V and fragment groups.
//! - [`RepairSlot`] fills a slot from helpers, one [`RepairObject`] an object. No type in the repair
//!   modules can hold V: they see pair symbols, shares and ciphertext only.
//! - [`Validator`] orders the ledger's entries.
//! - [`Watch`] is the validator's eye on the storage nodes: it gives up who is lost.
//! - [`Auditor`] looks whether the other holders still have their parts.
//! - [`refresh`] has a group's holders deal its key shares anew.
//! - [`ShredObject`] has an object destroyed; [`GatherOrders`] tells a holder what it missed of that.
//! - [`Custody`] has a node repair by itself what it should hold.

mod audit;
mod custody;
mod degraded;
mod gather_orders;
mod get;
mod helped_symbol;
mod holder;
mod ill_formed;
mod inquiry;
mod put;
mod rebuilt;
pub mod refresh;
mod repair_object;
mod repair_slot;
mod shred;
mod validator;
mod watch;

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use crate::names::{NodeId, Slot};
use crate::wire::{Operation, RefusalKind, Response};

pub use audit::{AuditAction, AuditSettings, Auditor, Loaded};
pub use custody::{Alarm, COMPARISONS_MAX, Custody, CustodyAction, CustodySettings, VISITS_MAX};
pub use gather_orders::GatherOrders;
pub use get::{Gathered, GetError, GetObject, Wanted};
pub use holder::{
    DiskError, DiskRequest, DiskResult, Holder, INVENTORY_LIMIT_MAX, Pending, Step, StoredPart,
    is_sound,
};
pub use ill_formed::IllFormed;
pub use put::{PutError, PutObject, PutReport};
pub use rebuilt::{Rebuilt, RenewedPart, RepairError, RepairTraffic, RepairedPart};
pub use repair_object::RepairObject;
pub use repair_slot::{RepairAction, RepairSlot, SymbolUse};
pub use shred::{Condemned, ShredObject, ShredReport};
pub use validator::{
    AckError, Clock, Place, SetupError, SubmitError, Validator, WAITING_MAX,
    WAITING_PER_AUTHOR_MAX, Work,
};
pub use watch::{Watch, WatchAction, WatchSettings};

/// A slot of a group and the node that holds it now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The slot.
    pub slot: Slot,
    /// Its holder.
    pub node: NodeId,
}

/// A question that a machine wants asked.
#[derive(Debug)]
pub struct Ask {
    /// Names the question in [`handle_answer`](GetObject::handle_answer); unique within a machine.
    pub id: u64,
    /// Whom to ask.
    pub to: Member,
    /// What.
    pub operation: Operation,
    /// The request's body.
    pub body: Bytes,
    /// How long to wait.
    pub timeout: Duration,
}

/// A peer's answer.
#[derive(Debug)]
pub struct Answer {
    /// The header.
    pub response: Response,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// An answer without a body.
    pub fn bare(response: Response) -> Self {
        Self { response, body: Bytes::new() }
    }

    /// Whether it says that what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(&self.response, Response::Refused(refusal) if refusal.kind == RefusalKind::NotFound)
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AskFailure {
    /// No connection, or it broke.
    #[error("unreachable")]
    Unreachable,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// It turned this machine away: its ledger does not know it, or not yet.
    #[error("does not admit this machine")]
    NotAdmitted,
    /// Something came that is not an answer.
    #[error("misbehaved: {0}")]
    Misbehaved(String),
}

/// A peer's answer proved wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Who answered.
    pub member: Member,
    /// What was wrong.
    pub kind: FaultKind,
}

/// What can be wrong in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FaultKind {
    /// Not the descriptor that hashes to the object's id, or not vouched for.
    #[error("the descriptor does not prove the object")]
    Descriptor,
    /// A key part that does not match its commitment.
    #[error("the key part does not match its commitment")]
    KeyPart,
    /// A pair symbol that does not match its commitment.
    #[error("the pair symbol does not match its commitment")]
    KeySymbol,
    /// Fragment bytes that do not match the fragment's root.
    #[error("the fragment does not match its root")]
    Fragment,
    /// Helper symbols that are not those of the helper's own fragment.
    #[error("the helper symbols are not those of the helper's fragment")]
    FragmentSymbols,
    /// A receipt whose signature or content is wrong.
    #[error("the receipt is wrong")]
    Receipt,
    /// An object listed that nobody has.
    #[error("the inventory lists an object that nobody has")]
    Inventory,
    /// An answer to another question, or of the wrong size.
    #[error("the answer does not fit the question")]
    Unfitting,
    /// A signature on an answer that does not hold.
    #[error("the signature of the answer does not hold")]
    Signature,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "node {:?} (slot {}): {}", self.member.node, self.member.slot, self.kind)
    }
}
