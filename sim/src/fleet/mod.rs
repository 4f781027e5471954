//! Fast mode: machines that live, pause, die and are replaced, and the groups they hold, on counts.
//!
//! A [`Fleet`] is the model, [`simulate`] one run of it, [`Tally`] what is counted. Everything is
//! kept in flat arrays: a byte for each share, a few bytes for each group, one pending event for
//! each machine.
//!
//! # What happens
//! At the start every machine is up and every share is in its place.
//! - **Death.** A machine draws one life from each law of `lives` and dies at the first end. Its
//!   shares are gone. A group with fewer than `k` shares is lost and stays so.
//! - **Pause.** With an [`Absence`], a machine is up for a session, then away; its shares exist but do
//!   not answer. Who is away for longer than the time-out is taken for dead.
//! - **Corruption.** With [`Corruption`], single shares decay unseen, as if they were not there. What
//!   an audit finds is rebuilt at once, or with its group where groups are repaired together.
//! - **Outage.** With [`Outages`], no machine of a zone answers for a while.
//! - **Quorum loss.** While the ledger has no quorum, nobody is found lost, and refreshes wait.
//! - **Mass loss.** At one moment, a share of all machines dies, whatever their lives were to be.
//! - **Notice.** A death is known after `detection`. With `patience`, whoever does not answer, dead or
//!   paused, is given up by the engine's own policy instead.
//! - **Repair.** As [`Repair`] says. A repair of a share reads from `d` others, or, if fewer are
//!   left, from these in vain and then from `k` whole fragments. If a machine that was only taken for dead returns before its
//!   repair has ended, the repair is called off.
//! - **Newcomer.** The machine that takes the place is new: new lives, and hostile or honest by a new
//!   draw of the [`Attack`].
//! - **Exposure.** A share that a hostile machine holds or gets is exposed until the next refresh. A
//!   group of which `k_key` shares are exposed in one epoch has leaked, once and for ever. At a
//!   refresh, only shares that hostile machines hold then are exposed.
//! - **Withholding.** With `withholds`, a share on a hostile machine is as good as none to readers, to
//!   repairs and to the group that may be lost, but nobody misses it.
//! - **Refresh.** All groups at the end of every `epoch` of the attacker. With `patience`, each by
//!   itself as the engine's policy has it: sooner if too many holders left, and when all are there, or
//!   all but few after a round of turns.
//!
//! What falls on the same nanosecond comes in this order: refreshes, ended repairs, returns and ends
//! of sessions, outages, notices, deaths, decays, the mass loss; then by number.

mod placement;
mod replication;
mod spread;
mod tally;

pub use placement::Placement;
pub(crate) use replication::Run;
pub use replication::simulate;
pub use spread::Spread;
pub(crate) use tally::Received;
pub use tally::{CURVE_POINTS, MONTH, Tally};

use std::time::Duration;

use kakera_engine::policy::refresh::RefreshTimes;

use crate::random::{Law, Purpose, Source};
use crate::time::{DAY, Nanoseconds, YEAR};

