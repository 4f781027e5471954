//! What goes wrong in a simulated network of storage nodes.

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A node is gone for good, disk and all.
    Death,
    /// A node does nothing for some minutes and goes on as if nothing had been.
    Nap,
    /// A node sleeps so long that it is given up, and comes back.
    LongSleep,
    /// Some nodes and validators do not reach the others.
    Partition,
    /// A message was lost.
    Loss,
    /// A node answered a repair with a wrong symbol.
    Lie,
    /// A node answered with a symbol of a share that a refresh had replaced.
    OldShare,
    /// A disk changed a byte.
    Rot,
    /// A put missed a holder.
    MissedPut,
    /// A writer stored an object whose parts do not fit together.
    IllFormed,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Death,
        Self::Nap,
        Self::LongSleep,
        Self::Partition,
        Self::Loss,
        Self::Lie,
        Self::OldShare,
        Self::Rot,
        Self::MissedPut,
        Self::IllFormed,
    ];

    /// As the report names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Death => "death",
            Self::Nap => "nap",
            Self::LongSleep => "long_sleep",
            Self::Partition => "partition",
            Self::Loss => "loss",
            Self::Lie => "lie",
            Self::OldShare => "old_share",
            Self::Rot => "rot",
            Self::MissedPut => "missed_put",
            Self::IllFormed => "ill_formed",
        }
    }
}
