//! Many replications of a fleet, in blocks.
//!
//! A block is a fixed range of replications, and the unit of everything that is divided: threads and
//! shards take whole blocks, and intervals of means are Student's over blocks. A block is a function
//! of the campaign and its number, so that results do not depend on who computed it, or when.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::estimate::Estimate;
use crate::fleet::{CURVE_POINTS, Fleet, MONTH, Spread, Tally, simulate};
use crate::protocol::{self, Network};
use crate::time::{HOUR, YEAR};

/// Blocks of a campaign, unless there are fewer replications: enough for Student's interval to be
/// nearly normal.
pub const BLOCKS: u64 = 64;

/// Fewer events say too little of the spread of blocks.
const EVENTS_MIN: u64 = 20;

/// A fleet, and how often it is run.
#[derive(Clone, Debug, PartialEq)]
pub struct Campaign {
    /// The model.
    pub fleet: Fleet,
    /// The network of full nodes that is run, in protocol mode.
    pub protocol: Option<Network>,
    /// The same seed gives the same numbers.
    pub seed: u64,
    /// Runs, at least 1.
    pub replications: u64,
}

/// When fewer blocks than all are enough: as soon as one of these holds. Seen only after whole batches
/// of the first blocks, so that it does not depend on who ran them, or when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stop {
    /// Half the width of the intervals, over the estimates, of P(any group is lost) and, with an
    /// attacker, of P(any group leaks).
    pub half_width: Option<f64>,
    /// Groups that were lost and, with an attacker, as many that leaked.
    pub seen: Option<u64>,
    /// Events that were handled: what a run costs, which unlike its CPU time is the same everywhere.
    pub events: Option<u64>,
}

impl Stop {
    /// Blocks of a batch.
    pub const BATCH: u64 = 8;

    fn holds(&self, summary: &Summary, attacked: bool) -> bool {
        let loss = (summary.groups_lost, summary.loss_of_any);
        let leak = attacked.then_some((summary.groups_leaked, summary.leak_of_any));
        let all = |holds: &dyn Fn(u64, Estimate) -> bool| {
            holds(loss.0, loss.1) && leak.is_none_or(|(count, estimate)| holds(count, estimate))
        };
        let narrow = |share: f64| {
            all(&|count, estimate| {
                let [low, high] = estimate.interval;
                count > 0 && (high - low) / 2.0 <= share * estimate.value
            })
        };
        self.half_width.is_some_and(narrow)
            || self.seen.is_some_and(|seen| all(&|count, _| count >= seen))
            || self.events.is_some_and(|events| summary.events >= events)
    }
}

/// The tallies of blocks by their number.
pub type Blocks = BTreeMap<u64, Tally>;

/// What a campaign says. Probabilities are within the horizon.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Runs.
    pub replications: u64,
    /// Events that were handled.
    pub events: u64,
    /// What all runs in protocol mode came to, in hexadecimal: another run has the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
    /// Groups lost, in all runs.
    pub groups_lost: u64,
    /// Groups leaked, in all runs.
    pub groups_leaked: u64,
    /// That a group is lost.
    pub loss_of_a_group: Estimate,
    /// That any group of the fleet is.
    pub loss_of_any: Estimate,
    /// That the secret of a group leaks.
    pub leak_of_a_group: Estimate,
    /// That the secret of any group does.
    pub leak_of_any: Estimate,
    /// Refreshes of a group in a year, until it is lost or leaks.
    pub refreshes_per_group_year: f64,
    /// That the secret of a group leaks in an epoch; `None` where nothing is refreshed, or after too few
    /// leaks.
    pub leak_of_an_epoch: Option<Estimate>,
    /// Share of the time in which a group that is not lost cannot be read; `None` if that is too rare
    /// for an interval.
    pub unreadable: Option<Estimate>,
    /// How long a group that is not lost cannot be read at a time; `None` if that never happens.
    pub unreadable_hours: Option<UnreadableHours>,
    /// Bytes that repairs move, a machine and year.
    pub repair_bytes_per_node_year: Option<Estimate>,
    /// How these spread over machines and months: bytes that a machine gets in a month.
    pub repair_bytes_per_node_month: RepairMonths,
    /// Shares that were rebuilt, a machine and year.
    pub shares_repaired_per_node_year: f64,
    /// Machines that died, a machine and year.
    pub deaths_per_node_year: f64,
    /// Replacements of machines that were alive or came back, a machine and year.
    pub false_repairs_per_node_year: f64,
    /// Hours that a replacement of a machine waits for others before it begins; of repairs one by one.
    pub repair_waits_hours: Option<Estimate>,
    /// Hours that it then takes.
    pub repair_lasts_hours: Option<Estimate>,
    /// That a group is lost by the end of each of equal parts of the horizon.
    pub loss_curve: Vec<CurvePoint>,
    /// That the secret of a group leaks by then.
    pub leak_curve: Vec<CurvePoint>,
    /// Bytes that repairs move in each of these parts, a machine and month (a twelfth of a year).
    pub repair_curve: Vec<CurvePoint>,
}

