//! A whole network in one process: real QUIC on loopback, real folders, one task a machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kakera_engine::catalogue::RecordName;
use kakera_engine::code::CodeParameters;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{
    Body, Genesis, GroupCreate, NodeJoin, NodeRetire, Roles, SlotReassign, Suite, Upgrade,
    ValidatorSet,
};
use kakera_engine::names::{GroupId, NodeId, Slot};
use kakera_engine::peer::{AuditSettings, CustodySettings, WatchSettings};
use kakera_engine::policy::refresh::RefreshTimes;
use kakera_engine::seal::VaultRoot;
use kakera_net::client::{Client, ClientSettings, GroupPlace};
use kakera_net::id::Identity;
use kakera_net::network_file::NetworkFile;
use kakera_net::node::{self, NodeSettings};
use kakera_net::store::disk::OsDisk;
use kakera_net::validator::{self, ValidatorSettings};
use kakera_net::vault::{NoProgress, Source, Vault};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

const QUOTA: u64 = 1 << 30;

/// A running network; everything ends with it.
pub(crate) struct Network {
    pub(crate) folder: TempDir,
    pub(crate) file: NetworkFile,
    operator: Arc<Identity>,
    pub(crate) nodes: Vec<Machine>,
    care: Care,
    _validator: Machine,
}

/// How the machines look after the network.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Care {
    pub(crate) watch: WatchSettings,
    pub(crate) custody: CustodySettings,
    pub(crate) audit: AuditSettings,
    pub(crate) refresh: RefreshTimes,
    /// The rules of the chain; none for version 1.
    pub(crate) version: Option<u32>,
}

/// A machine and its task.
pub(crate) struct Machine {
    pub(crate) id: NodeId,
    task: Option<JoinHandle<()>>,
    /// Shuts it down in order; dropped, it changes nothing.
    stop: Option<oneshot::Sender<()>>,
}

