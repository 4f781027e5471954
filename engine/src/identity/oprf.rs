//! The verifiable oblivious pseudorandom function of RFC 9497, suite ristretto255-SHA512.
//!
//! Who asks learns `F(key, input)` and nothing of the key; who answers learns nothing of the input
//! and proves that it used the key that it is known by. §-numbers are those of the RFC.

use std::fmt;

use curve25519_dalek::ristretto::{CompressedRistretto, RistrettoPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const IDENTIFIER: &str = "ristretto255-SHA512";
const HASH_LEN: usize = 64;
const HASH_BLOCK_LEN: usize = 128;

/// F(key, input): 64 bytes.
pub type Output = Zeroizing<[u8; HASH_LEN]>;

/// An element of the group other than the identity, 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Element(RistrettoPoint);

impl Element {
    /// `None` for the identity.
    pub(super) fn new(point: RistrettoPoint) -> Option<Self> {
        (point != RistrettoPoint::identity()).then_some(Self(point))
    }

    pub(super) fn point(&self) -> &RistrettoPoint {
        &self.0
    }

    /// The canonical bytes.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0.compress().to_bytes()
    }

    /// Reads the canonical bytes of an element that is not the identity (§2.1).
    pub fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        CompressedRistretto(bytes).decompress().and_then(Self::new)
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_bytes()[..4].iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

/// A key, or a share of one. Wiped when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Key(Scalar);

impl Key {
    /// A uniform key.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(random_scalar(rng))
    }

    pub(super) fn from_scalar(scalar: Scalar) -> Self {
        Self(scalar)
    }

    pub(super) fn scalar(&self) -> &Scalar {
        &self.0
    }

    /// The canonical bytes, little-endian.
    pub fn expose(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// Reads canonical bytes other than zero.
    pub fn from_bytes(bytes: &Zeroizing<[u8; 32]>) -> Option<Self> {
        let scalar = Option::<Scalar>::from(Scalar::from_canonical_bytes(**bytes))?;
        (scalar != Scalar::ZERO).then_some(Self(scalar))
    }

    /// The public key. A share is zero with probability 2^-252; it has none.
    pub fn public(&self) -> Option<Element> {
        Element::new(RistrettoPoint::mul_base(&self.0))
    }

    /// BlindEvaluate (§3.3.2), with the proof that this key was used.
    pub fn evaluate(&self, blinded: &Element, rng: &mut impl CryptoRng) -> Option<Evaluation> {
        self.evaluate_with(blinded, &random_scalar(rng))
    }

    fn evaluate_with(&self, blinded: &Element, nonce: &Scalar) -> Option<Evaluation> {
        let key = self.public()?;
        let element = Element::new(self.0 * blinded.0)?;
        let proof = prove(Mode::Verifiable, &self.0, &key, &[*blinded], &[element], nonce);
        Some(Evaluation { element, key, proof })
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key(..)")
    }
}

/// The answer of whoever has a key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Evaluation {
    /// The key times the blinded element.
    #[n(0)]
    pub element: Element,
    /// The public key.
    #[n(1)]
    pub key: Element,
    /// That both have one logarithm.
    #[n(2)]
    pub proof: Proof,
}

impl Evaluation {
    /// Whether it answers `blinded` with the key that it names.
    pub fn verifies(&self, blinded: &Element) -> bool {
        verify(Mode::Verifiable, &self.key, &[*blinded], &[self.element], &self.proof)
    }
}

/// An input on its way: wiped when dropped.
pub struct Blinding {
    input: Zeroizing<Vec<u8>>,
    blind: Zeroizing<Scalar>,
    /// What is sent.
    pub blinded: Element,
}

impl Blinding {
    /// Blind (§3.3.1). `input` has at most 65535 bytes.
    pub fn new(input: &[u8], rng: &mut impl CryptoRng) -> Self {
        loop {
            // A blind of zero, or an input that hashes to the identity, has probability 2^-252.
            if let Some(blinding) = Self::with(Mode::Verifiable, input, random_scalar(rng)) {
                return blinding;
            }
        }
    }

