//! Entries: signed statements, the leaves of the ledger.

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};

use super::ballot::{NodeLost, RetentionFloor, Upgrade, ValidatorChange, ValidatorUpdate};
use super::equivocation::Equivocation;
use super::evidence::WrongSymbol;
use super::invitation::{Invitation, InvitedJoin};
use super::pointer::{Pointer, PointerRetire};
use super::refresh::{RefreshBegin, RefreshEnd, RefreshSeal};
use super::suite::Suite;
use crate::code::CodeParameters;
use crate::keyshare::KeyParameters;
use crate::names::{Epoch, GroupId, NetworkId, NodeId, Slot};
use crate::signature::{Signature, node_id};
use crate::wire::canonical::{self, CanonicalError};

/// Longest entry, in bytes.
pub const ENTRY_LEN_MAX: usize = 8192;
/// Longest address of a machine, in bytes.
pub const ADDRESS_LEN_MAX: usize = 128;
/// Longest name of a zone, in bytes.
pub const ZONE_LEN_MAX: usize = 32;
/// Longest opaque part of an identity record, in bytes.
pub const IDENTITY_LEN_MAX: usize = 4096;

/// One signed statement.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// Format and algorithms.
    #[n(0)]
    pub suite: Suite,
    /// The validator, operator or machine that submits it; its quota counts.
    #[n(1)]
    pub author: NodeId,
    /// 1 for the author's first entry, then one more each: an entry is included once.
    #[n(2)]
    pub sequence: u64,
    /// What is said.
    #[n(3)]
    pub body: Body,
    /// By the author, over the network and everything above.
    #[n(4)]
    pub signature: Signature,
}

#[derive(Encode)]
struct Unsigned<'a> {
    #[n(0)]
    suite: Suite,
    #[n(1)]
    author: &'a NodeId,
    #[n(2)]
    sequence: u64,
    #[n(3)]
    body: &'a Body,
}

impl Entry {
    /// Signs a statement for one network.
    pub fn sign(network: &NetworkId, key: &SigningKey, sequence: u64, body: Body) -> Self {
        let author = node_id(key);
        let unsigned =
            canonical::encode(&Unsigned { suite: Suite, author: &author, sequence, body: &body });
        let signature = Signature::sign(key, "entry", &[network.as_bytes(), &unsigned]);
        Self { suite: Suite, author, sequence, body, signature }
    }

    /// Whether the author said this in `network`.
    pub fn verifies(&self, network: &NetworkId) -> bool {
        let Self { suite, author, sequence, body, signature } = self;
        let unsigned =
            canonical::encode(&Unsigned { suite: *suite, author, sequence: *sequence, body });
        signature.verifies(&author.0, "entry", &[network.as_bytes(), &unsigned])
    }

    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads the canonical bytes, at most [`ENTRY_LEN_MAX`] of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CanonicalError> {
        canonical::decode(bytes, ENTRY_LEN_MAX)
    }
}

/// What an entry says: `[kind, payload]`, the payload a byte string with the canonical encoding of
/// the kind's structure, so that kinds of later versions can be kept without being understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Enrols a machine, or a retired one again.
    NodeJoin(NodeJoin),
    /// Changes what is known of a machine.
    NodeUpdate(NodeUpdate),
    /// A machine is gone: no new slots.
    NodeRetire(NodeRetire),
    /// Asks for a placement group; its members are drawn in the next block.
    GroupCreate(GroupCreate),
    /// Takes a slot from its holder; the newcomer is drawn in the next block.
    SlotReassign(SlotReassign),
    /// The key shares of a group were refreshed.
    EpochAdvance(EpochAdvance),
    /// An owner's sealed pointer.
    Pointer(Pointer),
    /// Takes a pointer back.
    PointerRetire(PointerRetire),
    /// Public keys of an identity.
    IdentityRecord(IdentityRecord),
    /// A vote for another validator set.
    ValidatorChange(ValidatorChange),
    /// A vote for the rules of another version.
    Upgrade(Upgrade),
    /// What a validator says of itself.
    ValidatorUpdate(ValidatorUpdate),
    /// A vote to let old bodies go.
    RetentionFloor(RetentionFloor),
    /// A vote that a machine is lost.
    NodeLost(NodeLost),
    /// Proof that a validator said two things in one place.
    Equivocation(Equivocation),
    /// A holder's word that its slot is whole again.
    SlotFilled(SlotFilled),
    /// Proof that a helper lied.
    WrongSymbol(WrongSymbol),
    /// A machine leaves in order: its slots go to others first.
    NodeDrain(NodeDrain),
    /// A group's key shares are to be dealt anew.
    RefreshBegin(RefreshBegin),
    /// All that was dealt for it is fixed; what checks it is drawn in the next block.
    RefreshSeal(RefreshSeal),
    /// All holders have their new shares.
    RefreshEnd(RefreshEnd),
    /// Lets the holder of a key enrol a machine.
    Invitation(Invitation),
    /// Enrols a machine by an invitation.
    InvitedJoin(InvitedJoin),
    /// A kind of a later version: kept and skipped.
    Unknown(UnknownBody),
}

