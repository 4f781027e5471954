//! A validator, storage nodes and submitters in one process, over real QUIC on loopback.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{
    BeaconChain, Body, Chain, Entry, Genesis, HeadAttestation, LightClient, NodeJoin, Pointer,
    Roles, SignedHeader, StateKey, Suite, ValidatorChange, ValidatorSet, ValidatorUpdate,
};
use kakera_engine::names::NodeId;
use kakera_engine::peer::Answer;
use kakera_engine::wire::{Operation, ProvenValue, Refusal, Response, canonical};
use kakera_net::chain_store::{CHAIN_FILE, ChainStore};
use kakera_net::clock::{UnixClock, system_clock};
use kakera_net::exchange::{AddressBook, Exchange};
use kakera_net::fabric::{Fabric, Limits};
use kakera_net::id::Identity;
use kakera_net::listening;
use kakera_net::network_file::NetworkFile;
use kakera_net::node::{self, NodeSettings};
use kakera_net::store::disk::OsDisk;
use kakera_net::validator::{self, ValidatorSettings};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use zeroize::Zeroizing;

pub(crate) const VALIDATOR: u8 = 1;
/// Operators, who enrol and submit.
pub(crate) const OPERATOR: u8 = 100;
/// Storage nodes are 10, 11, …
pub(crate) const STORAGE: u8 = 10;
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn identity(number: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed(&Zeroizing::new([number; 32])))
}

pub(crate) fn id(number: u8) -> NodeId {
    identity(number).node_id()
}

pub(crate) fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

#[derive(Default)]
pub(crate) struct Book(pub(crate) Mutex<BTreeMap<NodeId, SocketAddr>>);

impl AddressBook for Book {
    fn address(&self, node: &NodeId) -> Option<SocketAddr> {
        self.0.lock().unwrap().get(node).copied()
    }
}

/// A process that runs as a task.
pub(crate) struct Process {
    task: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Process {
    fn spawn<E: std::fmt::Display + Send + 'static, F>(
        run: impl FnOnce(oneshot::Receiver<()>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
    {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            if let Err(error) = run(stopped).await {
                panic!("{error}");
            }
        });
        Self { task, stop }
    }

    /// Ends it and waits until its folder and its port are free.
    pub(crate) async fn stop(self, folder: &Path, address: SocketAddr) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap();
        free(folder, address).await;
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) async fn kill(self, folder: &Path, address: SocketAddr) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
        free(folder, address).await;
    }
}

async fn free(folder: &Path, address: SocketAddr) {
    for _ in 0..500 {
        if OsDisk::open(folder).is_ok() && UdpSocket::bind(address).is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} stays in use", folder.display());
}

pub(crate) struct Network {
    pub(crate) root: TempDir,
    pub(crate) file: NetworkFile,
    pub(crate) validators: BTreeMap<u8, Process>,
    pub(crate) nodes: BTreeMap<u8, Process>,
    pub(crate) book: Arc<Book>,
    /// Of validators that are started from now on.
    pub(crate) tries_clock: UnixClock,
    exchanges: BTreeMap<u8, Exchange>,
}

impl Network {
    /// A running validator and so many running, enrolled storage nodes.
    pub(crate) async fn new(storage_nodes: u8) -> Self {
        let mut network = Self::found(&[VALIDATOR]);
        network.start_validator(VALIDATOR);
        for number in 0..storage_nodes {
            network.add_node(STORAGE + number, u64::from(number) + 1).await;
        }
        network
    }

    /// So many running validators, which agree.
    pub(crate) fn of_validators(count: u8) -> Self {
        let numbers: Vec<u8> = (VALIDATOR..VALIDATOR + count).collect();
        let mut network = Self::found(&numbers);
        numbers.iter().for_each(|number| network.start_validator(*number));
        network
    }

    /// Folders for these validators; several need version 2 of the rules.
    pub(crate) fn found(validators: &[u8]) -> Self {
        let agree = validators.len() > 1;
        let beacon = |number: &u8| BeaconChain::of_genesis(identity(*number).signing_key());
        let anchored = validators.iter().filter(|_| agree);
        let genesis = Genesis {
            suite: Suite,
            name: "clinic".into(),
            created: 1_700_000_000_000,
            validators: validators.iter().map(|number| (id(*number), 1)).collect(),
            operators: (OPERATOR..OPERATOR + 20).map(id).collect(),
            code: CodeParameters { kind: CodeKind::Mbr, n: 3, k: 2, d: 2 },
            key: KeyParameters::new(3, 2, 2).unwrap(),
            pointers_per_author_max: 1_000_000,
            version: agree.then_some(2),
            anchors: anchored.map(|number| (id(*number), beacon(number).anchor())).collect(),
        };
        let address = |number: &u8| (id(*number), listening::free_address().unwrap());
        let file = NetworkFile { genesis, addresses: validators.iter().map(address).collect() };
        let book = Arc::new(Book(Mutex::new(file.addresses.clone())));
        let network = Self {
            root: tempfile::tempdir().unwrap(),
            file,
            validators: BTreeMap::new(),
            nodes: BTreeMap::new(),
            book,
            tries_clock: system_clock(),
            exchanges: BTreeMap::new(),
        };
        validators.iter().for_each(|number| network.make_validator(*number));
        network
    }

