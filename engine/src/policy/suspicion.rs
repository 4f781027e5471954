//! When a machine counts as gone: a ladder that is climbed by silence and left by steady answers.
//!
//! ```text
//! Alive ── silent ──► Suspected ── others do not hear it either ──► Grace ── long enough ──► Lost
//!   ▲                     │                                           │
//!   └──── steady ─────────┴───────────── heard ───────────────────────┘
//! ```
//!
//! A machine that is heard once is not lost, but only one that answers *steadily* is alive: one that
//! comes and goes stays suspected and gets no new slots (`network.md` §4). An observer that hears
//! hardly anybody doubts itself first (Dadgar, Phillips and Currey: Lifeguard, DSN 2018), and however
//! many machines are silent, few of them at a time are given up ([`exclusions_max`]).

use std::time::Duration;

/// The times of the ladder. Every one is at most the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LadderTimes {
    /// Silence after which a machine is suspected; also how long it must answer to be alive again.
    pub suspect_after: Duration,
    /// Silence after which a machine that nobody hears is lost.
    pub lost_after: Duration,
}

/// A machine whose groups are in danger is waited for at least so many times as long as until it is
/// suspected: a restart, an update or a nap of some minutes ends by itself.
const WAIT_MIN: u32 = 5;

impl LadderTimes {
    /// `delay`, which a group in danger has shortened, but not so much that a machine that restarts is
    /// given up; never more than `lost_after`.
    pub fn wait(&self, delay: Duration) -> Duration {
        delay.max(self.suspect_after * WAIT_MIN).min(self.lost_after)
    }
}

impl Default for LadderTimes {
    /// One minute to route around, four hours to give up (`network.md` §4: "hours").
    fn default() -> Self {
        Self { suspect_after: Duration::from_secs(60), lost_after: Duration::from_secs(4 * 3600) }
    }
}

/// Where a machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It answers.
    Alive,
    /// This observer does not hear it, or not steadily: route around it, give it nothing new.
    Suspected,
    /// Nobody asked hears it either; it is waited for.
    Grace,
    /// It was waited for long enough.
    Lost,
}

/// What one observer knows of one machine: 66 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// Since when there is silence, or since when answers come.
    since: Duration,
    /// When it answered last; what was not asked in between says nothing.
    heard: Duration,
    silent: bool,
    /// It has been suspected and not been steady since.
    suspect: bool,
    /// Somebody else heard it, then.
    heard_by_others: Option<Duration>,
    /// Others were asked in this silence and did not hear it.
    confirmed: bool,
}

impl Ladder {
    /// A machine that is first looked at `now`: it has the benefit of the doubt.
    pub fn new(now: Duration) -> Self {
        Self {
            since: now,
            heard: now,
            silent: true,
            suspect: false,
            heard_by_others: None,
            confirmed: false,
        }
    }

    /// It answered.
    pub fn handle_heard(&mut self, now: Duration) {
        if self.silent {
            *self = Self { since: now, silent: false, ..*self };
        }
        self.heard = now;
        self.confirmed = false;
    }

    /// It did not answer.
    pub fn handle_silence(&mut self, now: Duration, times: &LadderTimes) {
        self.suspect = match self.silent {
            true => self.is_suspect(now, times),
            false => self.is_suspect(self.heard, times),
        };
        if !self.silent {
            *self = Self { since: now, silent: true, confirmed: false, ..*self };
        }
    }

    /// What another observer found: it heard the machine, or it did not.
    pub fn handle_testimony(&mut self, now: Duration, heard: bool) {
        if heard {
            self.heard_by_others = Some(now);
        } else {
            self.confirmed = self.silent;
        }
    }

    /// Moves the beginning of a silence by `pause`, in which the observer was blind itself.
    pub fn forgive(&mut self, pause: Duration) {
        if self.silent {
            self.since += pause;
        }
    }

    /// Whether it has answered without a gap for so long.
    pub fn is_steady(&self, now: Duration, long: Duration) -> bool {
        !self.silent && now.saturating_sub(self.since) >= long
    }

