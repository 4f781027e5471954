//! What is decided, as pure functions over views.
//!
//! The network driver and the simulator call the same functions; nothing here knows which.

pub mod audit;
mod authorise;
pub mod durability;
pub mod placement;
pub mod reading;
pub mod refresh;
pub mod repair;
pub mod suspicion;

pub use authorise::{LedgerView, VIEW_AGE_MAX_MS, authorise, require_not_retained};
