//! What goes wrong.

/// One kind of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    Lost,
    Doubled,
    Late,
    Partition,
    Crash,
    TornLog,
    Skew,
    Withheld,
    Equivocation,
    InvalidBlock,
    Garbage,
    FalseHeight,
}

impl Fault {
    pub(super) const ALL: [Self; 12] = [
        Self::Lost,
        Self::Doubled,
        Self::Late,
        Self::Partition,
        Self::Crash,
        Self::TornLog,
        Self::Skew,
        Self::Withheld,
        Self::Equivocation,
        Self::InvalidBlock,
        Self::Garbage,
        Self::FalseHeight,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Lost => "message_lost",
            Self::Doubled => "message_doubled",
            Self::Late => "message_late",
            Self::Partition => "partition",
            Self::Crash => "crash",
            Self::TornLog => "torn_log",
            Self::Skew => "clock_skew",
            Self::Withheld => "withheld",
            Self::Equivocation => "equivocation",
            Self::InvalidBlock => "invalid_block",
            Self::Garbage => "garbage",
            Self::FalseHeight => "false_height",
        }
    }
}