    /// Where it stands. `lost_after` is [`LadderTimes::lost_after`], or less where a group is in
    /// danger ([`super::repair::repair_delay`]).
    pub fn standing(&self, now: Duration, times: &LadderTimes, lost_after: Duration) -> Standing {
        if !self.is_suspect(now, times) {
            return Standing::Alive;
        }
        let recently = |heard: Duration| now.saturating_sub(heard) < lost_after;
        if !self.silent || !self.confirmed || self.heard_by_others.is_some_and(recently) {
            return Standing::Suspected;
        }
        let waited = now.saturating_sub(self.since) >= lost_after;
        if waited { Standing::Lost } else { Standing::Grace }
    }

    fn is_suspect(&self, now: Duration, times: &LadderTimes) -> bool {
        let long = now.saturating_sub(self.since) >= times.suspect_after;
        if self.silent { self.suspect || long } else { self.suspect && !long }
    }
}

/// How often the time doubles after which a machine that was given up is enrolled again.
const DOUBLINGS_MAX: u64 = 6;

/// How long a machine that was given up must answer without a gap before it is enrolled again, of which
/// so many enrolments have been given up: as long as makes a machine alive, then twice as long each
/// time, up to 64 times. Who comes and goes costs less and less (the damping of flapping routes,
/// RFC 2439).
pub fn return_time(times: &LadderTimes, generation: u64) -> Duration {
    times.suspect_after * (1 << generation.saturating_sub(1).min(DOUBLINGS_MAX))
}

/// Whether an observer that hears `heard` of `watched` machines should doubt itself: fewer than a
/// third, and it watches more than two. While it does, silences do not count.
pub fn is_blind(heard: usize, watched: usize) -> bool {
    watched > 2 && heard * 3 < watched
}

/// Fewer accusers than this count for nothing.
const ACCUSERS_MIN: usize = 2;

/// How many accuse a machine of failing their audits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accused {
    /// Those who accuse it.
    pub accusers: usize,
    /// All who could.
    pub others: usize,
}

/// Whether more accuse a machine than may lie: two at least, and more than a third of all that share a
/// group with it or more than half of the others of one of its groups (`engine/spec/peer.md` §10).
pub fn is_convincing(by_all: Accused, mut by_group: impl Iterator<Item = Accused>) -> bool {
    by_all.accusers >= ACCUSERS_MIN
        && (by_all.accusers * 3 > by_all.others
            || by_group.any(|Accused { accusers, others }| accusers * 2 > others))
}

