//! How a validator without a chain comes to one, where others have a long one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use kakera_engine::names::NodeId;
use tracing::{info, warn};

use super::ValidatorError;
use crate::blocking::blocking;
use crate::chain_store::{CHAIN_FILE, ChainStore};
use crate::exchange::Exchange;
use crate::fabric::{Fabric, Limits};
use crate::id::Identity;
use crate::listening;
use crate::network_file::NetworkFile;
use crate::store::disk::OsDisk;
use crate::sync::{GATHER_BLOCKS_MIN, Replica, SyncError, gather};

/// Gathers a snapshot from the validators of the network file, if there is no chain here and theirs
/// is long. Whatever fails: the chain is then fetched block by block.
///
/// Not for a validator that the network was founded with, as long as it knows what it said: it may
/// be the first to run, and waits for nobody.
pub(super) async fn gather_chain(
    disk: &OsDisk,
    network: &NetworkFile,
    identity: &Arc<Identity>,
    listen: SocketAddr,
) -> Result<(), ValidatorError> {
    if ChainStore::open(disk, CHAIN_FILE)?.height() > 0 {
        return Ok(());
    }
    let replica = Arc::new(Replica::open(disk, network.clone())?);
    let limits = listening::limits(listen, Limits::client());
    let anywhere = SocketAddr::new(listen.ip(), 0);
    let fabric = Fabric::bind(Arc::clone(identity), anywhere, limits, |_| false)?;
    let others: BTreeMap<NodeId, SocketAddr> = network
        .addresses
        .iter()
        .filter(|(node, _)| **node != identity.node_id())
        .map(|(node, address)| (*node, *address))
        .collect();
    let sources: Vec<NodeId> = others.keys().copied().collect();
    let book = Arc::new(others);
    let exchange = Exchange::new(fabric.clone(), network.network_id(), Arc::clone(identity), book);
    let (mut interrupted, mut faulty) = (None, BTreeMap::new());
    let gathered =
        gather(&replica, GATHER_BLOCKS_MIN, &sources, &mut interrupted, &mut faulty, &exchange)
            .await;
    fabric.close().await;
    match gathered {
        Ok(Some(chain)) => {
            let height = chain.head().header.height;
            match blocking(move || replica.begin_after(chain)).await {
                Err(SyncError::Store(error)) => return Err(error.into()),
                Err(error) => warn!(%error, "the snapshot is of no use"),
                Ok(()) => info!(height, "the chain begins after a snapshot"),
            }
        }
        Ok(None) => {}
        Err(error) => warn!(%error, "no snapshot; fetching the chain block by block"),
    }
    Ok(())
}
