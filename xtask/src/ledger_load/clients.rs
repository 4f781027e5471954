//! The clients: each posts one entry after the other, as fast as they become final.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kakera_engine::hash::hash;
use kakera_engine::ledger::Body;
use kakera_engine::names::NodeId;
use kakera_engine::wire::canonical;
use kakera_net::client::{Client, ClientSettings, Submitted};
use kakera_net::id::Identity;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::entries;
use crate::product::LocalNetwork;

/// Clients that are enrolled and connected.
///
/// The second counts the runs.
pub(crate) struct Clients(Vec<(NodeId, Arc<Client>)>, AtomicU64);

/// An entry that was posted.
pub(crate) struct Posted {
    pub(crate) name: EntryName,
    /// Where it stands and how long that took; `None` if it was refused, which does not say that
    /// it is not on the chain.
    pub(crate) outcome: Option<(Submitted, Duration)>,
}

/// Names an entry by what is said by whom: the load says nothing twice.
pub(crate) type EntryName = (NodeId, [u8; 32]);

impl Posted {
    pub(crate) fn milliseconds(&self) -> Option<f64> {
        self.outcome.map(|(_, took)| took.as_secs_f64() * 1e3)
    }
}

pub(crate) fn name_of(author: NodeId, body: &Body) -> EntryName {
    (author, hash("load", &[&canonical::encode(body)]))
}

impl Clients {
    /// Enrols so many clients; each is connected and knows its sequence number.
    pub(crate) async fn enrol(network: &LocalNetwork, count: u8) -> Result<Self> {
        let file = network.network_file()?;
        let mut clients = Vec::new();
        for number in 1..=count {
            let identity = Arc::new(Identity::from_seed(&Zeroizing::new([number; 32])));
            let id = identity.node_id();
            network.run(&["node", "enrol", &id.to_string(), "--submitter"])?;
            let settings = ClientSettings { network: file.clone(), identity, seen: None };
            let client = Arc::new(Client::new(settings)?);
            let mut rng = ChaCha8Rng::seed_from_u64(u64::MAX - u64::from(number));
            client.submit(entries::pointer(client.network(), &mut rng)).await?;
            clients.push((id, client));
        }
        Ok(Self(clients, AtomicU64::new(0)))
    }

    /// The height of the chain.
    pub(crate) async fn height(&self) -> Result<u64> {
        let (_, client) = self.0.first().context("there is no client")?;
        Ok(client.head().await?.header().height)
    }

    /// How far one validator is.
    pub(crate) async fn height_of(&self, validator: NodeId) -> Result<u64> {
        let (_, client) = self.0.first().context("there is no client")?;
        Ok(client.node_status(validator).await?.height)
    }

    /// Posts until told to end; everything that was posted. Twice the same is never said.
    pub(crate) fn post_until(
        &self,
        ended: watch::Receiver<bool>,
    ) -> impl Future<Output = Vec<Posted>> + Send + 'static {
        let run = self.1.fetch_add(1, Ordering::Relaxed);
        let mut posting = JoinSet::new();
        let clients: Vec<(NodeId, Arc<Client>)> = self.0.clone();
        async move {
            for (number, (id, client)) in clients.into_iter().enumerate() {
                posting.spawn(post_on(ended.clone(), id, client, run << 32 | number as u64));
            }
            posting.join_all().await.into_iter().flatten().collect()
        }
    }
}

async fn post_on(
    ended: watch::Receiver<bool>,
    id: NodeId,
    client: Arc<Client>,
    seed: u64,
) -> Vec<Posted> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let makers = [entries::pointer, entries::identity_record];
    let mut posted = Vec::new();
    for make in makers.iter().cycle() {
        if *ended.borrow() {
            break;
        }
        let body = make(client.network(), &mut rng);
        let name = name_of(id, &body);
        let start = Instant::now();
        let outcome = client.submit(body).await;
        let took = start.elapsed();
        let outcome = outcome.inspect_err(|error| eprintln!("{id}: {error}")).ok();
        posted.push(Posted { name, outcome: outcome.map(|submitted| (submitted, took)) });
    }
    posted
}
