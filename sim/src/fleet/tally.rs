//! What a run counts: whole numbers only, so that sums do not depend on their order.

use serde::{Deserialize, Serialize};

use super::Spread;
use crate::time::{Nanoseconds, YEAR};

/// Points of a curve over the horizon.
pub const CURVE_POINTS: usize = 64;

/// A twelfth of a year.
pub const MONTH: Nanoseconds = YEAR / 12;

/// Counts of some replications of a fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Runs.
    pub replications: u64,
    /// Events that were handled.
    pub events: u64,
    /// Groups that were lost.
    pub groups_lost: u64,
    /// Runs in which one was.
    pub replications_with_loss: u64,
    /// Groups whose secret leaked.
    pub groups_leaked: u64,
    /// Runs in which one did.
    pub replications_with_leak: u64,
    /// Refreshes of groups that were neither lost nor had leaked.
    pub refreshes: u64,
    /// Machines that died.
    pub deaths: u64,
    /// Replacements of machines that were not dead, and such that were called off.
    pub false_repairs: u64,
    /// Shares whose loss, return, pause or repair was counted in their groups. Where too few machines
    /// miss for any harm, nothing is counted.
    pub share_updates: u64,
    /// Shares that decayed unseen.
    pub shares_corrupted: u64,
    /// Machines that were replaced one by one, after their newcomers were filled.
    pub replacements: u64,
    /// Nanoseconds that such repairs waited for one that had begun before.
    #[serde(with = "decimal")]
    pub repair_waited: u128,
    /// Nanoseconds from the begin of such repairs to their end.
    #[serde(with = "decimal")]
    pub repair_lasted: u128,
    /// Shares that were repaired.
    pub shares_repaired: u64,
    /// Bytes that repairs moved.
    #[serde(with = "decimal")]
    pub repair_bytes: u128,
    /// Of these, what the machine of one place got in one month, of every place and month with any.
    pub received: Spread,
    /// Nanoseconds in which a group that is not lost cannot be read, over all groups.
    #[serde(with = "decimal")]
    pub unreadable: u128,
    /// How long these times last, each for one group.
    pub unreadable_spells: Spread,
    /// Nanoseconds from the start to the loss or to the horizon, over all groups.
    #[serde(with = "decimal")]
    pub survived: u128,
    /// Losses by time: the i-th number is of those in the i-th of equal parts of the horizon.
    pub losses: Vec<u64>,
    /// Leaks by time.
    pub leaks: Vec<u64>,
    /// Repaired shares by time.
    pub repairs: Vec<u64>,
    /// Of runs in protocol mode, the exclusive or of their traces; else zero.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub trace: [u64; 4],
}

fn is_zero(trace: &[u64; 4]) -> bool {
    *trace == [0; 4]
}

impl Tally {
    /// Of no replications.
    pub fn new() -> Self {
        Self {
            replications: 0,
            events: 0,
            groups_lost: 0,
            replications_with_loss: 0,
            groups_leaked: 0,
            replications_with_leak: 0,
            refreshes: 0,
            deaths: 0,
            false_repairs: 0,
            share_updates: 0,
            shares_corrupted: 0,
            replacements: 0,
            repair_waited: 0,
            repair_lasted: 0,
            shares_repaired: 0,
            repair_bytes: 0,
            received: Spread::default(),
            unreadable: 0,
            unreadable_spells: Spread::default(),
            survived: 0,
            losses: vec![0; CURVE_POINTS],
            leaks: vec![0; CURVE_POINTS],
            repairs: vec![0; CURVE_POINTS],
            trace: [0; 4],
        }
    }

