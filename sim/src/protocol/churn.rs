//! The course of a fleet: lives, pauses, outages and a mass loss by its laws.

use std::ops::Range;
use std::time::Duration;

use kakera_engine::code::Code;
use kakera_engine::names::GroupId;

use super::Network;
use super::health::Health;
use super::world::{Change, Course, Event, World};
use crate::fleet::{Fleet, Received, Tally};
use crate::random::{Purpose, Source};
use crate::time::{NEVER, Nanoseconds};

/// Objects are put one after the other, so far apart.
const BETWEEN_PUTS: Duration = Duration::from_millis(5);

/// Runs a fleet as a network of full nodes, once for each number, to its horizon or until all its
/// groups are lost.
///
/// Machines live and pause as in [`fast mode`](crate::fleet::simulate), by the same draws; a machine
/// that dies is replaced by a new one at once, which the ledger enrols. When a loss is noticed, who
/// takes the slots and how long they fill is for the protocol to find: `fleet.detection`,
/// `fleet.patience` and `fleet.repair` are not read. An outage of a zone
/// looks to validators as silence does: if it lasts for longer than their patience, they give its
/// machines up, as many as their rules allow.
pub fn simulate(fleet: &Fleet, network: &Network, seed: u64, replications: Range<u64>) -> Tally {
    let mut tally = Tally::new();
    for replication in replications {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes[8..16].copy_from_slice(&replication.to_be_bytes());
        let mut world = World::found(*network, bytes);
        let mut churn = Churn::new(fleet, network, Source::new(seed, replication));
        world.run(&mut churn, Duration::from_nanos(fleet.horizon));
        // What is rebuilt wrongly would be a fault of the engine, and no number worth giving.
        assert!(world.broken.is_empty(), "replication {replication}: {:?}", world.broken);
        churn.received.iter_mut().for_each(|received| received.end(&mut churn.tally));
        churn.health.finish(fleet, &mut churn.tally);
        churn.tally.events += world.events;
        churn.tally.enter_trace(&world.trace());
        tally.add(&churn.tally);
    }
    tally
}

struct Churn<'a> {
    fleet: &'a Fleet,
    source: Source,
    code: Code,
    /// Of places: how many machines had it before.
    incarnation: Vec<u32>,
    /// How often their machines paused.
    pauses: Vec<u32>,
    /// What their machines got of repairs.
    received: Vec<Received>,
    /// Of zones: how many outages they had, and until when the last lasts.
    outages: Vec<u32>,
    out_until: Vec<Nanoseconds>,
    /// The place of each machine.
    place: Vec<u32>,
    puts_left: u32,
    health: Health,
    tally: Tally,
}

enum Life {
    Put(GroupId),
    Die(usize),
    Pause(usize),
    Return(usize),
    Outage { zone: u32 },
    MassLoss,
}

impl Course for Churn<'_> {
    type Event = Life;

    fn begin(&mut self, world: &mut World<Life>) {
        self.place = (0..self.fleet.nodes).collect();
        if let Some(attack) = self.fleet.attack {
            let chosen = attack.hostile.at_start(self.fleet.nodes, &self.source);
            world.nodes.iter_mut().zip(chosen).for_each(|(node, hostile)| node.hostile = hostile);
        }
        for node in 0..world.nodes.len() {
            self.begin_life(world, node);
        }
        for put in 0..self.puts_left {
            let group = GroupId(put % self.fleet.groups);
            world.at(BETWEEN_PUTS * put, Event::Course(Life::Put(group)));
        }
        for zone in 0..self.outages.len() {
            self.expect_outage(world, zone as u32, 0);
        }
        if let Some(loss) = self.fleet.mass_loss {
            self.schedule(world, loss.at, Life::MassLoss);
        }
    }

    fn happen(&mut self, world: &mut World<Life>, event: Life) {
        match event {
            Life::Put(group) => {
                world.put(&self.code, group, world.network.record_len());
            }
            Life::Die(node) => self.die(world, node),
            Life::Pause(node) => self.pause(world, node),
            Life::Return(node) if !world.nodes[node].dead => self.begin_session(world, node),
            Life::Return(_) => {}
            Life::Outage { zone } => self.begin_outage(world, zone),
            Life::MassLoss => self.lose_many(world),
        }
    }

    fn note(&mut self, world: &mut World<Life>, change: Change) {
        let Self { fleet, health, tally, place, received, .. } = self;
        match change {
            Change::Put => {
                self.puts_left -= 1;
                if self.puts_left == 0 {
                    health.note_block(world, fleet, tally);
                }
            }
            Change::Repaired { node, seat, progress, .. } => {
                if health.is_lost(seat.0) {
                    return;
                }
                let now = world.now.as_nanos() as Nanoseconds;
                let bytes = progress.symbol_bytes + progress.witness_bytes;
                received[place[node] as usize].add(bytes, now, tally);
                if progress.fragment_bytes > 0 {
                    let restored = health.look_at(world, fleet, seat.0, tally);
                    tally.count_repairs(now, fleet.horizon, restored);
                }
            }
            Change::GivenUp(node) => tally.false_repairs += u64::from(!world.nodes[node].dead),
            _ if self.puts_left > 0 => {}
            Change::Block => health.note_block(world, fleet, tally),
            Change::Reach(node) => health.note_node(world, fleet, node, tally),
            Change::Epoch(group) => health.note_epoch(world, fleet, group, tally),
            Change::Convicted(_) | Change::Readmitted => {}
        }
    }

    fn is_over(&self, _: &World<Life>) -> bool {
        self.health.left == 0
    }
}

