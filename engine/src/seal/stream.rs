//! Chunked authenticated encryption: STREAM (Hoang, Reyhanitabar, Rogaway, Vizár, "Online
//! Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", CRYPTO 2015, §7) with a fresh
//! key a stream, so that the nonce is a counter and a flag.

use std::ops::Range;

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use minicbor::{Decode, Encode};
use thiserror::Error;

/// Plaintext bytes in every chunk of a stream but the last.
pub const CHUNK_LEN: usize = 64 * 1024;

/// Authentication tag bytes after every chunk.
pub const TAG_LEN: usize = 16;

const SEALED_CHUNK_LEN: u64 = (CHUNK_LEN + TAG_LEN) as u64;

/// The cipher of a stream. Both are read everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Suite {
    /// RFC 8439.
    #[n(1)]
    ChaCha20Poly1305,
    /// NIST SP 800-38D with a 256-bit key.
    #[n(2)]
    Aes256Gcm,
}

impl Suite {
    /// AES-256-GCM where the processor has AES and carry-less multiplication instructions, since
    /// only there it is both fast and free of secret-dependent table lookups.
    pub fn preferred() -> Self {
        #[cfg(target_arch = "x86_64")]
        let accelerated = std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq");
        #[cfg(target_arch = "aarch64")]
        let accelerated = std::arch::is_aarch64_feature_detected!("aes")
            && std::arch::is_aarch64_feature_detected!("pmull");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let accelerated = false;
        if accelerated { Self::Aes256Gcm } else { Self::ChaCha20Poly1305 }
    }

    /// The byte that stands for the suite in formats and key derivation.
    pub const fn byte(self) -> u8 {
        match self {
            Self::ChaCha20Poly1305 => 1,
            Self::Aes256Gcm => 2,
        }
    }
}

/// The sealed bytes are not what the key's owner wrote. Nothing was released.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum OpenError {
    /// The keys are not those the data was sealed with.
    #[error("the key does not match the commitment")]
    WrongKey,
    /// A chunk was changed, moved, cut or belongs to another stream.
    #[error("chunk {0} is not authentic")]
    Forged(u32),
    /// The sealed bytes have an impossible length.
    #[error("{actual} sealed bytes where {expected} are needed")]
    Length {
        /// Bytes given.
        actual: u64,
        /// Bytes needed.
        expected: u64,
    },
    /// A range that ends outside the plaintext.
    #[error("bytes {start}..{end} of {plain_len} were asked for")]
    Range {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Plaintext bytes there are.
        plain_len: u64,
    },
}

/// The sealed length of `plain_len` bytes; an empty plaintext is one empty chunk.
pub const fn sealed_len(plain_len: u64) -> u64 {
    plain_len + chunk_count(plain_len) * TAG_LEN as u64
}

/// The longest plaintext whose sealed form has at most `sealed_len` bytes; zero if none has.
pub const fn plain_len_max(sealed_len: u64) -> u64 {
    let tail = (sealed_len % SEALED_CHUNK_LEN).saturating_sub(TAG_LEN as u64);
    sealed_len / SEALED_CHUNK_LEN * CHUNK_LEN as u64 + tail
}

/// The chunks that hold the plaintext bytes `range`; the chunk at its start if it is empty.
pub fn chunks_covering(range: Range<u64>) -> Range<u64> {
    let first = range.start / CHUNK_LEN as u64;
    first..range.end.div_ceil(CHUNK_LEN as u64).max(first + 1)
}

const fn chunk_count(plain_len: u64) -> u64 {
    if plain_len == 0 { 1 } else { plain_len.div_ceil(CHUNK_LEN as u64) }
}

/// The key of one stream; it must seal one plaintext only.
///
/// The expanded key is wiped by the library when dropped.
pub struct StreamKey {
    key: LessSafeKey,
}