/// A body that this version does not understand. Only decoding makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownBody {
    kind: u16,
    payload: Vec<u8>,
}

impl UnknownBody {
    /// The kind's number.
    pub fn kind(&self) -> u16 {
        self.kind
    }

    /// The kind's structure, uninterpreted.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Enrols a machine. By a validator, or by the operator that answers for it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeJoin {
    /// The machine.
    #[n(0)]
    pub node: NodeId,
    /// What it may do.
    #[n(1)]
    pub roles: Roles,
    /// Where it answers; at most [`ADDRESS_LEN_MAX`] bytes.
    #[n(2)]
    pub address: String,
    /// What it shares its fate with: a site, a power line; at most [`ZONE_LEN_MAX`] bytes.
    #[n(3)]
    pub zone: String,
    /// Who answers for it. Placement counts machines of one operator as one adversary.
    #[n(4)]
    pub operator: NodeId,
    /// Bytes that it offers if it stores; bytes of parts that any one holder keeps for it if it
    /// submits.
    #[n(5)]
    pub quota_bytes: u64,
    /// Counts the times its disk started empty; larger than before when it joins again.
    #[n(6)]
    pub generation: u64,
}

/// What a machine may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Roles {
    /// Holds slots.
    #[n(0)]
    pub storage: bool,
    /// Submits pointers and identity records.
    #[n(1)]
    pub submitter: bool,
}

/// Changes what is known of a machine. By itself, its operator or a validator.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeUpdate {
    /// The machine.
    #[n(0)]
    pub node: NodeId,
    /// Where it answers; at most [`ADDRESS_LEN_MAX`] bytes.
    #[n(1)]
    pub address: String,
    /// As in [`NodeJoin`].
    #[n(2)]
    pub quota_bytes: u64,
    /// Not smaller than before.
    #[n(3)]
    pub generation: u64,
}

/// A machine is gone. By itself, its operator or a validator.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeRetire {
    /// The machine.
    #[n(0)]
    pub node: NodeId,
}

/// Asks for a placement group of n slots, the n of both codes. By a validator or an operator of
/// the genesis.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct GroupCreate {
    /// The data code.
    #[n(0)]
    pub code: CodeParameters,
    /// The key code.
    #[n(1)]
    pub key: KeyParameters,
}

/// Takes a slot from its holder. By a validator, or by the operator of the holder.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SlotReassign {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// The slot.
    #[n(1)]
    pub slot: Slot,
}

/// The slot's holder has rebuilt all that it should hold. By itself; counts from version 3 of the
/// rules on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SlotFilled {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// The slot.
    #[n(1)]
    pub slot: Slot,
    /// The height at which it was drawn: the word of an earlier tenure is void.
    #[n(2)]
    pub since: u64,
}

/// A machine that is to leave takes no new slots, and draws are asked for those that it has, in the
/// groups that bear a voluntary move now; said again, for more of them. By itself, its operator or a
/// validator; counts from version 3 of the rules on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeDrain {
    /// The machine.
    #[n(0)]
    pub node: NodeId,
}

