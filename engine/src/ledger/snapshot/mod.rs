//! Snapshots: the chain after one block without the blocks before it.
//!
//! A snapshot is a [`SnapshotBase`], the certified head and the right edge of the log, the changes of
//! the validator set before it, and the state in [`StateChunk`]s. Whoever has the chain takes a
//! [`Snapshot`] of it, which costs a few hundred bytes, and answers requests for chunks; whoever
//! wants the chain puts them together with a [`SnapshotAssembly`], which believes nobody. Formats:
//! `engine/spec/snapshot.md`.

mod assembly;
mod chunk;
mod prefix;

use std::sync::Arc;

use minicbor::{Decode, Encode};
use thiserror::Error;

pub use assembly::{RefusedChunk, SnapshotAssembly};
pub use chunk::{CHUNK_LEN_MAX, ChunkError, StateChunk};
pub use prefix::Prefix;

use super::block::SignedHeader;
use super::certificate::CERTIFICATE_LEN_MAX;
use super::chain::Chain;
use super::genesis::{Genesis, GenesisError, ValidatorSet};
use super::light::{HeadError, SetChange};
use super::log::{Digest32, Log, PathHash};
use super::map::AuthenticatedMap;
use super::suite::Suite;
use crate::names::NetworkId;
use crate::wire::canonical::{self, CanonicalError};

/// Longest base: a header with its certificate and 64 hashes.
const BASE_LEN_MAX: usize = CERTIFICATE_LEN_MAX + 4096;

/// What a snapshot begins with: all but the state.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotBase {
    #[n(0)]
    suite: Suite,
    /// The head after which the chain goes on.
    #[n(1)]
    head: SignedHeader,
    /// [`Log::peaks`].
    #[n(2)]
    peaks: Vec<PathHash>,
}

/// Why a snapshot cannot begin so. Whoever sent it is to blame, unless the genesis is wrong.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BaseError {
    /// Our genesis is none.
    #[error(transparent)]
    Genesis(#[from] GenesisError),
    /// Another network's.
    #[error("the snapshot belongs to network {0}")]
    Network(NetworkId),
    /// The peaks are not those of the log that the head names.
    #[error("the edge of the log does not lead to the log's root")]
    Log,
    /// The changes of the validator set do not lead from the genesis to one that certified the head.
    #[error(transparent)]
    Head(#[from] HeadError),
}

impl SnapshotBase {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads the canonical bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode(bytes, BASE_LEN_MAX)
    }

    /// The head, to be believed only as any other that somebody sends.
    pub fn head(&self) -> &SignedHeader {
        &self.head
    }

    /// The log up to the head.
    fn log(&self) -> Option<Log> {
        let peaks: Vec<Digest32> = self.peaks.iter().map(|hash| hash.0).collect();
        let header = &self.head.header;
        Log::from_peaks(header.log_size, &peaks).filter(|log| log.root() == header.log_root)
    }
}

/// The chain after one block, to be given away. Cheap to take and to keep: it shares its state with
/// the chain.
#[derive(Clone)]
pub struct Snapshot {
    base: SnapshotBase,
    map: AuthenticatedMap,
    genesis: Arc<Genesis>,
    changes: Arc<Vec<SetChange>>,
}

impl Snapshot {
    /// The chain as it is now.
    pub fn of(chain: &Chain) -> Self {
        let peaks = chain.log().peaks().into_iter().map(PathHash).collect();
        let base = SnapshotBase { suite: Suite, head: chain.head().clone(), peaks };
        let (genesis, changes) = (chain.state().genesis.clone(), Arc::clone(chain.set_changes()));
        Self { base, map: chain.state().map().clone(), genesis, changes }
    }

    /// All but the state.
    pub fn base(&self) -> &SnapshotBase {
        &self.base
    }

    /// The height of the head.
    pub fn height(&self) -> u64 {
        self.base.head.header.height
    }

    /// The changes of the validator set below the head, ascending.
    pub fn set_changes(&self) -> &[SetChange] {
        let below = |change: &SetChange| change.header.header.height < self.height();
        &self.changes[..self.changes.partition_point(below)]
    }

    /// The validator set with this hash, if it ever was that of the chain.
    pub fn validators(&self, hash: &Digest32) -> Option<&ValidatorSet> {
        let led_to = |change: &&SetChange| change.header.header.next_validators == *hash;
        match self.changes.iter().rev().find(led_to) {
            Some(change) => Some(&change.validators),
            None => Some(&self.genesis.validators).filter(|genesis| genesis.hash() == *hash),
        }
    }

    /// The first chunk of a subtree of the state: most often all of it, if it fits. `None` if
    /// there is no such subtree.
    pub fn chunk(&self, within: &Prefix) -> Option<StateChunk> {
        StateChunk::cut(&self.map, within, CHUNK_LEN_MAX)
    }

    /// The whole state in chunks, in order.
    pub fn chunks(&self) -> impl Iterator<Item = StateChunk> + '_ {
        chunks_of(&self.map, CHUNK_LEN_MAX)
    }
}

/// The chunks of at most `len_max` bytes that a map is cut into, in order.
fn chunks_of(map: &AuthenticatedMap, len_max: usize) -> impl Iterator<Item = StateChunk> + '_ {
    let mut rest = vec![Prefix::ROOT];
    std::iter::from_fn(move || {
        let within = rest.pop()?;
        let chunk = StateChunk::cut(map, &within, len_max)?;
        rest.extend(chunk.others().filter(|other| within.contains(other)));
        Some(chunk)
    })
}

#[cfg(test)]
mod tests;
