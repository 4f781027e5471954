//! The recovery kit: the root as t-of-n lists of 33 words, by SLIP-0039 ("Shamir's Secret-Sharing for
//! Mnemonic Codes", Rusnák, Kozlik, Vejpustek, Susanka, Palatinus, Hoenicke), extendable flag set,
//! one group, no passphrase: any other program that follows it puts the root together too.
//!
//! Names and numbers are the standard's; so are the word list and the field, GF(2^8) mod 0x11B.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use rand_core::CryptoRng;
use sha2::Sha256;
use subtle::ConstantTimeEq;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::seal::VaultRoot;

/// Most shares of a kit.
pub const KIT_SHARES_MAX: u8 = 16;
/// Words of one share.
pub const KIT_WORDS: usize = PARAMETER_WORDS + VALUE_WORDS + CHECKSUM_WORDS;

static LIST: &str = include_str!("slip39.txt");
const RADIX_BITS: usize = 10;
const PARAMETER_WORDS: usize = 4;
const VALUE_WORDS: usize = 26;
const CHECKSUM_WORDS: usize = 3;
const SECRET_LEN: usize = 32;
const HALF_LEN: usize = SECRET_LEN / 2;
const DIGEST_LEN: usize = 4;
const DIGEST_INDEX: u8 = 254;
const SECRET_INDEX: u8 = 255;
const ROUNDS: u8 = 4;
const ROUND_ITERATIONS: u32 = 2500;
/// The root is no passphrase: iterating buys nothing.
const ITERATION_EXPONENT: u8 = 0;
const GENERATOR: [u32; 10] = [
    0x00e0_e040,
    0x01c1_c080,
    0x0383_8100,
    0x0707_0200,
    0x0e0e_0009,
    0x1c0c_2412,
    0x3808_6c24,
    0x3090_fc48,
    0x21b1_f890,
    0x03f3_f120,
];

type Value = Zeroizing<[u8; SECRET_LEN]>;

/// Why a kit was not made, or words are no kit.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KitError {
    /// Impossible numbers.
    #[error("a kit has 1 to {KIT_SHARES_MAX} shares, of which 2 to all are needed, or 1 of 1")]
    Numbers,
    /// Not 33 words.
    #[error("a share has {KIT_WORDS} words, this one has {0}")]
    Length(usize),
    /// A mistyped word.
    #[error("'{0}' is not a word of the list")]
    Word(String),
    /// Words of the list, mistaken for others or out of order.
    #[error("the words of a share are mistaken or out of order: its checksum does not fit")]
    Checksum,
    /// A share of another kind, or of a later version.
    #[error("this is a SLIP-39 share, but not of a recovery kit of this program")]
    Kind,
    /// Shares of several kits.
    #[error("the shares belong to different recovery kits")]
    Mixed,
    /// Not yet.
    #[error("{needed} shares are needed, and {given} different ones were given")]
    TooFew {
        /// How many.
        needed: usize,
        /// Different ones.
        given: usize,
    },
    /// The checksums fit, the secret does not: a forged share.
    #[error("the shares do not fit together: one of them is forged")]
    Forged,
}

/// Makes a kit of `shares` shares of which `threshold` give the root back.
pub fn make_kit(
    root: &VaultRoot,
    threshold: u8,
    shares: u8,
    rng: &mut impl CryptoRng,
) -> Result<Vec<Zeroizing<String>>, KitError> {
    let possible = (2..=shares).contains(&threshold) || (threshold, shares) == (1, 1);
    if !possible || shares > KIT_SHARES_MAX {
        return Err(KitError::Numbers);
    }
    let identifier = rng.next_u32() as u16 >> 1;
    let header = Header {
        identifier,
        extendable: true,
        exponent: ITERATION_EXPONENT,
        member_threshold: threshold,
    };
    let encrypted = encrypt(root.expose(), &header, b"");
    let values = split(&encrypted, threshold, shares, rng);
    Ok((0..shares).zip(&values).map(|(index, value)| header.words(index, value)).collect())
}

