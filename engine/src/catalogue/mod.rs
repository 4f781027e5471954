//! The catalogue of a vault: names, versions and places of its records, as a log of versions.
//!
//! A [`Version`] says what a record is called and what it holds from then on; edits, renames,
//! deletions and restorations are all versions, and none is ever changed. Versions are sealed into
//! [`Segment`]s, which lie in objects like any record; the [`Head`] lists the segments and holds
//! the newest few versions itself; one pointer on the ledger leads to the head. The pointer of the
//! next head has the next number, and of several pointers with one number the first on the ledger
//! counts: whoever comes second reads what the first wrote, puts its own versions behind it and
//! posts again. So the order of versions is the ledger's, and none is lost.
//!
//! What grows with what, for N versions of about 200 bytes: a put of one record writes the record,
//! the head and, on average, three times the record's version (a version is rewritten when it
//! leaves the head and twice by merges); a head is at most 4 KiB of versions and 130 bytes for each
//! segment; segments are at most 30 below 1 MiB and one for each MiB or more above, so 20 for
//! 100 000 versions of which most came in large puts. Opening reads the head and, all at once, the
//! segments: N times 200 bytes in four or five round trips. Formats: `engine/spec/catalogue.md`.

mod head;
mod log;
mod manifest;
mod name;
mod order;
mod segment;
mod state;
mod table;
mod version;

use crate::object::FormatVersion;

pub use head::{HEAD_LEN_MAX, Head, SegmentPlace};
pub use log::{Filed, Log, NextHead};
pub use name::{NAME_LEN_MAX, RecordName};
pub use order::{Draft, OrderError};
pub use segment::{LABEL_LEN_MAX, SEGMENT_LEN_MAX, Segment};
pub use state::{Catalogue, CatalogueError, Record};
pub use version::{ABOUT_LEN_MAX, About, Content, Piece, SealedAs, Stored, Version, VersionKey};
