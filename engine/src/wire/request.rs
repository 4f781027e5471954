//! Requests, and the signatures that make them worth answering.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};
use thiserror::Error;
use zeroize::Zeroizing;

use super::HEADER_LEN_MAX;
use super::canonical::{self, CanonicalError};
use crate::keyshare::Share;
use crate::ledger::{Entry, FollowAck, StateKey};
use crate::names::{GroupId, NetworkId, NodeId, ObjectId, Slot};
use crate::object::Descriptor;
use crate::signature::{Signature, node_id};

/// The version of the request and response formats.
pub const WIRE_VERSION: u8 = 1;
const PUT_LABEL: &str = "put";
const REQUEST_LABEL: &str = "request";
/// How far ahead a deadline may lie; it bounds how long a request stays valid.
pub const DEADLINE_AHEAD_MAX: Duration = Duration::from_secs(120);

/// What a peer asks for.
#[derive(Debug, Encode, Decode)]
pub enum Operation {
    /// Keep one slot's part of an object. The body is the fragment.
    #[n(0)]
    Store(#[n(0)] Box<Store>),
    /// Hand out a key part and fragment groups to a reader.
    #[n(1)]
    Read(#[n(0)] Read),
    /// List the ids of a group's objects, for the newcomer of one of its slots.
    #[n(2)]
    Inventory(#[n(0)] Inventory),
    /// Send the pair symbol and the fragment's helper symbols for a lost slot.
    #[n(3)]
    Symbols(#[n(0)] Symbols),
    /// Send the helper's own fragment: the newcomer found that some helper lied.
    #[n(4)]
    Witness {
        /// The helper's part.
        #[n(0)]
        part: PartReference,
        /// The lost slot, of which the asker is the holder.
        #[n(1)]
        lost: Slot,
    },
    /// Rebuild what the receiver should hold in a slot; answers at once with the progress.
    #[n(5)]
    Repair {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// The slot of which the receiver is the holder.
        #[n(1)]
        slot: Slot,
    },
    /// Figures of a storage node.
    #[n(6)]
    Status,
    /// Put an entry on the ledger; answered when the entry is final.
    #[n(7)]
    Submit(#[n(0)] Box<Entry>),
    /// The newest final header, attested for this nonce.
    #[n(8)]
    Head {
        /// Chosen by the asker, so that the answer is fresh.
        #[cbor(n(0), with = "minicbor::bytes")]
        nonce: [u8; 32],
    },
    /// Values of the ledger's state with their proofs.
    #[n(9)]
    Prove(#[n(0)] Vec<StateKey>),
    /// Blocks from a height on; waits for one when there is none. The body is the blocks.
    #[n(10)]
    Follow {
        /// The first height wanted.
        #[n(0)]
        from: u64,
        /// What the follower has made durable.
        #[n(1)]
        acknowledged: Option<FollowAck>,
    },
}

/// The header of a store request.
#[derive(Debug, Encode, Decode)]
pub struct Store {
    /// What is stored, and who vouches for it.
    #[n(0)]
    pub object: VouchedDescriptor,
    /// The key share of the slot that the receiver holds.
    #[n(1)]
    pub share: Share,
}

/// A newcomer's request to a helper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Symbols {
    /// The helper's part.
    #[n(0)]
    pub part: PartReference,
    /// The lost slot, of which the asker is the holder.
    #[n(1)]
    pub lost: Slot,
    /// Whether the descriptor is wanted too.
    #[n(2)]
    pub describe: bool,
}

/// A descriptor that proves itself: its hash is the object's id, and its writer and an enrolled
/// submitter signed for it. Holders keep it beside the part.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VouchedDescriptor {
    /// Canonical bytes of the descriptor.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub descriptor: Vec<u8>,
    /// Who vouches for it.
    #[n(1)]
    pub authorisation: Authorisation,
}

impl VouchedDescriptor {
    /// The descriptor and the id it proves, if it is well-formed and both signatures hold.
    pub fn verify(&self, network: &NetworkId) -> Option<(ObjectId, Descriptor)> {
        let descriptor = Descriptor::decode(&self.descriptor).ok()?;
        let object = descriptor.object_id();
        self.authorisation
            .verify(network, &object, &descriptor.write_key)
            .then_some((object, descriptor))
    }
}

/// The signatures without which nobody keeps an object. They stay with the part, so that a
/// newcomer can check that what helpers list was really put by someone enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Authorisation {
    /// The enrolled machine that submitted the object and whose quota it counts against.
    #[n(0)]
    pub submitter: NodeId,
    /// By the submitter.
    #[n(1)]
    pub submitter_signature: Signature,
    /// By the descriptor's write key.
    #[n(2)]
    pub write_signature: Signature,
}

impl Authorisation {
    /// Signs for `object` as submitter and as owner of the write key.
    pub fn sign(
        network: &NetworkId,
        object: &ObjectId,
        submitter: &SigningKey,
        write_key: &SigningKey,
    ) -> Self {
        let parts = [network.as_bytes(), object.as_bytes()];
        Self {
            submitter: node_id(submitter),
            submitter_signature: Signature::sign(submitter, PUT_LABEL, &parts),
            write_signature: Signature::sign(write_key, PUT_LABEL, &parts),
        }
    }

    /// Whether both signatures hold for `object` under the descriptor's `write_key`.
    pub fn verify(&self, network: &NetworkId, object: &ObjectId, write_key: &[u8; 32]) -> bool {
        let parts = [network.as_bytes(), object.as_bytes()];
        self.submitter_signature.verifies(&self.submitter.0, PUT_LABEL, &parts)
            && self.write_signature.verifies(write_key, PUT_LABEL, &parts)
    }
}

/// A reader's request to one slot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Read {
    /// The part.
    #[n(0)]
    pub part: PartReference,
    /// Which groups of the fragment: all when absent.
    #[n(1)]
    pub groups: Option<GroupRange>,
    /// Whether the descriptor is wanted.
    #[n(2)]
    pub descriptor: bool,
    /// Whether the key part is wanted.
    #[n(3)]
    pub key_part: bool,
}

/// One slot's part of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct PartReference {
    /// The placement group.
    #[n(0)]
    pub group: GroupId,
    /// The slot.
    #[n(1)]
    pub slot: Slot,
    /// The object.
    #[n(2)]
    pub object: ObjectId,
}

/// Consecutive 16 KiB groups of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct GroupRange {
    /// The first group.
    #[n(0)]
    pub first: u32,
    /// How many.
    #[n(1)]
    pub count: u32,
}

