//! What the repair of one object gives, and what it moved.

use bytes::Bytes;
use thiserror::Error;

use crate::keyshare::{RenewedRows, Share};
use crate::names::ObjectId;
use crate::wire::{PartReference, VouchedDescriptor};

/// Bytes received in a repair, by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairTraffic {
    /// Helper symbols of the fragment.
    pub symbol_bytes: u64,
    /// Pair symbols of the key share with their paths.
    pub key_bytes: u64,
    /// The rest of the headers: descriptors, signatures.
    pub header_bytes: u64,
    /// Whole fragments of helpers, asked only to find a liar or below d helpers.
    pub witness_bytes: u64,
}

/// A part rebuilt, bit-identical to the lost one.
#[derive(Debug)]
pub struct RepairedPart {
    /// Its name.
    pub part: PartReference,
    /// The descriptor and who vouched for it.
    pub object: VouchedDescriptor,
    /// The key share.
    pub share: Share,
    /// What it is checked against, if it was refreshed since it was stored.
    pub renewed: Option<RenewedRows>,
    /// The fragment.
    pub fragment: Bytes,
    /// Bytes of the helper symbols that the fragment was rebuilt from; 0 if from whole fragments.
    pub symbol_bytes: u64,
    /// What the code's theory says the fragment's repair moves, in bytes.
    pub symbol_bytes_theory: u64,
    /// What Reed-Solomon would have moved: k fragments of coded_len / k bytes.
    pub reed_solomon_bytes: u64,
}

/// The share of a part that is kept, of a newer epoch than the one kept.
#[derive(Debug)]
pub struct RenewedPart {
    /// Its object.
    pub object: ObjectId,
    /// The share.
    pub share: Share,
    /// What it is checked against.
    pub rows: RenewedRows,
}

/// What a repair gives.
#[derive(Debug)]
pub enum Rebuilt {
    /// All of it.
    Part(RepairedPart),
    /// What alone was wanted.
    Share(RenewedPart),
}

/// The part cannot be rebuilt now. Nothing was changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RepairError {
    /// Every helper said that it has no such object, or lied.
    #[error("no helper could prove that the object was ever stored")]
    Unproven,
    /// Every other holder said what it has, and all together it is too little: the object was never
    /// put at enough of them, its writer stored parts that do not fit together, or it is lost for good.
    #[error("{good} of the {needed} holders needed have the object; nobody else does")]
    Incomplete {
        /// Holders that have it.
        good: usize,
        /// Needed to read it, or if there are so many, to rebuild the part.
        needed: usize,
    },
    /// Too few helpers for the key share.
    #[error("{good} of the {needed} helpers needed for the key share gave good symbols ({})",
        reasons.join("; "))]
    TooFewHelpers {
        /// Good helpers.
        good: usize,
        /// Needed.
        needed: usize,
        /// Why the others are missing.
        reasons: Vec<String>,
    },
    /// Too few good fragments to rebuild the lost one.
    #[error("{good} of the {needed} fragments needed are good")]
    TooFewFragments {
        /// Good fragments.
        good: usize,
        /// Needed.
        needed: usize,
    },
    /// Only a newer share was wanted, and there is none.
    #[error("the key share kept here is the newest")]
    Current,
    /// All helpers were honest and yet it does not fit: the writer stored an ill-formed object. Where
    /// holders that are whole lack it, this is concluded from symbols that nobody is committed to as well.
    #[error("the object is ill-formed: its writer stored parts that do not fit together")]
    IllFormed,
}
