//! A member that asks every node, as often as it is let.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use kakera_engine::names::NodeId;
use kakera_net::client::{Client, ClientSettings};
use kakera_net::id::Identity;
use kakera_net::network_file::NetworkFile;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use super::{Attack, give_way};
use crate::product::LocalNetwork;

/// Questions at a time to each node.
const AT_ONCE: usize = 32;

pub(super) struct Member {
    network: NetworkFile,
    identity: Arc<Identity>,
    nodes: Vec<NodeId>,
}

impl Member {
    pub(super) fn enrol(network: &LocalNetwork) -> Result<Self> {
        let identity = Arc::new(Identity::from_seed(&Zeroizing::new([66; 32])));
        network.run(&["node", "enrol", &identity.node_id().to_string(), "--submitter"])?;
        let machines = network.running()?.into_iter();
        let nodes = machines.filter(|machine| !machine.is_validator()).map(|node| node.id);
        let nodes = nodes.collect();
        Ok(Self { network: network.network_file()?, identity, nodes })
    }

    /// Asks until it is told to stop; counts what was answered.
    pub(super) fn flood(&self, attack: &Attack) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .on_thread_start(|| {
                // Without it, the attack takes more from the machine that it stands for.
                let _ = give_way();
            })
            .build()?;
        runtime.block_on(async {
            let (network, identity) = (self.network.clone(), Arc::clone(&self.identity));
            let client = Arc::new(Client::new(ClientSettings { network, identity, seen: None })?);
            // It learns where they are.
            client.groups().await?;
            let (stop, mut asking) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
            for node in self.nodes.iter().copied().cycle().take(self.nodes.len() * AT_ONCE) {
                let (client, stop) = (Arc::clone(&client), Arc::clone(&stop));
                asking.spawn(async move {
                    let mut answered = 0u64;
                    while !stop.load(Ordering::Relaxed) {
                        answered += u64::from(client.node_status(node).await.is_ok());
                    }
                    answered
                });
            }
            while !attack.stop.load(Ordering::Relaxed) {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
            stop.store(true, Ordering::Relaxed);
            let answered: u64 = asking.join_all().await.into_iter().sum();
            attack.sent.store(answered, Ordering::Relaxed);
            Ok(())
        })
    }
}
