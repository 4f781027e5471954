//! stub
use kakera_engine::ledger::Genesis;
use kakera_engine::names::*;
use std::collections::BTreeMap;
use std::net::SocketAddr;
#[derive(Clone)]
pub struct NetworkFile {
    pub genesis: Genesis,
    pub addresses: BTreeMap<NodeId, SocketAddr>,
}
impl NetworkFile {
    pub fn network_id(&self) -> NetworkId {
        self.genesis.network_id()
    }
}
