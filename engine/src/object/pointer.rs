//! What a pointer on the ledger says to its owner.

use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use thiserror::Error;

use super::{FormatError, FormatVersion, ObjectReference, PlacedExtent, require};
use crate::code::CodeParameters;
use crate::seal::{POINTER_CLASSES, PointerError, PointerKey};
use crate::wire::canonical;

/// Leads to a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct PointerBody {
    /// The format.
    #[n(0)]
    pub version: FormatVersion,
    /// The code of these objects: how many fragments to ask for before a descriptor is known.
    #[n(1)]
    pub code: CodeParameters,
    /// The objects that hold the manifest.
    #[n(2)]
    pub objects: Vec<ObjectReference>,
    /// The pieces of the manifest, in order; their object numbers count in `objects`.
    #[n(3)]
    pub manifest: Vec<PlacedExtent>,
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

    fn check(&self) -> Result<(), FormatError> {
        require(self.code.check().is_ok(), "there is no such code")?;
        require(!self.manifest.is_empty(), "the pointer leads to no manifest")?;
        self.manifest.iter().try_for_each(|placed| {
            require((placed.object as usize) < self.objects.len(), "an extent is in no object")?;
            placed.extent.check()
        })
    }
}
