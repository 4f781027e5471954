//! Losses too rare to wait for.

mod importance;
mod splitting;

pub use importance::{ImportanceSampling, Weighted};
pub use splitting::{Splitting, SplittingError, split_loss_probability};