/// A network and what it is to survive. Spans are nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// Machines, 1 to 2^31.
    pub nodes: u32,
    /// Places that fail together, 1 to `nodes`; machine i is in zone i modulo this. A group has its
    /// slots in as many zones as it can.
    pub zones: u32,
    /// Placement groups.
    pub groups: u32,
    /// Slots of a group, on distinct machines.
    pub n: u8,
    /// Shares without which a group is lost.
    pub k: u8,
    /// What machines die of, other than those of `kinds`.
    pub lives: Vec<Law>,
    /// Pauses, if there are any, but for `kinds`.
    pub absence: Option<Absence>,
    /// Outages of whole zones, if there are any.
    pub outages: Option<Outages>,
    /// A moment at which many machines are lost at once.
    pub mass_loss: Option<MassLoss>,
    /// Machines of other kinds: the last ones, in this order.
    pub kinds: Vec<Kind>,
    /// Decay of shares that nobody sees, if there is any.
    pub corruption: Option<Corruption>,
    /// When the ledger has no quorum, if that happens: nobody is replaced and nothing refreshed then.
    pub quorum_losses: Option<Outages>,
    /// From a death to its being known.
    pub detection: Law,
    /// If given, machines are given up as the network's validators do it, whatever `detection` and
    /// the time-out of pauses are: after a silence of so long, sooner where a group has lost others
    /// ([`policy::repair`]), and few at a time ([`policy::suspicion`]).
    ///
    /// [`policy::repair`]: kakera_engine::policy::repair::repair_delay
    /// [`policy::suspicion`]: kakera_engine::policy::suspicion::exclusions_max
    pub patience: Option<Nanoseconds>,
    /// How lost shares come back.
    pub repair: Repair,
    /// What it moves.
    pub traffic: Traffic,
    /// Who collects shares.
    pub attack: Option<Attack>,
    /// When a run ends.
    pub horizon: Nanoseconds,
}

/// Machines that live and pause in another way.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// How many there are.
    pub nodes: u32,
    /// What they die of.
    pub lives: Vec<Law>,
    /// Pauses, if there are any.
    pub absence: Option<Absence>,
}

/// Latent corruption: single shares decay on machines that go on as if nothing had happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Corruption {
    /// How long a share is sound in the mean, in nanoseconds; without memory.
    pub share_mean: f64,
    /// From the decay of a share to the audit that finds it.
    pub found: Law,
}

/// How zones come and go: none of their machines answers meanwhile. An outage is known as one, so
/// that nobody is taken for dead. The ledger's quorum comes and goes in the same way.
#[derive(Clone, Debug, PartialEq)]
pub struct Outages {
    /// From the end of one to the next of the zone.
    pub interval: Law,
    /// How long one lasts.
    pub length: Law,
}

/// Every machine that has its content loses it with a probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MassLoss {
    /// When.
    pub at: Nanoseconds,
    /// From 0 to 1.
    pub share: f64,
}

/// When a machine pauses.
#[derive(Clone, Debug, PartialEq)]
pub enum Session {
    /// After a span that follows a law.
    Law(Law),
    /// At a time of every day, or up to `spread` later, evenly drawn. Runs start at midnight.
    Daily {
        /// Since midnight.
        at: Nanoseconds,
        /// At most a day.
        spread: Nanoseconds,
    },
}

/// How machines come and go without losing anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Absence {
    /// How long a machine is up.
    pub session: Session,
    /// How long it is away then.
    pub length: Law,
    /// Who is away for longer is taken for dead.
    pub timeout: Nanoseconds,
}

/// How lost shares come back.
#[derive(Clone, Debug, PartialEq)]
pub enum Repair {
    /// Every machine that is known to be lost is replaced on its own.
    Each(RepairTime),
    /// One machine after the other, in the order of notice.
    OneByOne(RepairTime),
    /// Newcomers take the places of dead machines at once, without shares. While at least
    /// `threshold` lost shares of a group are known, one repair of the group is pending, and it
    /// brings all its shares back, those that are not known too.
    Together {
        /// How long the repair of a group takes.
        time: Law,
        /// At least 1.
        threshold: u8,
    },
}

/// How long it takes to fill a newcomer.
#[derive(Clone, Debug, PartialEq)]
pub enum RepairTime {
    /// A span by a law.
    Law(Law),
    /// What it moves for all its shares, at so many bytes a second.
    BytesPerSecond(f64),
    /// The same, but the newcomers of a zone share its uplink evenly.
    Shared {
        /// Bytes a second of a machine.
        rate: f64,
        /// Bytes a second of a zone.
        uplink: f64,
    },
    /// The same, but every machine that is up shares its uplink among the repairs that it helps, evenly
    /// with all others: m newcomers get what all machines can send, each at most what d helpers can.
    Helped {
        /// Bytes a second of a newcomer.
        rate: f64,
        /// Bytes a second of a helper.
        uplink: f64,
    },
}