impl StreamKey {
    /// The key of one stream under `suite`.
    pub fn new(suite: Suite, key: &[u8; 32]) -> Self {
        let algorithm = match suite {
            Suite::ChaCha20Poly1305 => &CHACHA20_POLY1305,
            Suite::Aes256Gcm => &AES_256_GCM,
        };
        match UnboundKey::new(algorithm, key) {
            Ok(key) => Self { key: LessSafeKey::new(key) },
            Err(_) => unreachable!("both suites take keys of 32 bytes"),
        }
    }

    /// Appends the sealed `plaintext`, [`sealed_len`] bytes, to `sealed`, in one pass over the data.
    pub fn seal(&self, plaintext: &[u8], sealed: &mut Vec<u8>) {
        let mut chunks = plaintext.chunks(CHUNK_LEN).peekable();
        if chunks.peek().is_none() {
            return self.seal_chunk(0, true, &[], sealed);
        }
        let mut index = 0;
        while let Some(chunk) = chunks.next() {
            self.seal_chunk(index, chunks.peek().is_none(), chunk, sealed);
            index += 1;
        }
    }

    /// Appends one sealed chunk. Chunk 0 may be of any length if it is the last.
    pub fn seal_chunk(&self, index: u32, last: bool, plaintext: &[u8], sealed: &mut Vec<u8>) {
        let start = sealed.len();
        sealed.resize(start + plaintext.len() + TAG_LEN, 0);
        let (body, tag) = sealed[start..].split_at_mut(plaintext.len());
        self.key
            .seal_out_of_place_scatter(nonce(index, last), Aad::empty(), plaintext, body, &[], tag)
            .unwrap_or_else(|_| unreachable!("a chunk is far below the ciphers' length limits"));
    }

    /// Opens a whole stream.
    pub fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let length = sealed.len() as u64;
        let plain_len = plain_len_max(length);
        if sealed_len(plain_len) != length {
            return Err(OpenError::Length { actual: length, expected: sealed_len(plain_len) });
        }
        self.open_chunks(0, true, sealed)
    }

    /// Opens the consecutive chunks from number `first`; `ends_stream` says whether the final one
    /// of them is the last of the stream.
    pub fn open_chunks(
        &self,
        first: u32,
        ends_stream: bool,
        sealed: &[u8],
    ) -> Result<Vec<u8>, OpenError> {
        let mut plaintext = vec![0; plain_len_max(sealed.len() as u64) as usize];
        let mut unfilled = &mut plaintext[..];
        let mut chunks = sealed.chunks(SEALED_CHUNK_LEN as usize).peekable();
        let mut index = first;
        while let Some(chunk) = chunks.next() {
            let last = ends_stream && chunks.peek().is_none();
            let length = chunk.len().saturating_sub(TAG_LEN);
            let (opened, rest) = unfilled.split_at_mut(length);
            self.open_chunk(index, last, chunk, opened)?;
            unfilled = rest;
            index = index.checked_add(1).ok_or(OpenError::Forged(index))?;
        }
        Ok(plaintext)
    }

    /// Opens chunk `index` into `plaintext`, which is [`TAG_LEN`] shorter than `sealed`.
    ///
    /// On an error the contents of `plaintext` are unspecified and must not be used.
    pub fn open_chunk(
        &self,
        index: u32,
        last: bool,
        sealed: &[u8],
        plaintext: &mut [u8],
    ) -> Result<(), OpenError> {
        let expected = plaintext.len() + TAG_LEN;
        if sealed.len() != expected {
            return Err(OpenError::Length {
                actual: sealed.len() as u64,
                expected: expected as u64,
            });
        }
        let (body, tag) = sealed.split_at(plaintext.len());
        self.key
            .open_separate_gather(nonce(index, last), Aad::empty(), body, tag, plaintext)
            .map_err(|_| OpenError::Forged(index))
    }
}

