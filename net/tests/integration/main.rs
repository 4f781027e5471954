//! Machines over real connections of this one. All tests are one program: it is linked once, and one
//! test runs while another waits.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by panicking")]

#[allow(dead_code, reason = "the engine's tests use more of it")]
#[path = "../../../engine/tests/integration/ledger_network/mod.rs"]
mod ledger_network;
#[allow(dead_code, reason = "the engine's tests use more of it")]
#[path = "../../../engine/tests/integration/ledger_validators/mod.rs"]
mod ledger_validators;

mod chain_sources;
mod chain_store;
mod chain_upkeep;
mod fabrics;
mod identity;
mod ledger_agreement;
mod ledger_client;
mod ledger_finality;
mod ledger_join;
mod ledger_recovery;
mod ledger_sync;
mod machines;
mod neighbours;
mod network;
mod refresh;
mod self_repair;
mod shred;
mod store_crash;
mod store_log;
mod store_parts;
mod support;
mod transport_hostile;
mod transport_requests;
mod validator_crash;
mod wire;
