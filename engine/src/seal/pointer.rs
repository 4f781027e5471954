//! Sealed pointers: XChaCha20-Poly1305 with a random nonce, padded to a size class.

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{Key, Tag, XChaCha20Poly1305, XNonce};
use rand_core::CryptoRng;
use thiserror::Error;
use zeroize::Zeroizing;

/// The lengths a sealed pointer can have, in bytes.
pub const POINTER_CLASSES: [usize; 2] = [512, 4096];

const VERSION: u8 = 1;
const NONCE_LEN: usize = 24;
const TAG_LEN: usize = 16;
const BODY_START: usize = 1 + NONCE_LEN;
const LENGTH_LEN: usize = 2;
const OVERHEAD: usize = BODY_START + LENGTH_LEN + TAG_LEN;

/// Why a pointer was not sealed or opened.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PointerError {
    /// The caller's body fits no class.
    #[error("a pointer of {0} bytes is larger than the largest size class")]
    TooLong(usize),
    /// Not one of the size classes.
    #[error("a sealed pointer cannot have {0} bytes")]
    Length(usize),
    /// A format of another time.
    #[error("sealed pointer version {0} is unknown")]
    Version(u8),
    /// Another vault's pointer, or a changed one.
    #[error("the pointer was not sealed with this key")]
    Forged,
    /// Sealed by the owner, but not as the format says.
    #[error("the pointer's padding is malformed")]
    Padding,
}

/// Seals the body of one pointer; several times if the body is replaced.
pub struct PointerKey(Zeroizing<[u8; 32]>);

impl PointerKey {
    pub(super) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(key)
    }

    /// Seals `body` into the smallest class that holds it.
    pub fn seal(&self, body: &[u8], rng: &mut impl CryptoRng) -> Result<Vec<u8>, PointerError> {
        let class = POINTER_CLASSES
            .into_iter()
            .find(|class| body.len() + OVERHEAD <= *class)
            .ok_or(PointerError::TooLong(body.len()))?;
        let length = u16::try_from(body.len()).map_err(|_| PointerError::TooLong(body.len()))?;
        let mut sealed = vec![0; class];
        let (header, rest) = sealed.split_at_mut(BODY_START);
        let (padded, tag) = rest.split_at_mut(class - BODY_START - TAG_LEN);
        header[0] = VERSION;
        let mut nonce = [0; NONCE_LEN];
        rng.fill_bytes(&mut nonce);
        header[1..].copy_from_slice(&nonce);
        padded[..LENGTH_LEN].copy_from_slice(&length.to_be_bytes());
        padded[LENGTH_LEN..LENGTH_LEN + body.len()].copy_from_slice(body);
        let computed = self
            .cipher()
            .encrypt_inout_detached(&XNonce::from(nonce), &[VERSION], padded.into())
            .unwrap_or_else(|_| unreachable!("a pointer is far below the cipher's length limit"));
        tag.copy_from_slice(&computed);
        Ok(sealed)
    }

    /// The body of a sealed pointer.
    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, PointerError> {
        if !POINTER_CLASSES.contains(&sealed.len()) {
            return Err(PointerError::Length(sealed.len()));
        }
        let (header, rest) = sealed.split_at(BODY_START);
        let (padded, tag) = rest.split_at(rest.len() - TAG_LEN);
        if header[0] != VERSION {
            return Err(PointerError::Version(header[0]));
        }
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&header[1..]);
        let mut expected = Tag::default();
        expected.copy_from_slice(tag);
        let mut body = Zeroizing::new(padded.to_vec());
        self.cipher()
            .decrypt_inout_detached(
                &XNonce::from(nonce),
                &[VERSION],
                body.as_mut_slice().into(),
                &expected,
            )
            .map_err(|_| PointerError::Forged)?;
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let end = LENGTH_LEN + length;
        if body.get(end..).is_none_or(|padding| padding.iter().any(|byte| *byte != 0)) {
            return Err(PointerError::Padding);
        }
        body.truncate(end);
        body.drain(..LENGTH_LEN);
        Ok(body)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(*self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng;

    fn key() -> PointerKey {
        PointerKey::new(Zeroizing::new([4; 32]))
    }

    #[test]
    fn bodies_fill_the_smallest_class() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for (length, class) in [(0, 512), (469, 512), (470, 4096), (4053, 4096)] {
            let body = vec![0x5a; length];
            let sealed = key().seal(&body, &mut rng).unwrap();
            assert_eq!(sealed.len(), class);
            assert_eq!(*key().open(&sealed).unwrap(), body);
        }
        assert_eq!(key().seal(&[0; 4054], &mut rng), Err(PointerError::TooLong(4054)));
        assert_eq!(key().seal(&[0; 70_000], &mut rng), Err(PointerError::TooLong(70_000)));
    }

    #[test]
    fn every_changed_byte_another_key_and_another_length_are_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let sealed = key().seal(b"body", &mut rng).unwrap();
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            let expected = if place == 0 { PointerError::Version(0) } else { PointerError::Forged };
            assert_eq!(key().open(&changed), Err(expected));
        }
        let other = PointerKey::new(Zeroizing::new([5; 32]));
        assert_eq!(other.open(&sealed), Err(PointerError::Forged));
        assert_eq!(key().open(&sealed[..511]), Err(PointerError::Length(511)));
        assert_eq!(key().open(&[]), Err(PointerError::Length(0)));
    }

    #[test]
    fn sealing_twice_hides_that_the_body_is_the_same() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        assert_ne!(key().seal(b"x", &mut rng), key().seal(b"x", &mut rng));
    }
}