/// Of all machines and months of all runs. The largest of many depends on how many there are: it is no
/// estimate, but what a link has to stand.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RepairMonths {
    /// How many there are: of each place, every month that has begun.
    pub months: u64,
    /// What 99 of 100 do not exceed; at most a sixteenth too large.
    pub p99: u64,
    /// The most.
    pub peak: u64,
}

/// Of all times at which any group could not be read; those at the end of a run are cut off there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct UnreadableHours {
    /// How often.
    pub times: u64,
    /// What half of them do not exceed; at most a sixteenth too large.
    pub median: f64,
    /// What 99 of 100 do not exceed.
    pub p99: f64,
    /// The longest.
    pub longest: f64,
}

/// A quantity at a time: a probability that something has happened by then, or a rate until then.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Since the start.
    pub years: f64,
    /// The estimate.
    pub value: f64,
    /// Its interval; of a probability after too few events only its upper end says something, of a rate
    /// there is none then.
    pub interval: Option<[f64; 2]>,
}

impl Campaign {
    /// How many blocks there are.
    pub fn blocks(&self) -> u64 {
        BLOCKS.min(self.replications)
    }

    /// Bytes of memory that one run takes, about.
    pub fn memory_bytes(&self) -> u64 {
        self.protocol.map_or_else(|| self.fleet.memory_bytes(), |network| network.memory_bytes())
    }

    /// Runs the block of this number, which is below [`blocks`](Self::blocks).
    pub fn run_block(&self, block: u64) -> Tally {
        let start = |block: u64| {
            (u128::from(self.replications) * u128::from(block) / u128::from(self.blocks())) as u64
        };
        let replications = start(block)..start(block + 1);
        match &self.protocol {
            None => simulate(&self.fleet, self.seed, replications),
            Some(network) => protocol::simulate(&self.fleet, network, self.seed, replications),
        }
    }

    /// The blocks of shard `index` of `shards`, 0 <= index < shards: every `shards`-th.
    pub fn shard(&self, index: u64, shards: u64) -> impl Iterator<Item = u64> + use<> {
        (index..self.blocks()).step_by(usize::try_from(shards).unwrap_or(usize::MAX))
    }

    /// Runs all blocks.
    pub fn run(&self) -> Blocks {
        (0..self.blocks()).map(|block| (block, self.run_block(block))).collect()
    }

    /// The first batches of blocks after which a rule says that it is enough, if they are there.
    pub fn enough(&self, stop: &Stop, blocks: &Blocks, confidence: f64) -> Option<Blocks> {
        let borders = (Stop::BATCH..self.blocks()).step_by(Stop::BATCH as usize);
        let whole =
            borders.take_while(|&border| (0..border).all(|block| blocks.contains_key(&block)));
        whole
            .map(|border| {
                blocks.range(..border).map(|(block, tally)| (*block, tally.clone())).collect()
            })
            .find(|first| stop.holds(&self.summary(first, confidence), self.fleet.attack.is_some()))
    }

