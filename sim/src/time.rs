//! Virtual time: whole nanoseconds since the start of a run.

/// A moment or a span in nanoseconds; 2^64 of them are 584 years.
pub type Nanoseconds = u64;

/// Later than any moment that is reached: an event that does not come.
pub const NEVER: Nanoseconds = u64::MAX;

/// Nanoseconds of a second.
pub const SECOND: Nanoseconds = 1_000_000_000;
/// Nanoseconds of an hour.
pub const HOUR: Nanoseconds = 3600 * SECOND;
/// Nanoseconds of a day.
pub const DAY: Nanoseconds = 24 * HOUR;
/// Nanoseconds of a year of 365 days, which all rates per year are of.
pub const YEAR: Nanoseconds = 365 * DAY;