impl<'a> Churn<'a> {
    fn new(fleet: &'a Fleet, network: &Network, source: Source) -> Self {
        let places = fleet.nodes as usize;
        let zones = if fleet.outages.is_some() { fleet.zones as usize } else { 0 };
        Self {
            fleet,
            source,
            code: network.code.build().expect("a code that was checked"),
            incarnation: vec![0; places],
            pauses: vec![0; places],
            received: vec![Received::default(); places],
            outages: vec![0; zones],
            out_until: vec![0; zones],
            place: Vec::new(),
            puts_left: fleet.groups * network.objects_per_group,
            health: Health::new(fleet),
            tally: Tally::new(),
        }
    }

    fn begin_life(&mut self, world: &mut World<Life>, node: usize) {
        let place = self.place[node];
        let number = self.incarnation[place as usize];
        let sooner = |cause: usize, uniform, bound| {
            self.fleet.lives_of(place)[cause].span(uniform).min(bound)
        };
        let life = self.fleet.life(&self.source, place, number, NEVER, sooner);
        let death = (world.now.as_nanos() as Nanoseconds).saturating_add(life);
        self.schedule(world, death, Life::Die(node));
        self.begin_session(world, node);
    }

    fn begin_session(&mut self, world: &mut World<Life>, node: usize) {
        let (place, now) = (self.place[node], world.now.as_nanos() as Nanoseconds);
        let Some(absence) = self.fleet.absence_of(place) else { return };
        let number = self.pauses[place as usize];
        let pause = absence.session.end(&self.source, now, place, number);
        self.schedule(world, pause, Life::Pause(node));
    }

    fn pause(&mut self, world: &mut World<Life>, node: usize) {
        let (place, now) = (self.place[node], world.now.as_nanos() as Nanoseconds);
        let Some(absence) = self.fleet.absence_of(place).filter(|_| !world.nodes[node].dead) else {
            return;
        };
        let number = self.pauses[place as usize];
        self.pauses[place as usize] += 1;
        let draw = self.source.draw(place, Purpose::Absence, number);
        let back = now.saturating_add(absence.length.span(draw.uniform()));
        world.put_to_sleep(node, Duration::from_nanos(back));
        self.schedule(world, back, Life::Return(node));
    }

    fn die(&mut self, world: &mut World<Life>, node: usize) {
        if world.nodes[node].dead {
            return; // in the mass loss
        }
        self.tally.deaths += 1;
        world.kill(node);
        let place = self.place[node];
        self.incarnation[place as usize] += 1;
        let newcomer = world.enrol(place % self.fleet.zones);
        self.place.push(place);
        let number = self.incarnation[place as usize];
        let now = world.now.as_nanos() as Nanoseconds;
        world.nodes[newcomer].hostile =
            self.fleet.newcomer_is_hostile(&self.source, now, place, number);
        let out_until = self.out_until.get((place % self.fleet.zones) as usize);
        if let Some(&until) =
            out_until.filter(|&&until| until > world.now.as_nanos() as Nanoseconds)
        {
            world.put_to_sleep(newcomer, Duration::from_nanos(until));
        }
        self.begin_life(world, newcomer);
    }

    /// The next outage of a zone, counted from `from`.
    fn expect_outage(&self, world: &mut World<Life>, zone: u32, from: Nanoseconds) {
        let Some(outages) = &self.fleet.outages else { return };
        let number = self.outages[zone as usize];
        let interval = outages.interval.draw(&self.source, zone, Purpose::OutageInterval, number);
        self.schedule(world, from.saturating_add(interval), Life::Outage { zone });
    }