/// What the repair of one share moves, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Helpers that it takes.
    pub d: u8,
    /// With d helpers.
    pub repair_bytes: u64,
    /// With fewer, by decoding from k fragments.
    pub decode_bytes: u64,
}

impl Traffic {
    /// Where so many shares are left. Symbols are asked for first, as the engine does it: those of
    /// too few helpers have come in vain.
    #[inline]
    pub fn of_a_share(&self, intact: u8) -> u64 {
        if intact >= self.d {
            return self.repair_bytes;
        }
        self.decode_bytes + self.repair_bytes / u64::from(self.d) * u64::from(intact)
    }
}

/// An attacker who keeps what any of its machines ever held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attack {
    /// How many machines are hostile.
    pub hostile: Hostile,
    /// Shares of one epoch that give the secret.
    pub k_key: u8,
    /// Of which one can be rebuilt.
    pub d_key: u8,
    /// From one refresh to the next; `None` for never.
    pub epoch: Option<Nanoseconds>,
    /// What is added to the share of hostile machines among newcomers in a year (Sybil growth).
    pub growth: f64,
    /// Whether its machines refuse to readers and newcomers what they hold. They answer audits all the
    /// same, so that nobody replaces them.
    pub withholds: bool,
}

impl Attack {
    /// When the network refreshes, if it does: epochs of this length, all else as in its nodes.
    pub(crate) fn refresh_times(&self) -> Option<RefreshTimes> {
        let epoch = Duration::from_nanos(self.epoch?);
        Some(RefreshTimes { epoch, ..RefreshTimes::default() })
    }
}

/// Which machines are hostile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hostile {
    /// Each one, old and new, with this probability.
    Each(f64),
    /// Exactly so many at the start, drawn evenly; a newcomer with the same share.
    Exactly(u32),
}

impl Hostile {
    /// Which machines are hostile at the start.
    pub(crate) fn at_start(self, nodes: u32, source: &Source) -> Vec<bool> {
        match self {
            Self::Each(share) => {
                let draw = |node| source.draw(node, Purpose::Allegiance, 0).uniform() < share;
                (0..nodes).map(draw).collect()
            }
            Self::Exactly(count) => {
                // Selection sampling (Knuth, volume 2, §3.4.2, algorithm S).
                let mut left = u64::from(count);
                let mut choose = |node| {
                    let others = u64::from(nodes - node);
                    let chosen = source.draw(node, Purpose::Allegiance, 0).below(others) < left;
                    left -= u64::from(chosen);
                    chosen
                };
                (0..nodes).map(&mut choose).collect()
            }
        }
    }

    /// The probability that a newcomer is hostile.
    fn of_newcomers(self, nodes: u32) -> f64 {
        match self {
            Self::Each(share) => share,
            Self::Exactly(count) => f64::from(count) / f64::from(nodes),
        }
    }
}

impl Session {
    /// When the machine of a place that is up from `now` pauses for the `number`-th time.
    #[inline]
    pub(crate) fn end(
        &self,
        source: &Source,
        now: Nanoseconds,
        node: u32,
        number: u32,
    ) -> Nanoseconds {
        match self {
            Self::Law(law) => now.saturating_add(law.draw(source, node, Purpose::Session, number)),
            Self::Daily { at, spread } => {
                let today = now / DAY * DAY + at;
                let begin = if today > now { today } else { today + DAY };
                let draw = source.draw(node, Purpose::Session, number);
                begin + (draw.uniform() * *spread as f64) as Nanoseconds
            }
        }
    }
}

