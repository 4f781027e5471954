//! Exact answers: closed forms and Markov chains, to a relative 1e-9 over all of the range of a
//! double.
//!
//! Nothing here subtracts what is nearly equal. Probabilities are sums of positive terms that start
//! at the largest one; chains are reduced without subtraction (Grassmann, Taksar, Heyman 1985).

mod chain;
mod counts;
mod redundancy;
mod regenerating;
mod secrecy;
mod special;

pub use chain::{Chain, ChainError};
pub use counts::{Binomial, CountLaw, Hypergeometric, Poisson};
pub use redundancy::{Redundancy, RepairRates};
pub use regenerating::{mbr_repair_share, msr_repair_share};
pub use secrecy::LeakModel;
pub use special::{beta_quantile, incomplete_beta, student_quantile};