/// The root of a kit, from enough of its shares; a share given twice counts once.
pub fn open_kit<S: AsRef<str>>(shares: &[S]) -> Result<VaultRoot, KitError> {
    open_with(shares, b"").map(VaultRoot::from_bytes)
}

fn open_with<S: AsRef<str>>(shares: &[S], passphrase: &[u8]) -> Result<Value, KitError> {
    let mut values = BTreeMap::new();
    let mut common = None;
    for words in shares {
        let (header, index, value) = read(words.as_ref())?;
        if *common.get_or_insert(header) != header {
            return Err(KitError::Mixed);
        }
        if values.insert(index, value.clone()).is_some_and(|other| *other != *value) {
            return Err(KitError::Forged);
        }
    }
    let Some(header) = common else { return Err(KitError::TooFew { needed: 1, given: 0 }) };
    let (needed, given) = (usize::from(header.member_threshold), values.len());
    if given < needed {
        return Err(KitError::TooFew { needed, given });
    }
    let encrypted = join(&values, header.member_threshold)?;
    Ok(decrypt(&encrypted, &header, passphrase))
}

/// What the shares of a kit have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Header {
    identifier: u16,
    extendable: bool,
    exponent: u8,
    member_threshold: u8,
}

impl Header {
    fn words(&self, index: u8, value: &Value) -> Zeroizing<String> {
        let parameters = u64::from(self.identifier) << 25
            | u64::from(self.extendable) << 24
            | u64::from(self.exponent) << 20
            // Group 0 of 1, of which 1 is needed: twelve zeros.
            | u64::from(index) << 4
            | u64::from(self.member_threshold - 1);
        let mut places = Zeroizing::new(Vec::with_capacity(KIT_WORDS));
        places.extend(
            (0..PARAMETER_WORDS).rev().map(|word| (parameters >> (10 * word)) as u16 & 1023),
        );
        // 256 bits behind four zeros.
        places.extend((0..VALUE_WORDS).map(|word| ten_bits(value, word)));
        places.extend([0; CHECKSUM_WORDS]);
        let checksum = polymod(self.customization(), &places) ^ 1;
        for (place, word) in places[KIT_WORDS - CHECKSUM_WORDS..].iter_mut().enumerate() {
            *word = (checksum >> (10 * (CHECKSUM_WORDS - 1 - place))) as u16 & 1023;
        }
        let list: Vec<&str> = LIST.lines().collect();
        let mut text = Zeroizing::new(String::with_capacity(9 * KIT_WORDS));
        for place in places.iter() {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(list[usize::from(*place)]);
        }
        text
    }

    fn customization(&self) -> &'static [u8] {
        if self.extendable { b"shamir_extendable" } else { b"shamir" }
    }

    /// What stands before the half in the salt of a round.
    fn salt_prefix(&self) -> Vec<u8> {
        if self.extendable {
            return Vec::new();
        }
        [b"shamir", &self.identifier.to_be_bytes()[..]].concat()
    }
}

/// Bits 10 word .. 10 word + 10 of the value behind four zeros.
fn ten_bits(value: &Value, word: usize) -> u16 {
    (0..RADIX_BITS).fold(0, |bits, offset| {
        let bit = (RADIX_BITS * word + offset).checked_sub(4);
        bits << 1 | bit.map_or(0, |bit| u16::from(value[bit / 8] >> (7 - bit % 8) & 1))
    })
}