/// A page of a group's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Inventory {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// The helper's slot.
    #[n(1)]
    pub slot: Slot,
    /// The lost slot, of which the asker is the holder.
    #[n(2)]
    pub lost: Slot,
    /// List objects after this one.
    #[n(3)]
    pub after: Option<ObjectId>,
    /// At most this many.
    #[n(4)]
    pub limit: u16,
}

/// What a request's signatures are bound to besides its content: replayed in another network, to
/// another receiver or over another connection, they do not hold.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// The network.
    pub network: NetworkId,
    /// Who is asked.
    pub receiver: NodeId,
    /// The TLS exporter of the connection (RFC 8446 §7.5).
    pub exporter: [u8; 32],
}

/// The keys that sign a request.
pub struct RequestKeys<'a> {
    /// The asking machine's key.
    pub author: &'a SigningKey,
    /// The object's read key, for a read.
    pub capability: Option<&'a SigningKey>,
}

/// A signed request, as sent. Not for printing: a store's operation holds a key share.
#[derive(Encode, Decode)]
pub struct Request {
    #[n(0)]
    version: u8,
    #[n(1)]
    author: NodeId,
    /// Unix milliseconds.
    #[n(2)]
    deadline: u64,
    #[cbor(n(3), with = "wiped_bytes")]
    operation: Zeroizing<Vec<u8>>,
    #[n(4)]
    author_signature: Signature,
    #[n(5)]
    capability: Option<Capability>,
}

#[derive(Encode, Decode)]
struct Capability {
    #[cbor(n(0), with = "minicbor::bytes")]
    key: [u8; 32],
    #[n(1)]
    signature: Signature,
}

