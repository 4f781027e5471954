//! The key schedule: everything an owner holds is derived from one random root.

use std::fmt;

use ed25519_dalek::{SigningKey, VerifyingKey};
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{OpenError, PointerKey, StreamKey, Suite};
use crate::hash::{derive_key, hash};
use crate::keyshare::Secret;
use crate::names::{RecordId, Tag};

type Key = Zeroizing<[u8; 32]>;

/// Pointers of a vault that follow each other under one tag. Everybody sees that these belong together,
/// and the ledger keeps the last of them for ever.
pub const POINTERS_PER_SPAN: u64 = 64;

/// The root of a vault: 32 random bytes from which its owner derives every other key.
pub struct VaultRoot(Key);

impl VaultRoot {
    /// A new vault.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill_bytes(bytes.as_mut());
        Self(bytes)
    }

    /// The root with these bytes, as brought back from its envelope.
    pub fn from_bytes(bytes: Zeroizing<[u8; 32]>) -> Self {
        Self(bytes)
    }

    /// The bytes, for an envelope.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// `S_comp`: what a grant of a whole compartment hands over.
    pub fn compartment(&self, compartment: Compartment) -> CompartmentSecret {
        let parts = [&compartment.number.to_be_bytes()[..], &compartment.generation.to_be_bytes()];
        CompartmentSecret(derive_key(&self.0[..], "comp", &parts))
    }

    /// `S_m`: the secret under which the vault's manifests are sealed, as records with id zero.
    pub fn catalogue(&self) -> RecordSecret {
        RecordSecret {
            record_id: RecordId([0; 16]),
            secret: derive_key(&self.0[..], "catalogue", &[]),
        }
    }

    /// Signs reads of the object with this salt.
    pub fn read_key(&self, object_salt: &[u8; 32]) -> SigningKey {
        SigningKey::from_bytes(&derive_key(&self.0[..], "cap", &[object_salt, b"read"]))
    }

    /// Signs the storing and deletion of the object with this salt.
    pub fn write_key(&self, object_salt: &[u8; 32]) -> SigningKey {
        SigningKey::from_bytes(&derive_key(&self.0[..], "cap", &[object_salt, b"write"]))
    }

    /// Signs the identity's records and deposits, and proves to identity nodes that who asks has the
    /// root.
    pub fn identity_key(&self) -> SigningKey {
        SigningKey::from_bytes(&derive_key(&self.0[..], "identity", &[]))
    }

    /// Seals what the identity nodes keep beside the root for its owner, in one version.
    pub(crate) fn attachment_key(&self, version: u64) -> StreamKey {
        let key = derive_key(&self.0[..], "identity/attachment", &[&version.to_be_bytes()]);
        StreamKey::new(Suite::ChaCha20Poly1305, &key)
    }

    /// Signs the vault's pointer number `counter` on the ledger, where it stands under the
    /// [`pointer_tag`] of this key; nothing else is ever signed with it. For rules of the ledger before
    /// version 9.
    pub fn pointer_signing_key(&self, counter: u64) -> SigningKey {
        SigningKey::from_bytes(&derive_key(&self.0[..], "tag", &[&counter.to_be_bytes()]))
    }

    /// Signs those of the vault's pointers on the ledger that take each other's place under the
    /// [`pointer_tag`] of this key: [`POINTERS_PER_SPAN`] of them, from number
    /// `span * POINTERS_PER_SPAN` on.
    pub fn span_signing_key(&self, span: u64) -> SigningKey {
        SigningKey::from_bytes(&derive_key(&self.0[..], "span tag", &[&span.to_be_bytes()]))
    }

    /// Seals the body of the vault's pointer number `counter`.
    pub fn pointer_key(&self, counter: u64) -> PointerKey {
        PointerKey::new(derive_key(&self.0[..], "ptr", &[&counter.to_be_bytes()]))
    }
}

/// The blinded name of the pointer that is signed with `key`.
pub fn pointer_tag(key: &VerifyingKey) -> Tag {
    let digest = hash("tag", &[key.as_bytes()]);
    let mut tag = [0; 16];
    tag.copy_from_slice(&digest[..16]);
    Tag(tag)
}

/// A part of a vault that can be granted; a revocation moves it to its next generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Compartment {
    /// The owner's number for it.
    #[n(0)]
    pub number: u32,
    /// How often grants of it have been revoked.
    #[n(1)]
    pub generation: u32,
}

/// `S_comp`: opens, together with the nodes, every record of one generation of a compartment.
pub struct CompartmentSecret(Key);

impl CompartmentSecret {
    /// `S_r` of one record.
    pub fn record(&self, record_id: RecordId) -> RecordSecret {
        RecordSecret { record_id, secret: derive_key(&self.0[..], "rec", &[record_id.as_bytes()]) }
    }
}

/// `S_r`: opens, together with the nodes, every version of one record.
pub struct RecordSecret {
    record_id: RecordId,
    secret: Key,
}

impl RecordSecret {
    /// The record it belongs to.
    pub fn record_id(&self) -> RecordId {
        self.record_id
    }

    /// Joins both halves of the content key into the key of one stream and the commitment to it:
    /// CK = KDF(V ‖ S_r, "ck", rid, version), K = KDF(CK, "payload", context),
    /// KC = KDF(CK, "commit", context).
    pub fn stream_key(
        &self,
        object_secret: &Secret,
        version: u64,
        context: &StreamContext<'_>,
    ) -> (StreamKey, KeyCommitment) {
        let mut both = Zeroizing::new([0; 64]);
        both[..32].copy_from_slice(object_secret.expose());
        both[32..].copy_from_slice(&self.secret[..]);
        let content_key =
            derive_key(&both[..], "ck", &[self.record_id.as_bytes(), &version.to_be_bytes()]);
        let (offset, plain_len) = (context.offset.to_be_bytes(), context.plain_len.to_be_bytes());
        let parts = [&context.salt[..], &[context.suite.byte()], &offset, &plain_len];
        let payload_key = derive_key(&content_key[..], "payload", &parts);
        let commitment = derive_key(&content_key[..], "commit", &parts);
        (StreamKey::new(context.suite, &payload_key), KeyCommitment(*commitment))
    }

    /// As [`Self::stream_key`], but only if the result is the one that was committed to.
    pub fn committed_stream_key(
        &self,
        object_secret: &Secret,
        version: u64,
        context: &StreamContext<'_>,
        commitment: &KeyCommitment,
    ) -> Result<StreamKey, OpenError> {
        let (key, actual) = self.stream_key(object_secret, version, context);
        if bool::from(actual.0.ct_eq(&commitment.0)) { Ok(key) } else { Err(OpenError::WrongKey) }
    }
}

/// Where a stream stands. It enters the key, so no two streams of an object share one.
#[derive(Clone, Copy, Debug)]
pub struct StreamContext<'a> {
    /// The object's random salt.
    pub salt: &'a [u8; 32],
    /// The cipher.
    pub suite: Suite,
    /// First coded byte of the stream in its object.
    pub offset: u64,
    /// Bytes of the plaintext.
    pub plain_len: u64,
}

/// KC: neither cipher commits to its key, so a stream carries this hash of it (crypto.md §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct KeyCommitment(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

/// The key of an object's padding: of `V` alone, so that whoever can read the object can check it.
pub fn padding_key(object_secret: &Secret, suite: Suite, salt: &[u8; 32]) -> StreamKey {
    StreamKey::new(suite, &derive_key(object_secret.expose(), "padding", &[salt, &[suite.byte()]]))
}

macro_rules! redacted {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}
redacted!(VaultRoot, CompartmentSecret, RecordSecret, StreamKey, PointerKey);