    fn begin_outage(&mut self, world: &mut World<Life>, zone: u32) {
        let Some(outages) = &self.fleet.outages else { return };
        let number = self.outages[zone as usize];
        self.outages[zone as usize] += 1;
        let length = outages.length.draw(&self.source, zone, Purpose::OutageLength, number);
        let end = (world.now.as_nanos() as Nanoseconds).saturating_add(length);
        self.out_until[zone as usize] = end;
        for node in 0..world.nodes.len() {
            if self.place[node] % self.fleet.zones == zone && !world.nodes[node].dead {
                world.put_to_sleep(node, Duration::from_nanos(end));
            }
        }
        self.expect_outage(world, zone, end);
    }

    fn lose_many(&mut self, world: &mut World<Life>) {
        let Some(loss) = self.fleet.mass_loss else { return };
        for node in 0..world.nodes.len() {
            let draw = self.source.draw(self.place[node], Purpose::MassLoss, 0);
            if draw.uniform() < loss.share {
                self.die(world, node);
            }
        }
    }

    fn schedule(&self, world: &mut World<Life>, at: Nanoseconds, event: Life) {
        if at < self.fleet.horizon {
            world.at(Duration::from_nanos(at), Event::Course(event));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use crate::campaign::{Blocks, Campaign};
    use crate::estimate::Estimate;
    use crate::fleet::Tally;
    use crate::scenario::Scenario;
    use crate::time::HOUR;

    /// Twelve machines that live for some days, and two groups of (6, 3) on them.
    const BASE: &str = "\
        [network]\nnodes = 12\nlifetime = { exponential = \"5d\" }\n\
        [code]\ndata = \"mbr(6,3,4)\"\nkey = { k = 3, d = 4 }\n\
        [objects]\ngroups = 2\nbytes_per_group = \"256KiB\"\n\
        [repair]\npatience = \"1h\"\nrate = \"1MB/s\"\n";

    fn scenario(text: &str) -> Scenario {
        Scenario::parse(&format!("{BASE}{text}")).unwrap()
    }

    #[test]
    fn a_day_repeats_to_the_trace() {
        let scenario = scenario(
            "[pauses]\nsession = { exponential = \"6h\" }\nlength = { exponential = \"30min\" }\n\
             [attacker]\nhostile = \"20%\"\n[protocol]\nvalidators = 4\n\
             loss = \"1%\"\n[run]\nhorizon = \"1d\"\nreplications = 2\n",
        );
        let day = scenario.campaign.run();
        assert_eq!(day, scenario.campaign.run());
        let mut other = scenario.campaign.clone();
        other.seed += 1;
        assert_ne!(day, other.run());
        let summary = scenario.campaign.summary(&day, 0.95);
        assert!(summary.trace.is_some_and(|trace| trace.len() == 64));
        assert!(summary.deaths_per_node_year > 0.0 && summary.events > 10_000);
    }

    /// A site that is out for half an hour, unread and unrepaired; and machines that are out for longer
    /// than anybody waits.
    #[test]
    fn outages_silence_whole_zones() {
        let outages = |zones: u32, every: &str, length: &str| {
            let more = format!(
                "[outages]\nevery = {{ {every} }}\nlength = {{ fixed = \"{length}\" }}\n\
                 [protocol]\n[run]\nhorizon = \"12h\"\nreplications = 1\n",
            );
            let text = format!("{BASE}{more}").replacen("{ exponential = \"5d\" }", "\"never\"", 1);
            let text = text.replacen("nodes = 12", &format!("nodes = 12\nzones = {zones}"), 1);
            let nodes = Scenario::parse(&text).unwrap().campaign;
            let counts = Campaign { protocol: None, ..nodes.clone() };
            [nodes.run(), counts.run()].map(|blocks| blocks.into_values().next().unwrap())
        };
        let [nodes, counts] = outages(1, "fixed = \"5h\"", "30min");
        assert_eq!(nodes.unreadable, u128::from(4 * HOUR / 2));
        assert_eq!((nodes.unreadable, nodes.false_repairs), (counts.unreadable, 0));
        let [nodes, _] = outages(12, "exponential = \"20h\"", "2h");
        assert!(nodes.false_repairs > 0 && nodes.groups_lost == 0, "{nodes:?}");
    }

    fn overlap([low, high]: [f64; 2], [other_low, other_high]: [f64; 2]) -> bool {
        low <= other_high && other_low <= high
    }

    /// The same scenario on counts and with full nodes: lost groups and repaired shares within what
    /// chance allows, and the bytes of a repair within 3 % where that is no matter of chance.
    #[test]
    fn counts_say_what_full_nodes_do() {
        let lossy = include_str!("../../scenarios/small-churn.toml");
        let (before, after) = lossy.split_once("[mass_loss]").unwrap();
        let calm = format!("{before}{}", &after[after.find('[').unwrap()..]);
        for (text, runs) in [(lossy, 8), (&calm, 4)] {
            let nodes = Campaign { replications: runs, ..Scenario::parse(text).unwrap().campaign };
            let counts = Campaign { protocol: None, replications: 2000, ..nodes.clone() };
            let (nodes, counts) = (nodes.run(), counts.run());
            let (full, counted) = [&nodes, &counts].map(lost_groups).into();
            assert!(overlap(full, counted), "{full:?} lost with full nodes, {counted:?} on counts");
            let (full, counted) = [&nodes, &counts].map(repairs_a_death).into();
            assert!(
                overlap(full, counted),
                "{full:?} repaired by full nodes, {counted:?} on counts"
            );
            let (full, counted) = [&nodes, &counts].map(bytes_a_repair).into();
            assert!(overlap(full, counted), "{full:?} moved by full nodes, {counted:?} on counts");
            // After a mass loss few repairs find all helpers, how many is chance.
            let ratio = repair_bytes(&nodes) / repair_bytes(&counts);
            assert!(text == lossy || (ratio - 1.0).abs() < 0.03, "{ratio}");
        }
    }

    /// Epochs and leaks of groups that are refreshed by the engine's policy, by age and by churn.
    #[test]
    fn counts_refresh_as_full_nodes_do() {
        let text = "[network]\nnodes = 16\nlifetime = { exponential = \"5d\" }\n\
            [code]\ndata = \"mbr(6,3,4)\"\nkey = { k = 3, d = 4 }\n\
            [objects]\ngroups = 8\nbytes_per_group = \"16KiB\"\n\
            [repair]\npatience = \"30min\"\nrate = \"1MB/s\"\n\
            [attacker]\nhostile = \"30%\"\nrefresh = \"12h\"\n\
            [protocol]\nobject = \"8KiB\"\n[run]\nhorizon = \"2d\"\nreplications = 6\n";
        let nodes = Scenario::parse(text).unwrap().campaign;
        let counts = Campaign { protocol: None, replications: 4000, ..nodes.clone() };
        let (nodes, counts) = (nodes.run(), counts.run());
        let refreshes = |blocks| interval(blocks, |tally| [tally.refreshes, tally.replications]);
        let (full, counted) = [&nodes, &counts].map(refreshes).into();
        assert!(overlap(full, counted), "{full:?} refreshed by full nodes, {counted:?} on counts");
        let leaks = |blocks| {
            interval(blocks, |tally| {
                [tally.groups_leaked, tally.refreshes + 8 * tally.replications]
            })
        };
        let (full, counted) = [&nodes, &counts].map(leaks).into();
        assert!(overlap(full, counted), "{full:?} leaked of full nodes, {counted:?} on counts");
        // Where nobody dies and nobody is hostile, chance has no part in it.
        let text = text.replace("{ exponential = \"5d\" }", "\"never\"").replace("30%", "0%");
        let nodes = Campaign { replications: 1, ..Scenario::parse(&text).unwrap().campaign };
        let counts = Campaign { protocol: None, ..nodes.clone() };
        let [full, counted] = [nodes, counts].map(|campaign| {
            campaign.run().into_values().next().map(|tally| tally.refreshes).unwrap()
        });
        assert!(full > 24 && full.abs_diff(counted) <= 1, "{full} with full nodes, {counted}");
    }

    fn lost_groups(blocks: &Blocks) -> [f64; 2] {
        interval(blocks, |tally| [tally.groups_lost, tally.replications])
    }

    fn repairs_a_death(blocks: &Blocks) -> [f64; 2] {
        interval(blocks, |tally| [tally.shares_repaired, tally.deaths])
    }

    fn bytes_a_repair(blocks: &Blocks) -> [f64; 2] {
        interval(blocks, |tally| [tally.repair_bytes as u64, tally.shares_repaired])
    }

    fn interval(blocks: &Blocks, ratio: fn(&Tally) -> [u64; 2]) -> [f64; 2] {
        let pairs: Vec<_> =
            blocks.values().map(|tally| ratio(tally).map(|count| count as f64)).collect();
        Estimate::of_ratio(&pairs, 0.99).map_or([0.0, f64::INFINITY], |ratio| ratio.interval)
    }

    /// Of a share.
    fn repair_bytes(blocks: &Blocks) -> f64 {
        let sum = |of: fn(&Tally) -> f64| blocks.values().map(of).sum::<f64>();
        sum(|tally| tally.repair_bytes as f64) / sum(|tally| tally.shares_repaired as f64)
    }
}
