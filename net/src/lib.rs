//! The thin driver: bytes, disk and time for the machines of `kakera-engine`.
//!
//! Nothing here decides a policy. Layout: `id` and `tls` (who speaks), `rpc` and `fabric` (how),
//! `store` (fragments, shares and blocks on disk), `node`, `validator` and `client` (drivers).

pub mod fabric;
pub mod id;
pub mod rpc;
mod sock;
pub mod store;
pub mod tls;
