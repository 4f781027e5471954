//! What this node sends for repairs of others' slots: what its readers leave of its line.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kakera_engine::policy::repair::repair_rate;
use kakera_engine::wire::Operation;
use tokio::time::{Instant, sleep_until};

/// Longer than this nobody waits for symbols: others may have time for it.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// What readers fetched counts less and less over about this time.
const MEMORY: Duration = Duration::from_secs(1);

/// What an answer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Somebody reads.
    Reading,
    /// A holder rebuilds its part, or rehearses that.
    Repair,
    /// Anything else; few bytes.
    Other,
}

impl Purpose {
    pub(super) fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Read(_) => Self::Reading,
            Operation::Symbols(_) | Operation::RenewedSymbols(_) | Operation::Witness { .. } => {
                Self::Repair
            }
            _ => Self::Other,
        }
    }
}

/// Shares the line between readers and repairs. Every answer for a repair is paid for after it is
/// made, and the next waits until it is: memory holds few of them.
pub(super) struct RepairBudget {
    /// Bytes a second.
    uplink: u64,
    account: Mutex<Account>,
}

struct Account {
    /// When what was sent for repairs is paid for.
    paid_at: Instant,
    /// Bytes a second that readers fetch, as of `read_at`.
    read: f64,
    read_at: Instant,
}

impl Account {
    fn read_rate(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.read_at);
        self.read * (-age.as_secs_f64() / MEMORY.as_secs_f64()).exp()
    }
}

impl RepairBudget {
    pub(super) fn new(uplink: u64) -> Self {
        let now = Instant::now();
        let account = Account { paid_at: now, read: 0.0, read_at: now };
        Self { uplink, account: Mutex::new(account) }
    }

    /// Waits for its turn; false if that takes too long.
    pub(super) async fn admit(&self) -> bool {
        let patience = Instant::now() + WAIT_MAX;
        loop {
            let paid_at = self.account.lock().unwrap_or_else(PoisonError::into_inner).paid_at;
            match paid_at {
                at if at <= Instant::now() => return true,
                at if at > patience => return false,
                at => sleep_until(at).await,
            }
        }
    }

    /// So many bytes leave.
    pub(super) fn charge(&self, purpose: Purpose, bytes: usize) {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let read = account.read_rate(now);
        match purpose {
            Purpose::Reading => {
                account.read = read + bytes as f64 / MEMORY.as_secs_f64();
                account.read_at = now;
            }
            Purpose::Repair => {
                let rate = repair_rate(self.uplink, read as u64);
                let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
                account.paid_at = account.paid_at.max(now) + takes;
            }
            Purpose::Other => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds that `answers` answers of 1000 bytes take one after the other.
    async fn seconds(budget: &RepairBudget, answers: usize) -> f64 {
        let start = Instant::now();
        for _ in 0..answers {
            assert!(budget.admit().await);
            budget.charge(Purpose::Repair, 1000);
        }
        start.elapsed().as_secs_f64()
    }

    #[tokio::test(start_paused = true)]
    async fn repairs_have_the_line_until_somebody_reads() {
        let budget = RepairBudget::new(10_000);
        let alone = seconds(&budget, 101).await;
        assert!((9.9..=10.2).contains(&alone), "{alone}");
        tokio::time::advance(Duration::from_secs(10)).await;
        // A reader that takes all of it: an eighth is left, for a while.
        budget.charge(Purpose::Reading, 100_000);
        let beside = seconds(&budget, 2).await;
        assert!((0.79..=0.81).contains(&beside), "{beside}");
        tokio::time::advance(Duration::from_secs(20)).await;
        let after = seconds(&budget, 11).await;
        assert!((0.9..=1.1).contains(&after), "{after}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_would_wait_for_long_is_sent_away() {
        let budget = RepairBudget::new(1000);
        assert!(budget.admit().await);
        budget.charge(Purpose::Repair, 4000);
        assert!(budget.admit().await, "four seconds are borne");
        budget.charge(Purpose::Repair, 6000);
        assert!(!budget.admit().await);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(budget.admit().await);
    }
}