/// 00^7 ‖ BE32(index) ‖ last
fn nonce(index: u32, last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[7..11].copy_from_slice(&index.to_be_bytes());
    bytes[11] = u8::from(last);
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chacha20poly1305::aead::{Aead, KeyInit};
    use chacha20poly1305::{ChaCha20Poly1305, Key};
    use proptest::prelude::*;

    const BOTH: [Suite; 2] = [Suite::ChaCha20Poly1305, Suite::Aes256Gcm];
    const LENGTHS: [usize; 7] =
        [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 2 * CHUNK_LEN, 3 * CHUNK_LEN + 77];

    fn sealed(key: &StreamKey, plaintext: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        key.seal(plaintext, &mut bytes);
        bytes
    }

    #[test]
    fn opens_what_it_sealed_around_chunk_borders() {
        for suite in BOTH {
            let key = StreamKey::new(suite, &[7; 32]);
            for length in LENGTHS {
                let plaintext: Vec<u8> = (0..length).map(|i| (i * 31) as u8).collect();
                let bytes = sealed(&key, &plaintext);
                assert_eq!(bytes.len() as u64, sealed_len(length as u64));
                assert_eq!(key.open(&bytes), Ok(plaintext));
            }
        }
    }

    #[test]
    fn refuses_truncation_reordering_and_extension() {
        for suite in BOTH {
            let key = StreamKey::new(suite, &[7; 32]);
            let bytes = sealed(&key, &[9; 3 * CHUNK_LEN]);
            let chunk = SEALED_CHUNK_LEN as usize;
            assert_eq!(key.open(&bytes[..2 * chunk]), Err(OpenError::Forged(1)));
            let mut swapped = bytes.clone();
            swapped[..chunk].copy_from_slice(&bytes[chunk..2 * chunk]);
            swapped[chunk..2 * chunk].copy_from_slice(&bytes[..chunk]);
            assert_eq!(key.open(&swapped), Err(OpenError::Forged(0)));
            let extended = [&bytes[..], &bytes[..chunk]].concat();
            assert_eq!(key.open(&extended), Err(OpenError::Forged(2)));
            assert!(matches!(key.open(&bytes[..chunk + 5]), Err(OpenError::Length { .. })));
            assert!(matches!(key.open(&[]), Err(OpenError::Length { .. })));
            let other = StreamKey::new(suite, &[8; 32]);
            assert_eq!(other.open(&bytes), Err(OpenError::Forged(0)));
        }
    }

    #[test]
    fn suite_1_equals_the_second_implementation() {
        let oracle = ChaCha20Poly1305::new(&Key::from([3; 32]));
        let bytes = sealed(&StreamKey::new(Suite::ChaCha20Poly1305, &[3; 32]), &[5; CHUNK_LEN + 9]);
        let nonces = [[0; 12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]];
        let expected: Vec<u8> = [&[5; CHUNK_LEN][..], &[5; 9]]
            .iter()
            .zip(nonces)
            .flat_map(|(chunk, nonce)| oracle.encrypt(&nonce.into(), *chunk).unwrap())
            .collect();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn chunks_cover_ranges() {
        let chunk = CHUNK_LEN as u64;
        assert_eq!(chunks_covering(0..1), 0..1);
        assert_eq!(chunks_covering(0..0), 0..1);
        assert_eq!(chunks_covering(0..chunk), 0..1);
        assert_eq!(chunks_covering(chunk - 1..chunk + 1), 0..2);
        assert_eq!(chunks_covering(chunk..chunk), 1..2);
    }

    proptest! {
        #[test]
        fn the_longest_plaintext_that_fits_fits(room in 16u64..1 << 23) {
            let longest = plain_len_max(room);
            prop_assert!(sealed_len(longest) <= room);
            prop_assert!(sealed_len(longest + 1) > room);
        }

        #[test]
        fn any_flipped_bit_is_noticed(length in 0usize..200_000, place in any::<prop::sample::Index>(), bit in 0u8..8) {
            let key = StreamKey::new(Suite::Aes256Gcm, &[1; 32]);
            let mut bytes = sealed(&key, &vec![0xa5; length]);
            let place = place.index(bytes.len());
            bytes[place] ^= 1u8 << bit;
            prop_assert_eq!(key.open(&bytes), Err(OpenError::Forged((place / SEALED_CHUNK_LEN as usize) as u32)));
        }
    }
}
