//! What happens to the machines.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use kakera_engine::names::NodeId;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::configure;
use crate::product::{LocalNetwork, Machine};
use crate::report::{Goal, Report};

/// From one blow to the next.
const EVERY: Duration = Duration::from_secs(20);
/// A sleep that is no loss.
const NAP: Duration = Duration::from_secs(10);
/// A sleep that is one.
const LONG_SLEEP: Duration = Duration::from_secs(40);
/// Parts whose bytes are changed at a time.
const ROTTEN_PARTS: usize = 3;

/// What befalls a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    /// Killed, and started again after a while.
    Kill,
    /// Paused for less than it takes to be given up.
    Nap,
    /// Paused for longer.
    LongSleep,
    /// Gone for good; an empty machine joins.
    Replace,
    /// Its disk takes nothing more until the next blow.
    FillDisk,
    /// Bits of its disk change.
    Rot,
}

const BLOWS: [Blow; 6] =
    [Blow::Kill, Blow::Nap, Blow::LongSleep, Blow::Replace, Blow::FillDisk, Blow::Rot];

/// A storm over a network.
pub(super) struct Storm<'a> {
    network: &'a LocalNetwork,
    spared: BTreeSet<NodeId>,
    rng: ChaCha8Rng,
    start: Instant,
    blows: BTreeMap<Blow, usize>,
    gone: BTreeSet<NodeId>,
    /// The machine whose disk is full.
    full: Option<Machine>,
}

impl<'a> Storm<'a> {
    /// Liars are spared: they are to be found out.
    pub(super) fn new(
        network: &'a LocalNetwork,
        spared: BTreeSet<NodeId>,
        rng: ChaCha8Rng,
    ) -> Self {
        Self {
            network,
            spared,
            rng,
            start: Instant::now(),
            blows: BTreeMap::new(),
            gone: BTreeSet::new(),
            full: None,
        }
    }

    /// Strikes for so long; in the end all machines run that are not gone for good.
    pub(super) fn rage(mut self, duration: Duration) -> Result<Self> {
        // Each kind once before chance decides, so that short storms have all.
        for number in 0.. {
            if self.start.elapsed() >= duration {
                break;
            }
            let begun = Instant::now();
            let blow = match BLOWS.get(number) {
                Some(blow) => *blow,
                None => BLOWS[self.below(BLOWS.len())],
            };
            self.strike(blow).with_context(|| format!("{blow:?}"))?;
            sleep(EVERY.saturating_sub(begun.elapsed()));
        }
        self.empty_disk()?;
        Ok(self)
    }

    /// Machines that were dead, or silent for long enough to pass for it.
    pub(super) fn given_up_rightly(&self) -> &BTreeSet<NodeId> {
        &self.gone
    }

    pub(super) fn add_to(&self, report: &mut Report) {
        for (blow, count) in &self.blows {
            report.count(format!("blows_{blow:?}").to_lowercase(), *count).goal(Goal::AtLeast(1.0));
        }
    }

    fn strike(&mut self, blow: Blow) -> Result<()> {
        self.empty_disk()?;
        let victim = self.draw_node()?;
        let Machine { name, id, .. } = &victim;
        eprintln!("soak: after {:.0?}, {blow:?} befalls node {name} ({id})", self.start.elapsed());
        *self.blows.entry(blow).or_default() += 1;
        match blow {
            Blow::Kill => {
                victim.process.kill()?;
                sleep(Duration::from_millis(self.below(8000) as u64));
                self.network.run(&["local", "up"])?;
            }
            Blow::Nap => pause(&victim, NAP)?,
            Blow::LongSleep => {
                self.gone.insert(victim.id);
                pause(&victim, LONG_SLEEP)?;
            }
            Blow::Replace => {
                self.gone.insert(victim.id);
                self.network.run(&["local", "kill", &victim.name])?;
                self.network.run(&["local", "add"])?;
            }
            Blow::FillDisk => {
                configure(&victim.folder, "quota = '1MB'\n")?;
                self.restart(&victim)?;
                self.full = Some(victim);
            }
            Blow::Rot => self.rot(&victim.folder)?,
        }
        Ok(())
    }

    fn empty_disk(&mut self) -> Result<()> {
        let Some(machine) = self.full.take() else { return Ok(()) };
        configure(&machine.folder, "")?;
        self.restart(&machine)
    }

    fn restart(&self, machine: &Machine) -> Result<()> {
        let machines = self.network.running()?;
        if let Some(running) = machines.iter().find(|running| running.id == machine.id) {
            running.process.terminate()?;
        }
        self.network.run(&["local", "up"]).map(drop)
    }

    /// Changes a byte of a few parts.
    fn rot(&mut self, machine: &Path) -> Result<()> {
        let mut parts = Vec::new();
        collect_files(&machine.join("parts"), &mut parts)?;
        parts.sort();
        for _ in 0..ROTTEN_PARTS.min(parts.len()) {
            let path = parts.swap_remove(self.below(parts.len()));
            // It may have been replaced meanwhile.
            let Ok(mut bytes) = fs::read(&path) else { continue };
            if let Some(place) = bytes.len().checked_sub(1) {
                let place = self.below(place + 1);
                bytes[place] ^= 1 << self.below(8);
                fs::write(&path, bytes)?;
            }
        }
        Ok(())
    }

    fn draw_node(&mut self) -> Result<Machine> {
        let mut nodes = self.network.running()?;
        nodes.retain(|machine| !machine.is_validator() && !self.spared.contains(&machine.id));
        let place = self.below(nodes.len());
        Ok(nodes.swap_remove(place))
    }

    fn below(&mut self, end: usize) -> usize {
        (self.rng.next_u64() % end as u64) as usize
    }
}

fn pause(machine: &Machine, time: Duration) -> Result<()> {
    machine.process.pause()?;
    sleep(time);
    machine.process.resume()
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_files(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}