impl Fleet {
    /// One group on `n` machines of its own, of which nothing else is known: no pauses, no outages, no
    /// attacker, nothing moved, deaths seen at once.
    pub fn of_one_group(n: u8, k: u8, life: Law, repair: Repair, horizon: Nanoseconds) -> Self {
        Self {
            nodes: n.into(),
            zones: 1,
            groups: 1,
            n,
            k,
            lives: vec![life],
            absence: None,
            outages: None,
            mass_loss: None,
            kinds: vec![],
            corruption: None,
            quorum_losses: None,
            patience: None,
            detection: Law::Fixed(0.0),
            repair,
            traffic: Traffic { d: k, repair_bytes: 0, decode_bytes: 0 },
            attack: None,
            horizon,
        }
    }

    /// One group of the fleet on machines of its own: what befalls it has the same law, as long as
    /// its repairs do not wait for those of others.
    pub fn one_group(&self) -> Option<Self> {
        let alone =
            matches!(self.repair, Repair::Each(RepairTime::Law(_)) | Repair::Together { .. });
        let together = self.outages.is_some() || self.mass_loss.is_some() || !self.kinds.is_empty();
        if self.groups == 1 {
            return Some(self.clone());
        }
        let nodes = u32::from(self.n);
        (alone && !together).then(|| Self { nodes, zones: nodes, groups: 1, ..self.clone() })
    }

    /// Of which kind a machine is: its place in `kinds`, if it is one of those.
    fn kind(&self, node: u32) -> Option<usize> {
        let mut end = self.nodes;
        let begins = self.kinds.iter().enumerate().rev().find(|(_, kind)| {
            end -= kind.nodes;
            node >= end
        });
        begins.map(|(place, _)| place)
    }

    /// What a machine dies of.
    pub(crate) fn lives_of(&self, node: u32) -> &[Law] {
        self.kind(node).map_or(&self.lives, |kind| &self.kinds[kind].lives)
    }

    /// How a machine pauses.
    pub(crate) fn absence_of(&self, node: u32) -> Option<&Absence> {
        match self.kind(node) {
            Some(kind) => self.kinds[kind].absence.as_ref(),
            None => self.absence.as_ref(),
        }
    }

    /// Whether any machine pauses.
    pub(crate) fn pauses(&self) -> bool {
        self.absence.is_some() || self.kinds.iter().any(|kind| kind.absence.is_some())
    }

    /// How long the machine lives that has a place after `number` others, `bound` at most: until the
    /// first of the ends that its causes of death draw. `sooner` gives the end by a cause, by its
    /// place in `lives` and a uniform number, or its last argument if that is sooner.
    #[inline]
    pub(crate) fn life(
        &self,
        source: &Source,
        node: u32,
        number: u32,
        bound: Nanoseconds,
        sooner: impl Fn(usize, f64, Nanoseconds) -> Nanoseconds,
    ) -> Nanoseconds {
        let causes = self.lives_of(node).len();
        // A draw has two numbers: for two causes.
        let number = number * causes.div_ceil(2) as u32;
        let mut first = bound;
        for cause in (0..causes).step_by(2) {
            let draw = source.draw(node, Purpose::Life, number + cause as u32 / 2);
            first = sooner(cause, draw.uniform(), first);
            if cause + 1 < causes {
                first = sooner(cause + 1, draw.second_uniform(), first);
            }
        }
        first
    }

    /// Whether the machine is hostile that takes a place now, after `number` others.
    pub(crate) fn newcomer_is_hostile(
        &self,
        source: &Source,
        now: Nanoseconds,
        node: u32,
        number: u32,
    ) -> bool {
        let draw = || source.draw(node, Purpose::Allegiance, number).uniform();
        let share = |attack: Attack| {
            attack.hostile.of_newcomers(self.nodes) + attack.growth * now as f64 / YEAR as f64
        };
        self.attack.is_some_and(|attack| draw() < share(attack))
    }

    /// Bytes of memory that one run takes, about.
    pub fn memory_bytes(&self) -> u64 {
        self.memory_bytes_of(self.nodes.into(), self.groups.into())
    }

