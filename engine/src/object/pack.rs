//! Packing: record streams into one padded buffer, then into fragments and key shares.

use rand_core::CryptoRng;
use thiserror::Error;

use super::{Descriptor, DescriptorVersion, Extent, FragmentRoot, OBJECT_LEN_MAX, ObjectReference};
use crate::code::Code;
use crate::keyshare::{Binding, Dealt, KeyParameters, Secret, Share, deal};
use crate::names::{Epoch, GroupId, ObjectId};
use crate::seal::{
    RecordSecret, StreamContext, Suite, TAG_LEN, VaultRoot, padding_key, padme, plain_len_max,
    sealed_len,
};

/// The caller packed what cannot be packed; the builder is unchanged.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PackError {
    /// The piece does not fit; cut it or start another object.
    #[error("{length} bytes do not fit into the {remaining} that remain in the object")]
    Full {
        /// Bytes of the piece.
        length: u64,
        /// Bytes that fit.
        remaining: u64,
    },
    /// Every slot of a group holds a fragment and a key share.
    #[error("the code has {code} slots and the key sharing {key}")]
    Slots {
        /// n of the code.
        code: u8,
        /// n of the key sharing.
        key: u8,
    },
}

/// Where an object goes and how it is spread there.
#[derive(Clone, Copy, Debug)]
pub struct Placement<'a> {
    /// The placement group.
    pub group: GroupId,
    /// The group's epoch.
    pub epoch: Epoch,
    /// The code of the fragments.
    pub code: &'a Code,
    /// The sharing of `V`.
    pub key: KeyParameters,
}

/// An object ready to be sent to its holders.
#[derive(Debug)]
pub struct SealedObject {
    /// Goes to every holder.
    pub descriptor: Descriptor,
    /// The hash of the descriptor.
    pub object_id: ObjectId,
    /// The fragment of every slot, in slot order.
    pub fragments: Vec<Vec<u8>>,
    /// The key share of every slot, in slot order.
    pub shares: Vec<Share>,
}

impl SealedObject {
    /// What the owner keeps to find and open it.
    pub fn reference(&self) -> ObjectReference {
        let Descriptor { group, salt, .. } = self.descriptor;
        ObjectReference { group, object_id: self.object_id, salt }
    }
}

/// Objects in the making, one after another in one buffer, into which every piece is sealed at
/// once.
///
/// It holds the `V` of the present object only, and wipes it when that is finished.
#[derive(Debug)]
pub struct ObjectBuilder {
    suite: Suite,
    secret: Secret,
    salt: [u8; 32],
    coded: Vec<u8>,
    retain_until: Option<u64>,
}

impl ObjectBuilder {
    /// An empty object with a fresh `V` and salt.
    pub fn new(suite: Suite, rng: &mut impl CryptoRng) -> Self {
        let (secret, salt) = draw(rng);
        let coded = Vec::with_capacity(OBJECT_LEN_MAX as usize);
        Self { suite, secret, salt, coded, retain_until: None }
    }

    /// Until when, in Unix seconds, the holders must not destroy the present object.
    pub fn retain_until(&mut self, date: Option<u64>) {
        self.retain_until = date;
    }

    /// The longest piece that can still be pushed, in bytes; zero means start another object.
    pub fn remaining(&self) -> u64 {
        // the padding has a tag of its own
        plain_len_max(OBJECT_LEN_MAX.saturating_sub((self.coded.len() + TAG_LEN) as u64))
    }

    /// Whether nothing has been pushed.
    pub fn is_empty(&self) -> bool {
        self.coded.is_empty()
    }

    /// Seals `piece`, a part of `version` of the record of `record`, into the object.
    pub fn push(
        &mut self,
        record: &RecordSecret,
        version: u64,
        piece: &[u8],
    ) -> Result<Extent, PackError> {
        let (length, remaining) = (piece.len() as u64, self.remaining());
        let end = self.coded.len() as u64 + sealed_len(length) + TAG_LEN as u64;
        if end > OBJECT_LEN_MAX {
            return Err(PackError::Full { length, remaining });
        }
        let offset = self.coded.len() as u64;
        let context =
            StreamContext { salt: &self.salt, suite: self.suite, offset, plain_len: length };
        let (key, commitment) = record.stream_key(&self.secret, version, &context);
        key.seal(piece, &mut self.coded);
        Ok(Extent { offset: offset as u32, plain_len: length as u32, commitment })
    }

    /// Pads, codes and hashes the object, deals `V` and forgets it; an empty object with another
    /// `V` and salt follows.
    pub fn finish(
        &mut self,
        placement: &Placement<'_>,
        root: &VaultRoot,
        rng: &mut impl CryptoRng,
    ) -> Result<SealedObject, PackError> {
        let code = placement.code.parameters();
        if code.n != placement.key.n() {
            return Err(PackError::Slots { code: code.n, key: placement.key.n() });
        }
        self.pad();
        let fragments = placement.code.encode(&self.coded);
        let binding = Binding {
            parameters: placement.key,
            salt: &self.salt,
            epoch: placement.epoch,
            coverage: None,
        };
        let Dealt { shares, rows } = deal(&binding, &self.secret, rng);
        let descriptor = Descriptor {
            version: match self.retain_until {
                None => DescriptorVersion::V1,
                Some(_) => DescriptorVersion::V2,
            },
            suite: self.suite,
            group: placement.group,
            code,
            coded_len: self.coded.len() as u64,
            salt: self.salt,
            fragment_roots: fragments.iter().map(|fragment| FragmentRoot::of(fragment)).collect(),
            key: placement.key,
            rows,
            epoch: placement.epoch,
            read_key: root.read_key(&self.salt).verifying_key().to_bytes(),
            write_key: root.write_key(&self.salt).verifying_key().to_bytes(),
            retain_until: self.retain_until.take(),
        };
        (self.secret, self.salt) = draw(rng);
        self.coded.clear();
        Ok(SealedObject { object_id: descriptor.object_id(), descriptor, fragments, shares })
    }

    /// Appends zeros, sealed as one chunk so that any permitted length can be reached.
    fn pad(&mut self) {
        let used = self.coded.len() + TAG_LEN;
        let zeros = vec![0; padme(used as u64) as usize - used];
        let key = padding_key(&self.secret, self.suite, &self.salt);
        key.seal_chunk(0, true, &zeros, &mut self.coded);
    }
}

/// `V` and the salt of one object.
fn draw(rng: &mut impl CryptoRng) -> (Secret, [u8; 32]) {
    let secret = Secret::random(rng);
    let mut salt = [0; 32];
    rng.fill_bytes(&mut salt);
    (secret, salt)
}