    /// Sums up all blocks, with intervals of this confidence.
    pub fn summary(&self, blocks: &Blocks, confidence: f64) -> Summary {
        let mut total = Tally::new();
        blocks.values().for_each(|tally| total.add(tally));
        let any = |hits| Estimate::of_probability(hits, total.replications, confidence);
        let node_years = self.node_years(&total);
        let bytes: Vec<[f64; 2]> = blocks
            .values()
            .map(|tally| [tally.repair_bytes as f64, self.node_years(tally)])
            .collect();
        let loss_of_any = any(total.replications_with_loss);
        let leak_of_any = any(total.replications_with_leak);
        Summary {
            replications: total.replications,
            events: total.events,
            trace: self.protocol.map(|_| show_trace(&total.trace)),
            groups_lost: total.groups_lost,
            groups_leaked: total.groups_leaked,
            loss_of_a_group: self.of_a_group(blocks, |tally| tally.groups_lost, loss_of_any),
            loss_of_any,
            leak_of_a_group: self.of_a_group(blocks, |tally| tally.groups_leaked, leak_of_any),
            leak_of_any,
            refreshes_per_group_year: total.refreshes as f64 / self.group_years(&total),
            leak_of_an_epoch: self.leak_of_an_epoch(blocks, &total, confidence),
            unreadable: unreadable(blocks, confidence),
            unreadable_hours: unreadable_hours(&total.unreadable_spells),
            repair_bytes_per_node_year: Estimate::of_ratio(&bytes, confidence),
            repair_bytes_per_node_month: self.repair_months(&total),
            shares_repaired_per_node_year: total.shares_repaired as f64 / node_years,
            deaths_per_node_year: total.deaths as f64 / node_years,
            false_repairs_per_node_year: total.false_repairs as f64 / node_years,
            repair_waits_hours: hours_of_repair(blocks, |tally| tally.repair_waited, confidence),
            repair_lasts_hours: hours_of_repair(blocks, |tally| tally.repair_lasted, confidence),
            loss_curve: self.curve(blocks, |tally| &tally.losses, confidence),
            leak_curve: self.curve(blocks, |tally| &tally.leaks, confidence),
            repair_curve: self.repair_curve(blocks, &total, confidence),
        }
    }

    /// Repaired shares by time, each with the bytes that it took in the mean over all time.
    fn repair_curve(&self, blocks: &Blocks, total: &Tally, confidence: f64) -> Vec<CurvePoint> {
        let bytes = total.repair_bytes as f64 / (total.shares_repaired as f64).max(1.0);
        let months = 12.0 / CURVE_POINTS as f64;
        let point = |part: usize| {
            let pair = |tally: &Tally| {
                [tally.repairs[part] as f64 * bytes, self.node_years(tally) * months]
            };
            let pairs: Vec<[f64; 2]> = blocks.values().map(pair).collect();
            let [above, below] =
                [0, 1].map(|half| pairs.iter().map(|pair| pair[half]).sum::<f64>());
            CurvePoint {
                years: self.years(part),
                value: above / below,
                interval: Estimate::of_ratio(&pairs, confidence).map(|estimate| estimate.interval),
            }
        };
        (0..CURVE_POINTS).map(point).collect()
    }

    fn repair_months(&self, total: &Tally) -> RepairMonths {
        let months_a_run = self.fleet.horizon.div_ceil(MONTH);
        let months = total.replications * u64::from(self.fleet.nodes) * months_a_run;
        let spread = &total.received;
        let without = months.saturating_sub(spread.numbers());
        RepairMonths { months, p99: spread.quantile(0.99, without), peak: spread.largest() }
    }

    /// The end of a part of the horizon.
    fn years(&self, part: usize) -> f64 {
        let horizon_years = self.fleet.horizon as f64 / YEAR as f64;
        horizon_years * (part + 1) as f64 / CURVE_POINTS as f64
    }

    fn group_runs(&self, tally: &Tally) -> f64 {
        (u128::from(tally.replications) * u128::from(self.fleet.groups)) as f64
    }

    fn group_years(&self, tally: &Tally) -> f64 {
        self.group_runs(tally) * self.fleet.horizon as f64 / YEAR as f64
    }

    /// Every run begins an epoch of each group, and every refresh another.
    fn leak_of_an_epoch(
        &self,
        blocks: &Blocks,
        total: &Tally,
        confidence: f64,
    ) -> Option<Estimate> {
        let epochs = |tally: &Tally| tally.refreshes as f64 + self.group_runs(tally);
        let pairs: Vec<[f64; 2]> =
            blocks.values().map(|tally| [tally.groups_leaked as f64, epochs(tally)]).collect();
        let told = total.refreshes > 0 && total.groups_leaked >= EVENTS_MIN;
        Estimate::of_ratio(&pairs, confidence).filter(|_| told)
    }

