//! What peers say to each other.
//!
//! A message is a canonical CBOR header of at most [`HEADER_LEN_MAX`] bytes and a raw body of at
//! most [`BODY_LEN_MAX`] bytes. One request, one response; the transport adds the length prefixes
//! (`spec/transport.md`), `spec/wire.md` has the byte tables.

pub mod canonical;
mod misfit;
mod refresh;
mod remark;
mod request;
mod response;
mod shred;

pub(crate) use response::presentable;

pub use misfit::MisfitProof;
pub use refresh::{
    LISTED_SHARE_LEN_MAX, ListedShare, RefreshPlace, RefreshStage, RefreshStep, RefreshWord,
    SignedPost, list_digest,
};
pub use remark::Remark;
pub use request::{
    AUDIT_GROUPS_MAX, Audit, Authorisation, BlockForm, DEADLINE_AHEAD_MAX, Degraded, GroupRange,
    Inventory, Operation, PartReference, Read, Request, RequestError, Session, Store, Symbols,
    VerifiedRequest, VouchedDescriptor, WIRE_VERSION,
};
pub use response::{
    InventoryPage, InventorySummary, ListedIdentity, NodeStatus, ProvenValue,
    REPAIR_TOTALS_VERSION_MIN, Receipt, Refusal, RefusalKind, RenewedShare, RepairProgress,
    RepairTotals, Response, SymbolStatement, TEXT_LEN_MAX,
};
pub use shred::{DestructionReceipt, ORDERS_LIMIT_MAX, Orders, OrdersPage, Shred, ShredOrder};

/// The longest header of a request or response, in bytes.
pub const HEADER_LEN_MAX: usize = 64 * 1024;
/// The longest body of a request or response, in bytes.
pub const BODY_LEN_MAX: usize = 8 * 1024 * 1024;
