//! Kakera beside its rivals and the machine's limit: the [`Contest`]s of `cargo xtask compare` and
//! of the criterion series (`cargo bench -p kakera-benches`). The only crate with rivals in it.
//!
//! # How it is measured
//! - Throughput is bytes of *user data* per second: the object that is encoded or decoded, however
//!   much a code makes of it; for a repair, bytes of the fragment that is restored.
//! - Every side of a contest works on the same data in buffers of one shape ([`strips::Strips`]),
//!   each 64-byte aligned and none at a distance of a power of two from another, which would cost
//!   up to 40 % by cache sets that collide. No side is better placed than another.
//! - A contest of parities is what ISA-L and the other rivals do: k strips in, m strips out, into
//!   buffers given. What a put calls, `Code::encode_into`, copies the object into k of n fragments
//!   besides; it stands beside them, and so does `Code::encode`, which allocates all n.
//! - Regenerating codes are measured through `Code`, into buffers that are used again, and so is
//!   the Reed-Solomon that they are compared with.
//! - Rivals are used in their best documented way: tables, matrices and encoders are prepared
//!   outside the measured time, output buffers are given wherever the rival takes them, and where
//!   a rival chooses its kernel at run time it may.
//! - The limits of a contest are sides of it: a copy, and for parities what the processor needs for
//!   the loads and stores alone. So is what the products of a dense matrix take, the limit of those
//!   encoders that multiply by one.
//! - All sides of a contest run in turns on one thread ([`rounds`]).

pub mod contest;
mod isal;
mod limit;
mod reed_solomon;
mod regenerating;
pub mod rounds;
mod sealing;
mod sharing;
pub mod strips;

pub use contest::{Contest, Peer, Side};
pub use isal::is_available as isal_is_available;

/// Every contest, made one after the other because their buffers are large.
pub fn contests() -> impl Iterator<Item = Contest> {
    reed_solomon::contests()
        .chain(regenerating::contests())
        .chain(sharing::contests())
        .chain(sealing::contests())
}

/// Those for AVX2 only, each made when it is asked for. Force our kernel before the first.
pub fn avx2_contests() -> impl Iterator<Item = Contest> {
    reed_solomon::avx2_contests()
}
