//! How often an identity node answers for one handle: windows, and a ladder of longer windows for
//! those who use theirs up. `engine/spec/identity.md` §6. Pure: time is an argument.

use minicbor::{Decode, Encode};
use thiserror::Error;

use crate::names::NodeId;

/// Tries in one window that all identity nodes together allow.
pub const TRIES_PER_WINDOW: u32 = 20;
/// The shortest window.
pub const WINDOW_MS_MIN: u64 = 60 * 60 * 1000;
/// The longest.
pub const WINDOW_MS_MAX: u64 = 24 * WINDOW_MS_MIN;
/// Rungs above the lowest: 2, 4, 8, 16 and 24 hours.
const RUNG_MAX: u8 = 5;
/// Machines of the owner that have tries of their own.
pub const FAMILIAR_MAX: usize = 4;

/// The tries in a window that one of `nodes` identity nodes allows, of which `threshold` must
/// answer: so many that all subsets together allow no more than [`TRIES_PER_WINDOW`].
pub fn tries_per_node(threshold: u8, nodes: usize) -> u32 {
    (TRIES_PER_WINDOW * u32::from(threshold) / (nodes.max(1) as u32)).max(1)
}

/// No answer before `until`, Unix milliseconds.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("too many tries; the next one is possible {} minutes from now", minutes)]
pub struct LockedOut {
    /// When the next window begins.
    pub until: u64,
    /// How long that is, rounded up.
    pub minutes: u64,
}

/// What an identity node remembers of the tries for one handle; at most some 300 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Attempts {
    #[n(0)]
    strangers: Tally,
    /// The machine that proved last to have the root comes last.
    #[n(1)]
    familiar: Vec<Familiar>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct Familiar {
    #[n(0)]
    machine: NodeId,
    #[n(1)]
    tally: Tally,
}

/// The tries of one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
struct Tally {
    /// When the window began, Unix milliseconds.
    #[n(0)]
    since: u64,
    #[n(1)]
    tries: u32,
    #[n(2)]
    rung: u8,
}

impl Attempts {
    /// Takes one of `allowed` tries for `machine`. It is to be durable before the answer leaves.
    ///
    /// All machines that are not familiar share one tally, so an attacker gains nothing by using
    /// many; a familiar one has its own, so that strangers cannot lock its owner out.
    pub fn take(&mut self, machine: &NodeId, allowed: u32, now: u64) -> Result<(), LockedOut> {
        self.tally(machine).take(allowed, now)
    }

    /// The machine proved to have the root: its try was the owner's. It gets tries of its own; the
    /// strangers' tally gets back the one try that this machine took of it, and no more, so that an
    /// owner who comes often gives a guesser nothing.
    pub fn confirm(&mut self, machine: &NodeId) {
        match self.familiar.iter().position(|known| known.machine == *machine) {
            Some(place) => drop(self.familiar.remove(place)),
            None => self.strangers.tries = self.strangers.tries.saturating_sub(1),
        }
        self.familiar.push(Familiar { machine: *machine, tally: Tally::default() });
        if self.familiar.len() > FAMILIAR_MAX {
            self.familiar.remove(0);
        }
    }

    /// Whether it could have been made by this module: what was read from a disk.
    pub fn is_bounded(&self) -> bool {
        self.familiar.len() <= FAMILIAR_MAX
    }

    fn tally(&mut self, machine: &NodeId) -> &mut Tally {
        match self.familiar.iter_mut().find(|known| known.machine == *machine) {
            Some(known) => &mut known.tally,
            None => &mut self.strangers,
        }
    }
}

impl Tally {
    fn take(&mut self, allowed: u32, now: u64) -> Result<(), LockedOut> {
        self.turn(allowed, now);
        if self.tries >= allowed {
            let until = self.since + window_ms(self.rung);
            return Err(LockedOut { until, minutes: (until - now).div_ceil(60_000) });
        }
        self.tries += 1;
        Ok(())
    }

    /// Begins a new window if the last one is over: a rung higher if it was used up, and a rung
    /// lower for each window's time that passed in peace.
    fn turn(&mut self, allowed: u32, now: u64) {
        // A clock that was set back must not make a window last longer than it is.
        self.since = self.since.min(now);
        let end = self.since + window_ms(self.rung);
        if now < end {
            return;
        }
        if self.tries >= allowed {
            self.rung = (self.rung + 1).min(RUNG_MAX);
        } else {
            self.rung = self.rung.saturating_sub(1);
        }
        let mut idle = now - end;
        while self.rung > 0 && idle >= window_ms(self.rung) {
            idle -= window_ms(self.rung);
            self.rung -= 1;
        }
        (self.since, self.tries) = (now, 0);
    }
}

