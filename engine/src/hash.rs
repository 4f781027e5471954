//! Hashing and key derivation under domain labels (NIST SP 800-185).
//!
//! `H` = cSHAKE256 and `KDF` = KMACXOF256, both over the TupleHash encoding of their parts, so that
//! no two lists of parts share an input. Both are collision resistant and serve as commitments.

use cshake::CShake256;
use cshake::digest::{ExtendableOutput, Update, XofReader};
use zeroize::Zeroizing;

const CSHAKE256_RATE: usize = 136;
const LABEL_PREFIX: &str = "kakera/1 ";

/// `H(label; parts)`: 32 bytes.
pub fn hash(label: &str, parts: &[&[u8]]) -> [u8; 32] {
    LabelledHash::new(label).hash(parts)
}

/// `H` under one label, whose absorption is half the cost of hashing a short input: for callers that
/// hash many.
#[derive(Clone)]
pub struct LabelledHash(CShake256);

impl LabelledHash {
    /// `H(label; ·)`.
    pub fn new(label: &str) -> Self {
        Self(CShake256::new_with_function_name(b"", customization(label).as_bytes()))
    }

    /// `H(label; parts)`.
    pub fn hash(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut state = self.0.clone();
        absorb_tuple(&mut state, parts);
        let mut digest = [0; 32];
        state.finalize_xof().read(&mut digest);
        digest
    }
}

/// `KDF(key, label, parts)` into `output`, of any length.
pub fn kdf(key: &[u8], label: &str, parts: &[&[u8]], output: &mut [u8]) {
    kmac_xof256(key, customization(label).as_bytes(), output, |state| absorb_tuple(state, parts));
}

/// `KDF(key, label, parts)` as a 32-byte key that is wiped when dropped.
pub fn derive_key(key: &[u8], label: &str, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    kdf(key, label, parts, derived.as_mut());
    derived
}

fn customization(label: &str) -> String {
    format!("{LABEL_PREFIX}{label}")
}

/// KMACXOF256 (SP 800-185 §4.3.1) with the message absorbed by `message`.
fn kmac_xof256(
    key: &[u8],
    customization: &[u8],
    output: &mut [u8],
    message: impl FnOnce(&mut CShake256),
) {
    let mut state = CShake256::new_with_function_name(b"KMAC", customization);
    // bytepad(encode_string(K), rate)
    let (rate, rate_length) = left_encode(CSHAKE256_RATE as u64);
    let (key_bits, key_bits_length) = left_encode(key.len() as u64 * 8);
    state.update(&rate[..rate_length]);
    state.update(&key_bits[..key_bits_length]);
    state.update(key);
    let written = rate_length + key_bits_length + key.len();
    let padding = written.next_multiple_of(CSHAKE256_RATE) - written;
    state.update(&[0; CSHAKE256_RATE][..padding]);
    message(&mut state);
    // right_encode(0) marks the output as extendable
    state.update(&[0, 1]);
    state.finalize_xof().read(output);
}

fn absorb_tuple(state: &mut CShake256, parts: &[&[u8]]) {
    for part in parts {
        let (bits, length) = left_encode(part.len() as u64 * 8);
        state.update(&bits[..length]);
        state.update(part);
    }
}

/// left_encode (SP 800-185 §2.3.1): the bytes and how many of them count.
fn left_encode(value: u64) -> ([u8; 9], usize) {
    let significant = (8 - value.leading_zeros() as usize / 8).max(1);
    let mut encoded = [0; 9];
    encoded[0] = significant as u8;
    encoded[1..=significant].copy_from_slice(&value.to_be_bytes()[8 - significant..]);
    (encoded, significant + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(range: std::ops::Range<u8>) -> Vec<u8> {
        range.collect()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// NIST SP 800-185 "KMACXOF" samples 4 to 6: a 256-bit key, short and long messages.
    #[test]
    fn kmac_xof256_matches_the_nist_samples() {
        let key = sequence(0x40..0x60);
        let (short, long) = (sequence(0..4), sequence(0..0xC8));
        let samples: [(&[u8], &[u8], &str); 3] = [
            (
                &short,
                b"My Tagged Application",
                "1755133f1534752aad0748f2c706fb5c784512cab835cd15676b16c0c6647fa9\
                 6faa7af634a0bf8ff6df39374fa00fad9a39e322a7c92065a64eb1fb0801eb2b",
            ),
            (
                &long,
                b"",
                "ff7b171f1e8a2b24683eed37830ee797538ba8dc563f6da1e667391a75edc02c\
                 a633079f81ce12a25f45615ec89972031d18337331d24ceb8f8ca8e6a19fd98b",
            ),
            (
                &long,
                b"My Tagged Application",
                "d5be731c954ed7732846bb59dbe3a8e30f83e77a4bff4459f2f1c2b4ecebb8ce\
                 67ba01c62e8ab8578d2d499bd1bb276768781190020a306a97de281dcc30305d",
            ),
        ];
        for (message, customization, expected) in samples {
            let mut output = [0; 64];
            kmac_xof256(&key, customization, &mut output, |state| state.update(message));
            assert_eq!(hex(&output), expected);
        }
    }

    /// NIST SP 800-185 "cSHAKE" samples 3 and 4: the function under `hash`.
    #[test]
    fn cshake256_matches_the_nist_samples() {
        let samples = [
            (
                sequence(0..4),
                "d008828e2b80ac9d2218ffee1d070c48b8e4c87bff32c9699d5b6896eee0edd1\
                 64020e2be0560858d9c00c037e34a96937c561a74c412bb4c746469527281c8c",
            ),
            (
                sequence(0..0xC8),
                "07dc27b11e51fbac75bc7b3c1d983e8b4b85fb1defaf218912ac864302730917\
                 27f42b17ed1df63e8ec118f04b23633c1dfb1574c8fb55cb45da8e25afb092bb",
            ),
        ];
        for (message, expected) in samples {
            let mut state = CShake256::new_with_function_name(b"", b"Email Signature");
            state.update(&message);
            let mut output = [0; 64];
            state.finalize_xof().read(&mut output);
            assert_eq!(hex(&output), expected);
        }
    }

    /// Frozen: a changed value is another hash suite (spec/hash.md).
    #[test]
    fn labelled_hash_and_key_derivation_are_frozen() {
        assert_eq!(
            hex(&hash("test", &[b"ab", b""])),
            "02f711b820548d30b836ade2f17eb995a57cd3377c3e1c58269e88fccae66687"
        );
        assert_eq!(
            hex(derive_key(&[1; 32], "test", &[b"ab", b""]).as_slice()),
            "652473a6d1f5ce7f0f416019f5ea9f463d3bb0b3db6887c3e57694e60b2aae5e"
        );
        let mut long = [0; 64];
        kdf(&[1; 32], "test", &[b"ab", b""], &mut long);
        assert_eq!(long[..32], *derive_key(&[1; 32], "test", &[b"ab", b""]).as_slice());
    }

    #[test]
    fn left_encode_is_minimal() {
        assert_eq!(left_encode(0), ([1, 0, 0, 0, 0, 0, 0, 0, 0], 2));
        assert_eq!(left_encode(256), ([2, 1, 0, 0, 0, 0, 0, 0, 0], 3));
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(hash("t", &[b"ab", b"c"]), hash("t", &[b"a", b"bc"]));
        assert_ne!(hash("t", &[b"ab"]), hash("t", &[b"ab", b""]));
        assert_ne!(hash("t", &[b"ab"]), hash("u", &[b"ab"]));
    }
}
