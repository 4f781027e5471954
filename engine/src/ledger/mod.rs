//! The ledger: a hash chain that everyone can check and nobody can read.
//!
//! Read [`Entry`] (what is said), [`Block`] (in which order), [`State`] (what it adds up to),
//! [`Chain`] (block by block), then [`LightClient`] (what a client checks instead) and
//! [`final_height`]. Two trees serve proofs: [`Log`] that an entry stands in the chain,
//! [`AuthenticatedMap`] what the state holds and what it does not. Formats and rules:
//! `engine/spec/ledger.md`.

mod block;
mod chain;
mod draws;
mod entry;
mod finality;
mod genesis;
mod light;
mod log;
mod map;
mod pointer;
mod registry;
mod rules;
mod state;
mod suite;

pub use block::{
    BLOCK_ENTRIES_MAX, BLOCK_LEN_MAX, Block, Certificate, CertifiedBlock, Commit, Header,
    SaltedEntry, SignedHeader,
};
pub use chain::{
    BlockError, BrokenChain, CLOCK_AHEAD_MAX_MILLIS, Chain, Proposal, VerifyError,
    verify_from_genesis,
};
pub use entry::{
    ADDRESS_LEN_MAX, Body, ENTRY_LEN_MAX, Entry, EpochAdvance, GroupCreate, IDENTITY_LEN_MAX,
    IdentityRecord, NodeJoin, NodeRetire, NodeUpdate, Roles, SlotReassign, UnknownBody,
    ValidatorChange, ZONE_LEN_MAX,
};
pub use finality::{FOLLOWERS_MIN, FollowAck, final_height};
pub use genesis::{
    Genesis, GenesisError, GroupParametersError, NETWORK_NAME_LEN_MAX, OPERATORS_MAX,
    VALIDATORS_MAX, ValidatorSet,
};
pub use light::{HEAD_AGE_MAX_MILLIS, HeadAttestation, HeadError, LightClient, Seen, VerifiedHead};
pub use log::{Digest32, Log, LogProof, leaf_hash, root_of};
pub use map::{AuthenticatedMap, StateProof};
pub use pointer::{POINTER_SEALED_LEN_MAX, Pointer, PointerRetire, pointer_tag};
pub use registry::{
    Counts, Group, Holder, Identity, Node, PendingDraw, PostedPointer, StateKey, Vacated,
};
pub use state::{EntryError, PENDING_DRAWS_MAX, POINTERS_PER_TAG_MAX, State, VACATED_MAX};
pub use suite::Suite;
