//! What a node keeps on disk: parts, the chain's blocks, and small settings. Format and rules:
//! `engine/spec/store.md`.
//!
//! Everything is written through [`disk::Disk`], so that the same code runs on the operating
//! system's files and on a simulated disk that loses power (`simulated`, feature `testkit`).
//! One promise runs through the folder: *what a call acknowledges, and what an opened store
//! shows, survives a power cut*.

pub mod block_log;
pub mod disk;
pub mod file;
mod packed_map;
mod part_file;
mod part_index;
pub mod parts;
mod share_batch;
pub mod snapshot_file;
mod tombstone;

#[cfg(feature = "testkit")]
pub mod crash_model;
#[cfg(feature = "testkit")]
pub mod simulated;
