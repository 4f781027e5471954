//! What stands of an identity on the ledger, and what its identity nodes keep.
//! `engine/spec/identity.md` §4.

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use super::oprf::Key;
use super::renewal::Renewal;
use super::sharing::KeyCommitment;
use crate::hash::hash;
use crate::ledger::{IDENTITY_LEN_MAX, Identity};
use crate::names::NetworkId;
use crate::seal::{Hardening, TAG_LEN, VaultRoot};
use crate::signature::Signature;
use crate::wire::canonical::{self, CanonicalError};

/// Longest sealed attachment, in bytes.
pub const ATTACHMENT_LEN_MAX: usize = 256;
/// Length of the sealed root, in bytes.
pub const ENVELOPE_LEN: usize = 32 + TAG_LEN;

const RECORD_FORMAT: u8 = 1;
const WRAPPING_LABEL: &str = "identity/wrapping";

/// The opaque part of an identity's record on the ledger: how a passphrase is hardened, and with
/// which key of the oblivious function. Nothing in it depends on the passphrase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicRecord {
    /// What one guess costs.
    pub hardening: Hardening,
    /// Names the key of this version.
    pub commitment: KeyCommitment,
}

#[derive(Encode, Decode)]
struct WrittenRecord {
    #[n(0)]
    format: u8,
    #[n(1)]
    hardening: Hardening,
    #[n(2)]
    commitment: KeyCommitment,
}

impl PublicRecord {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { hardening, commitment } = *self;
        canonical::encode(&WrittenRecord { format: RECORD_FORMAT, hardening, commitment })
    }

    /// Reads the canonical bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        let WrittenRecord { format, hardening, commitment } =
            canonical::decode(bytes, IDENTITY_LEN_MAX)?;
        if format != RECORD_FORMAT {
            return Err(CanonicalError::Malformed(format!("identity record format {format}")));
        }
        Ok(Self { hardening, commitment })
    }
}

/// An identity as the ledger has it, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The handle's hash.
    pub handle: [u8; 32],
    /// The version of the record, and of the envelope that belongs to it.
    pub version: u64,
    /// The owner's Ed25519 key, derived from the root.
    pub key: [u8; 32],
    /// The rest.
    pub record: PublicRecord,
}

impl Registered {
    /// `None` if the record is of a format that this program does not know.
    pub fn of(handle: [u8; 32], identity: &Identity) -> Option<Self> {
        let record = PublicRecord::from_bytes(&identity.record).ok()?;
        Some(Self { handle, version: identity.version, key: identity.key, record })
    }
}

/// Names a sharing of a key: whoever has the same was dealt the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct SharingId(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 32]);

/// A sharing and how it came about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Sharing {
    /// Its name.
    #[n(0)]
    pub id: SharingId,
    /// Without dealers if the owner dealt it.
    #[n(1)]
    pub terms: Renewal,
}

impl Sharing {
    /// The sharing that an owner deals.
    pub fn by_owner(terms: Renewal) -> Self {
        let id = SharingId(hash("identity/sharing", &[&canonical::encode(&terms)]));
        Self { id, terms }
    }
}

/// The root under a passphrase and the oblivious function, with what else is the owner's.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Wrapping {
    /// The handle's hash.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub handle: [u8; 32],
    /// Of the record on the ledger that it belongs to.
    #[n(1)]
    pub version: u64,
    /// As in that record.
    #[n(2)]
    pub commitment: KeyCommitment,
    /// The sealed root, [`ENVELOPE_LEN`] bytes.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub envelope: Vec<u8>,
    /// Sealed under the root, at most [`ATTACHMENT_LEN_MAX`] bytes.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub attachment: Vec<u8>,
    /// By the owner's key, over the network and all above.
    #[n(5)]
    signature: Signature,
}

impl Wrapping {
    pub(super) fn sign(
        network: &NetworkId,
        key: &SigningKey,
        registered: &Registered,
        envelope: Vec<u8>,
        attachment: Vec<u8>,
    ) -> Self {
        let Registered { handle, version, record: PublicRecord { commitment, .. }, .. } =
            *registered;
        let unsigned = Signature([0; Signature::LEN]);
        let mut wrapping =
            Self { handle, version, commitment, envelope, attachment, signature: unsigned };
        let version = version.to_be_bytes();
        wrapping.signature =
            Signature::sign(key, WRAPPING_LABEL, &wrapping.parts(network, &version));
        wrapping
    }

    /// Whether the owner made it for this handle.
    pub fn verifies(&self, network: &NetworkId, handle: &[u8; 32], owner: &[u8; 32]) -> bool {
        self.handle == *handle
            && self.envelope.len() == ENVELOPE_LEN
            && self.attachment.len() <= ATTACHMENT_LEN_MAX
            && self.signature.verifies(
                owner,
                WRAPPING_LABEL,
                &self.parts(network, &self.version.to_be_bytes()),
            )
    }

    /// Whether it is what the ledger says.
    pub fn is_of(&self, network: &NetworkId, registered: &Registered) -> bool {
        self.version == registered.version
            && self.commitment == registered.record.commitment
            && self.verifies(network, &registered.handle, &registered.key)
    }

    /// The owner's attachment; `None` if it is not of this root.
    pub fn attachment(&self, root: &VaultRoot) -> Option<Zeroizing<Vec<u8>>> {
        let length = self.attachment.len().checked_sub(TAG_LEN)?;
        let mut attachment = Zeroizing::new(vec![0; length]);
        let key = root.attachment_key(self.version);
        key.open_chunk(0, true, &self.attachment, &mut attachment).ok()?;
        Some(attachment)
    }

    fn parts<'a>(&'a self, network: &'a NetworkId, version: &'a [u8; 8]) -> [&'a [u8]; 6] {
        let (envelope, attachment) = (&self.envelope, &self.attachment);
        [network.as_bytes(), &self.handle, version, &self.commitment.0, envelope, attachment]
    }
}

/// What an owner gives one identity node.
#[derive(Debug, Encode, Decode)]
pub struct Deposit {
    /// The same for all.
    #[n(0)]
    pub wrapping: Wrapping,
    /// The same for all.
    #[n(1)]
    pub sharing: Sharing,
    /// The node's own.
    #[n(2)]
    pub share: Key,
}
