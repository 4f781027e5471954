//! Wall-clock time, read in one place; waiting.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Unix milliseconds; zero if the clock stands before 1970.
pub fn unix_milliseconds() -> u64 {
    #[cfg(feature = "testkit")]
    if let Some(now) = crate::testkit::unix_milliseconds() {
        return now;
    }
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// Tells Unix milliseconds; tests put their own forward.
pub type UnixClock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The day's clock.
pub fn system_clock() -> UnixClock {
    Arc::new(unix_milliseconds)
}

/// Sleeps, without a duration for ever.
pub(crate) async fn sleep_for(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}
