//! Losses too rare to wait for.

mod crossings;
mod importance;
mod renewal;
mod splitting;

pub use crossings::{CrossingSampling, Crossings, CrossingsError};
pub use importance::{ImportanceSampling, Weighted};
pub use splitting::{Splitting, SplittingError, split_loss_probability};