/// Reads one share: its header, its index and its value.
fn read(text: &str) -> Result<(Header, u8, Value), KitError> {
    let mut places = Zeroizing::new(Vec::with_capacity(KIT_WORDS));
    let given = text.split_whitespace().count();
    if given != KIT_WORDS {
        return Err(KitError::Length(given));
    }
    for word in text.split_whitespace() {
        places.push(place_of(word).ok_or_else(|| KitError::Word(word.to_owned()))?);
    }
    let parameters = places[..PARAMETER_WORDS]
        .iter()
        .fold(0u64, |parameters, place| parameters << 10 | u64::from(*place));
    let four = |shift: u32| (parameters >> shift) as u8 & 15;
    let header = Header {
        identifier: (parameters >> 25) as u16,
        extendable: parameters >> 24 & 1 == 1,
        exponent: four(20),
        member_threshold: four(0) + 1,
    };
    if polymod(header.customization(), &places) != 1 {
        return Err(KitError::Checksum);
    }
    let mut value = Zeroizing::new([0; SECRET_LEN]);
    for bit in 0..8 * SECRET_LEN {
        let (word, offset) = ((bit + 4) / RADIX_BITS, (bit + 4) % RADIX_BITS);
        let set = places[PARAMETER_WORDS + word] >> (RADIX_BITS - 1 - offset) & 1;
        value[bit / 8] |= (set as u8) << (7 - bit % 8);
    }
    let is_single_group = parameters >> 8 & 0xfff == 0;
    let is_padded = places[PARAMETER_WORDS] >> 6 == 0;
    if !is_single_group || !is_padded {
        return Err(KitError::Kind);
    }
    Ok((header, four(4), value))
}

/// No two words of the list begin with the same four letters, so four are enough.
fn place_of(word: &str) -> Option<u16> {
    let word = word.to_ascii_lowercase();
    let is_meant = |known: &str| known == word || (word.len() == 4 && known.starts_with(&word));
    LIST.lines().position(is_meant).map(|place| place as u16)
}

/// RS1024: the remainder of the words behind the customization string.
fn polymod(customization: &[u8], words: &[u16]) -> u32 {
    let values = customization.iter().map(|byte| u32::from(*byte));
    values.chain(words.iter().map(|word| u32::from(*word))).fold(1, |sum, value| {
        let next = (sum & 0xf_ffff) << 10 ^ value;
        (0..10).filter(|bit| sum >> (20 + bit) & 1 == 1).fold(next, |sum, bit| sum ^ GENERATOR[bit])
    })
}

/// The values at 0 .. shares - 1 of the polynomial through the secret, its digest and random values.
fn split(secret: &Value, threshold: u8, shares: u8, rng: &mut impl CryptoRng) -> Vec<Value> {
    if threshold == 1 {
        return vec![secret.clone()];
    }
    let mut base = BTreeMap::new();
    for index in 0..threshold - 2 {
        let mut value = Zeroizing::new([0; SECRET_LEN]);
        rng.fill_bytes(value.as_mut());
        base.insert(index, value);
    }
    let mut digest = Zeroizing::new([0; SECRET_LEN]);
    rng.fill_bytes(&mut digest[DIGEST_LEN..]);
    let start = digest_of(&digest[DIGEST_LEN..], secret);
    digest[..DIGEST_LEN].copy_from_slice(&start);
    base.insert(DIGEST_INDEX, digest);
    base.insert(SECRET_INDEX, secret.clone());
    (0..shares).map(|index| interpolate(&base, index)).collect()
}

/// The secret, if every share given lies on one polynomial of the threshold's degree, with the
/// secret's digest on it.
fn join(values: &BTreeMap<u8, Value>, threshold: u8) -> Result<Value, KitError> {
    let base: BTreeMap<u8, Value> = values
        .iter()
        .take(threshold.into())
        .map(|(index, value)| (*index, value.clone()))
        .collect();
    let fits = |(index, value): (&u8, &Value)| *interpolate(&base, *index) == **value;
    if !values.iter().all(fits) {
        return Err(KitError::Forged);
    }
    let secret = interpolate(&base, SECRET_INDEX);
    if threshold > 1 {
        let digest = interpolate(&base, DIGEST_INDEX);
        let (start, random) = digest.split_at(DIGEST_LEN);
        if !bool::from(digest_of(random, &secret)[..].ct_eq(start)) {
            return Err(KitError::Forged);
        }
    }
    Ok(secret)
}