/// The key shares of a group were refreshed. By a validator.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct EpochAdvance {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// One more than before.
    #[n(1)]
    pub epoch: Epoch,
    /// Commits to the shares of the epoch, all vaults of the group in one tree (crypto.md §4.4).
    #[cbor(n(2), with = "minicbor::bytes")]
    pub root: [u8; 32],
}

/// Public keys of an identity (crypto.md §6.1). By any submitter; only the identity's own key makes
/// one, and the first one under a handle fixes that key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct IdentityRecord {
    /// `H("id"; handle)`.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub handle: [u8; 32],
    /// 1, then one more each.
    #[n(1)]
    pub version: u64,
    /// The Ed25519 key that signs this record and its successor.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub key: [u8; 32],
    /// Public keys, derivation profile and envelope version, opaque here; at most
    /// [`IDENTITY_LEN_MAX`] bytes.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub record: Vec<u8>,
    /// By the key of the record before, or by `key` when it is the first.
    #[n(4)]
    pub signature: Signature,
}

impl IdentityRecord {
    /// A record that names `next` as the key of its successor; `key` signs.
    pub fn sign(
        network: &NetworkId,
        key: &SigningKey,
        next: [u8; 32],
        handle: [u8; 32],
        version: u64,
        record: Vec<u8>,
    ) -> Self {
        let version_bytes = version.to_be_bytes();
        let parts: [&[u8]; 5] = [network.as_bytes(), &handle, &version_bytes, &next, &record];
        let signature = Signature::sign(key, "identity", &parts);
        Self { handle, version, key: next, record, signature }
    }

    /// Whether `signer` made this record for `network`.
    pub fn verifies(&self, network: &NetworkId, signer: &[u8; 32]) -> bool {
        let version = self.version.to_be_bytes();
        let parts: [&[u8]; 5] =
            [network.as_bytes(), &self.handle, &version, &self.key, &self.record];
        self.signature.verifies(signer, "identity", &parts)
    }
}

/// Maps kinds to their numbers in both directions, from one list.
macro_rules! kinds {
    ($($number:literal => $kind:ident),* $(,)?) => {
        impl Body {
            /// The number on the wire.
            pub fn kind(&self) -> u16 {
                match self {
                    $(Self::$kind(_) => $number,)*
                    Self::Unknown(unknown) => unknown.kind,
                }
            }

            fn payload(&self) -> Vec<u8> {
                match self {
                    $(Self::$kind(body) => canonical::encode(body),)*
                    Self::Unknown(unknown) => unknown.payload.clone(),
                }
            }

            fn read(kind: u16, payload: &[u8]) -> Result<Self, CanonicalError> {
                Ok(match kind {
                    $($number => Self::$kind(canonical::decode(payload, ENTRY_LEN_MAX)?),)*
                    _ => Self::Unknown(UnknownBody { kind, payload: payload.to_vec() }),
                })
            }
        }
    };
}

kinds! {
    1 => NodeJoin,
    2 => NodeUpdate,
    3 => NodeRetire,
    4 => GroupCreate,
    5 => SlotReassign,
    6 => EpochAdvance,
    7 => Pointer,
    8 => PointerRetire,
    9 => IdentityRecord,
    10 => ValidatorChange,
    11 => Upgrade,
    12 => ValidatorUpdate,
    13 => RetentionFloor,
    14 => NodeLost,
    15 => Equivocation,
    28 => SlotFilled,
    29 => WrongSymbol,
    30 => NodeDrain,
    31 => RefreshBegin,
    32 => RefreshSeal,
    33 => RefreshEnd,
    34 => Invitation,
    35 => InvitedJoin,
}

impl<C> Encode<C> for Body {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.array(2)?.u16(self.kind())?.bytes(&self.payload())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Body {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        if decoder.array()? != Some(2) {
            return Err(minicbor::decode::Error::message("a body is an array of two"));
        }
        let kind = decoder.u16()?;
        Self::read(kind, decoder.bytes()?).map_err(minicbor::decode::Error::message)
    }
}
