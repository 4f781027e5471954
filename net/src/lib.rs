//! The thin driver: bytes, disk and time for the machines of `kakera-engine`.
//!
//! Nothing here decides a policy. `id` and `tls` say who speaks, `rpc` and `fabric` how, `exchange`
//! asks what the engine's machines want asked; `observe` shows a machine's figures; `store` keeps parts and blocks on disk, `chain_store` the
//! chain, which `sync` gets from others; `node`,
//! `validator`, `client` and `vault` are the machines' drivers.

mod blocking;
pub mod chain_store;
pub mod chain_view;
pub mod client;
pub mod clock;
pub mod exchange;
pub mod fabric;
pub mod id;
pub mod listening;
pub mod neighbours;
pub mod network_file;
pub mod node;
pub mod observe;
mod random;
pub mod rpc;
mod sock;
pub mod store;
pub mod sync;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod tls;
pub mod upkeep;
pub mod validator;
pub mod vault;
pub mod watch;
