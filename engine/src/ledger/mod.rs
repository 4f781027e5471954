//! The ledger: a hash chain that everyone can check and nobody can read.
//!
//! Read [`Entry`] (what is said), [`Block`] (in which order), [`State`] (what it adds up to),
//! [`Chain`] (block by block), then [`LightClient`] (what a client checks instead) and
//! [`final_height`]. Others get a block as a [`CompactBlock`] and the chain without its blocks as a
//! [`Snapshot`]. Two trees serve proofs: [`Log`] that an entry stands in the chain,
//! [`AuthenticatedMap`] what the state holds and what it does not. Formats and rules:
//! `engine/spec/ledger.md`, `engine/spec/snapshot.md`.

pub mod agreement;
mod attestation;
mod ballot;
mod beacon;
mod block;
mod block_error;
mod certificate;
mod chain;
mod compact;
mod draws;
mod entry;
mod entry_error;
mod equivocation;
mod evidence;
mod finality;
mod genesis;
mod governance;
mod invitation;
mod ledger_proof;
mod light;
mod log;
mod map;
mod optional_digest;
mod pointer;
mod refresh;
mod registry;
mod replay;
mod rules;
mod snapshot;
mod state;
mod suite;
mod verified;
mod vote;

pub use attestation::HeadAttestation;
pub use ballot::{Ballot, NodeLost, RetentionFloor, Upgrade, ValidatorChange, ValidatorUpdate};
pub use beacon::{ANCHOR_DELAY_BLOCKS, Anchor, BEACON_LINKS, BeaconChain, Reveal};
pub use block::{
    BLOCK_ENTRIES_MAX, BLOCK_LEN_MAX, Block, CertifiedBlock, Header, SaltedEntry, SignedHeader,
};
pub use block_error::BlockError;
pub use certificate::{Certificate, Commit};
pub use chain::{
    CLOCK_AHEAD_MAX_MILLIS, Chain, CheckedBlock, MILESTONE_BLOCKS, Proposal, ProposeError, Proposer,
};
pub use compact::{CompactBlock, SentBlock};
pub use entry::{
    ADDRESS_LEN_MAX, Body, ENTRY_LEN_MAX, Entry, EpochAdvance, GroupCreate, IDENTITY_LEN_MAX,
    IdentityRecord, NodeDrain, NodeJoin, NodeRetire, NodeUpdate, Roles, SlotFilled, SlotReassign,
    UnknownBody, ZONE_LEN_MAX,
};
pub use entry_error::EntryError;
pub use equivocation::Equivocation;
pub use evidence::{WRONG_SYMBOLS_MAX, WrongSymbol};
pub use finality::{FOLLOWERS_MIN, FollowAck, final_height};
pub use genesis::{
    Genesis, GenesisError, GroupParametersError, NETWORK_NAME_LEN_MAX, OPERATORS_MAX,
    RULES_VERSION_MAX, VALIDATORS_MAX, ValidatorSet, ValidatorSetError,
};
pub use governance::OPEN_VOTES_MAX;
pub use invitation::{Invitation, InvitedJoin};
pub use ledger_proof::{Claim, LEDGER_PROOF_LEN_MAX, LedgerProof, LedgerProofError};
pub use light::{
    HEAD_AGE_MAX_MILLIS, HeadError, Inclusion, LightClient, Seen, SetChange, VerifiedHead,
};
pub use log::{Digest32, Log, LogProof, LogProofError, leaf_hash, root_of};
pub use map::{AuthenticatedMap, StateProof};
pub use pointer::{POINTER_SEALED_LEN_MAX, Pointer, PointerRetire, pointer_tag};
pub use refresh::{RefreshBegin, RefreshEnd, RefreshSeal, RefreshStatement};
pub use registry::{
    Counts, EPOCH_ROOTS_MAX, EpochRoot, Group, GroupEpochs, Holder, Identity, Invited, LostNode,
    Node, PendingDraw, PostedPointer, Refreshes, RegisteredAnchor, RunningRefresh, StateKey,
    Vacated, Validator,
};
pub use replay::{BrokenChain, VerifyError, verify_from_genesis};
pub use snapshot::{
    BaseError, CHUNK_LEN_MAX, ChunkError, Prefix, RefusedChunk, Snapshot, SnapshotAssembly,
    SnapshotBase, StateChunk,
};
pub use state::{
    EXCLUSIONS_VERSION_MIN, NUMBERED_POINTERS_VERSION_MIN, PENDING_DRAWS_MAX, POINTERS_PER_TAG_MAX,
    State, VACATED_MAX,
};
pub use suite::Suite;
pub use verified::VerifiedEntry;
pub use vote::{SignedProposal, SignedVote, Vote, VoteKind};