/// Most machines of `storage_nodes` that may be given up at a time and not be replaced yet: a tenth,
/// but at least one. Bounds the repair traffic of any misjudgement.
pub fn exclusions_max(storage_nodes: usize) -> usize {
    (storage_nodes / 10).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_third_of_all_or_half_of_one_group_convince() {
        let accused = |accusers, others| Accused { accusers, others };
        let by = |all, group| is_convincing(all, [accused(0, 9), group].into_iter());
        assert!(by(accused(10, 27), accused(4, 9)) && by(accused(5, 27), accused(5, 9)));
        assert!(!by(accused(9, 27), accused(4, 9)) && !by(accused(1, 1), accused(1, 1)));
    }

    const TIMES: LadderTimes = LadderTimes {
        suspect_after: Duration::from_secs(60),
        lost_after: Duration::from_secs(600),
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// What happens to a machine, a minute at a time.
    #[derive(Clone, Copy, Debug)]
    enum Minute {
        Heard,
        Silent,
        SilentToAll,
        HeardByOthers,
    }

    fn live(minutes: &[Minute]) -> Vec<Standing> {
        let mut ladder = Ladder::new(Duration::ZERO);
        let step = |(minute, what): (usize, &Minute)| {
            let now = seconds(60 * (minute as u64 + 1));
            match what {
                Minute::Heard => ladder.handle_heard(now),
                _ => ladder.handle_silence(now, &TIMES),
            }
            match what {
                Minute::SilentToAll => ladder.handle_testimony(now, false),
                Minute::HeardByOthers => ladder.handle_testimony(now, true),
                _ => {}
            }
            ladder.standing(now, &TIMES, TIMES.lost_after)
        };
        minutes.iter().enumerate().map(step).collect()
    }

    #[test]
    fn silence_leads_up_and_steady_answers_lead_down() {
        let up = live(&[[Minute::SilentToAll; 10].as_slice(), &[Minute::Heard; 2]].concat());
        assert_eq!(up[..9], [Standing::Grace; 9]);
        assert_eq!(up[9..], [Standing::Lost, Standing::Suspected, Standing::Alive]);
    }

    #[test]
    fn one_that_comes_and_goes_is_neither_alive_nor_lost() {
        let flapping: Vec<Minute> =
            (0..60).map(|minute| [Minute::SilentToAll, Minute::Heard][minute % 2]).collect();
        let standings = live(&flapping);
        assert!(standings.iter().all(|standing| *standing < Standing::Lost));
        assert!(standings[2..].iter().all(|standing| *standing > Standing::Alive));
    }

    #[test]
    fn a_pause_of_the_observer_is_not_the_machine_s() {
        let mut ladder = Ladder::new(Duration::ZERO);
        ladder.handle_silence(seconds(60), &TIMES);
        ladder.handle_testimony(seconds(60), false);
        ladder.forgive(seconds(500));
        assert_eq!(ladder.standing(seconds(900), &TIMES, TIMES.lost_after), Standing::Grace);
        assert_eq!(ladder.standing(seconds(1100), &TIMES, TIMES.lost_after), Standing::Lost);
    }

    #[test]
    fn a_short_nap_is_waited_for_whatever_else_is_gone() {
        let waits = [10, 400, 4000].map(|delay| TIMES.wait(seconds(delay)).as_secs());
        assert_eq!(waits, [300, 400, 600]);
        let quick = LadderTimes { suspect_after: seconds(5), lost_after: seconds(20) };
        assert_eq!(quick.wait(seconds(2)).as_secs(), 20);
    }

    #[test]
    fn few_are_given_up_at_a_time() {
        assert_eq!([0, 5, 24, 256].map(exclusions_max), [1, 1, 2, 25]);
        assert!(is_blind(0, 3) && is_blind(7, 24) && !is_blind(8, 24) && !is_blind(0, 2));
    }

    #[test]
    fn who_comes_and_goes_waits_longer() {
        let waits = [1, 2, 3, 7, 8, u64::MAX].map(|generation| return_time(&TIMES, generation));
        assert_eq!(waits.map(|wait| wait.as_secs() / 60), [1, 2, 4, 64, 64, 64]);
    }

    proptest! {
        /// Whatever happens, nobody is lost who was heard by anyone within the waiting time.
        #[test]
        fn who_is_heard_is_not_lost(drawn in prop::collection::vec(0u8..4, 1..200)) {
            let minutes: Vec<Minute> = drawn
                .iter()
                .map(|drawn| match drawn {
                    0 => Minute::Heard,
                    1 => Minute::Silent,
                    2 => Minute::SilentToAll,
                    _ => Minute::HeardByOthers,
                })
                .collect();
            let heard = |minute: &Minute| matches!(minute, Minute::Heard | Minute::HeardByOthers);
            for (minute, standing) in live(&minutes).into_iter().enumerate() {
                let recent = &minutes[minute.saturating_sub(9)..=minute];
                prop_assert!(standing != Standing::Lost || !recent.iter().any(heard));
                // Silence counts from the first question that was not answered, ten minutes long.
                let silent = minutes[minute.saturating_sub(10)..=minute]
                    .iter()
                    .all(|minute| matches!(minute, Minute::SilentToAll));
                prop_assert!(standing == Standing::Lost || minute < 10 || !silent);
            }
        }
    }
}
