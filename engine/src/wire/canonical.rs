//! Canonical CBOR (RFC 8949 §4.2): one value, one encoding.
//!
//! Everything that is hashed, signed or received passes [`decode`], which refuses whatever would
//! not be written back as the very same bytes. Encoders that go through [`encode`] use definite
//! lengths and shortest integers only, so equality after re-encoding is canonicity.

use std::convert::Infallible;

use minicbor::encode::Write;
use minicbor::{Decode, Encode};
use thiserror::Error;

/// Why bytes were refused. The sender is to blame; nothing was changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
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

/// The canonical encoding of `value`, in memory of exactly its length: growing it would leave parts
/// of it behind, and it may hold a secret.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut length = Length(0);
    write(value, &mut length);
    let mut bytes = Vec::with_capacity(length.0);
    write(value, &mut bytes);
    bytes
}

fn write<T: Encode<()>>(value: &T, target: impl Write<Error = Infallible>) {
    match minicbor::encode(value, target) {
        Ok(()) => {}
        Err(never) => unreachable!("no encoder here refuses a value: {never}"),
    }
}

/// Counts what is written.
struct Length(usize);

impl Write for Length {
    type Error = Infallible;

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.0 += bytes.len();
        Ok(())
    }
}

/// Accepts what these bytes begin with, so that nothing is copied in order to compare it.
struct Expected<'a>(&'a [u8]);

impl Write for Expected<'_> {
    type Error = ();

    fn write_all(&mut self, bytes: &[u8]) -> Result<(), ()> {
        self.0 = self.0.strip_prefix(bytes).ok_or(())?;
        Ok(())
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
    let mut expected = Expected(bytes);
    match minicbor::encode(&value, &mut expected) {
        Ok(()) if expected.0.is_empty() => Ok(value),
        _ => Err(CanonicalError::NotCanonical),
    }
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