    fn node_years(&self, tally: &Tally) -> f64 {
        let years = self.fleet.horizon as f64 / YEAR as f64;
        tally.replications as f64 * f64::from(self.fleet.nodes) * years
    }

    /// The probability that an event befalls a given group; after too few events all that is known is
    /// that it is at most that of any.
    fn of_a_group(&self, blocks: &Blocks, hits: fn(&Tally) -> u64, any: Estimate) -> Estimate {
        let all: u64 = blocks.values().map(hits).sum();
        self.of_hits(blocks, hits, any.confidence).unwrap_or_else(|| {
            let runs: f64 = blocks.values().map(|tally| self.group_runs(tally)).sum();
            Estimate { value: all as f64 / runs, interval: [0.0, any.interval[1]], ..any }
        })
    }

    /// The probability of an event that befalls each group at most once in a run. Groups share
    /// machines, so the events of several are no independent trials: Student's interval over blocks,
    /// or `None` after too few events.
    fn of_hits(
        &self,
        blocks: &Blocks,
        hits: impl Fn(&Tally) -> u64,
        confidence: f64,
    ) -> Option<Estimate> {
        let all: u64 = blocks.values().map(&hits).sum();
        if self.fleet.groups == 1 {
            let runs = blocks.values().map(|tally| tally.replications).sum();
            return Some(Estimate::of_probability(all, runs, confidence));
        }
        // Blocks differ by a replication in length, so it is a ratio.
        let pairs: Vec<[f64; 2]> =
            blocks.values().map(|tally| [hits(tally) as f64, self.group_runs(tally)]).collect();
        Estimate::of_ratio(&pairs, confidence).filter(|_| all >= EVENTS_MIN)
    }

    fn curve(
        &self,
        blocks: &Blocks,
        counts: fn(&Tally) -> &Vec<u64>,
        confidence: f64,
    ) -> Vec<CurvePoint> {
        let runs: f64 = blocks.values().map(|tally| self.group_runs(tally)).sum();
        let replications = blocks.values().map(|tally| tally.replications).sum();
        // After too few events: as many runs at most have one.
        let at_most = |all: u64| {
            let any = Estimate::of_probability(all.min(replications), replications, confidence);
            [0.0, any.interval[1]]
        };
        let point = |last: usize| {
            let hits = |tally: &Tally| counts(tally)[..=last].iter().sum::<u64>();
            let all: u64 = blocks.values().map(hits).sum();
            CurvePoint {
                years: self.years(last),
                value: all as f64 / runs,
                interval: Some(match self.of_hits(blocks, hits, confidence) {
                    Some(estimate) => estimate.interval,
                    None => at_most(all),
                }),
            }
        };
        (0..CURVE_POINTS).map(point).collect()
    }
}

fn show_trace(trace: &[u64; 4]) -> String {
    trace.iter().map(|word| format!("{word:016x}")).collect()
}

fn unreadable(blocks: &Blocks, confidence: f64) -> Option<Estimate> {
    let with_any = blocks.values().filter(|tally| tally.unreadable > 0).count();
    if 2 * with_any < blocks.len() {
        return None;
    }
    let pairs: Vec<[f64; 2]> =
        blocks.values().map(|tally| [tally.unreadable as f64, tally.survived as f64]).collect();
    Estimate::of_ratio(&pairs, confidence)
}

fn unreadable_hours(spells: &Spread) -> Option<UnreadableHours> {
    let hours = |nanoseconds: u64| nanoseconds as f64 / HOUR as f64;
    let times = spells.numbers();
    (times > 0).then(|| UnreadableHours {
        times,
        median: hours(spells.quantile(0.5, 0)),
        p99: hours(spells.quantile(0.99, 0)),
        longest: hours(spells.largest()),
    })
}

