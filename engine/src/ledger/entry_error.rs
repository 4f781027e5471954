//! Why entries are refused.

use thiserror::Error;

use super::entry::ENTRY_LEN_MAX;
use super::genesis::{GroupParametersError, ValidatorSetError};
use super::state::{PENDING_DRAWS_MAX, POINTERS_PER_TAG_MAX, VACATED_MAX};
use crate::names::{Epoch, GroupId, NodeId, Slot, Tag};

/// Why an entry is refused: its author is to blame. The state did not change.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EntryError {
    /// Longer than [`ENTRY_LEN_MAX`].
    #[error("the entry has {0} bytes; at most {ENTRY_LEN_MAX} are allowed")]
    TooLong(usize),
    /// The author did not sign this for this network.
    #[error("the author's signature is not valid in this network")]
    Signature,
    /// The author is no validator, operator or live machine.
    #[error("{0} is not enrolled")]
    NotEnrolled(NodeId),
    /// Sent before, or entries before it are missing.
    #[error("the entry's sequence number is {found}; the author's next is {expected}")]
    Sequence {
        /// The author's next number.
        expected: u64,
        /// The entry's.
        found: u64,
    },
    /// The author's rights do not reach so far.
    #[error("{0} may not do this")]
    NotAllowed(NodeId),
    /// A field is too long.
    #[error("the {field} has {length} bytes; at most {limit} are allowed")]
    FieldTooLong {
        /// Which.
        field: &'static str,
        /// Bytes found.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The machine is already enrolled.
    #[error("{0} is already enrolled")]
    AlreadyEnrolled(NodeId),
    /// The invitation is too old.
    #[error("the invitation {0} has expired; ask the operator for another")]
    InvitationExpired(NodeId),
    /// There is no such live machine.
    #[error("there is no live machine {0}")]
    UnknownNode(NodeId),
    /// The generation counts backwards, or not on where it must.
    #[error("generation {found} where at least {least} is expected")]
    Generation {
        /// The least that is accepted.
        least: u64,
        /// The entry's.
        found: u64,
    },
    /// The codes make no group.
    #[error(transparent)]
    GroupParameters(#[from] GroupParametersError),
    /// The network is too small.
    #[error("{needed} machines are needed and {available} can be drawn")]
    TooFewNodes {
        /// Machines to be drawn.
        needed: usize,
        /// Machines that can be.
        available: usize,
    },
    /// There is no such slot, or its group has no holders yet.
    #[error("slot {slot} of group {group} has no holder")]
    UnknownSlot {
        /// The group.
        group: GroupId,
        /// The slot.
        slot: Slot,
    },
    /// The group does not exist.
    #[error("there is no group {0}")]
    UnknownGroup(GroupId),
    /// The slot is not being filled by the holder drawn at that height.
    #[error("slot {slot} of group {group} is not being filled since that height")]
    NotFilling {
        /// The group.
        group: GroupId,
        /// The slot.
        slot: Slot,
    },
    /// All draws that its groups bear are waiting, or it has no slots left.
    #[error("no further slot of {0} can be given away now; send it again after the next refresh")]
    NothingToDrain(NodeId),
    /// The vote that a machine is lost knows nothing of the last one that was given up.
    #[error(
        "another machine was given up since this vote was made; vote again if it is lost still"
    )]
    StaleVote,
    /// The proof proves nothing.
    #[error("the symbol is right, or the machine named did not sign it")]
    NoConviction,
    /// It was convicted of this object's symbol before.
    #[error("{0} was convicted of a wrong symbol of this object before")]
    AlreadyConvicted(NodeId),
    /// The slot is being reassigned already.
    #[error("slot {slot} of group {group} is being reassigned already")]
    AlreadyPending {
        /// The group.
        group: GroupId,
        /// The slot.
        slot: Slot,
    },
    /// More draws than a block should make are waiting.
    #[error("{PENDING_DRAWS_MAX} draws are waiting; send it again after the next block")]
    TooManyDraws,
    /// So many holders left that the shares must be refreshed before another leaves.
    #[error("{VACATED_MAX} holders of group {0} left in this epoch; its shares must be refreshed")]
    RefreshFirst(GroupId),
    /// Another epoch comes next.
    #[error("epoch {} where {} comes next", found.0, expected.0)]
    Epoch {
        /// The group's next epoch.
        expected: Epoch,
        /// The entry's.
        found: Epoch,
    },
    /// The attempt is not the one under way, or not where this belongs; or its batch is too large.
    #[error("attempt {attempt} to refresh group {group} is not one that this can be said of now")]
    NoRefresh {
        /// The group.
        group: GroupId,
        /// The attempt.
        attempt: u32,
    },
    /// The one-time key did not sign.
    #[error("the pointer's own signature is not valid")]
    PointerSignature,
    /// The same pointer was posted before; it may be retired since.
    #[error("this pointer was posted before")]
    DuplicatePointer,
    /// A program that does not know the rules would not find what such a pointer stands beside.
    #[error("a pointer needs a number under the network's rules; upgrade the program that sent it")]
    UnnumberedPointer,
    /// Another pointer took that place, or a later one.
    #[error("pointer {found} of a tag where {newest} stands; read what is there first")]
    OldPointer {
        /// The number that stands there.
        newest: u64,
        /// The entry's.
        found: u64,
    },
    /// The tag has all it can hold.
    #[error("tag {0} holds {POINTERS_PER_TAG_MAX} pointers already")]
    TagFull(Tag),
    /// The author's quota is used up.
    #[error("{author} holds {limit} pointers, its quota")]
    PointerQuota {
        /// The author.
        author: NodeId,
        /// Its quota.
        limit: u64,
    },
    /// There is nothing to retire.
    #[error("tag {0} holds no such pointer")]
    UnknownPointer(Tag),
    /// The identity's key did not sign.
    #[error("the identity's own signature is not valid")]
    IdentitySignature,
    /// Another version comes next.
    #[error("version {found} of an identity where {expected} comes next")]
    IdentityVersion {
        /// The next version.
        expected: u64,
        /// The entry's.
        found: u64,
    },
    /// The network follows rules that have no such kind of entry.
    #[error("this needs version {0} of the network's rules; its validators must upgrade first")]
    NeedsVersion(u32),
    /// The validator's vote for this is counted already.
    #[error("this validator voted for it already")]
    AlreadyVoted,
    /// The vote starts from a validator set that does not hold.
    #[error("the vote starts from another validator set than the present one")]
    OtherValidators,
    /// The vote would change nothing.
    #[error("these are the validators already")]
    SameValidators,
    /// There can be no such set.
    #[error(transparent)]
    ValidatorSet(#[from] ValidatorSetError),
    /// Versions only grow.
    #[error("version {found} where the network has version {current} already")]
    Version {
        /// The version of the next block.
        current: u32,
        /// The entry's.
        found: u32,
    },
    /// The anchor is registered already.
    #[error("this anchor is registered already")]
    SameAnchor,
    /// The floor only rises, and not above the head.
    #[error("the retention floor {found} is not above {above} and at most {most}")]
    RetentionFloor {
        /// The floor that holds.
        above: u64,
        /// The height of the head.
        most: u64,
        /// The entry's.
        found: u64,
    },
    /// The two statements do not contradict each other.
    #[error("the two statements do not contradict each other")]
    NoEquivocation,
    /// The accused did not sign both.
    #[error("the signatures of the two statements are not valid")]
    EquivocationSignature,
    /// The accused is no validator, or became one after it said this.
    #[error("{0} is no validator, or became one later")]
    StaleEquivocation(NodeId),
    /// Nobody would be left.
    #[error("the only validator cannot be expelled")]
    LastValidator,
}

/// Refuses a field that is too long.
pub(super) fn check_length(
    field: &'static str,
    length: usize,
    limit: usize,
) -> Result<(), EntryError> {
    if length > limit { Err(EntryError::FieldTooLong { field, length, limit }) } else { Ok(()) }
}
