//! Validators, storage nodes and clients in a simulation: the very machines that processes run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use kakera_engine::code::CodeParameters;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{BeaconChain, Body, Genesis, NodeJoin, Roles, Suite, ValidatorSet};
use kakera_engine::names::NodeId;
use kakera_engine::peer::{Answer, AuditSettings, CustodySettings, WatchSettings};
use kakera_engine::policy::refresh::RefreshTimes;
use kakera_engine::wire::Operation;
use rand_core::Rng;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::{BEGINNING, SystemRandom, Wire};
use crate::client::{Client, ClientSettings};
use crate::exchange::{AddressBook, Exchange};
use crate::fabric::{Fabric, Limits};
use crate::id::Identity;
use crate::network_file::NetworkFile;
use crate::node::{self, FollowedLedger, IDENTITY_FILE, NodeSettings};
use crate::store::disk::OsDisk;
use crate::validator::{self, ValidatorSettings};

/// Bytes that a node has for parts, and a node has for a submitter.
const QUOTA: u64 = 1 << 30;
/// Machines that one operator enrols, one after the other.
const NODES_PER_OPERATOR: usize = 10;
/// Between the starts of two machines: nobody switches on hundreds at once.
const BETWEEN_STARTS: Duration = Duration::from_millis(20);
const PORT: u16 = 4433;

/// What a network is like.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// At least two: they agree.
    pub validators: u8,
    /// The data code of every group.
    pub code: CodeParameters,
    /// The key code.
    pub key: KeyParameters,
    /// The rules of the chain, at least version 5: groups come by themselves.
    pub version: u32,
    /// Machines that can be enrolled.
    pub nodes_max: usize,
    /// How the machines look after the network.
    pub watch: WatchSettings,
    /// How nodes look after their slots.
    pub custody: CustodySettings,
    /// How nodes audit each other.
    pub audit: AuditSettings,
    /// When key shares are refreshed.
    pub refresh: RefreshTimes,
}

/// A network whose machines run, or do not, as it is told.
pub struct Network {
    wire: Wire,
    folder: PathBuf,
    plan: Plan,
    file: NetworkFile,
    operators: Vec<Arc<Identity>>,
    validators: Vec<Machine>,
    nodes: Vec<Machine>,
    clients: usize,
}

/// A machine: what it is known by, and where.
pub struct Machine {
    /// Its key.
    pub id: NodeId,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its folder.
    pub folder: PathBuf,
    process: Option<Process>,
}

struct Process {
    task: JoinHandle<Result<(), String>>,
    stop: oneshot::Sender<()>,
}

/// What a lying node does to its answers.
pub type Lie = Arc<dyn Fn(&Operation, &mut Answer) + Send + Sync>;

impl Machine {
    fn make(folder: PathBuf, address: SocketAddr) -> Self {
        let identity = new_identity();
        std::fs::create_dir(&folder).expect("a machine's folder");
        identity.store(&folder.join(IDENTITY_FILE)).expect("a machine's key");
        Self { id: identity.node_id(), address, folder, process: None }
    }

