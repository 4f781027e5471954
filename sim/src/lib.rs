//! Reliability and risk of a Kakera network, together.

pub mod exact;
pub mod quantity;
pub mod random;
pub mod time;
pub mod validation;
