//! Why bytes could not be coded.

use std::ops::Range;

use thiserror::Error;

use super::{CodeKind, CodeParameters};
use crate::names::Slot;

/// Why an operation was refused; nothing was computed.
///
/// A wrong length or slot blames whoever sent the part; the rest blame the caller.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CodeError {
    /// Too few or too many parts.
    #[error("{given} parts where exactly {needed} are needed")]
    Count {
        /// k.
        needed: u8,
        /// Parts given.
        given: usize,
    },
    /// Neither the symbols of d helpers nor the fragments of k.
    #[error(
        "{given} answers to repair a fragment of {parameters}, where {} give symbols; \
         try: the whole fragments of {} slots",
        helpers_of(parameters), parameters.k
    )]
    Helpers {
        /// The code.
        parameters: CodeParameters,
        /// Answers given.
        given: usize,
    },
    /// Fewer than k slots are left: the fragment, and the object, are lost until some come back.
    #[error("{given} slots are left of {parameters}; try: bring back {}", usize::from(parameters.k) - given)]
    Survivors {
        /// The code.
        parameters: CodeParameters,
        /// Slots left.
        given: usize,
    },
    /// The code has no such slot.
    #[error("slot {slot} in a code of {n}")]
    Slot {
        /// The slot.
        slot: Slot,
        /// Slots of the code.
        n: u8,
    },
    /// Two parts claim the same slot.
    #[error("two parts from slot {0}")]
    Duplicate(Slot),
    /// The lost slot is among the helpers.
    #[error("slot {0} cannot help to repair itself")]
    SelfRepair(Slot),
    /// A part has not the length that the layout gives.
    #[error("{given} bytes from slot {slot} where {needed} are needed")]
    PartLength {
        /// Whose part.
        slot: Slot,
        /// Bytes by the layout.
        needed: usize,
        /// Bytes given.
        given: usize,
    },
    /// An object or a fragment has not the length that the layout gives.
    #[error("{given} bytes where {needed} are needed")]
    Length {
        /// Bytes by the layout.
        needed: u64,
        /// Bytes given.
        given: usize,
    },
    /// The object has no such groups.
    #[error("groups {}..{} of an object of {count}", groups.start, groups.end)]
    Groups {
        /// The groups asked for.
        groups: Range<u32>,
        /// Groups of the object.
        count: u32,
    },
    /// The layout belongs to another code.
    #[error("the layout is not one of {0}")]
    ForeignLayout(CodeParameters),
}

impl CodeError {
    /// Refuses `bytes` of another length.
    pub(super) fn check_length(needed: u64, bytes: &[u8]) -> Result<(), Self> {
        if bytes.len() as u64 == needed {
            Ok(())
        } else {
            Err(Self::Length { needed, given: bytes.len() })
        }
    }
}

/// Who has to help so that symbols are enough.
fn helpers_of(parameters: &CodeParameters) -> String {
    match parameters.kind {
        CodeKind::Clay => format!("all the other {} slots", parameters.d),
        _ => format!("exactly {} helpers", parameters.d),
    }
}
