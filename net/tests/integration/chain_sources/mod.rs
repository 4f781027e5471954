//! Machines that give away a prepared chain over real QUIC, honestly or not, and one that takes it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};

use kakera_engine::ledger::{
    Body, CertifiedBlock, Chain, HeadAttestation, Pointer, verify_from_genesis,
};
use kakera_engine::names::NodeId;
use kakera_engine::peer::Answer;
use kakera_engine::wire::{Operation, Refusal, RefusalKind, Request, Response, Session};
use kakera_net::chain_store::{CHAIN_FILE, ChainServer, ChainStore};
use kakera_net::chain_view::ChainView;
use kakera_net::clock::unix_milliseconds;
use kakera_net::exchange::{AddressBook, Exchange};
use kakera_net::fabric::{Fabric, Incoming, Limits};
use kakera_net::id::Identity;
use kakera_net::network_file::NetworkFile;
use kakera_net::rpc::Message;
use kakera_net::store::disk::OsDisk;
use kakera_net::sync::Replica;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::ledger_network::key;
use crate::ledger_validators::{Consortium, FOUR, genesis_of};

/// The prepared chain's height; its milestones are 272 and 288.
pub(crate) const HEIGHT: u64 = 300;
pub(crate) const MILESTONE: u64 = 288;
/// Who takes.
pub(crate) const TAKER: u8 = 10;

pub(crate) fn identity(number: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed(&Zeroizing::new([number; 32])))
}

pub(crate) fn id(number: u8) -> NodeId {
    identity(number).node_id()
}

/// Certified blocks in which the set changes once, with a state of two megabytes.
pub(crate) fn blocks() -> &'static [Vec<u8>] {
    static BLOCKS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let mut network = Consortium::with_machines(6);
        for round in 0..40 {
            let pointers = (0..8).map(|place| {
                let owner = key(1 + (round % 20) * 8 + place);
                let pointer = Pointer::sign(&network.id(), &owner, vec![round; 7000]);
                network.say(10 + place % 6, Body::Pointer(pointer))
            });
            let pointers = pointers.collect();
            network.seal(pointers);
        }
        network.change(&[201, 202, 203, 205]);
        while network.chain.head().header.height < HEIGHT + 64 {
            network.seal(vec![]);
        }
        network.blocks
    });
    &BLOCKS
}

pub(crate) fn decoded(blocks: &[Vec<u8>]) -> Vec<CertifiedBlock> {
    blocks.iter().map(|bytes| CertifiedBlock::from_bytes(bytes).unwrap()).collect()
}

/// The prepared chain up to a height.
pub(crate) fn chain(height: u64) -> Chain {
    static CHAINS: Mutex<BTreeMap<u64, Chain>> = Mutex::new(BTreeMap::new());
    let blocks = &blocks()[..height as usize];
    let verified = || verify_from_genesis(genesis_of(&FOUR), blocks).unwrap();
    CHAINS.lock().unwrap().entry(height).or_insert_with(verified).clone()
}

/// What a source does with the n-th question of a kind; `None`: it never answers.
type Behaviour = dyn Fn(&Operation, usize, Answer) -> Option<Answer> + Send + Sync;

/// A machine that gives its chain away.
pub(crate) struct Source {
    pub(crate) number: u8,
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
    serving: JoinHandle<()>,
    _folder: TempDir,
}

struct Inner {
    identity: Arc<Identity>,
    server: ChainServer<OsDisk>,
    view: Mutex<Arc<ChainView>>,
    questions: Mutex<Vec<Operation>>,
    behaviour: Box<Behaviour>,
}

impl Drop for Source {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Source {
    pub(crate) fn honest(number: u8) -> Self {
        Self::new(number, HEIGHT, |_, _, answer| Some(answer))
    }

    pub(crate) fn new(
        number: u8,
        height: u64,
        behaviour: impl Fn(&Operation, usize, Answer) -> Option<Answer> + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(folder.path()).unwrap();
        let store = ChainStore::open(&disk, CHAIN_FILE).unwrap();
        store.append(&decoded(&blocks()[..height as usize])).unwrap();
        let view = ChainView::new(&chain(height), Arc::default(), u64::MAX);
        let inner = Arc::new(Inner {
            identity: identity(number),
            server: ChainServer::new(Arc::new(store)),
            view: Mutex::new(Arc::new(view)),
            questions: Mutex::default(),
            behaviour: Box::new(behaviour),
        });
        let limits = Limits::default().on_loopback();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let fabric = Fabric::bind(identity(number), loopback, limits, |_| true).unwrap();
        let address = fabric.local_address();
        let served = Arc::clone(&inner);
        let serving = tokio::spawn(async move {
            fabric.serve(move |incoming| Arc::clone(&served).serve(incoming)).await;
        });
        Self { number, address, inner, serving, _folder: folder }
    }