    /// The folder of a validator whose key never voted.
    pub(crate) fn make_validator(&self, number: u8) {
        let folder = self.validator_folder(number);
        std::fs::create_dir(&folder).unwrap();
        identity(number).store(&folder.join("identity.key")).unwrap();
        validator::create_voting_log(&folder).unwrap();
    }

    pub(crate) fn validator_folder(&self, number: u8) -> PathBuf {
        self.root.path().join(format!("validator-{number}"))
    }

    pub(crate) fn node_folder(&self, number: u8) -> PathBuf {
        self.root.path().join(format!("node-{number}"))
    }

    pub(crate) fn validator_settings(&self, number: u8) -> ValidatorSettings {
        let listen = self.book.address(&id(number)).unwrap();
        ValidatorSettings {
            tries_clock: Arc::clone(&self.tries_clock),
            ..ValidatorSettings::new(self.validator_folder(number), listen, self.file.clone())
        }
    }

    pub(crate) fn start_validator(&mut self, number: u8) {
        let settings = self.validator_settings(number);
        let run = |stop: oneshot::Receiver<()>| {
            validator::run(settings, async {
                let _ = stop.await;
            })
        };
        self.validators.insert(number, Process::spawn(run));
    }

    pub(crate) async fn kill_validator(&mut self, number: u8) {
        let address = self.book.address(&id(number)).unwrap();
        let process = self.validators.remove(&number).unwrap();
        process.kill(&self.validator_folder(number), address).await;
    }

    /// Enrols a storage node by the operator's entry of this sequence number, and starts it.
    pub(crate) async fn add_node(&mut self, number: u8, sequence: u64) {
        let address = listening::free_address().unwrap();
        let join = NodeJoin {
            node: id(number),
            roles: Roles { storage: true, submitter: true },
            address: address.to_string(),
            zone: "north".into(),
            operator: id(OPERATOR),
            quota_bytes: 1 << 20,
            generation: 1,
        };
        self.submit(OPERATOR, sequence, Body::NodeJoin(join), PATIENCE).await.unwrap();
        std::fs::create_dir(self.node_folder(number)).unwrap();
        identity(number).store(&self.node_folder(number).join("identity.key")).unwrap();
        self.book.0.lock().unwrap().insert(id(number), address);
        self.start_node(number);
        self.reaches(number, 1).await;
    }

    pub(crate) fn start_node(&mut self, number: u8) {
        let (folder, network) = (self.node_folder(number), self.file.clone());
        let listen = self.book.address(&id(number)).unwrap();
        let settings = NodeSettings::new(folder, listen, network, 1 << 20);
        let run = |stop: oneshot::Receiver<()>| {
            node::run(settings, async {
                let _ = stop.await;
            })
        };
        self.nodes.insert(number, Process::spawn(run));
    }

    pub(crate) async fn stop_node(&mut self, number: u8) {
        let address = self.book.address(&id(number)).unwrap();
        self.nodes.remove(&number).unwrap().stop(&self.node_folder(number), address).await;
    }

    /// The exchange of an operator.
    pub(crate) fn exchange(&mut self, number: u8) -> Exchange {
        let (file, book) = (&self.file, &self.book);
        let exchange = self.exchanges.entry(number).or_insert_with(|| {
            let limits = Limits::client().on_loopback();
            let fabric = Fabric::bind(identity(number), loopback(), limits, |_| false).unwrap();
            Exchange::new(fabric, file.network_id(), identity(number), book.clone())
        });
        exchange.clone()
    }

    pub(crate) async fn ask(&mut self, asked: u8, operation: Operation) -> Answer {
        let exchange = self.exchange(OPERATOR);
        retry(&exchange, id(asked), &operation, PATIENCE).await
    }

    pub(crate) async fn submit(
        &mut self,
        author: u8,
        sequence: u64,
        body: Body,
        timeout: Duration,
    ) -> Result<(u64, u64), Refusal> {
        let entry =
            Entry::sign(&self.file.network_id(), identity(author).signing_key(), sequence, body);
        submit(&self.exchange(author), VALIDATOR, entry, timeout).await
    }

    /// Enrols a future validator by the operator's entry of this sequence number.
    pub(crate) async fn enrol_validator(&mut self, number: u8, sequence: u64) {
        self.make_validator(number);
        let address = listening::free_address().unwrap();
        self.book.0.lock().unwrap().insert(id(number), address);
        let join = NodeJoin {
            node: id(number),
            roles: Roles { storage: false, submitter: true },
            address: address.to_string(),
            zone: "north".into(),
            operator: id(OPERATOR),
            quota_bytes: 0,
            generation: 1,
        };
        self.submit(OPERATOR, sequence, Body::NodeJoin(join), PATIENCE).await.unwrap();
        let update = ValidatorUpdate { address: address.to_string(), anchor: None };
        self.submit(number, 1, Body::ValidatorUpdate(update), PATIENCE).await.unwrap();
    }

