//! Requests, and what makes them worth answering.
//!
//! TLS proves which machine asks: both ends of a connection authenticate with their node keys, so
//! a signature of the asker on every request would prove nothing more, at two thirds of the cost
//! of a small request. What TLS cannot prove, that the asker was given an object's read key, a
//! [capability](Request::encode) does.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};
use thiserror::Error;
use zeroize::Zeroizing;

use super::HEADER_LEN_MAX;
use super::canonical::{self, CanonicalError};
use super::refresh::{RefreshPlace, RefreshStep};
use super::shred::{Orders, Shred};
use crate::identity::oprf::Element;
use crate::identity::{Deposit, Renewal};
use crate::keyshare::Share;
use crate::ledger::{Entry, FollowAck, Prefix, StateKey};
use crate::names::{Epoch, GroupId, NetworkId, NodeId, ObjectId, Slot};
use crate::object::Descriptor;
use crate::signature::{Signature, node_id};

/// The version of the request and response formats.
pub const WIRE_VERSION: u8 = 2;
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
        /// How the blocks shall be sent: whole when absent, which is all that programs of rules
        /// version 1 know.
        #[n(2)]
        form: Option<BlockForm>,
    },
    /// What one validator tells another. The body is a canonical list of [`Remark`](super::Remark)s, possibly none.
    #[n(11)]
    Confer {
        /// The sender's newest final height.
        #[n(0)]
        head: u64,
    },
    /// Values of the ledger's state with their proofs, and the head that they are proved against.
    #[n(12)]
    Consult {
        /// Which values.
        #[n(0)]
        keys: Vec<StateKey>,
        /// The lowest height of use; waited for.
        #[n(1)]
        from: u64,
        /// Chosen by the asker, so that the answer is fresh.
        #[cbor(n(2), with = "minicbor::bytes")]
        nonce: [u8; 32],
    },
    /// The changes of the validator set above a height. The body is the changes.
    #[n(13)]
    SetChanges {
        /// The height up to which they are known.
        #[n(0)]
        after: u64,
    },
    /// The base of a snapshot that can be gathered.
    #[n(14)]
    Snapshot,
    /// The first chunk of a subtree of a snapshot's state. The body is the chunk.
    #[n(15)]
    SnapshotChunk {
        /// The height of the snapshot's head.
        #[n(0)]
        height: u64,
        /// The subtree.
        #[n(1)]
        within: Prefix,
    },
    /// Put an entry on the ledger; answered with proof when the entry is final.
    #[n(16)]
    Post(#[n(0)] Box<Entry>),
    /// Keep this for an identity, whose owner's key signs the request.
    #[n(32)]
    Deposit(#[n(0)] Box<Deposit>),
    /// Evaluate a blinded passphrase for an identity; takes one of its tries.
    #[n(33)]
    Evaluate {
        /// The handle's hash.
        #[cbor(n(0), with = "minicbor::bytes")]
        handle: [u8; 32],
        /// The blinded passphrase.
        #[n(1)]
        blinded: Box<Element>,
    },
    /// The asker's last try was the owner's, whose key signs the request.
    #[n(34)]
    Confirm {
        /// The handle's hash.
        #[cbor(n(0), with = "minicbor::bytes")]
        handle: [u8; 32],
    },
    /// Send what is kept for an identity, whose owner's key signs the request.
    #[n(35)]
    Recall {
        /// The handle's hash.
        #[cbor(n(0), with = "minicbor::bytes")]
        handle: [u8; 32],
    },
    /// List the identities kept, with their sharings.
    #[n(36)]
    Identities {
        /// Those whose handle's hash comes after this one.
        #[cbor(n(0), with = "minicbor::bytes")]
        after: Option<[u8; 32]>,
    },
    /// Deal the receiver's share of an identity's key again, to the asker.
    #[n(37)]
    DealAgain(#[n(0)] Box<Renewal>),
    /// Destroy every part of an object, at its owner's order.
    #[n(48)]
    Shred(#[n(0)] Box<Shred>),
    /// Send the orders by which objects of a group were destroyed.
    #[n(49)]
    Orders(#[n(0)] Orders),
    /// Say whether the receiver hears another machine: it asks it now.
    #[n(64)]
    Testify {
        /// The other machine.
        #[n(0)]
        suspect: NodeId,
    },
    /// Say how many objects the receiver keeps for a slot and what they hash to, for the newcomer of
    /// one of the group's slots: equal inventories need not be read.
    #[n(67)]
    Summary {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// The helper's slot.
        #[n(1)]
        slot: Slot,
        /// The slot of which the asker is the holder.
        #[n(2)]
        lost: Slot,
    },
    /// Show that the receiver still has a part: a code made from the share, and groups of the
    /// fragment.
    #[n(66)]
    Audit(#[n(0)] Audit),
    /// Say why a part is not there that the receiver should have, if its writer is to blame. The body of
    /// the answer is a [`MisfitProof`](super::MisfitProof).
    #[n(73)]
    Misfit {
        /// The part of the one that is audited.
        #[n(0)]
        part: PartReference,
        /// The slot of which the asker is the holder.
        #[n(1)]
        auditor: Slot,
    },
    /// Send the share's addend for a lost slot, under the pads of a set of survivors.
    #[n(65)]
    Degraded(#[n(0)] Degraded),
    /// As `Symbols`, in a group whose shares were refreshed: the rows of the helper's epoch come with
    /// the descriptor.
    #[n(68)]
    RenewedSymbols(#[n(0)] Symbols),
    /// As `RenewedSymbols`, without symbols of the fragment: for a holder whose key share alone is lost.
    #[n(72)]
    PairSymbols(#[n(0)] Symbols),
    /// List the objects of the receiver's slot with the epochs of their key shares, for a refresh.
    /// The body of the answer is the list.
    #[n(69)]
    ListShares {
        /// The group.
        #[n(0)]
        group: GroupId,
        /// The receiver's slot.
        #[n(1)]
        slot: Slot,
    },
    /// Go on with a refresh. The body is what all posted in the stage before.
    #[n(70)]
    Refresh(#[n(0)] RefreshStep),
    /// Take the rows that a dealer dealt the receiver. The body is the rows.
    #[n(71)]
    Deal {
        /// The refresh, and the receiver's slot.
        #[n(0)]
        place: RefreshPlace,
        /// The slot of which the asker is the holder.
        #[n(1)]
        dealer: Slot,
    },
}

/// How blocks are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum BlockForm {
    /// As [`SentBlock`](crate::ledger::SentBlock)s, compact where the sender can.
    #[n(0)]
    Compact,
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

impl Operation {
    /// Asks for symbols in a group of this epoch.
    pub fn symbols(symbols: Symbols, epoch: Epoch) -> Self {
        match epoch {
            Epoch(0) => Self::Symbols(symbols),
            _ => Self::RenewedSymbols(symbols),
        }
    }
}

/// A holder's challenge to another holder of its group.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Audit {
    /// The part of the one that is audited.
    #[n(0)]
    pub part: PartReference,
    /// The slot of which the asker is the holder.
    #[n(1)]
    pub auditor: Slot,
    /// Fresh and random.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub nonce: [u8; 32],
    /// Groups of the fragment, ascending; at most [`AUDIT_GROUPS_MAX`].
    #[n(3)]
    pub groups: Vec<u32>,
}

/// Most groups that one audit may ask for.
pub const AUDIT_GROUPS_MAX: usize = 16;

/// A newcomer's request to each of k survivors, when fewer than d helpers are left.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Degraded {
    /// The survivor's part.
    #[n(0)]
    pub part: PartReference,
    /// The lost slot, of which the asker is the holder.
    #[n(1)]
    pub lost: Slot,
    /// All survivors asked, ascending.
    #[n(2)]
    pub helpers: Vec<Slot>,
}

/// A descriptor that proves itself: its hash is the object's id, and an enrolled submitter signed
/// for it. Holders keep it beside the part.
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
    /// The descriptor and the id it proves, if it is well-formed and the signature holds.
    pub fn verify(&self, network: &NetworkId) -> Option<(ObjectId, Descriptor)> {
        let descriptor = Descriptor::decode(&self.descriptor).ok()?;
        let object = descriptor.object_id();
        self.authorisation.verify(network, &object).then_some((object, descriptor))
    }
}

/// The signature without which nobody keeps an object. It stays with the part, so that a newcomer
/// can check that what helpers list was really put by someone enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Authorisation {
    /// The enrolled machine that submitted the object and whose quota it counts against.
    #[n(0)]
    pub submitter: NodeId,
    /// By the submitter, over the network and the object's id.
    #[n(1)]
    pub signature: Signature,
}

impl Authorisation {
    /// Signs for `object` as submitter.
    pub fn sign(network: &NetworkId, object: &ObjectId, submitter: &SigningKey) -> Self {
        let parts = [network.as_bytes(), object.as_bytes()];
        let signature = Signature::sign(submitter, PUT_LABEL, &parts);
        Self { submitter: node_id(submitter), signature }
    }

    /// Whether the submitter signed for `object`.
    pub fn verify(&self, network: &NetworkId, object: &ObjectId) -> bool {
        let parts = [network.as_bytes(), object.as_bytes()];
        self.signature.verifies(&self.submitter.0, PUT_LABEL, &parts)
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

impl Read {
    /// Asks for an object's descriptor and nothing else.
    pub fn description(part: PartReference) -> Self {
        let groups = Some(GroupRange { first: 0, count: 0 });
        Self { part, groups, descriptor: true, key_part: false }
    }

    /// Whether nothing but the descriptor is wanted.
    pub fn describes_only(&self) -> bool {
        *self == Self::description(self.part)
    }
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

/// The connection that a request comes over, as both of its ends know it from TLS.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// The network.
    pub network: NetworkId,
    /// Who asks: the node key that authenticated as the client.
    pub author: NodeId,
    /// Who is asked: the node key that authenticated as the server.
    pub receiver: NodeId,
    /// The TLS exporter of the connection (RFC 8446 §7.5).
    pub exporter: [u8; 32],
}

/// A request, as sent. Not for printing: a store's operation holds a key share.
#[derive(Encode, Decode)]
pub struct Request {
    #[n(0)]
    version: u8,
    #[n(1)]
    network: NetworkId,
    /// Unix milliseconds.
    #[n(2)]
    deadline: u64,
    #[cbor(n(3), with = "wiped_bytes")]
    operation: Zeroizing<Vec<u8>>,
    #[n(4)]
    capability: Option<Capability>,
}

/// Proof that the asker holds a key, bound to this request on this connection: replayed in another
/// network, by another asker, to another receiver or over another connection, it does not hold.
#[derive(Encode, Decode)]
struct Capability {
    #[cbor(n(0), with = "minicbor::bytes")]
    key: [u8; 32],
    #[n(1)]
    signature: Signature,
}

/// A request whose asker is known and whose capability holds; only [`Request::verify`] makes one.
#[derive(Debug)]
pub struct VerifiedRequest {
    /// The machine that asks.
    pub author: NodeId,
    /// Until when the asker waits, Unix milliseconds.
    pub deadline: u64,
    /// The key that the asker proved to hold beside its own, if any.
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
    /// Meant for another network.
    #[error("the request is meant for the network {0}; try: the network file of this network")]
    OtherNetwork(NetworkId),
    /// Too late, or valid for too long.
    #[error("the request's deadline has passed or lies more than two minutes ahead")]
    Deadline,
    /// The capability's signature does not hold: wrong key, or a replay.
    #[error("the capability does not hold for this request on this connection")]
    Capability,
}

impl Request {
    /// The header bytes that ask for `operation` over `session` until `deadline` (Unix
    /// milliseconds); `capability` is a key that the asker shall prove to hold.
    pub fn encode(
        operation: &Operation,
        session: &Session,
        deadline: u64,
        capability: Option<&SigningKey>,
    ) -> Vec<u8> {
        let operation = Zeroizing::new(canonical::encode(operation));
        let capability = capability.map(|key| Capability {
            key: key.verifying_key().to_bytes(),
            signature: Signature::sign(
                key,
                REQUEST_LABEL,
                &transcript(session, &deadline.to_be_bytes(), &operation),
            ),
        });
        let (version, network) = (WIRE_VERSION, session.network);
        canonical::encode(&Self { version, network, deadline, operation, capability })
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
        if request.network != session.network {
            return Err(RequestError::OtherNetwork(request.network));
        }
        if request.deadline < now || request.deadline - now > DEADLINE_AHEAD_MAX.as_millis() as u64
        {
            return Err(RequestError::Deadline);
        }
        let deadline = request.deadline.to_be_bytes();
        let parts = transcript(session, &deadline, &request.operation);
        let holds = request.capability.as_ref().is_none_or(|capability| {
            capability.signature.verifies(&capability.key, REQUEST_LABEL, &parts)
        });
        if !holds {
            return Err(RequestError::Capability);
        }
        Ok(VerifiedRequest {
            author: session.author,
            deadline: request.deadline,
            capability: request.capability.map(|capability| capability.key),
            operation: canonical::decode(&request.operation, HEADER_LEN_MAX)?,
        })
    }
}

/// What a capability signs, under [`REQUEST_LABEL`].
fn transcript<'a>(
    session: &'a Session,
    deadline: &'a [u8; 8],
    operation: &'a [u8],
) -> [&'a [u8]; 6] {
    let Session { network, author, receiver, exporter } = session;
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