    /// Whether it runs. One that ended by itself does not.
    pub fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(|process| !process.task.is_finished())
    }

    fn run<F, E>(&mut self, run: impl FnOnce(oneshot::Receiver<()>) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: std::fmt::Display,
    {
        assert!(self.process.is_none(), "it runs already");
        let (stop, stopped) = oneshot::channel();
        let running = run(stopped);
        let task = tokio::spawn(async move { running.await.map_err(|error| error.to_string()) });
        self.process = Some(Process { task, stop });
    }

    /// Ends it in the middle of whatever it does; nothing of it leaves any more.
    async fn crash(&mut self, wire: &Wire) {
        let Some(process) = self.process.take() else { return };
        wire.unplug(self.address);
        process.task.abort();
        let ended = process.task.await;
        assert!(ended.is_err(), "{} had ended by itself: {ended:?}", self.folder.display());
        self.wait_for_folder().await;
    }

    /// Shuts it down in order.
    async fn stop(&mut self) {
        let Some(process) = self.process.take() else { return };
        // Fails if it has ended by itself, which is told next.
        let _ = process.stop.send(());
        match process.task.await {
            Ok(Ok(())) => {}
            ended => panic!("{}: {ended:?}", self.folder.display()),
        }
        self.wait_for_folder().await;
    }

    /// Waits until all that belonged to it is gone.
    async fn wait_for_folder(&self) {
        for _ in 0..60_000 {
            if OsDisk::open(&self.folder).is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("something of a machine that ended still has {}", self.folder.display());
    }
}

impl Network {
    /// The network's validators, running; `folder` must exist and be empty.
    pub fn found(wire: &Wire, folder: &Path, plan: Plan) -> Self {
        let operators = plan.nodes_max.div_ceil(NODES_PER_OPERATOR).max(1);
        let operators: Vec<Arc<Identity>> =
            (0..operators).map(|_| Arc::new(new_identity())).collect();
        let mut validators = Vec::new();
        let mut anchors = BTreeMap::new();
        for number in 0..plan.validators {
            let home = folder.join(format!("validator-{number}"));
            let address = SocketAddr::from(([10, 255, number, 1], PORT));
            let machine = Machine::make(home, address);
            validator::create_voting_log(&machine.folder).expect("a voting log");
            let identity = Identity::load(&machine.folder.join(IDENTITY_FILE)).expect("a key");
            let anchor = BeaconChain::of_genesis(identity.signing_key()).anchor();
            anchors.insert(machine.id, anchor);
            validators.push(machine);
        }
        let genesis = Genesis {
            suite: Suite,
            name: "simulated".into(),
            created: BEGINNING,
            validators: validators.iter().map(|machine| (machine.id, 1)).collect::<ValidatorSet>(),
            operators: operators.iter().map(|operator| operator.node_id()).collect(),
            code: plan.code,
            key: plan.key,
            pointers_per_author_max: 1_000_000,
            version: Some(plan.version),
            anchors,
        };
        let addresses = validators.iter().map(|machine| (machine.id, machine.address)).collect();
        let mut network = Self {
            wire: wire.clone(),
            folder: folder.to_owned(),
            plan,
            file: NetworkFile { genesis, addresses },
            operators,
            validators,
            nodes: Vec::new(),
            clients: 0,
        };
        (0..usize::from(plan.validators)).for_each(|number| network.start_validator(number));
        network
    }

    /// The network file.
    pub fn file(&self) -> &NetworkFile {
        &self.file
    }

    /// Its validators.
    pub fn validators(&self) -> &[Machine] {
        &self.validators
    }

    /// Its storage nodes, in the order of their enrolment.
    pub fn nodes(&self) -> &[Machine] {
        &self.nodes
    }

    /// Enrols so many storage nodes, then starts them.
    pub async fn add_nodes(&mut self, count: usize) {
        let before = self.nodes.len();
        assert!(before + count <= self.plan.nodes_max, "too few operators");
        for number in before..before + count {
            let address =
                SocketAddr::from(([10, (number / 250) as u8, (number % 250) as u8, 1], PORT));
            let home = self.folder.join(format!("node-{number}"));
            self.nodes.push(Machine::make(home, address));
        }
        let mut shares: BTreeMap<usize, Vec<NodeJoin>> = BTreeMap::new();
        for (number, machine) in self.nodes.iter().enumerate().skip(before) {
            let roles = Roles { storage: true, submitter: false };
            let operator = number / NODES_PER_OPERATOR;
            let join = self.join(operator, machine.id, roles, machine.address.to_string());
            shares.entry(operator).or_default().push(join);
        }
        join_all(shares.into_iter().map(|(operator, joins)| self.enrol(operator, joins))).await;
        for number in before..before + count {
            self.start_node(number);
            tokio::time::sleep(BETWEEN_STARTS).await;
        }
    }

    /// Starts a node on its folder.
    pub fn start_node(&mut self, number: usize) {
        let settings = self.node_settings(number);
        self.nodes[number].run(|stopped| node::run(settings, told(stopped)));
    }

    /// Starts a node that lies.
    pub fn start_lying(&mut self, number: usize, lie: Lie) {
        let settings = self.node_settings(number);
        let lie = move |operation: &Operation, answer: &mut Answer| lie(operation, answer);
        self.nodes[number].run(|stopped| node::run_lying(settings, lie, told(stopped)));
    }

    /// Ends a node in the middle of whatever it does.
    pub async fn crash_node(&mut self, number: usize) {
        self.nodes[number].crash(&self.wire).await;
    }

    /// Starts a validator on its folder.
    pub fn start_validator(&mut self, number: usize) {
        let machine = &mut self.validators[number];
        let (folder, network) = (machine.folder.clone(), self.file.clone());
        let settings = ValidatorSettings {
            watch: self.plan.watch,
            ..ValidatorSettings::new(folder, machine.address, network)
        };
        machine.run(|stopped| validator::run(settings, told(stopped)));
    }

    /// Ends a validator in the middle of whatever it does.
    pub async fn crash_validator(&mut self, number: usize) {
        self.validators[number].crash(&self.wire).await;
    }

    /// Shuts everything down in order.
    ///
    /// # Panics
    /// If a machine had ended by itself.
    pub async fn stop(&mut self) {
        let machines = self.nodes.iter_mut().chain(&mut self.validators);
        join_all(machines.map(Machine::stop)).await;
    }

    /// A client of a new submitter.
    pub async fn client(&mut self) -> Client {
        let identity = self.submitter().await;
        self.client_of(&identity)
    }

    /// A machine that was enrolled to store.
    pub async fn submitter(&mut self) -> Arc<Identity> {
        let identity = Arc::new(new_identity());
        let roles = Roles { storage: false, submitter: true };
        let operator = self.clients % self.operators.len();
        self.clients += 1;
        let join = self.join(operator, identity.node_id(), roles, String::new());
        self.enrol(operator, vec![join]).await;
        identity
    }

    /// The ledger as a machine follows it that is no part of the network.
    pub async fn observer(&mut self) -> Arc<FollowedLedger> {
        let identity = self.submitter().await;
        let disk = OsDisk::open(&self.folder.join("observer")).expect("a folder");
        let ledger = FollowedLedger::open(&disk, self.file.clone()).expect("an empty chain");
        let ledger = Arc::new(ledger);
        let anywhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let fabric = Fabric::bind(Arc::clone(&identity), anywhere, Limits::client(), |_| false);
        let book = Arc::clone(&ledger) as Arc<dyn AddressBook>;
        let network = self.file.network_id();
        let exchange = Exchange::new(fabric.expect("a port"), network, identity, book);
        tokio::spawn(Arc::clone(&ledger).follow(exchange));
        ledger
    }

    /// A client that may read the ledger and enrols machines.
    pub fn operator_client(&self) -> Client {
        self.client_of(&self.operators[0])
    }

    fn join(&self, operator: usize, node: NodeId, roles: Roles, address: String) -> NodeJoin {
        NodeJoin {
            node,
            roles,
            address,
            zone: "simulated".into(),
            operator: self.operators[operator].node_id(),
            quota_bytes: QUOTA,
            generation: 1,
        }
    }

    async fn enrol(&self, operator: usize, joins: Vec<NodeJoin>) {
        let client = self.client_of(&self.operators[operator]);
        for join in joins {
            eventually(async || client.submit(Body::NodeJoin(join.clone())).await.ok()).await;
        }
        client.close().await;
    }

    /// Its client.
    pub fn client_of(&self, identity: &Arc<Identity>) -> Client {
        let (network, identity) = (self.file.clone(), Arc::clone(identity));
        Client::new(ClientSettings { network, identity, seen: None }).expect("a client")
    }

    fn node_settings(&self, number: usize) -> NodeSettings {
        let Machine { folder, address, .. } = &self.nodes[number];
        NodeSettings {
            custody: self.plan.custody,
            audit: self.plan.audit,
            refresh: self.plan.refresh,
            ..NodeSettings::new(folder.clone(), *address, self.file.clone(), QUOTA)
        }
    }
}

/// Asks until there is an answer; ten minutes without one are a failure.
pub async fn eventually<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let patience = tokio::time::timeout(Duration::from_secs(600), async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    patience.await.expect("it did not happen within ten minutes")
}

/// Only a word ends a machine in order; that nobody can say it any more changes nothing.
async fn told(stopped: oneshot::Receiver<()>) {
    if stopped.await.is_err() {
        std::future::pending().await
    }
}

fn new_identity() -> Identity {
    let mut seed = Zeroizing::new([0; 32]);
    SystemRandom::default().fill_bytes(seed.as_mut());
    Identity::from_seed(&seed)
}