/// Of a replacement, in the mean.
fn hours_of_repair(
    blocks: &Blocks,
    nanoseconds: fn(&Tally) -> u128,
    confidence: f64,
) -> Option<Estimate> {
    let pair = |tally: &Tally| [nanoseconds(tally) as f64 / HOUR as f64, tally.replacements as f64];
    let pairs: Vec<[f64; 2]> = blocks.values().map(pair).collect();
    let all: u64 = blocks.values().map(|tally| tally.replacements).sum();
    Estimate::of_ratio(&pairs, confidence).filter(|_| all >= EVENTS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Attack, Hostile, Repair, RepairTime, Traffic};
    use crate::random::Law;

    fn hours(mean: f64) -> Law {
        Law::Exponential { mean: mean * HOUR as f64 }
    }

    fn campaign(groups: u32, replications: u64) -> Campaign {
        let fleet = Fleet {
            nodes: 12,
            zones: 12,
            groups,
            n: 6,
            k: 3,
            lives: vec![hours(200.0)],
            absence: None,
            outages: None,
            mass_loss: None,
            kinds: vec![],
            corruption: None,
            quorum_losses: None,
            patience: None,
            detection: hours(1.0),
            repair: Repair::Each(RepairTime::Law(hours(10.0))),
            traffic: Traffic { d: 4, repair_bytes: 10, decode_bytes: 30 },
            attack: Some(Attack {
                hostile: Hostile::Each(0.1),
                k_key: 4,
                d_key: 5,
                epoch: Some(100 * HOUR),
                growth: 0.0,
                withholds: false,
            }),
            horizon: 1000 * HOUR,
        };
        Campaign { fleet, protocol: None, seed: 4, replications }
    }

    #[test]
    fn blocks_divide_all_replications_whoever_runs_them() {
        let campaign = campaign(2, 150);
        let blocks = campaign.run();
        assert_eq!(blocks.values().map(|tally| tally.replications).sum::<u64>(), 150);
        for shards in [1, 4, 16, 100] {
            let mut merged = Blocks::new();
            for shard in (0..shards).rev() {
                merged.extend(campaign.shard(shard, shards).map(|i| (i, campaign.run_block(i))));
            }
            assert_eq!(blocks, merged);
            assert_eq!(campaign.summary(&blocks, 0.95), campaign.summary(&merged, 0.95));
        }
    }

    #[test]
    fn probabilities_of_one_group_and_of_any_fit_together() {
        let campaign = campaign(5, 400);
        let summary = campaign.summary(&campaign.run(), 0.95);
        assert!(summary.loss_of_a_group.value <= summary.loss_of_any.value);
        assert!(summary.loss_of_any.value <= 5.0 * summary.loss_of_a_group.value);
        // Nine of ten epochs of 100 h end in a refresh, unless the group is lost or leaks before.
        let refreshes = summary.refreshes_per_group_year;
        assert!((1.0..87.6).contains(&refreshes), "{refreshes}");
        let epochs = 2000.0 * (1.0 + refreshes * 1000.0 / 8760.0);
        let leak = summary.leak_of_an_epoch.map_or(0.0, |leak| leak.value);
        assert!((leak * epochs - summary.groups_leaked as f64).abs() < 1e-6, "{leak}");
        assert_eq!(summary.loss_curve.len(), CURVE_POINTS);
        let end = summary.loss_curve[63];
        assert!((end.value - summary.loss_of_a_group.value).abs() < 1e-12);
        assert_eq!(end.interval, Some(summary.loss_of_a_group.interval));
        let leaks: Vec<f64> = summary.leak_curve.iter().map(|point| point.value).collect();
        assert!(leaks.is_sorted() && leaks[63] > 0.0);
        let deaths = 8760.0 / 211.0;
        assert!((summary.deaths_per_node_year / deaths - 1.0).abs() < 0.05);
        let bytes = summary.repair_bytes_per_node_year.map_or(0.0, |bytes| bytes.value);
        assert!(bytes > 10.0 * deaths * 2.4 && bytes < 12.0 * deaths * 2.6, "{bytes}");
    }

    #[test]
    fn rare_events_get_no_more_than_an_upper_end() {
        let mut campaign = campaign(3, 40);
        campaign.fleet.lives = vec![hours(1e6)];
        let summary = campaign.summary(&campaign.run(), 0.95);
        assert_eq!((summary.groups_lost, summary.loss_of_a_group.value), (0, 0.0));
        assert_eq!(summary.loss_of_a_group.interval, [0.0, summary.loss_of_any.interval[1]]);
        assert_eq!(summary.unreadable, None);
        assert_eq!(summary.loss_curve[63].interval, Some(summary.loss_of_a_group.interval));
    }
}
