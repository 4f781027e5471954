//! What is decided, as pure functions over views.
//!
//! The network driver and the simulator call the same functions; nothing here knows which.

mod authorise;
pub mod durability;
pub mod placement;
pub mod reading;

pub use authorise::{LedgerView, VIEW_AGE_MAX_MS, authorise};
