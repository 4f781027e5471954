//! Wall-clock time, read in one place.

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix milliseconds; zero if the clock stands before 1970.
pub fn unix_milliseconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
