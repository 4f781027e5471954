//! Entries whose signatures were checked once and need no second check.

use super::entry::{Body, ENTRY_LEN_MAX, Entry};
use super::entry_error::EntryError;
use crate::names::NetworkId;

/// An entry with every signature that depends on nothing but itself checked: its author's, the
/// one-time key's of a pointer, the first key's of an identity, the votes' of an equivocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEntry {
    entry: Entry,
    length: usize,
}

impl VerifiedEntry {
    /// Checks the length and the signatures.
    pub fn new(network: &NetworkId, entry: Entry) -> Result<Self, EntryError> {
        let length = entry.to_bytes().len();
        check_entry_length(length)?;
        check_signatures(network, &entry)?;
        Ok(Self { entry, length })
    }

    /// The entry.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The entry, without the knowledge that it was checked.
    pub fn into_entry(self) -> Entry {
        self.entry
    }

    /// Bytes of the entry.
    pub fn length(&self) -> usize {
        self.length
    }
}

pub(super) fn check_entry_length(length: usize) -> Result<(), EntryError> {
    if length > ENTRY_LEN_MAX { Err(EntryError::TooLong(length)) } else { Ok(()) }
}

pub(super) fn check_signatures(network: &NetworkId, entry: &Entry) -> Result<(), EntryError> {
    if !entry.verifies(network) {
        return Err(EntryError::Signature);
    }
    match &entry.body {
        Body::Pointer(pointer) if !pointer.verifies(network) => Err(EntryError::PointerSignature),
        Body::PointerRetire(retire) if !retire.verifies(network) => {
            Err(EntryError::PointerSignature)
        }
        // Later ones are signed by the key that the state has.
        Body::IdentityRecord(record)
            if record.version == 1 && !record.verifies(network, &record.key) =>
        {
            Err(EntryError::IdentitySignature)
        }
        Body::WrongSymbol(proof) if !proof.convicts(network) => Err(EntryError::NoConviction),
        Body::Equivocation(proof) if !proof.verifies(network) => {
            Err(EntryError::EquivocationSignature)
        }
        _ => Ok(()),
    }
}