    /// More than two thirds of a set vote for another; gives the height that decides it.
    pub(crate) async fn change_validators(&mut self, set: &[u8], next: &[u8]) -> u64 {
        let id_of = |numbers: &[u8]| numbers.iter().map(|number| (id(*number), 1)).collect();
        let from: ValidatorSet = id_of(set);
        let change = ValidatorChange { validators: id_of(next), from: Some(from.hash()) };
        let mut votes = JoinSet::new();
        for author in set.iter().copied().take(set.len() * 2 / 3 + 1) {
            let (network_id, exchange) = (self.file.network_id(), self.exchange(author));
            let body = Body::ValidatorChange(change.clone());
            votes.spawn(async move {
                // It registers its beacon's anchors under the same key.
                loop {
                    let sequence = next_sequence(&exchange, author).await;
                    let key = identity(author);
                    let vote = Entry::sign(&network_id, key.signing_key(), sequence, body.clone());
                    match submit(&exchange, author, vote, PATIENCE).await {
                        Ok((height, _)) => return height,
                        Err(refusal) => {
                            let message = refusal.message;
                            assert!(message.contains("sequence number"), "{message}");
                        }
                    }
                }
            });
        }
        votes.join_all().await.into_iter().max().unwrap()
    }

    pub(crate) fn pointer(&self, number: u64) -> Body {
        pointer(&self.file, number)
    }

    /// The final head, certified and attested.
    pub(crate) async fn head(&mut self) -> SignedHeader {
        let nonce = [7; 32];
        let answer = self.ask(VALIDATOR, Operation::Head { nonce }).await;
        let Response::Head { head, attestation } = answer.response else {
            panic!("{:?}", answer.response)
        };
        self.check_head(&head, attestation, &nonce);
        *head
    }

    fn check_head(&self, head: &SignedHeader, attestation: HeadAttestation, nonce: &[u8; 32]) {
        let mut light = LightClient::new(self.file.genesis.clone()).unwrap();
        let now = kakera_net::clock::unix_milliseconds();
        light.accept_head(head, &[attestation], nonce, now).unwrap();
    }

    /// Waits until a storage node has the chain up to a height on its disk.
    pub(crate) async fn reaches(&mut self, number: u8, height: u64) {
        let begin = Instant::now();
        while begin.elapsed() < PATIENCE {
            let answer = self.ask(number, Operation::Status).await;
            match answer.response {
                Response::Status(status) if status.height >= height => return,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
        panic!("node {number} does not reach height {height}");
    }

    /// Verifies a chain on disk from its genesis on; the process must not run.
    pub(crate) fn stored_chain(&self, folder: &Path) -> (Chain, ChainStore<OsDisk>) {
        let disk = OsDisk::open(folder).unwrap();
        let store = ChainStore::open(&disk, CHAIN_FILE).unwrap();
        (store.replay(self.file.genesis.clone(), u64::MAX).unwrap(), store)
    }
}

pub(crate) fn pointer(file: &NetworkFile, number: u64) -> Body {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&number.to_be_bytes());
    let key = Identity::from_seed(&Zeroizing::new(seed));
    Body::Pointer(Pointer::sign(&file.network_id(), key.signing_key(), vec![1; 300]))
}

pub(crate) async fn submit(
    exchange: &Exchange,
    validator: u8,
    entry: Entry,
    timeout: Duration,
) -> Result<(u64, u64), Refusal> {
    let operation = Operation::Submit(Box::new(entry));
    match retry(exchange, id(validator), &operation, timeout).await.response {
        Response::Submitted { height, index } => Ok((height, index)),
        Response::Refused(refusal) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// Asks until there is an answer, for a peer may just be starting.
pub(crate) async fn retry(
    exchange: &Exchange,
    peer: NodeId,
    operation: &Operation,
    timeout: Duration,
) -> Answer {
    let begin = Instant::now();
    loop {
        match exchange.ask(peer, operation, Bytes::new(), timeout, None).await {
            Ok(answer) => return answer,
            Err(failure) if begin.elapsed() > PATIENCE => panic!("{failure}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// The sequence number of the validator's next entry, as it says itself.
pub(crate) async fn next_sequence(exchange: &Exchange, validator: u8) -> u64 {
    let operation = Operation::Prove(vec![StateKey::Sequence(id(validator))]);
    let answer = retry(exchange, id(validator), &operation, PATIENCE).await;
    let proven: Vec<ProvenValue> = canonical::decode(&answer.body, 1 << 20).unwrap();
    let last = proven[0].value.as_ref();
    last.map_or(0, |bytes| canonical::decode::<u64>(bytes, 16).unwrap()) + 1
}