fn window_ms(rung: u8) -> u64 {
    (WINDOW_MS_MIN << rung.min(RUNG_MAX)).min(WINDOW_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: u64 = WINDOW_MS_MIN;
    const START: u64 = 1_700_000_000_000;
    const OWNER: NodeId = NodeId([1; 32]);

    fn stranger(number: u32) -> NodeId {
        let mut id = [9; 32];
        id[..4].copy_from_slice(&number.to_be_bytes());
        NodeId(id)
    }

    #[test]
    fn nodes_allow_their_part() {
        let parts = [(1, 1), (2, 2), (2, 3), (3, 4), (17, 32)];
        assert_eq!(parts.map(|(t, m)| tries_per_node(t, m)), [20, 20, 13, 15, 10]);
        // m nodes with that many answers each, t answers a try.
        for nodes in 1..=32 {
            let threshold = crate::identity::identity_threshold(nodes);
            let answers = tries_per_node(threshold, nodes) * nodes as u32;
            assert!(answers / u32::from(threshold) <= TRIES_PER_WINDOW);
        }
    }

    /// A thousand wrong passphrases, from as many machines as you like.
    #[test]
    fn a_guesser_climbs_the_ladder_and_the_owner_comes_in_afterwards() {
        let mut attempts = Attempts::default();
        let (mut now, mut tried, mut waited) = (START, 0, Vec::new());
        while tried < 1000 {
            match attempts.take(&stranger(tried), 15, now) {
                Ok(()) => tried += 1,
                Err(locked) => {
                    waited.push((locked.until - now) / HOUR);
                    assert_eq!(locked.minutes, (locked.until - now) / 60_000);
                    now = locked.until;
                }
            }
        }
        assert_eq!(waited[..8], [1, 2, 4, 8, 16, 24, 24, 24]);
        assert_eq!(waited.len(), 1000 / 15);
        assert!(now - START > 60 * 24 * HOUR, "a thousand tries take two months");
        // Used up again, and the owner on an unknown machine has to wait for one window.
        while attempts.take(&stranger(0), 15, now).is_ok() {}
        let locked = attempts.take(&OWNER, 15, now).unwrap_err();
        assert!(locked.until - now <= WINDOW_MS_MAX);
        assert_eq!(attempts.take(&OWNER, 15, locked.until), Ok(()));
    }

    #[test]
    fn strangers_do_not_lock_out_a_familiar_machine() {
        let mut attempts = Attempts::default();
        assert_eq!(attempts.take(&OWNER, 15, START), Ok(()));
        attempts.confirm(&OWNER);
        let guesses = (0..).take_while(|_| attempts.take(&stranger(1), 15, START).is_ok()).count();
        assert_eq!(guesses, 15, "the owner's own try was given back, and no more");
        for _ in 0..100 {
            assert_eq!(attempts.take(&OWNER, 15, START), Ok(()));
            attempts.confirm(&OWNER);
        }
        assert!(attempts.take(&stranger(1), 15, START).is_err());
        // A thief at the familiar machine has its tries and no more.
        let thefts = (0..).take_while(|_| attempts.take(&OWNER, 15, START).is_ok()).count();
        assert_eq!(thefts, 15);
    }

    #[test]
    fn peace_leads_down_the_ladder() {
        let mut tally = Tally { since: START, tries: 15, rung: 2 };
        assert!(tally.take(15, START + 4 * HOUR - 1).is_err());
        tally.take(15, START + 4 * HOUR).unwrap();
        assert_eq!(tally.rung, 3);
        // The window of 8 hours passes with one try, then 4 hours and 2 hours in peace.
        tally.take(15, START + 4 * HOUR + 8 * HOUR + 4 * HOUR + 2 * HOUR).unwrap();
        assert_eq!(tally.rung, 0);
    }

    #[test]
    fn a_clock_set_back_does_not_lengthen_a_window() {
        let mut tally = Tally { since: START + 1000 * HOUR, tries: 15, rung: 0 };
        let locked = tally.take(15, START).unwrap_err();
        assert_eq!(locked.until, START + HOUR);
    }

    proptest! {
        #[test]
        fn no_day_allows_more_than_the_windows_in_it(
            pauses in proptest::collection::vec(0..4 * HOUR, 1..400),
        ) {
            let mut attempts = Attempts::default();
            let (mut now, mut granted) = (START, Vec::new());
            for (number, pause) in pauses.into_iter().enumerate() {
                now += pause / 16;
                if attempts.take(&stranger(number as u32), 5, now).is_ok() {
                    granted.push(now);
                }
                prop_assert!(attempts.is_bounded());
            }
            // Two windows can touch in any hour, three never.
            let most = granted.iter().map(|start| {
                granted.iter().filter(|time| (*start..*start + HOUR).contains(*time)).count()
            });
            prop_assert!(most.max().unwrap_or(0) <= 10);
        }
    }
}
