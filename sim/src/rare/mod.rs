//! Losses too rare to wait for.

mod importance;

pub use importance::{ImportanceSampling, Weighted};