    /// Adds the counts of other replications.
    pub fn add(&mut self, other: &Self) {
        self.replications += other.replications;
        self.events += other.events;
        self.groups_lost += other.groups_lost;
        self.replications_with_loss += other.replications_with_loss;
        self.groups_leaked += other.groups_leaked;
        self.replications_with_leak += other.replications_with_leak;
        self.refreshes += other.refreshes;
        self.deaths += other.deaths;
        self.false_repairs += other.false_repairs;
        self.share_updates += other.share_updates;
        self.shares_corrupted += other.shares_corrupted;
        self.replacements += other.replacements;
        self.repair_waited += other.repair_waited;
        self.repair_lasted += other.repair_lasted;
        self.shares_repaired += other.shares_repaired;
        self.repair_bytes += other.repair_bytes;
        self.received.add(&other.received);
        self.unreadable += other.unreadable;
        self.unreadable_spells.add(&other.unreadable_spells);
        self.survived += other.survived;
        let add_curve = |curve: &mut Vec<u64>, other: &Vec<u64>| {
            curve.iter_mut().zip(other).for_each(|(count, other)| *count += other);
        };
        add_curve(&mut self.losses, &other.losses);
        add_curve(&mut self.leaks, &other.leaks);
        add_curve(&mut self.repairs, &other.repairs);
        self.trace.iter_mut().zip(&other.trace).for_each(|(word, other)| *word ^= other);
    }

    /// A run ended, in which so many groups were lost and leaked.
    pub(crate) fn end_run(&mut self, losses: u64, leaks: u64) {
        self.replications += 1;
        self.groups_lost += losses;
        self.groups_leaked += leaks;
        self.replications_with_loss += u64::from(losses > 0);
        self.replications_with_leak += u64::from(leaks > 0);
    }

    pub(crate) fn count_loss(&mut self, now: Nanoseconds, horizon: Nanoseconds) {
        self.losses[curve_point(now, horizon)] += 1;
    }

    pub(crate) fn count_leak(&mut self, now: Nanoseconds, horizon: Nanoseconds) {
        self.leaks[curve_point(now, horizon)] += 1;
    }

    pub(crate) fn count_repairs(&mut self, now: Nanoseconds, horizon: Nanoseconds, shares: u64) {
        self.shares_repaired += shares;
        self.repairs[curve_point(now, horizon)] += shares;
    }

    /// A group can be read again, or never will be, or the run is over. Rare among the updates of shares,
    /// whose loop it must not make longer.
    #[cold]
    #[inline(never)]
    pub(crate) fn count_unreadable(&mut self, spell: Nanoseconds) {
        if spell > 0 {
            self.unreadable += u128::from(spell);
            self.unreadable_spells.count(spell);
        }
    }

    pub(crate) fn enter_trace(&mut self, trace: &[u8; 32]) {
        let words = trace.as_chunks::<8>().0.iter().map(|word| u64::from_be_bytes(*word));
        self.trace.iter_mut().zip(words).for_each(|(word, other)| *word ^= other);
    }
}

/// What the machine of a place got of repairs in the month of the last one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    month: u64,
    bytes: u64,
}

impl Received {
    /// It gets so many bytes now.
    #[inline]
    pub(crate) fn add(&mut self, bytes: u64, now: Nanoseconds, tally: &mut Tally) {
        tally.repair_bytes += u128::from(bytes);
        let month = now / MONTH;
        if month != self.month {
            self.end(tally);
            self.month = month;
        }
        self.bytes += bytes;
    }

    /// The month is over, or the run.
    pub(crate) fn end(&mut self, tally: &mut Tally) {
        if self.bytes > 0 {
            tally.received.count(self.bytes);
        }
        *self = Self::default();
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}

/// As a text, since few readers of JSON take whole numbers beyond 2^64.
mod decimal {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(value: &u128, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&value.to_string())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u128, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// The part of the horizon in which a moment lies.
fn curve_point(now: Nanoseconds, horizon: Nanoseconds) -> usize {
    const PARTS: u64 = CURVE_POINTS as u64;
    // Wide division is slow, and seldom needed.
    let point = match now.checked_mul(PARTS) {
        Some(product) => product / horizon.max(1),
        None => (u128::from(now) * u128::from(PARTS) / u128::from(horizon.max(1))) as u64,
    };
    point.min(PARTS - 1) as usize
}