    fn with(mode: Mode, input: &[u8], blind: Scalar) -> Option<Self> {
        let blinded = Element::new(blind * hash_to_group(mode, input))?;
        let input = Zeroizing::new(input.to_vec());
        Some(Self { input, blind: Zeroizing::new(blind), blinded })
    }

    /// Finalize (§3.3.1) of the evaluation under the whole key.
    pub fn finalize(&self, evaluated: &Element) -> Output {
        let inverse = Zeroizing::new(self.blind.invert());
        let unblinded = Zeroizing::new((*inverse * evaluated.0).compress().to_bytes());
        let mut hash = Sha512::new();
        update_prefixed(&mut hash, &self.input);
        update_prefixed(&mut hash, &*unblinded);
        hash.update(b"Finalize");
        let mut output = Zeroizing::new([0; HASH_LEN]);
        output.copy_from_slice(&hash.finalize());
        output
    }
}

/// A proof that two pairs of elements have one logarithm (§2.2), 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    challenge: Scalar,
    response: Scalar,
}

impl Proof {
    /// The challenge, then the response.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(self.challenge.as_bytes());
        bytes[32..].copy_from_slice(self.response.as_bytes());
        bytes
    }

    /// Reads two canonical scalars.
    pub fn from_bytes(bytes: &[u8; 64]) -> Option<Self> {
        let scalar = |half: &[u8]| -> Option<Scalar> {
            Scalar::from_canonical_bytes(half.try_into().ok()?).into()
        };
        Some(Self { challenge: scalar(&bytes[..32])?, response: scalar(&bytes[32..])? })
    }
}

