//! The node's Ed25519 key: its name on the ledger and in TLS, and the file that keeps it.
//!
//! Format and rules: `engine/spec/transport.md` §1.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer, SigningKey};
use kakera_engine::hash::derive_key;
use kakera_engine::names::NodeId;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use thiserror::Error;
use zeroize::Zeroizing;

const MAGIC: &[u8; 16] = b"kakera-node-key\x01";
const FILE_LEN: usize = 16 + 32 + 32;

/// A node's Ed25519 key (RFC 8032). Wiped when dropped, redacted in `Debug`.
///
/// It signs TLS 1.3 handshakes (64 spaces and a context string come first, RFC 8446 §4.4.3) and the
/// engine's labelled hashes (32 bytes), so neither can be taken for the other.
pub struct Identity {
    key: SigningKey,
}

impl Identity {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut())?;
        Ok(Self::from_seed(&seed))
    }

    /// The key of a 32-byte seed (RFC 8032 §5.1.5).
    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Self {
        Self { key: SigningKey::from_bytes(seed) }
    }

    /// Reads the key file at `path`; refuses one that its group or others may read.
    pub fn load(path: &Path) -> Result<Self, IdentityError> {
        let file = File::open(path).map_err(|error| IdentityError::io(path, error))?;
        let metadata = file.metadata().map_err(|error| IdentityError::io(path, error))?;
        if metadata.mode() & 0o077 != 0 {
            return Err(IdentityError::Exposed { path: path.to_owned() });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_LEN + 1));
        file.take(FILE_LEN as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| IdentityError::io(path, error))?;
        Self::decode(&bytes)
            .map_err(|reason| IdentityError::Damaged { path: path.to_owned(), reason })
    }

    /// Writes the key to `path` with mode 0600, durably; refuses to replace a file.
    ///
    /// On an error nothing is at `path`, or the whole key is.
    pub fn store(&self, path: &Path) -> Result<(), IdentityError> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".new");
        let temporary = PathBuf::from(temporary);
        let stored = self
            .write_new(&temporary)
            .and_then(|()| Ok(renameat_with(CWD, &temporary, CWD, path, RenameFlags::NOREPLACE)?))
            .and_then(|()| File::open(folder_of(path))?.sync_all());
        stored.map_err(|error| {
            // Best effort: what is left behind is owner-only and never read.
            let _ = std::fs::remove_file(&temporary);
            IdentityError::io(path, error)
        })
    }

    /// The public key.
    pub fn node_id(&self) -> NodeId {
        NodeId(self.key.verifying_key().to_bytes())
    }

    /// The key itself, for the engine's signatures.
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// The Ed25519 signature of `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }

    /// A secret that survives restarts, for one purpose of this node.
    pub(crate) fn derive(&self, purpose: &str) -> Zeroizing<[u8; 32]> {
        derive_key(self.key.as_bytes(), purpose, &[])
    }

    fn write_new(&self, path: &Path) -> io::Result<()> {
        // Left by a crash between writing and renaming.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&self.encode()[..])?;
        file.sync_all()
    }

    fn encode(&self) -> Zeroizing<[u8; FILE_LEN]> {
        let mut bytes = Zeroizing::new([0; FILE_LEN]);
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..48].copy_from_slice(self.key.as_bytes());
        bytes[48..].copy_from_slice(self.node_id().as_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; FILE_LEN] = bytes.try_into().map_err(|_| "not 80 bytes long")?;
        if &bytes[..16] != MAGIC {
            return Err("not a kakera node key of version 1");
        }
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(&bytes[16..48]);
        let identity = Self::from_seed(&seed);
        if identity.node_id().as_bytes() != &bytes[48..] {
            return Err("its two halves do not belong together");
        }
        Ok(identity)
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Identity({:?}, secret)", self.node_id())
    }
}

/// Why a key file could not be read or written.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The file system refused; `AlreadyExists` when storing over a file.
    #[error("node key {}: {error}", path.display())]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// The group or others may read the file, so the key may be known to them.
    #[error("node key {0} is open to other users; try: chmod 600 {0}", path.display())]
    Exposed {
        /// The key file.
        path: PathBuf,
    },
    /// The contents are not a key.
    #[error("node key {}: {reason}", path.display())]
    Damaged {
        /// The key file.
        path: PathBuf,
        /// What is wrong with them.
        reason: &'static str,
    },
}

impl IdentityError {
    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn identity(byte: u8) -> Identity {
        Identity::from_seed(&Zeroizing::new([byte; 32]))
    }

    #[test]
    fn the_file_format_is_frozen() {
        assert_eq!(
            blake3::hash(&identity(7).encode()[..]).to_hex().as_str(),
            "f6afebb5cf3c5be4042e941618921fc6506eb4e7a133395833f7c7a8bff8c94b"
        );
    }

    #[test]
    fn stores_owner_only_and_loads_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        std::fs::write(folder.path().join("node.key.new"), b"left by a crash").unwrap();
        identity(1).store(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let loaded = Identity::load(&path).unwrap();
        assert_eq!(loaded.node_id(), identity(1).node_id());
        assert_eq!(loaded.sign(b"x"), identity(1).sign(b"x"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn never_replaces_a_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        identity(1).store(&path).unwrap();
        assert!(matches!(
            identity(2).store(&path),
            Err(IdentityError::Io { error, .. }) if error.kind() == io::ErrorKind::AlreadyExists
        ));
        assert_eq!(Identity::load(&path).unwrap().node_id(), identity(1).node_id());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn refuses_a_file_that_others_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        identity(1).store(&path).unwrap();
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let message = Identity::load(&path).unwrap_err().to_string();
            assert!(message.ends_with(&format!("try: chmod 600 {}", path.display())), "{message}");
        }
    }

    #[test]
    fn refuses_damaged_files() {
        let good = identity(1).encode();
        let mut other_version = good.to_vec();
        other_version[15] = 2;
        let mut flipped = good.to_vec();
        flipped[20] ^= 1;
        for bad in [&good[..79], &[&good[..], &[0]].concat(), &other_version, &flipped, &[]] {
            assert!(Identity::decode(bad).is_err());
        }
        assert!(Identity::decode(&good[..]).is_ok());
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        let shown = format!("{:?}", identity(0xab));
        assert!(shown.ends_with(", secret)"));
        assert!(!shown.contains("abab") && !shown.contains("171"));
    }
}
