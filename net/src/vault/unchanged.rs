//! Whether a file is what the vault holds already.

use std::fs::File;
use std::io;
use std::path::Path;

use kakera_engine::catalogue::Stored;

use super::packer::modified;

/// Whether the file holds the bytes of `stored`: it has the same size and was modified at the same
/// time, or, where `thorough` or the times differ, the same hash. Reads no more than it must.
pub fn is_unchanged(path: &Path, stored: &Stored, thorough: bool) -> io::Result<bool> {
    let metadata = std::fs::metadata(path)?;
    if metadata.len() != stored.len {
        return Ok(false);
    }
    if !thorough && modified(&metadata) == stored.modified {
        return Ok(true);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(File::open(path)?)?;
    Ok(*hasher.finalize().as_bytes() == stored.hash)
}
