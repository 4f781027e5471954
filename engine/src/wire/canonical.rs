//! Canonical CBOR (RFC 8949 §4.2): one value, one encoding.
//!
//! Everything that is hashed, signed or received passes [`decode`], which refuses whatever would
//! not be written back as the very same bytes. Encoders that go through [`encode`] use definite
//! lengths and shortest integers only, so equality after re-encoding is canonicity.

use minicbor::{Decode, Encode};
use thiserror::Error;

/// Why bytes were refused. The sender is to blame; nothing was changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CanonicalError {
    /// Longer than the reader allows.
    #[error("{length} bytes where at most {limit} are allowed")]
    TooLong {
        /// Bytes received.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not an encoding of the expected type.
    #[error("malformed: {0}")]
    Malformed(String),
    /// Bytes follow the value.
    #[error("{0} trailing bytes")]
    Trailing(usize),
    /// The same value has another, shorter or ordered, encoding.
    #[error("not the canonical encoding")]
    NotCanonical,
}

/// The canonical encoding of `value`.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    match minicbor::to_vec(value) {
        Ok(bytes) => bytes,
        Err(never) => unreachable!("writing to memory cannot fail: {never}"),
    }
}

/// Decodes `bytes`, at most `limit` of them, and accepts only the canonical encoding.
pub fn decode<T>(bytes: &[u8], limit: usize) -> Result<T, CanonicalError>
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    if bytes.len() > limit {
        return Err(CanonicalError::TooLong { length: bytes.len(), limit });
    }
    let mut decoder = minicbor::Decoder::new(bytes);
    let value: T =
        decoder.decode().map_err(|error| CanonicalError::Malformed(error.to_string()))?;
    let rest = bytes.len() - decoder.position();
    if rest != 0 {
        return Err(CanonicalError::Trailing(rest));
    }
    if encode(&value) != bytes {
        return Err(CanonicalError::NotCanonical);
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_only_the_shortest_form() {
        assert_eq!(decode::<u64>(&[0x17], 9), Ok(23));
        assert_eq!(decode::<u64>(&[0x18, 0x17], 9), Err(CanonicalError::NotCanonical));
        assert_eq!(decode::<u64>(&[0x17, 0x00], 9), Err(CanonicalError::Trailing(1)));
        assert_eq!(decode::<u64>(&[0x17], 0), Err(CanonicalError::TooLong { length: 1, limit: 0 }));
        assert!(matches!(decode::<u64>(&[0x18], 9), Err(CanonicalError::Malformed(_))));
        // an indefinite-length array of one element
        assert_eq!(decode::<Vec<u64>>(&[0x9f, 0x01, 0xff], 9), Err(CanonicalError::NotCanonical));
    }
}
