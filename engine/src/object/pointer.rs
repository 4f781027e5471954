//! What a pointer on the ledger says to its owner.

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use thiserror::Error;

use super::{FormatError, ObjectReference, PlacedExtent, require};
use crate::catalogue::Piece;
use crate::code::CodeParameters;
use crate::seal::{POINTER_CLASSES, PointerError, PointerKey};
use crate::wire::canonical;

/// Leads to the head of a catalogue, or to a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PointerBody {
    /// The format, and so what it leads to.
    #[n(0)]
    pub version: PointerVersion,
    /// The code of these objects: how many fragments to ask for before a descriptor is known.
    #[n(1)]
    pub code: CodeParameters,
    /// The objects that hold the head or manifest.
    #[n(2)]
    pub objects: Vec<ObjectReference>,
    /// The pieces of the head or manifest, in order; their object numbers count in `objects`.
    #[n(3)]
    pub extents: Vec<PlacedExtent>,
}

/// What a pointer leads to. A program that does not know it refuses the pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum PointerVersion {
    /// A [`Manifest`](super::Manifest) of one put: vaults of before there were catalogues.
    #[n(1)]
    Manifest,
    /// A [`Head`](crate::catalogue::Head) of the catalogue of everything.
    #[n(2)]
    Head,
}

/// Why a pointer could not be read.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum OpenPointerError {
    /// It is not this vault's, or was changed.
    #[error(transparent)]
    Sealed(#[from] PointerError),
    /// The owner's software sealed something else.
    #[error(transparent)]
    Format(#[from] FormatError),
}

impl PointerBody {
    /// Seals the body into the smallest size class that holds it.
    pub fn seal(
        &self,
        key: &PointerKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, PointerError> {
        key.seal(&canonical::encode(self), rng)
    }

    /// Opens and checks a sealed pointer.
    pub fn open(key: &PointerKey, sealed: &[u8]) -> Result<Self, OpenPointerError> {
        let bytes = key.open(sealed)?;
        let body: Self =
            canonical::decode(&bytes, POINTER_CLASSES[1]).map_err(FormatError::from)?;
        body.check()?;
        Ok(body)
    }

    /// The pieces of the head or manifest with their objects.
    pub fn pieces(&self) -> Vec<Piece> {
        let piece = |placed: &PlacedExtent| Piece {
            object: self.objects[placed.object as usize],
            extent: placed.extent.clone(),
        };
        self.extents.iter().map(piece).collect()
    }

    fn check(&self) -> Result<(), FormatError> {
        require(self.code.check().is_ok(), "there is no such code")?;
        require(!self.extents.is_empty(), "the pointer leads nowhere")?;
        self.extents.iter().try_for_each(|placed| {
            require((placed.object as usize) < self.objects.len(), "an extent is in no object")?;
            placed.extent.check()
        })
    }
}
