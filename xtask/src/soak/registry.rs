//! Who is given up, as the ledger has it, while it happens: who answers again is enrolled anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use kakera_engine::names::NodeId;
use kakera_net::client::{Client, ClientSettings};
use kakera_net::id::Identity;
use zeroize::Zeroizing;

use crate::product::LocalNetwork;

/// Shorter than a machine needs to come back after it was given up.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A thread that reads the registry again and again.
pub(super) struct Registry {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<BTreeSet<NodeId>>>,
}

impl Registry {
    pub(super) fn watch(network: &LocalNetwork) -> Result<Self> {
        let identity = Arc::new(Identity::from_seed(&Zeroizing::new([77; 32])));
        network.run(&["node", "enrol", &identity.node_id().to_string(), "--submitter"])?;
        let settings = ClientSettings { network: network.network_file()?, identity, seen: None };
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(look(settings, &stopped))
        });
        Ok(Self { stop, thread })
    }

    /// Who was given up at some time.
    pub(super) fn stop(self) -> Result<BTreeSet<NodeId>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().ok().context("the registry's reader panicked")?
    }
}

async fn look(settings: ClientSettings, stopped: &AtomicBool) -> Result<BTreeSet<NodeId>> {
    let client = Client::new(settings)?;
    let mut given_up = BTreeSet::new();
    while !stopped.load(Ordering::Relaxed) {
        // What cannot be read now is read the next time.
        for node in client.nodes().await.unwrap_or_default() {
            if node.retired && given_up.insert(node.join.node) {
                let how = if node.lost.is_some() { "lost" } else { "retired" };
                eprintln!("soak: {} is {how}", node.join.node);
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(given_up)
}
