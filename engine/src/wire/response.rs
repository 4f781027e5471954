//! Responses, and the statements in them that a third party can check.

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use super::HEADER_LEN_MAX;
use super::canonical::{self, CanonicalError};
use super::request::{PartReference, VouchedDescriptor};
use super::shred::DestructionReceipt;
use crate::identity::{Dealing, NodeAnswer, Sharing, Wrapping};
use crate::keyshare::{AuditAnswer, DegradedHelp, ProvenPart, ProvenSymbol, RenewedRows, Share};
use crate::ledger::{HeadAttestation, Inclusion, SignedHeader, SnapshotBase, StateProof};
use crate::names::{Epoch, NetworkId, NodeId, ObjectId, Slot};
use crate::object::GroupHashes;
use crate::signature::{Signature, node_id};

/// The longest text for people in a response, in bytes.
pub const TEXT_LEN_MAX: usize = 512;
const RECEIPT_LABEL: &str = "receipt";
const SYMBOLS_LABEL: &str = "symbols";

/// What a peer answers. Which variants answer which operation stands at each.
#[derive(Debug, Encode, Decode)]
pub enum Response {
    /// To any operation: no, and why.
    #[n(0)]
    Refused(#[n(0)] Refusal),
    /// To `Store`: the part is durable.
    #[n(1)]
    Stored(#[n(0)] Receipt),
    /// To `Read`: the body is the groups asked for.
    #[n(2)]
    Read {
        /// Canonical bytes of the descriptor, if asked.
        #[cbor(n(0), with = "minicbor::bytes")]
        descriptor: Option<Vec<u8>>,
        /// The key part with its path, if asked.
        #[n(1)]
        key_part: Option<ProvenPart>,
        /// The fragment's group hashes, when only a range was asked.
        #[n(2)]
        hashes: Option<GroupHashes>,
        /// In place of the key part, if the share was refreshed since it was dealt.
        #[n(3)]
        renewed: Option<Box<RenewedShare>>,
    },
    /// To `Inventory`: the body is an [`InventoryPage`].
    #[n(3)]
    Inventory,
    /// To `Symbols`: the body is the fragment's helper symbols.
    #[n(4)]
    Symbols {
        /// The key share's pair symbol.
        #[n(0)]
        key_symbol: ProvenSymbol,
        /// The helper's signature over both, so that a lie can be shown to others.
        #[n(1)]
        signature: Signature,
        /// The object's descriptor, if asked.
        #[n(2)]
        object: Option<VouchedDescriptor>,
    },
    /// To `Witness`: the body is the helper's own fragment.
    #[n(5)]
    Witness,
    /// To `Repair`.
    #[n(6)]
    Repair(#[n(0)] RepairProgress),
    /// To `Status`.
    #[n(7)]
    Status(#[n(0)] NodeStatus),
    /// To `Submit`: the entry is final.
    #[n(8)]
    Submitted {
        /// The block it stands in.
        #[n(0)]
        height: u64,
        /// Its place in the log of all entries.
        #[n(1)]
        index: u64,
    },
    /// To `Head`.
    #[n(9)]
    Head {
        /// The newest final header and its certificate.
        #[n(0)]
        head: Box<SignedHeader>,
        /// The validator's word that it is the newest.
        #[n(1)]
        attestation: HeadAttestation,
    },
    /// To `Prove`: the values in the order asked, against the state root of `height`. The body is
    /// the canonical list of proofs.
    #[n(10)]
    Proven {
        /// The header's height.
        #[n(0)]
        height: u64,
    },
    /// To `Follow`: the body is length-prefixed blocks, possibly none.
    #[n(11)]
    Blocks {
        /// The newest height the sender has.
        #[n(0)]
        head: u64,
    },
    /// To `Confer`.
    #[n(12)]
    Conferred {
        /// The receiver's newest final height.
        #[n(0)]
        head: u64,
    },
    /// To `SetChanges`: the body is the changes in length-prefixed form, ascending, as many as fit.
    #[n(13)]
    SetChanges {
        /// Whether there are more.
        #[n(0)]
        more: bool,
    },
    /// To `Snapshot`.
    #[n(14)]
    Snapshot(#[n(0)] Box<SnapshotBase>),
    /// To `SnapshotChunk`: the body is the chunk.
    #[n(15)]
    SnapshotChunk,
    /// To `Consult`: the body is the canonical list of values with their proofs, in the order asked.
    #[n(16)]
    Consulted {
        /// The newest final header and its certificate.
        #[n(0)]
        head: Box<SignedHeader>,
        /// The validator's word that it is the newest.
        #[n(1)]
        attestation: HeadAttestation,
    },
    /// To `Post`: the entry is final.
    #[n(17)]
    Posted {
        /// The block it stands in.
        #[n(0)]
        height: u64,
        /// That it is in the chain.
        #[n(1)]
        inclusion: Box<Inclusion>,
    },
    /// To `Shred`: nothing of the object is here any more.
    #[n(48)]
    Shredded(#[n(0)] DestructionReceipt),
    /// To `Orders`: the body is an [`OrdersPage`](super::OrdersPage).
    #[n(49)]
    Orders,
    /// To `Testify`.
    #[n(64)]
    Testimony {
        /// Whether the other machine answered.
        #[n(0)]
        heard: bool,
    },
    /// To `Summary`.
    #[n(67)]
    Summary(#[n(0)] InventorySummary),
    /// To `Audit`: the body is the groups, one after the other.
    #[n(66)]
    Audit {
        /// Made from the pair symbol of the two slots.
        #[n(0)]
        answer: AuditAnswer,
        /// The fragment's group hashes.
        #[n(1)]
        hashes: GroupHashes,
    },
    /// To `Misfit`: the body is a [`MisfitProof`](super::MisfitProof).
    #[n(73)]
    Misfit,
    /// To `Degraded`.
    #[n(65)]
    Degraded(#[n(0)] DegradedHelp),
    /// To `RenewedSymbols`: the body is the helper symbols; to `PairSymbols` without.
    #[n(68)]
    RenewedSymbols {
        /// The pair symbol of the key share.
        #[n(0)]
        key_symbol: ProvenSymbol,
        /// The epoch of that share.
        #[n(1)]
        epoch: Epoch,
        /// Over what `Symbols` signs, and the epoch.
        #[n(2)]
        signature: Signature,
        /// The descriptor, if it was asked for.
        #[n(3)]
        object: Option<VouchedDescriptor>,
        /// The rows of that epoch, if it was asked for and they are not those of the descriptor.
        #[n(4)]
        rows: Option<Box<RenewedRows>>,
    },
    /// To `ListShares`: the body is the canonical list of [`ListedShare`](super::ListedShare)s.
    #[n(69)]
    Shares,
    /// To `Refresh`: the body is the receiver's signed post, or nothing.
    #[n(70)]
    Refreshed,
    /// To `Deal`.
    #[n(71)]
    RowsTaken,
    /// To `Deposit`: it is durable.
    #[n(32)]
    Deposited,
    /// To `Evaluate`: what the node keeps, and the evaluations under its shares.
    #[n(33)]
    Evaluated(#[n(0)] Box<NodeAnswer>),
    /// To `Confirm`: it is durable.
    #[n(34)]
    Confirmed,
    /// To `Recall`.
    #[n(35)]
    Recalled(#[n(0)] Box<Wrapping>),
    /// To `Identities`: the body is the canonical list of [`ListedIdentity`]s, ascending, as many as
    /// fit.
    #[n(36)]
    Identities {
        /// Whether there are more.
        #[n(0)]
        more: bool,
    },
    /// To `DealAgain`.
    #[n(37)]
    Dealt {
        /// The owner's part, which a new identity node does not have.
        #[n(0)]
        wrapping: Box<Wrapping>,
        /// The asker's part.
        #[n(1)]
        dealing: Box<Dealing>,
    },
    /// To `Evaluate`: too many tries.
    #[n(38)]
    LockedOut {
        /// When the next try is possible, Unix milliseconds.
        #[n(0)]
        until: u64,
    },
}

/// A whole key share and what it is checked against: after a refresh no row covers the part that is
/// read.
#[derive(Debug, Encode, Decode)]
pub struct RenewedShare {
    /// The share.
    #[n(0)]
    pub share: Share,
    /// The rows of its epoch.
    #[n(1)]
    pub rows: RenewedRows,
}

/// An identity that a node keeps.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ListedIdentity {
    /// The handle's hash.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub handle: [u8; 32],
    /// The sharings of which the node holds a share.
    #[n(1)]
    pub sharings: Vec<Sharing>,
}

/// A value of the ledger's state, or its absence, with the proof.
#[derive(Debug, Encode, Decode)]
pub struct ProvenValue {
    /// Canonical bytes; absent when the proof is of absence.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub value: Option<Vec<u8>>,
    /// Against the state root of the response's height.
    #[n(1)]
    pub proof: StateProof,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Refusal {
    /// What the asker can do about it follows from this.
    #[n(0)]
    pub kind: RefusalKind,
    /// For people; at most [`TEXT_LEN_MAX`] bytes, never a secret.
    #[n(1)]
    pub message: String,
}

impl Refusal {
    /// A refusal with a message for people, which is cut to [`TEXT_LEN_MAX`] bytes.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: presentable(&message.into()) }
    }
}

/// Refusals sorted by what the asker should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RefusalKind {
    /// Malformed, or impossible: do not send it again.
    #[n(0)]
    Invalid,
    /// Not allowed for this asker.
    #[n(1)]
    Denied,
    /// Not here.
    #[n(2)]
    NotFound,
    /// No room: disk full or quota used up.
    #[n(3)]
    Full,
    /// Not now: try again later.
    #[n(4)]
    Unavailable,
    /// What is kept here is damaged; its holder must repair it.
    #[n(5)]
    Damaged,
}

/// A holder's signed word that a part is durable.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Receipt {
    /// The part.
    #[n(0)]
    pub part: PartReference,
    /// The epoch of its key share.
    #[n(1)]
    pub epoch: Epoch,
    /// Who holds it.
    #[n(2)]
    pub holder: NodeId,
    #[n(3)]
    signature: Signature,
}

impl Receipt {
    /// Signs; call only after the part is durable.
    pub fn sign(
        network: &NetworkId,
        part: PartReference,
        epoch: Epoch,
        holder: &SigningKey,
    ) -> Self {
        let id = node_id(holder);
        let parts = receipt_parts(network, &part, epoch, &id);
        let signature = Signature::sign(holder, RECEIPT_LABEL, &parts.each_ref().map(|p| &p[..]));
        Self { part, epoch, holder: id, signature }
    }

    /// Whether the holder's signature holds.
    pub fn verify(&self, network: &NetworkId) -> bool {
        let parts = receipt_parts(network, &self.part, self.epoch, &self.holder);
        let parts = parts.each_ref().map(|part| &part[..]);
        self.signature.verifies(&self.holder.0, RECEIPT_LABEL, &parts)
    }
}

/// What a holder's word on a part signs.
pub(super) fn receipt_parts(
    network: &NetworkId,
    part: &PartReference,
    epoch: Epoch,
    holder: &NodeId,
) -> [Vec<u8>; 4] {
    let epoch = epoch.0.to_be_bytes().to_vec();
    [network.0.to_vec(), canonical::encode(part), epoch, holder.0.to_vec()]
}

/// What a helper signs when it sends symbols: a wrong symbol becomes transferable evidence.
pub struct SymbolStatement<'a> {
    /// The network.
    pub network: &'a NetworkId,
    /// The helper's part.
    pub part: &'a PartReference,
    /// The lost slot.
    pub lost: Slot,
    /// The pair symbol sent.
    pub key_symbol: &'a ProvenSymbol,
    /// BLAKE3 of the fragment symbols sent, which are long.
    pub fragment_symbols: [u8; 32],
    /// The epoch of the pair symbol, in an answer to `RenewedSymbols`.
    pub epoch: Option<Epoch>,
}

impl SymbolStatement<'_> {
    /// Signed by the helper.
    pub fn sign(&self, helper: &SigningKey) -> Signature {
        let parts = self.parts();
        Signature::sign(helper, SYMBOLS_LABEL, &slices(&parts))
    }

    /// Whether `helper` said so.
    pub fn verify(&self, helper: &NodeId, signature: &Signature) -> bool {
        let parts = self.parts();
        signature.verifies(&helper.0, SYMBOLS_LABEL, &slices(&parts))
    }

    fn parts(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let always = [
            self.network.0.to_vec(),
            canonical::encode(self.part),
            vec![self.lost.point()],
            canonical::encode(self.key_symbol),
            self.fragment_symbols.to_vec(),
        ];
        let epoch = self.epoch.map(|epoch| epoch.0.to_be_bytes().to_vec());
        always.into_iter().chain(epoch).map(Zeroizing::new).collect()
    }
}

fn slices(parts: &[Zeroizing<Vec<u8>>]) -> Vec<&[u8]> {
    parts.iter().map(|part| &part[..]).collect()
}

/// A page of an inventory.
#[derive(Debug, Default, Encode, Decode)]
pub struct InventoryPage {
    /// Ascending, at most as many as asked.
    #[n(0)]
    pub objects: Vec<ObjectId>,
    /// Whether more follow.
    #[n(1)]
    pub more: bool,
}

/// What an inventory comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct InventorySummary {
    /// Objects.
    #[n(0)]
    pub objects: u64,
    /// BLAKE3 of their ids, ascending, one after the other.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub digest: [u8; 32],
}

impl InventorySummary {
    /// Of objects in ascending order.
    pub fn of<'a>(objects: impl IntoIterator<Item = &'a ObjectId>) -> Self {
        let (mut count, mut hasher) = (0, blake3::Hasher::new());
        for object in objects {
            count += 1;
            hasher.update(object.as_bytes());
        }
        Self { objects: count, digest: *hasher.finalize().as_bytes() }
    }
}

/// How far the repair of a slot has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct RepairProgress {
    /// Nothing more will happen by itself.
    #[n(0)]
    pub finished: bool,
    /// Objects found at the helpers.
    #[n(1)]
    pub objects_found: u64,
    /// Objects rebuilt, or already here.
    #[n(2)]
    pub objects_held: u64,
    /// Objects that could not be rebuilt.
    #[n(3)]
    pub objects_failed: u64,
    /// Bytes of the fragments rebuilt.
    #[n(4)]
    pub fragment_bytes: u64,
    /// Bytes of helper symbols received for them.
    #[n(5)]
    pub symbol_bytes: u64,
    /// What the code's theory says for them: d·β.
    #[n(6)]
    pub symbol_bytes_theory: u64,
    /// What Reed-Solomon would have received: k whole fragments of its own, that is the coded bytes.
    #[n(7)]
    pub reed_solomon_bytes: u64,
    /// Bytes of pair symbols with their paths.
    #[n(8)]
    pub key_bytes: u64,
    /// Bytes of message headers, inventories and signatures.
    #[n(9)]
    pub header_bytes: u64,
    /// Bytes of whole fragments, fetched only to find a liar.
    #[n(10)]
    pub witness_bytes: u64,
    /// Helpers whose answers proved wrong.
    #[n(11)]
    pub liars: Vec<NodeId>,
    /// The last failure, for people.
    #[n(12)]
    pub last_failure: Option<String>,
}

/// Figures of a storage node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct NodeStatus {
    /// The program's version.
    #[n(0)]
    pub version: String,
    /// Parts kept.
    #[n(1)]
    pub objects: u64,
    /// Bytes they use.
    #[n(2)]
    pub bytes: u64,
    /// Bytes they may use.
    #[n(3)]
    pub quota: u64,
    /// The newest block that is durable here.
    #[n(4)]
    pub height: u64,
    /// Machines that failed several of its audits in a row; told to validators only, and absent if
    /// there are none.
    #[n(5)]
    pub suspects: Option<Vec<NodeId>>,
    /// What its repairs moved; told where rules of [`REPAIR_TOTALS_VERSION_MIN`] hold, for programs of
    /// earlier versions could not read it.
    #[n(6)]
    pub repairs: Option<RepairTotals>,
}

/// The rules version from which on a node's figures say what its repairs moved.
pub const REPAIR_TOTALS_VERSION_MIN: u32 = 7;

/// The repairs of a storage node since it runs, those under way included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct RepairTotals {
    /// Slots that are worked on now.
    #[n(0)]
    pub running: u32,
    /// Bytes of the fragments rebuilt.
    #[n(1)]
    pub fragment_bytes: u64,
    /// Bytes of helper symbols received for them.
    #[n(2)]
    pub symbol_bytes: u64,
    /// What the code's theory says for them: d·β.
    #[n(3)]
    pub symbol_bytes_theory: u64,
    /// What Reed-Solomon would have received.
    #[n(4)]
    pub reed_solomon_bytes: u64,
    /// Bytes of whole fragments, fetched where symbols did not do.
    #[n(5)]
    pub witness_bytes: u64,
}