/// A request whose signatures hold; only [`Request::verify`] makes one.
#[derive(Debug)]
pub struct VerifiedRequest {
    /// The machine that asks.
    pub author: NodeId,
    /// Until when the asker waits, Unix milliseconds.
    pub deadline: u64,
    /// The capability key that signed, if any.
    pub capability: Option<[u8; 32]>,
    /// What it asks.
    pub operation: Operation,
}

/// Why a request was not even considered. The sender is to blame; nothing was changed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RequestError {
    /// Not a canonical request.
    #[error("the request is not well-formed: {0}")]
    Malformed(#[from] CanonicalError),
    /// A version this program does not know.
    #[error("request version {0} is not known here (this program speaks {WIRE_VERSION})")]
    UnknownVersion(u8),
    /// Too late, or valid for too long.
    #[error("the request's deadline has passed or lies more than two minutes ahead")]
    Deadline,
    /// A signature does not hold: wrong key, network, receiver or connection, or a replay.
    #[error("a signature of the request does not hold for this network and connection")]
    Signature,
}

impl Request {
    /// Signs `operation` for `session` and gives the header bytes to send. `deadline` in Unix
    /// milliseconds.
    pub fn sign(
        operation: &Operation,
        session: &Session,
        deadline: u64,
        keys: &RequestKeys<'_>,
    ) -> Vec<u8> {
        let author = node_id(keys.author);
        let operation = Zeroizing::new(canonical::encode(operation));
        let deadline_bytes = deadline.to_be_bytes();
        let parts = transcript(session, &author, &deadline_bytes, &operation);
        let capability = keys.capability.map(|key| Capability {
            key: key.verifying_key().to_bytes(),
            signature: Signature::sign(key, REQUEST_LABEL, &parts),
        });
        let author_signature = Signature::sign(keys.author, REQUEST_LABEL, &parts);
        canonical::encode(&Self {
            version: WIRE_VERSION,
            author,
            deadline,
            operation,
            author_signature,
            capability,
        })
    }

    /// Checks `header` as received over `session` at `now` (Unix milliseconds).
    pub fn verify(
        header: &[u8],
        session: &Session,
        now: u64,
    ) -> Result<VerifiedRequest, RequestError> {
        let request: Self = canonical::decode(header, HEADER_LEN_MAX)?;
        if request.version != WIRE_VERSION {
            return Err(RequestError::UnknownVersion(request.version));
        }
        if request.deadline < now || request.deadline - now > DEADLINE_AHEAD_MAX.as_millis() as u64
        {
            return Err(RequestError::Deadline);
        }
        let deadline = request.deadline.to_be_bytes();
        let parts = transcript(session, &request.author, &deadline, &request.operation);
        let signed = request.author_signature.verifies(&request.author.0, REQUEST_LABEL, &parts)
            && request.capability.as_ref().is_none_or(|capability| {
                capability.signature.verifies(&capability.key, REQUEST_LABEL, &parts)
            });
        if !signed {
            return Err(RequestError::Signature);
        }
        Ok(VerifiedRequest {
            author: request.author,
            deadline: request.deadline,
            capability: request.capability.map(|capability| capability.key),
            operation: canonical::decode(&request.operation, HEADER_LEN_MAX)?,
        })
    }
}

/// What a request's signatures sign, under [`REQUEST_LABEL`].
fn transcript<'a>(
    session: &'a Session,
    author: &'a NodeId,
    deadline: &'a [u8; 8],
    operation: &'a [u8],
) -> [&'a [u8]; 6] {
    let Session { network, receiver, exporter } = session;
    let (network, receiver, author) = (network.as_bytes(), receiver.as_bytes(), author.as_bytes());
    [network, receiver, exporter, author, deadline, operation]
}

/// A byte string that is wiped when dropped.
mod wiped_bytes {
    use minicbor::encode::{Error, Write};
    use minicbor::{Decoder, Encoder};
    use zeroize::Zeroizing;

    pub(super) fn encode<C, W: Write>(
        bytes: &[u8],
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), Error<W::Error>> {
        encoder.bytes(bytes)?.ok()
    }

    pub(super) fn decode<C>(
        decoder: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Zeroizing<Vec<u8>>, minicbor::decode::Error> {
        decoder.bytes().map(|bytes| Zeroizing::new(bytes.to_vec()))
    }
}
