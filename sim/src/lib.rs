//! Reliability and risk of a Kakera network, together.

pub mod campaign;
pub mod estimate;
pub mod event;
pub mod exact;
pub mod fleet;
pub mod part;
pub mod quantity;
pub mod random;
pub mod rare;
pub mod scenario;
pub mod time;
pub mod validation;