impl RepairTotals {
    /// Adds what one repair moved.
    pub fn add(&mut self, repair: &RepairProgress) {
        self.fragment_bytes += repair.fragment_bytes;
        self.symbol_bytes += repair.symbol_bytes;
        self.symbol_bytes_theory += repair.symbol_bytes_theory;
        self.reed_solomon_bytes += repair.reed_solomon_bytes;
        self.witness_bytes += repair.witness_bytes;
    }
}

impl Response {
    /// The header bytes to send.
    pub fn to_header(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// Reads a header as received. Text in it is for people: short, without control characters.
    pub fn from_header(header: &[u8]) -> Result<Self, CanonicalError> {
        let response: Self = canonical::decode(header, HEADER_LEN_MAX)?;
        let text = match &response {
            Self::Refused(refusal) => Some(&refusal.message),
            Self::Status(status) => Some(&status.version),
            Self::Repair(progress) => progress.last_failure.as_ref(),
            _ => None,
        };
        match text {
            Some(text) if text.len() > TEXT_LEN_MAX => {
                Err(CanonicalError::TooLong { length: text.len(), limit: TEXT_LEN_MAX })
            }
            Some(text) if text.chars().any(char::is_control) => {
                Err(CanonicalError::Malformed("a control character in text".into()))
            }
            _ => Ok(response),
        }
    }
}

/// `text` as it may be sent: cut to [`TEXT_LEN_MAX`] bytes, spaces for control characters.
pub(crate) fn presentable(text: &str) -> String {
    let mut presentable = text.replace(char::is_control, " ");
    presentable.truncate(presentable.floor_char_boundary(TEXT_LEN_MAX));
    presentable
}