    /// The same if there were so many machines and groups, more than can be numbered perhaps.
    pub(crate) fn memory_bytes_of(&self, nodes: u64, groups: u64) -> u64 {
        let (nodes, groups) = (u128::from(nodes), u128::from(groups));
        let shares = groups * u128::from(self.n);
        let together = matches!(self.repair, Repair::Together { .. });
        let events = nodes
            + if together { groups + shares } else { 0 }
            + if self.corruption.is_some() { nodes + shares } else { 0 };
        let singly = together || self.corruption.is_some();
        let flags = u128::from(singly || self.attack.is_some());
        let of_share = 8 + flags + if singly { 12 } else { 0 };
        // Epochs of their own, and what is pending of them.
        let refreshed = self.attack.is_some_and(|attack| attack.epoch.is_some());
        let epochs = if refreshed && self.patience.is_some() { 18 + 20 } else { 0 };
        let of_group = if together { 28 } else { 16 } + epochs;
        let of_machines = 82 * nodes + 4 * u128::from(self.zones) + 20 * events;
        let bytes = of_share * shares + of_group * groups + of_machines;
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;
    use crate::estimate::Estimate;
    use crate::exact::{Binomial, CountLaw, LeakModel, Redundancy, RepairRates};
    use crate::time::HOUR;

    pub(super) fn hours(mean: f64) -> Law {
        Law::Exponential { mean: mean * HOUR as f64 }
    }

    /// One group of (6, 3) on six machines that live 100 h and are repaired in 10 h.
    pub(super) fn small_fleet() -> Fleet {
        let repair = Repair::Each(RepairTime::Law(hours(10.0)));
        Fleet {
            traffic: Traffic { d: 4, repair_bytes: 10, decode_bytes: 30 },
            ..Fleet::of_one_group(6, 3, hours(100.0), repair, 2000 * HOUR)
        }
    }

    fn tally(fleet: &Fleet, replications: u64) -> Tally {
        simulate(fleet, 1, 0..replications)
    }

    fn assert_probability(hits: u64, trials: u64, expected: f64) {
        let estimate = Estimate::of_probability(hits, trials, 0.999);
        assert!(estimate.holds(expected), "{expected} is not in {estimate:?}");
    }

    #[test]
    fn losses_are_those_of_the_chain() {
        let chain = |repair| Redundancy { n: 6, k: 3, failure_rate: 0.01, repair };
        let law = || RepairTime::Law(hours(10.0));
        let together = |threshold, detection| Fleet {
            repair: Repair::Together { time: hours(10.0), threshold },
            detection,
            ..small_fleet()
        };
        for (fleet, repair) in [
            (small_fleet(), RepairRates::Each { rate: 0.1, detection_rate: f64::INFINITY }),
            (
                Fleet { repair: Repair::OneByOne(law()), ..small_fleet() },
                RepairRates::OneByOne { rate: 0.1 },
            ),
            (
                together(2, hours(5.0)),
                RepairRates::Together { rate: 0.1, threshold: 2, detection_rate: 0.2 },
            ),
            (
                together(3, Law::Fixed(0.0)),
                RepairRates::Together { rate: 0.1, threshold: 3, detection_rate: f64::INFINITY },
            ),
        ] {
            let tally = tally(&fleet, 1500);
            assert_probability(tally.groups_lost, 1500, chain(repair).loss_probability(2000.0));
            assert_eq!(tally.losses.iter().sum::<u64>(), tally.groups_lost);
        }
    }

    #[test]
    fn one_group_fares_as_each_of_many() {
        let many = Fleet { nodes: 12, zones: 12, groups: 6, ..small_fleet() };
        let one = many.one_group().unwrap();
        let (many, one) = (tally(&many, 500), tally(&one, 1500));
        let share = many.groups_lost as f64 / 3000.0;
        assert_probability(one.groups_lost, 1500, share);
        let serial = Repair::OneByOne(RepairTime::Law(hours(10.0)));
        assert_eq!(Fleet { groups: 6, repair: serial, ..small_fleet() }.one_group(), None);
    }

    #[test]
    fn leaks_are_those_of_the_closed_forms() {
        let attack = |epoch| Attack {
            hostile: Hostile::Each(0.1),
            k_key: 4,
            d_key: 5,
            epoch,
            growth: 0.0,
            withholds: false,
        };
        // Nothing is lost: machines are replaced at once.
        let fleet = |epoch| Fleet {
            repair: Repair::Each(RepairTime::Law(Law::Fixed(0.0))),
            attack: Some(attack(epoch)),
            horizon: 400 * HOUR,
            ..small_fleet()
        };
        let model = LeakModel { n: 6, k: 4, hostile: 0.1, replacement_rate: 0.01 };
        let without = tally(&fleet(None), 2000);
        assert_probability(without.groups_leaked, 2000, model.without_refresh(400.0));
        let with = tally(&fleet(Some(60 * HOUR)), 6000);
        assert_probability(with.groups_leaked, 6000, model.with_refresh(400.0, 60.0));
        assert_eq!((with.groups_lost, with.leaks.iter().sum()), (0, with.groups_leaked));
    }

    #[test]
    fn an_exact_number_of_hostile_machines_is_hypergeometric() {
        let fleet = Fleet {
            nodes: 40,
            groups: 30,
            lives: vec![],
            attack: Some(Attack {
                hostile: Hostile::Exactly(10),
                k_key: 4,
                d_key: 5,
                epoch: None,
                growth: 0.0,
                withholds: false,
            }),
            ..small_fleet()
        };
        let tally = tally(&fleet, 300);
        let law = crate::exact::Hypergeometric { population: 40, marked: 10, drawn: 6 };
        // Groups share machines, so the count varies a little more than a binomial one.
        let (expected, trials) = (law.at_least(4), 9000.0);
        let deviation = (tally.groups_leaked as f64 / trials - expected).abs();
        assert!(deviation < 5.0 * (expected / trials).sqrt(), "{deviation} of {expected}");
    }

    #[test]
    fn pauses_make_groups_unreadable_for_a_while() {
        let absence = Absence {
            session: Session::Law(hours(8.0)),
            length: hours(2.0),
            timeout: crate::time::NEVER,
        };
        let fleet = Fleet { lives: vec![], absence: Some(absence), ..small_fleet() };
        let tally = tally(&fleet, 60);
        let share = tally.unreadable as f64 / tally.survived as f64;
        let expected = Binomial { n: 6, p: 0.8 }.at_most(2);
        assert!((share / expected - 1.0).abs() < 0.1, "{share} is not {expected}");
        assert_eq!((tally.deaths, tally.false_repairs, tally.groups_lost), (0, 0, 0));
        // From j machines to the next: 1 / ((6 - j) / 2), and back down first with j / 8 against it.
        let up = |j: f64, before: f64| (1.0 + j / 8.0 * before) / ((6.0 - j) / 2.0);
        let expected = up(2.0, up(1.0, up(0.0, 0.0)));
        let spells = &tally.unreadable_spells;
        let mean = tally.unreadable as f64 / spells.numbers() as f64 / HOUR as f64;
        assert!((mean / expected - 1.0).abs() < 0.1, "{mean} h is not {expected} h");
        assert!(spells.quantile(0.99, 0) < spells.largest());
    }

    #[test]
    fn short_time_outs_repair_who_was_only_away() {
        let absence =
            Absence { session: Session::Law(hours(8.0)), length: hours(2.0), timeout: HOUR };
        for repair in [
            Repair::Each(RepairTime::Law(hours(1.0))),
            Repair::OneByOne(RepairTime::Law(hours(1.0))),
            Repair::Together { time: hours(1.0), threshold: 1 },
        ] {
            let fleet = Fleet { absence: Some(absence.clone()), repair, ..small_fleet() };
            let tally = tally(&fleet, 20);
            assert!(tally.false_repairs > 1000, "{tally:?}");
        }
    }

    #[test]
    fn outages_silence_whole_zones() {
        let outages = Outages { interval: hours(90.0), length: hours(10.0) };
        // Three zones of two machines each: (6, 3) cannot be read while two or more are out.
        let fleet = Fleet { zones: 3, lives: vec![], outages: Some(outages), ..small_fleet() };
        let tally = tally(&fleet, 300);
        let share = tally.unreadable as f64 / tally.survived as f64;
        let expected = Binomial { n: 3, p: 0.1 }.at_least(2);
        assert!((share / expected - 1.0).abs() < 0.15, "{share} is not {expected}");
        // Machines that pause besides are not counted twice.
        let absence = Absence {
            session: Session::Law(hours(8.0)),
            length: hours(2.0),
            timeout: crate::time::NEVER,
        };
        let both = self::tally(&Fleet { absence: Some(absence), ..fleet.clone() }, 100);
        let share = both.unreadable as f64 / both.survived as f64;
        let up = |zones: u64| Binomial { n: 2 * zones, p: 0.8 }.at_most(2);
        let zones = Binomial { n: 3, p: 0.9 };
        let expected: f64 = (0..=3).map(|z| zones.probability(z) * up(z)).sum();
        assert!((share / expected - 1.0).abs() < 0.1, "{share} is not {expected}");
        // So it is where groups are repaired together, too.
        let together = Repair::Together { time: hours(1.0), threshold: 1 };
        let lives = vec![hours(1e5)];
        let fleet = Fleet { repair: together, lives, ..fleet };
        let tally = self::tally(&fleet, 300);
        let share = tally.unreadable as f64 / tally.survived as f64;
        let expected = Binomial { n: 3, p: 0.1 }.at_least(2);
        assert!((share / expected - 1.0).abs() < 0.15, "{share} is not {expected}");
    }

    #[test]
    fn a_mass_loss_is_binomial() {
        for repair in [
            Repair::Each(RepairTime::Law(hours(10.0))),
            Repair::Together { time: hours(10.0), threshold: 1 },
        ] {
            let loss = MassLoss { at: 50 * HOUR, share: 0.5 };
            let fleet = Fleet { lives: vec![], mass_loss: Some(loss), repair, ..small_fleet() };
            let tally = tally(&fleet, 3000);
            assert_probability(tally.groups_lost, 3000, Binomial { n: 6, p: 0.5 }.at_most(2));
            assert_eq!(tally.losses[CURVE_POINTS * 50 / 2000], tally.groups_lost);
        }
    }

    /// A group of three kinds of machines: always on, on four fifths of the time, on half of it.
    #[test]
    fn kinds_of_machines_pause_in_their_own_ways() {
        let pausing = |session, length| {
            let session = Session::Law(hours(session));
            Some(Absence { session, length: hours(length), timeout: crate::time::NEVER })
        };
        let kind = |absence| Kind { nodes: 2, lives: vec![], absence };
        let kinds = vec![kind(pausing(8.0, 2.0)), kind(pausing(5.0, 5.0))];
        let fleet = Fleet { lives: vec![], kinds, ..small_fleet() };
        let tally = tally(&fleet, 100);
        let share = tally.unreadable as f64 / tally.survived as f64;
        // Two are always up, so that it takes one of the four others.
        let expected = 0.2f64.powi(2) * 0.5f64.powi(2);
        assert!((share / expected - 1.0).abs() < 0.1, "{share} is not {expected}");
    }

    /// As each kind dies, so many deaths there are.
    #[test]
    fn kinds_of_machines_live_in_their_own_ways() {
        let short = Kind { nodes: 4, lives: vec![hours(50.0)], absence: None };
        let long = Kind { nodes: 6, lives: vec![hours(1e9), hours(200.0)], absence: None };
        let repair = Repair::Each(RepairTime::Law(Law::Fixed(0.0)));
        let kinds = vec![short, long];
        let fleet = Fleet { nodes: 20, groups: 5, lives: vec![], kinds, repair, ..small_fleet() };
        let tally = tally(&fleet, 100);
        let expected = 100.0 * (4.0 * 2000.0 / 50.0 + 6.0 * 2000.0 / 200.0);
        let ratio = tally.deaths as f64 / expected;
        assert!((ratio - 1.0).abs() < 0.03, "{ratio}");
        assert_eq!(fleet.one_group(), None);
    }

    /// Off from ten in the evening or later, for eight hours: nobody can read at four.
    #[test]
    fn nights_take_their_share() {
        let session = Session::Daily { at: 22 * HOUR, spread: HOUR };
        let length = Law::Fixed(8.0 * HOUR as f64);
        let absence = Absence { session, length, timeout: crate::time::NEVER };
        let fleet = Fleet { lives: vec![], absence: Some(absence), ..small_fleet() };
        let tally = tally(&fleet, 20);
        // Of (6, 3): from the fourth machine's leaving to the third's return, 8 h less the seventh
        // part of the hour between these two.
        let share = tally.unreadable as f64 / tally.survived as f64;
        let expected = (8.0 - 1.0 / 7.0) / 24.0;
        assert!((share / expected - 1.0).abs() < 0.02, "{share} is not {expected}");
    }

    #[test]
    fn repairs_move_what_the_code_says() {
        let fleet =
            Fleet { repair: Repair::Each(RepairTime::Law(Law::Fixed(0.0))), ..small_fleet() };
        let tally = tally(&fleet, 20);
        assert_eq!(tally.deaths, tally.shares_repaired);
        assert_eq!(tally.repair_bytes, 10 * u128::from(tally.shares_repaired));
        // Below d = 4 others a repair decodes.
        let slow = Fleet { repair: Repair::Each(RepairTime::Law(hours(60.0))), ..small_fleet() };
        let slow = self::tally(&slow, 20);
        assert!(slow.repair_bytes > 10 * u128::from(slow.shares_repaired));
        assert!(slow.repair_bytes < 30 * u128::from(slow.shares_repaired));
    }

    /// With repairs at once, the machines of a place die as a Poisson process does.
    #[test]
    fn repairs_of_a_month_spread_as_deaths_do() {
        for repair in [
            Repair::Each(RepairTime::Law(Law::Fixed(0.0))),
            Repair::Together { time: Law::Fixed(0.0), threshold: 1 },
        ] {
            let fleet = Fleet { repair, horizon: 2 * MONTH, ..small_fleet() };
            let tally = tally(&fleet, 500);
            let months = 500 * 6 * 2;
            let without = months - tally.received.numbers();
            // 7.3 deaths a month: at most 7 with .554 (6 with .404), at most 14 with .992 (13 with .983),
            // none with e^-7.3.
            assert!(without < months / 500, "{without}");
            let [median, p99] = [0.5, 0.99].map(|share| tally.received.quantile(share, without));
            assert!((70..=74).contains(&median) && (140..=149).contains(&p99), "{median}, {p99}");
            let peak = tally.received.largest();
            assert!(peak > p99 && peak.is_multiple_of(10), "{peak}");
        }
    }

    #[test]
    fn a_run_is_a_function_of_seed_and_number() {
        let fleet = Fleet { nodes: 20, groups: 8, zones: 3, ..small_fleet() };
        let whole = tally(&fleet, 12);
        let mut parts = Tally::new();
        for replication in (0..12).rev() {
            parts.add(&simulate(&fleet, 1, replication..replication + 1));
        }
        assert_eq!(whole, parts);
        assert_eq!(
            (whole.events, whole.groups_lost),
            (tally(&fleet, 12).events, whole.groups_lost)
        );
    }
}
