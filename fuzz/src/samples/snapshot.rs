//! A snapshot of the sample chain.

use std::sync::LazyLock;

use kakera_engine::ledger::{Snapshot, SnapshotAssembly, StateChunk};
use kakera_engine::wire::canonical;

use super::ledger::{chain, genesis};

pub(crate) fn snapshot() -> &'static Snapshot {
    static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| Snapshot::of(&chain().0));
    &SNAPSHOT
}

/// One that has nothing of the state yet.
pub(crate) fn assembly() -> SnapshotAssembly {
    let base = snapshot().base().clone();
    match SnapshotAssembly::new(genesis().clone(), base, Vec::new()) {
        Ok(assembly) => assembly,
        Err(error) => unreachable!("our own base: {error}"),
    }
}

pub(crate) fn bases() -> Vec<Vec<u8>> {
    vec![snapshot().base().to_bytes()]
}

pub(crate) fn chunks() -> Vec<Vec<u8>> {
    halves().iter().map(StateChunk::to_bytes).chain([whole().to_bytes()]).collect()
}

pub(crate) fn prefixes() -> Vec<Vec<u8>> {
    halves().iter().map(|half| canonical::encode(&half.prefix())).collect()
}

fn whole() -> StateChunk {
    match snapshot().chunks().next() {
        Some(chunk) => chunk,
        None => unreachable!("every state has a chunk"),
    }
}

/// The two halves of the state: each is the first chunk of what begins with one bit.
fn halves() -> Vec<StateChunk> {
    let prefix = |first: u8| [&[0x82, 1, 0x58, 32, first][..], &[0; 31]].concat();
    [0, 0x80]
        .iter()
        .filter_map(|first| canonical::decode(&prefix(*first), 64).ok())
        .filter_map(|within| snapshot().chunk(&within))
        .collect()
}