/// Encoded as a byte string, which is checked when it is read.
macro_rules! encode_as_bytes {
    ($type:ty, $what:literal, $to_bytes:expr, $from_bytes:expr) => {
        impl<C> Encode<C> for $type {
            fn encode<W: minicbor::encode::Write>(
                &self,
                encoder: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                encoder.bytes(&$to_bytes(self)[..])?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $type {
            fn decode(
                decoder: &mut minicbor::Decoder<'b>,
                _: &mut C,
            ) -> Result<Self, minicbor::decode::Error> {
                let read = decoder.bytes()?.try_into().ok().and_then($from_bytes);
                read.ok_or_else(|| minicbor::decode::Error::message(concat!("not ", $what)))
            }
        }
    };
}

encode_as_bytes!(Element, "an element", |it: &Self| it.to_bytes(), Self::from_bytes);
encode_as_bytes!(Key, "a key", Self::expose, |bytes| Self::from_bytes(&Zeroizing::new(bytes)));
encode_as_bytes!(Proof, "two scalars", Self::to_bytes, |bytes| Self::from_bytes(&bytes));

/// A protocol of the RFC (§3.1). Only the vectors need the first.
#[derive(Clone, Copy)]
enum Mode {
    #[cfg(test)]
    Base,
    Verifiable,
}

impl Mode {
    /// `label || contextString`.
    fn context(self, label: &str) -> Vec<u8> {
        let mode = match self {
            #[cfg(test)]
            Self::Base => 0,
            Self::Verifiable => 1,
        };
        [label.as_bytes(), b"OPRFV1-", &[mode], b"-", IDENTIFIER.as_bytes()].concat()
    }
}

fn hash_to_group(mode: Mode, input: &[u8]) -> RistrettoPoint {
    RistrettoPoint::from_uniform_bytes(&expand_message(&[input], &mode.context("HashToGroup-")))
}

fn hash_to_scalar(input: &[&[u8]], domain: &[u8]) -> Scalar {
    Scalar::from_bytes_mod_order_wide(&expand_message(input, domain))
}

/// expand_message_xmd with SHA-512 to one block of output (RFC 9380 §5.3.1).
fn expand_message(message: &[&[u8]], domain: &[u8]) -> Zeroizing<[u8; HASH_LEN]> {
    let domain_len = [domain.len() as u8];
    let mut hash = Sha512::new();
    hash.update([0; HASH_BLOCK_LEN]);
    message.iter().for_each(|part| hash.update(part));
    hash.update([0, HASH_LEN as u8, 0]);
    hash.update(domain);
    hash.update(domain_len);
    let first = hash.finalize();
    let mut hash = Sha512::new();
    hash.update(first);
    hash.update([1]);
    hash.update(domain);
    hash.update(domain_len);
    let mut expanded = Zeroizing::new([0; HASH_LEN]);
    expanded.copy_from_slice(&hash.finalize());
    expanded
}

/// GenerateProof (§2.2.1) that `key` is the logarithm of `public` and of every pair.
fn prove(
    mode: Mode,
    key: &Scalar,
    public: &Element,
    from: &[Element],
    to: &[Element],
    nonce: &Scalar,
) -> Proof {
    let composite = composites(mode, public, from, to).0;
    let commitment = RistrettoPoint::mul_base(nonce);
    let challenge =
        challenge(mode, public, [composite, key * composite, commitment, nonce * composite]);
    Proof { challenge, response: nonce - challenge * key }
}

/// VerifyProof (§2.2.2).
fn verify(mode: Mode, public: &Element, from: &[Element], to: &[Element], proof: &Proof) -> bool {
    let Proof { challenge: expected, response } = proof;
    let (from, to) = composites(mode, public, from, to);
    let commitment =
        RistrettoPoint::vartime_double_scalar_mul_basepoint(expected, &public.0, response);
    challenge(mode, public, [from, to, commitment, response * from + expected * to]) == *expected
}

/// ComputeComposites (§2.2.2): one pair for all.
fn composites(
    mode: Mode,
    public: &Element,
    from: &[Element],
    to: &[Element],
) -> (RistrettoPoint, RistrettoPoint) {
    let mut hash = Sha512::new();
    update_prefixed(&mut hash, &public.to_bytes());
    update_prefixed(&mut hash, &mode.context("Seed-"));
    let seed = hash.finalize();
    let pairs = from.iter().zip(to).enumerate();
    pairs.fold(Default::default(), |(from_sum, to_sum), (index, (from, to))| {
        let (from_bytes, to_bytes) = (from.to_bytes(), to.to_bytes());
        let weight = hash_to_scalar(
            &[
                &prefix(&seed),
                &seed,
                &(index as u16).to_be_bytes(),
                &prefix(&from_bytes),
                &from_bytes,
                &prefix(&to_bytes),
                &to_bytes,
                b"Composite",
            ],
            &mode.context("HashToScalar-"),
        );
        (from_sum + weight * from.0, to_sum + weight * to.0)
    })
}

fn challenge(mode: Mode, public: &Element, points: [RistrettoPoint; 4]) -> Scalar {
    let mut transcript = Vec::with_capacity(5 * 34 + 9);
    let points = points.map(|point| point.compress().to_bytes());
    for bytes in [public.to_bytes()].iter().chain(&points) {
        transcript.extend_from_slice(&prefix(bytes));
        transcript.extend_from_slice(bytes);
    }
    transcript.extend_from_slice(b"Challenge");
    hash_to_scalar(&[&transcript], &mode.context("HashToScalar-"))
}

/// I2OSP(len(bytes), 2).
fn prefix(bytes: &[u8]) -> [u8; 2] {
    (bytes.len() as u16).to_be_bytes()
}

fn update_prefixed(hash: &mut Sha512, bytes: &[u8]) {
    hash.update(prefix(bytes));
    hash.update(bytes);
}

pub(super) fn random_scalar(rng: &mut impl CryptoRng) -> Scalar {
    let mut wide = Zeroizing::new([0; 64]);
    rng.fill_bytes(wide.as_mut());
    Scalar::from_bytes_mod_order_wide(&wide)
}

#[cfg(test)]
#[path = "oprf_vectors.rs"]
mod vectors;
