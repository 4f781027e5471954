//! A verified copy of the whole chain in a folder.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kakera_net::chain_store::{CHAIN_FILE, ChainStore, ChainStoreError};
use kakera_net::store::block_log::LogError;
use kakera_net::store::disk::{OpenDiskError, OsDisk};
use kakera_net::sync::{Progress, Replica, SyncError};
use serde::Serialize;

use super::{HeadReport, VerifyReport};
use crate::failure::{Failure, Kind};
use crate::output::Report;
use crate::session::Session;

/// How often a person is told how far it is.
const NARRATION_INTERVAL: Duration = Duration::from_secs(1);

/// Brings the copy in a folder up to the newest head.
pub(super) async fn sync(session: &Session, folder: &Path) -> Result<(), Failure> {
    let disk = OsDisk::open(folder).map_err(disk_failure)?;
    let begin = Instant::now();
    let replica = Arc::new(Replica::open(&disk, session.network()?).map_err(store_failure)?);
    let before = replica.height();
    let connection = session.connect()?;
    let mut told = Instant::now();
    let copied = connection.client.copy_chain(&replica, |progress| {
        if told.elapsed() >= NARRATION_INTERVAL {
            told = Instant::now();
            session.output.narrate(&narration(&progress));
        }
    });
    let copied = copied.await.map_err(|error| {
        let kept = replica.height();
        sync_failure(error).during(format_args!("{kept} blocks are here; the next one"))
    });
    connection.close().await?;
    copied?;
    let head = HeadReport::new(&replica.view().head().header);
    let (new, first) = (head.height - before, replica.store().first_height());
    let seconds = begin.elapsed().as_secs_f64();
    session.output.report(&SyncReport { head, first, new, seconds })
}

fn narration(Progress { height, target, source }: &Progress) -> String {
    let percent = height * 100 / (*target).max(1);
    format!("block {height} of {target} ({percent} %) from {source:?}")
}

/// Checks the copy in a folder from the genesis on, without the network.
pub(super) fn verify(session: &Session, folder: &Path) -> Result<(), Failure> {
    let genesis = session.network()?.genesis;
    let store = open(folder)?;
    let chain = store.replay(genesis, u64::MAX).map_err(store_failure)?;
    if store.truncated_bytes() > 0 {
        let message = format!(
            "the chain breaks after height {}: the last {} bytes of the copy were no whole blocks, and \
             were cut off",
            store.height(),
            store.truncated_bytes()
        );
        let advice = format!("kakera ledger sync {}", folder.display());
        return Err(Failure::new(Kind::Integrity, message, advice));
    }
    let (head, first) = (HeadReport::new(&chain.head().header), store.first_height());
    session.output.report(&VerifyReport { head, first })
}

/// The chain that is kept in a folder; there must be one.
pub(super) fn open(folder: &Path) -> Result<ChainStore<OsDisk>, Failure> {
    if !folder.join(CHAIN_FILE).is_file() {
        let message = format!("there is no copy of the chain in {}", folder.display());
        let advice = format!("kakera ledger sync {}", folder.display());
        return Err(Failure::new(Kind::NotFound, message, advice));
    }
    let disk = OsDisk::open(folder).map_err(disk_failure)?;
    ChainStore::open(&disk, CHAIN_FILE).map_err(store_failure)
}

fn disk_failure(error: OpenDiskError) -> Failure {
    let kind = match error {
        OpenDiskError::InUse(_) => Kind::TryAgain,
        OpenDiskError::Io { .. } => Kind::Failure,
    };
    Failure::of(kind, error, "check the path and its permissions")
}

pub(super) fn store_failure(error: ChainStoreError) -> Failure {
    let kind = match &error {
        ChainStoreError::Log(LogError::Damaged { .. } | LogError::NotALog(_))
        | ChainStoreError::Chain(_)
        | ChainStoreError::Anchor { .. } => Kind::Integrity,
        ChainStoreError::Genesis(_) => Kind::Usage,
        ChainStoreError::Dropped { .. } => Kind::NotFound,
        ChainStoreError::Log(_) | ChainStoreError::Write { .. } => Kind::Failure,
    };
    Failure::of(kind, error, "keep the folder, and copy the chain into an empty one")
}

fn sync_failure(error: SyncError) -> Failure {
    let (kind, advice) = match error {
        SyncError::Store(error) => return store_failure(error),
        SyncError::Ask(_)
        | SyncError::Refused(_)
        | SyncError::Dropped(_)
        | SyncError::Withheld(_)
        | SyncError::NoSource => {
            (Kind::TryAgain, "run it again, it goes on from here; see that validators run")
        }
        SyncError::Genesis(_) => (Kind::Usage, "ask the operator for the network file"),
        SyncError::Unfitting
        | SyncError::Block { .. }
        | SyncError::Fork(_)
        | SyncError::Head(_)
        | SyncError::Base(_)
        | SyncError::Chunk(_) => (Kind::Integrity, "keep the folder and tell the operators"),
    };
    Failure::of(kind, error, advice)
}

#[derive(Serialize)]
struct SyncReport {
    #[serde(flatten)]
    head: HeadReport,
    first: u64,
    new: u64,
    seconds: f64,
}

impl Report for SyncReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { head, first, new, seconds } = self;
        writeln!(
            out,
            "Blocks {first} to {} are here and good, {new} of them new, in {seconds:.1} s.",
            head.height
        )
    }
}