    /// Its chain grows.
    pub(crate) fn grow_to(&self, height: u64) {
        let store = self.inner.server.store();
        store.append(&decoded(&blocks()[store.height() as usize..height as usize])).unwrap();
        let view = ChainView::new(&chain(height), Arc::default(), u64::MAX);
        *self.inner.view.lock().unwrap() = Arc::new(view);
    }

    /// How many questions of a kind it was asked.
    pub(crate) fn asked(&self, kind: impl Fn(&Operation) -> bool) -> usize {
        self.inner.questions.lock().unwrap().iter().filter(|asked| kind(asked)).count()
    }

    /// The heights from which it was asked for blocks.
    pub(crate) fn followed_from(&self) -> Vec<u64> {
        let questions = self.inner.questions.lock().unwrap();
        let from = |asked: &Operation| match asked {
            Operation::Follow { from, .. } => Some(*from),
            _ => None,
        };
        questions.iter().filter_map(from).collect()
    }
}

pub(crate) fn is_chunk(operation: &Operation) -> bool {
    matches!(operation, Operation::SnapshotChunk { .. })
}

pub(crate) fn unavailable() -> Answer {
    Answer::bare(Response::Refused(Refusal::new(RefusalKind::Unavailable, "not now")))
}

impl Inner {
    async fn serve(self: Arc<Self>, incoming: Incoming) -> Message {
        let Incoming { peer, exporter, header, .. } = incoming;
        let network = chain(0).network();
        let session =
            Session { network, author: peer, receiver: self.identity.node_id(), exporter };
        let operation = Request::verify(&header, &session, unix_milliseconds()).unwrap().operation;
        let answer = self.answer(&operation);
        let nth = {
            let mut questions = self.questions.lock().unwrap();
            let same = |asked: &&Operation| {
                std::mem::discriminant(*asked) == std::mem::discriminant(&operation)
            };
            let nth = questions.iter().filter(same).count();
            questions.push(operation);
            nth
        };
        let behaved = {
            let questions = self.questions.lock().unwrap();
            (self.behaviour)(&questions[questions.len() - 1], nth, answer)
        };
        let Some(answer) = behaved else { std::future::pending().await };
        Message { header: answer.response.to_header().into(), body: answer.body }
    }

    fn answer(&self, operation: &Operation) -> Answer {
        let view = Arc::clone(&self.view.lock().unwrap());
        let Operation::Head { nonce } = operation else {
            return self.server.answer(operation, &view).unwrap();
        };
        let (head, now) = (view.head().clone(), unix_milliseconds());
        let key = self.identity.signing_key();
        let attestation = HeadAttestation::sign(&head.header, *nonce, now, key);
        Answer::bare(Response::Head { head: Box::new(head), attestation })
    }
}

struct Book(BTreeMap<NodeId, SocketAddr>);

impl AddressBook for Book {
    fn address(&self, node: &NodeId) -> Option<SocketAddr> {
        self.0.get(node).copied()
    }
}

/// A machine with a folder, at first empty, that takes the chain.
pub(crate) struct Taker {
    pub(crate) folder: TempDir,
    pub(crate) replica: Arc<Replica>,
    pub(crate) exchange: Exchange,
    pub(crate) sources: Vec<NodeId>,
}

impl Taker {
    pub(crate) fn from(sources: &[&Source]) -> Self {
        Self::in_folder(tempfile::tempdir().unwrap(), sources)
    }

    pub(crate) fn in_folder(folder: TempDir, sources: &[&Source]) -> Self {
        let disk = OsDisk::open(folder.path()).unwrap();
        let addresses: BTreeMap<NodeId, SocketAddr> =
            sources.iter().map(|source| (id(source.number), source.address)).collect();
        let file = NetworkFile { genesis: genesis_of(&FOUR), addresses: addresses.clone() };
        let network = file.network_id();
        let replica = Arc::new(Replica::open(&disk, file).unwrap());
        let limits = Limits::client().on_loopback();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let fabric = Fabric::bind(identity(TAKER), loopback, limits, |_| false).unwrap();
        let sources = addresses.keys().copied().collect();
        let exchange = Exchange::new(fabric, network, identity(TAKER), Arc::new(Book(addresses)));
        Self { folder, replica, exchange, sources }
    }

    /// Ends it as a killed process does.
    pub(crate) fn into_folder(self) -> TempDir {
        self.folder
    }
}
