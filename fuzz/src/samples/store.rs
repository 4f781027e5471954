//! Files of a node's store, opened on a disk in memory.

use kakera_engine::ledger::Snapshot;
use kakera_engine::wire::PartReference;
use kakera_net::store::block_log::{BlockLog, LogCopy, LogError};
use kakera_net::store::disk::{Disk, DiskFile, EntryKind};
use kakera_net::store::parts::{Part, PartStore};
use kakera_net::store::simulated::SimulatedDisk;
use kakera_net::store::snapshot_file::{SnapshotFile, write_snapshot};

use super::{agreement, ledger, object, snapshot};

const LOG: &str = "blocks";
const SNAPSHOT: &str = "snapshot";
const SALT: [u8; 32] = [8; 32];

/// Whether a store that finds `bytes` as its one part's file reads it back in full.
pub(crate) fn opens_part(bytes: &[u8]) -> bool {
    let disk = SimulatedDisk::new();
    let Some((path, _)) = store_part(&disk, b"") else { return false };
    if !overwrite(&disk, &path, bytes) {
        return false;
    }
    let Ok((store, _)) = PartStore::open(disk, u64::MAX) else { return false };
    let key = part_reference();
    let Ok(Some(meta)) = store.meta(&key) else { return false };
    let Ok(Some(fragment)) = store.fragment(&key, 0..meta.fragment_length) else { return false };
    assert!(meta.descriptor.len() + meta.share.len() + fragment.len() < bytes.len());
    true
}

/// Whether `bytes` are a log, with or without an interrupted append at the end.
pub(crate) fn opens_log(bytes: &[u8]) -> bool {
    let disk = SimulatedDisk::new();
    if BlockLog::open(&disk, LOG, SALT).is_err() || !overwrite(&disk, LOG, bytes) {
        return false;
    }
    let Ok((log, recovery)) = BlockLog::open(&disk, LOG, SALT) else { return false };
    assert!(recovery.truncated_bytes <= bytes.len() as u64);
    for index in log.first()..log.len() {
        assert!(log.read(index).is_ok_and(|record| record.is_some()), "a record that was counted");
    }
    true
}

/// Whether `bytes` are a snapshot of a chain of the sample networks.
pub(crate) fn opens_snapshot(bytes: &[u8]) -> bool {
    let disk = SimulatedDisk::new();
    if disk.create_new(SNAPSHOT).is_err() || !overwrite(&disk, SNAPSHOT, bytes) {
        return false;
    }
    let Ok(Some(file)) = SnapshotFile::open(&disk, SNAPSHOT) else { return false };
    let (head, length) = (file.base().head().clone(), file.length());
    assert_eq!(length, bytes.len() as u64);
    let genesis = match head.certificate.round {
        None => ledger::genesis().clone(),
        Some(_) => agreement::genesis_of_four(),
    };
    file.read(genesis).is_ok_and(|chain| *chain.head() == head)
}

pub(crate) fn snapshot_files() -> Vec<Vec<u8>> {
    let of_four = Snapshot::of(&agreement::chain_after_change());
    let write = |snapshot| {
        let disk = SimulatedDisk::new();
        write_snapshot(&disk, SNAPSHOT, snapshot).ok()?;
        contents(&disk, SNAPSHOT)
    };
    [snapshot::snapshot(), &of_four].into_iter().filter_map(write).collect()
}

pub(crate) fn part_files() -> Vec<Vec<u8>> {
    [&b""[..], &[3; 40_000]]
        .into_iter()
        .filter_map(|fragment| store_part(&SimulatedDisk::new(), fragment))
        .map(|(_, bytes)| bytes)
        .collect()
}

pub(crate) fn block_logs() -> Vec<Vec<u8>> {
    let (whole, shortened) = (SimulatedDisk::new(), SimulatedDisk::new());
    let fill = |disk: &SimulatedDisk| -> Result<BlockLog<SimulatedDisk>, LogError> {
        let (mut log, _) = BlockLog::open(disk, LOG, SALT)?;
        log.append(b"first")?;
        log.append_batch(&[b"second", b"", &[4; 1000]])?;
        Ok(log)
    };
    let shorten = |log: &mut BlockLog<SimulatedDisk>| -> Result<(), LogError> {
        let mut copy = LogCopy::begin(&shortened, LOG, SALT, 1)?;
        copy.add(&log.read_range(1, usize::MAX)?)?;
        log.replace(&shortened, copy)
    };
    let written = fill(&whole).and_then(|_| shorten(&mut fill(&shortened)?));
    assert!(written.is_ok(), "a disk without faults");
    [whole, shortened].iter().filter_map(|disk| contents(disk, LOG)).collect()
}

fn part_reference() -> PartReference {
    let sealed = object::sealed();
    PartReference {
        group: sealed.descriptor.group,
        slot: object::slots()[0],
        object: sealed.object_id,
    }
}

/// Stores one part and gives its file's path and bytes.
fn store_part(disk: &SimulatedDisk, fragment: &[u8]) -> Option<(String, Vec<u8>)> {
    let (store, _) = PartStore::open(disk.clone(), u64::MAX).ok()?;
    let part = Part {
        key: part_reference(),
        submitter: kakera_engine::names::NodeId([1; 32]),
        submitter_quota_bytes: None,
        descriptor: &object::descriptor().encode(),
        share: &object::shares()[0],
        fragment: &[fragment],
    };
    store.put(&part).ok()?;
    let path = only_file(disk, "")?;
    let bytes = contents(disk, &path)?;
    Some((path, bytes))
}

/// The one file below a directory.
fn only_file(disk: &SimulatedDisk, directory: &str) -> Option<String> {
    disk.list(directory).ok()?.into_iter().find_map(|entry| {
        let path =
            if directory.is_empty() { entry.name } else { format!("{directory}/{}", entry.name) };
        match entry.kind {
            EntryKind::File(_) => Some(path),
            EntryKind::Directory => only_file(disk, &path),
            EntryKind::Other => None,
        }
    })
}

fn contents(disk: &SimulatedDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.open(path).ok()?;
    let mut bytes = vec![0; file.length().ok()?.try_into().ok()?];
    file.read_at(0, &mut bytes).ok()?;
    Some(bytes)
}

fn overwrite(disk: &SimulatedDisk, path: &str, bytes: &[u8]) -> bool {
    disk.open(path).is_ok_and(|file| file.truncate(0).is_ok() && file.write_at(0, bytes).is_ok())
}
