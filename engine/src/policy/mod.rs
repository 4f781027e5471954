//! policy

pub mod placement;
