//! stub
use crate::{
    chain_store::ChainStoreError,
    exchange::{AddressBook, Exchange},
    id::Identity,
    network_file::NetworkFile,
    store::disk::OsDisk,
};
use kakera_engine::code::CodeParameters;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::names::*;
use kakera_engine::peer::Member;
use std::net::SocketAddr;
use std::sync::Arc;
pub(super) struct FollowedLedger;
pub(super) struct ChainView;
impl FollowedLedger {
    pub(super) fn open(_: &OsDisk, _: NetworkFile) -> Result<Self, ChainStoreError> {
        Err(ChainStoreError)
    }
    pub(super) fn view(&self) -> Arc<ChainView> {
        Arc::new(ChainView)
    }
    pub(super) fn height(&self) -> u64 {
        0
    }
    pub(super) async fn follow(self: Arc<Self>, _: Exchange, _: Arc<Identity>) {}
}
impl AddressBook for FollowedLedger {
    fn address(&self, _: &NodeId) -> Option<SocketAddr> {
        None
    }
}
impl ChainView {
    pub(super) fn members(&self, _: GroupId) -> Vec<Member> {
        vec![]
    }
    pub(super) fn codes(&self, _: GroupId) -> Option<(CodeParameters, KeyParameters)> {
        None
    }
}
impl kakera_engine::policy::LedgerView for ChainView {
    fn holder(&self, _: GroupId, _: Slot) -> Option<NodeId> {
        None
    }
    fn group_codes(&self, _: GroupId) -> Option<(CodeParameters, KeyParameters)> {
        None
    }
    fn is_enrolled(&self, _: &NodeId) -> bool {
        true
    }
    fn is_submitter(&self, _: &NodeId) -> bool {
        true
    }
    fn attested_at(&self) -> u64 {
        0
    }
}