fn digest_of(key: &[u8], secret: &Value) -> [u8; DIGEST_LEN] {
    let mut digest = [0; DIGEST_LEN];
    digest.copy_from_slice(&hmac(key, &[&secret[..]])[..DIGEST_LEN]);
    digest
}

/// The value at `index` of the polynomial through `base`. Only indices, which are public, decide
/// where it branches.
fn interpolate(base: &BTreeMap<u8, Value>, index: u8) -> Value {
    let mut sum = Zeroizing::new([0; SECRET_LEN]);
    for (own, value) in base {
        let others = base.keys().filter(|other| *other != own);
        let (above, below) = others.fold((1, 1), |(above, below), other| {
            (multiply(above, index ^ other), multiply(below, own ^ other))
        });
        let factor = multiply(above, invert(below));
        for (sum, byte) in sum.iter_mut().zip(value.iter()) {
            *sum ^= multiply(factor, *byte);
        }
    }
    sum
}

/// Over GF(2^8) mod 0x11B, by masks.
fn multiply(left: u8, right: u8) -> u8 {
    let (mut product, mut power) = (0, left);
    for bit in 0..8 {
        product ^= power & (right >> bit & 1).wrapping_neg();
        power = power << 1 ^ 0x1b & (power >> 7).wrapping_neg();
    }
    product
}

/// The power 254; 0 for 0.
fn invert(value: u8) -> u8 {
    let mut power = value;
    for _ in 0..6 {
        power = multiply(multiply(power, power), value);
    }
    multiply(power, power)
}

/// Four Feistel rounds, so that a share's value tells nothing of a root with structure.
fn encrypt(secret: &[u8; SECRET_LEN], header: &Header, passphrase: &[u8]) -> Value {
    feistel(secret, header, passphrase, 0..ROUNDS)
}

fn decrypt(encrypted: &Value, header: &Header, passphrase: &[u8]) -> Value {
    feistel(encrypted, header, passphrase, (0..ROUNDS).rev())
}

fn feistel(
    input: &[u8; SECRET_LEN],
    header: &Header,
    passphrase: &[u8],
    rounds: impl Iterator<Item = u8>,
) -> Value {
    let (mut left, mut right) = (Zeroizing::new([0; HALF_LEN]), Zeroizing::new([0; HALF_LEN]));
    left.copy_from_slice(&input[..HALF_LEN]);
    right.copy_from_slice(&input[HALF_LEN..]);
    for round in rounds {
        let mut next = round_function(round, header, passphrase, &right);
        next.iter_mut().zip(left.iter()).for_each(|(next, left)| *next ^= left);
        left = std::mem::replace(&mut right, next);
    }
    let mut output = Zeroizing::new([0; SECRET_LEN]);
    output[..HALF_LEN].copy_from_slice(&right[..]);
    output[HALF_LEN..].copy_from_slice(&left[..]);
    output
}

/// PBKDF2 with HMAC-SHA256 (RFC 8018 §5.2), the first half block.
fn round_function(
    round: u8,
    header: &Header,
    passphrase: &[u8],
    half: &[u8; HALF_LEN],
) -> Zeroizing<[u8; HALF_LEN]> {
    let password = Zeroizing::new([&[round], passphrase].concat());
    let mut block = hmac(&password, &[&header.salt_prefix(), half, &[0, 0, 0, 1]]);
    let mut sum = Zeroizing::new([0; HALF_LEN]);
    sum.copy_from_slice(&block[..HALF_LEN]);
    for _ in 1..ROUND_ITERATIONS << header.exponent {
        block = hmac(&password, &[&block[..]]);
        sum.iter_mut().zip(block.iter()).for_each(|(sum, byte)| *sum ^= byte);
    }
    sum
}

fn hmac(key: &[u8], message: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)
        .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
    message.iter().for_each(|part| mac.update(part));
    let mut tag = Zeroizing::new([0; 32]);
    tag.copy_from_slice(&mac.finalize().into_bytes());
    tag
}

#[cfg(test)]
#[path = "recovery_kit_tests.rs"]
mod tests;
