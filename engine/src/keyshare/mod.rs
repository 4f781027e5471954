//! Key sharing code KS1: V is shared so that lost shares heal without anyone seeing V.
//!
//! A secure product-matrix MBR code (Shah, Rashmi and Kumar, ISIT 2011) over GF(2^8)/0x11D. Fewer
//! than k nodes learn nothing about V, whatever they store and however many repairs they watch;
//! any k read it; any d helpers restore a lost share in one round, 32 bytes each, and the newcomer
//! learns its own share only. Hash commitments name a lying node before its value is used.
//! Formats, formulas and the proof: `engine/spec/keyshare.md`.
//!
//! A repair cannot hold V: [`repair`](repair()) and what it is built of (`commitment`,
//! `parameters`, `share`, `symbol`) import neither `deal`, where [`Secret`] is, nor `read`. A test
//! keeps it so.

mod audit;
mod commitment;
mod coverage;
mod deal;
mod degraded;
mod locate;
mod message;
mod parameters;
mod read;
pub mod renewal;
mod renewed_rows;
mod repair;
mod share;
mod symbol;

pub use audit::AuditAnswer;
pub use commitment::{PeerFault, RowHash, root};
pub use coverage::Coverage;
pub use deal::{Dealt, Secret, deal};
pub use degraded::{DegradedHelp, DegradedRepairError, DegradedSetupError, repair_degraded};
pub use parameters::{Binding, InvalidParameters, KeyParameters, SECRET_LEN};
pub use read::{ProvenPart, ReadError, RobustReadError, read, read_robust, read_shares};
pub use renewed_rows::RenewedRows;
pub use repair::{ProvenSymbol, RepairError, RobustRepairError, repair, repair_robust};
pub use share::Share;
pub use symbol::Symbol;