impl Machine {
    /// Ends the task at once, as if the machine lost its power.
    pub(crate) fn kill(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Network {
    /// A validator, as many nodes as the codes have slots, and one group.
    pub(crate) async fn start(code: CodeParameters, key: KeyParameters) -> Self {
        Self::start_with(code, key, Care::default()).await
    }

    /// The same, with other times.
    pub(crate) async fn start_with(code: CodeParameters, key: KeyParameters, care: Care) -> Self {
        let folder = TempDir::new().unwrap();
        let operator = Arc::new(Identity::generate().unwrap());
        let validator = Identity::generate().unwrap();
        let genesis = Genesis {
            suite: Suite,
            name: "test".to_owned(),
            created: 1_700_000_000_000,
            validators: ValidatorSet::from_iter([(validator.node_id(), 1)]),
            operators: BTreeSet::from([operator.node_id()]),
            code,
            key,
            pointers_per_author_max: 1_000_000,
            version: care.version,
            anchors: BTreeMap::new(),
        };
        let mut file = NetworkFile { genesis, addresses: BTreeMap::new() };
        let home = folder.path().join("validator");
        std::fs::create_dir(&home).unwrap();
        validator.store(&home.join("identity.key")).unwrap();
        let id = validator.node_id();
        let settings = ValidatorSettings {
            watch: care.watch,
            ..ValidatorSettings::new(home.clone(), loopback(), file.clone())
        };
        let task = tokio::spawn(async move {
            validator::run(settings, std::future::pending()).await.unwrap();
        });
        file.addresses.insert(id, address_of(&home).await);
        let validator = Machine { id, task: Some(task), stop: None };
        let nodes = Vec::new();
        let mut network = Self { folder, file, operator, nodes, care, _validator: validator };
        for _ in 0..code.n {
            network.add_node().await;
        }
        // From version 5 on the last node that joins brings the first group.
        if network.care.version.is_none_or(|version| version < 5) {
            let create = Body::GroupCreate(GroupCreate { code, key });
            network.operator_client().submit(create).await.unwrap();
        }
        network
    }

    /// Starts a node and enrols it.
    pub(crate) async fn add_node(&mut self) -> NodeId {
        let identity = Identity::generate().unwrap();
        let id = identity.node_id();
        let home = self.home(self.nodes.len());
        std::fs::create_dir(&home).unwrap();
        identity.store(&home.join("identity.key")).unwrap();
        let node = self.spawn_node(id, &home);
        self.nodes.push(node);
        let roles = Roles { storage: true, submitter: false };
        self.enrol(id, roles, address_of(&home).await.to_string(), QUOTA).await;
        id
    }

    /// Shuts a node down and starts it again on its folder, where it finds its address too.
    pub(crate) async fn restart_node(&mut self, number: usize) {
        self.stop_node(number).await;
        self.start_node(number);
    }

    /// Shuts a node down.
    pub(crate) async fn stop_node(&mut self, number: usize) {
        let home = self.home(number);
        let node = &mut self.nodes[number];
        node.stop.take().unwrap().send(()).unwrap();
        node.task.take().unwrap().await.unwrap();
        // Requests that it had in service keep the folder until they are done.
        eventually(async || OsDisk::open(&home).ok().map(drop)).await;
    }

    /// Starts a node again on its folder.
    pub(crate) fn start_node(&mut self, number: usize) {
        self.nodes[number] = self.spawn_node(self.nodes[number].id, &self.home(number));
    }

    /// A node's folder.
    pub(crate) fn home(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("node-{node}"))
    }

    /// A client of a new submitter.
    pub(crate) async fn client(&self) -> Client {
        self.client_with_quota(QUOTA).await
    }

    /// A client of a new submitter for which each node keeps this many bytes.
    pub(crate) async fn client_with_quota(&self, quota_bytes: u64) -> Client {
        let identity = Arc::new(Identity::generate().unwrap());
        let roles = Roles { storage: false, submitter: true };
        self.enrol(identity.node_id(), roles, String::new(), quota_bytes).await;
        self.client_of(identity)
    }

    /// The group, once its members are drawn.
    pub(crate) async fn group(&self) -> GroupPlace {
        let client = self.operator_client();
        eventually(async || client.group(GroupId(0)).await.ok()).await
    }

    /// Tells the ledger that a node is gone.
    pub(crate) async fn retire(&self, node: NodeId) {
        self.operator_client().submit(Body::NodeRetire(NodeRetire { node })).await.unwrap();
    }

    /// Has the validator vote for newer rules, which its vote puts in force.
    pub(crate) async fn upgrade(&self, version: u32) {
        let validator = Identity::load(&self.folder.path().join("validator/identity.key")).unwrap();
        let client = self.client_of(Arc::new(validator));
        client.submit(Body::Upgrade(Upgrade { version })).await.unwrap();
        assert_eq!(client.rules_version().await.unwrap(), version);
    }

    /// Gives a slot to another node and tells which.
    pub(crate) async fn reassign(&self, slot: Slot) -> NodeId {
        let before = self.group().await.members[slot.index()].node;
        let client = self.operator_client();
        let body = Body::SlotReassign(SlotReassign { group: GroupId(0), slot });
        client.submit(body).await.unwrap();
        eventually(async || {
            let now = self.group().await.members[slot.index()].node;
            (now != before).then_some(now)
        })
        .await
    }

    fn spawn_node(&self, id: NodeId, home: &Path) -> Machine {
        let settings = NodeSettings {
            custody: self.care.custody,
            audit: self.care.audit,
            refresh: self.care.refresh,
            ..NodeSettings::new(home.to_owned(), loopback(), self.file.clone(), QUOTA)
        };
        let (stop, stopped) = oneshot::channel();
        let shutdown = async {
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        let task = tokio::spawn(async move { node::run(settings, shutdown).await.unwrap() });
        Machine { id, task: Some(task), stop: Some(stop) }
    }

    async fn enrol(&self, node: NodeId, roles: Roles, address: String, quota_bytes: u64) {
        let join = NodeJoin {
            node,
            roles,
            address,
            zone: "test".to_owned(),
            operator: self.operator.node_id(),
            quota_bytes,
            generation: 1,
        };
        self.operator_client().submit(Body::NodeJoin(join)).await.unwrap();
    }

    pub(crate) fn operator_client(&self) -> Client {
        self.client_of(Arc::clone(&self.operator))
    }

    fn client_of(&self, identity: Arc<Identity>) -> Client {
        Client::new(ClientSettings { network: self.file.clone(), identity, seen: None }).unwrap()
    }
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn address_of(home: &Path) -> SocketAddr {
    eventually(async || std::fs::read_to_string(home.join("address")).ok()?.trim().parse().ok())
        .await
}

/// Asks until there is an answer; a minute without one is a failure.
pub(crate) async fn eventually<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let patience = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    patience.await.expect("it did not happen within a minute")
}

/// The vault of the tests, as this client sees it.
pub(crate) async fn open(client: Client) -> Vault {
    let root = VaultRoot::from_bytes(Zeroizing::new([7; 32]));
    Vault::open(Arc::new(client), root).await.unwrap()
}

/// Puts a record; a node may not have heard of the client yet.
pub(crate) async fn put(
    network: &Network,
    vault: &tokio::sync::Mutex<Vault>,
    name: &str,
    content: &[u8],
) {
    let path = network.folder.path().join("source");
    std::fs::write(&path, content).unwrap();
    eventually(async || {
        let source = Source::new(RecordName::new(name).unwrap(), path.clone());
        vault.lock().await.put(vec![source], Arc::new(NoProgress)).await.ok()
    })
    .await;
}
