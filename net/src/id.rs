//! The node's key.

use std::path::Path;

use kakera_engine::names::NodeId;
use thiserror::Error;
use zeroize::Zeroizing;

/// A node's Ed25519 key (RFC 8032).
pub struct Identity {}

impl Identity {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        unimplemented!()
    }
    /// The key of a 32-byte seed.
    pub fn from_seed(_seed: &Zeroizing<[u8; 32]>) -> Self {
        unimplemented!()
    }
    /// Reads the key from `path`.
    pub fn load(_path: &Path) -> Result<Self, IdentityError> {
        unimplemented!()
    }
    /// Writes the key to `path`; refuses to replace a file.
    pub fn store(&self, _path: &Path) -> Result<(), IdentityError> {
        unimplemented!()
    }
    /// The public key.
    pub fn node_id(&self) -> NodeId {
        unimplemented!()
    }
    /// Ed25519 signature of `message`.
    pub fn sign(&self, _message: &[u8]) -> [u8; 64] {
        unimplemented!()
    }
}

/// Why a key file could not be read or written.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The file system failed.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
