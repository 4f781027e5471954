//! Seeded power cuts and kills against the store, checked by a model of what it promised.
//!
//! A *scenario* lives several times on one simulated disk. Each life opens the store, compares
//! all it shows with what may be there, and then works until the disk stops at a drawn operation
//! or before a drawn sync, which may be inside the opening. Between lives either the power is cut or only the process is
//! killed. What a call acknowledged, and what an opened store showed, must be there ever after,
//! bit by bit; what was under way when the disk stopped may be there or not, but never in part.
//!
//! [`remove_each_sync`] then proves that the model has teeth: with any one sync of the store
//! left out, it must find a violation.

use std::collections::BTreeMap;
use std::fmt::Display;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::simulated::{Faults, SimulatedDisk, SyncSite};

mod chain;
mod log;
mod parts;
mod settings;
mod shares;

/// Which part of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// [`PartStore`](super::parts::PartStore).
    Parts,
    /// The refreshed key shares of the same.
    Shares,
    /// [`BlockLog`](super::block_log::BlockLog).
    Log,
    /// [`write_atomic`](super::file::write_atomic) and [`read_file`](super::file::read_file).
    Settings,
    /// [`ChainStore`](crate::chain_store::ChainStore).
    Chain,
}

impl Subject {
    /// Every subject.
    pub const ALL: [Self; 5] = [Self::Parts, Self::Shares, Self::Log, Self::Settings, Self::Chain];
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What is tested.
    pub subject: Subject,
    /// Seed of the first scenario; each further one has the next.
    pub first_seed: u64,
    /// Scenarios are run until there were at least as many power cuts.
    pub cuts: u64,
    /// A line of the store whose syncs do nothing.
    pub ignored_site: Option<SyncSite>,
}

/// What a run found. It ends at the first violation.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Power cuts.
    pub cuts: u64,
    /// Kills of the process that left the page cache.
    pub kills: u64,
    /// Operations of the disk.
    pub operations: u64,
    /// Faults that the cuts really caused.
    pub faults: Faults,
    /// Syncs by the line that called them.
    pub sync_sites: BTreeMap<SyncSite, u64>,
    /// Syncs of the ignored site.
    pub syncs_ignored: u64,
    /// The first broken promise: seed, all that was drawn, and what was wrong.
    pub violation: Option<String>,
}

/// A sync left out, and what became of it.
#[derive(Clone, Debug)]
pub struct Mutation {
    /// The line that syncs.
    pub site: SyncSite,
    /// How often it was left out.
    pub syncs_ignored: u64,
    /// Power cuts until the violation was found.
    pub cuts: u64,
    /// `None`: the model did not notice.
    pub violation: Option<String>,
}

/// Runs scenarios until there were enough power cuts, or a promise was broken.
pub fn run(plan: &Plan) -> Figures {
    let mut figures = Figures::default();
    let mut seed = plan.first_seed;
    while figures.cuts < plan.cuts && figures.violation.is_none() {
        let parameters = Parameters::draw(plan.subject, seed);
        let disk = SimulatedDisk::new();
        if let Some(site) = plan.ignored_site {
            disk.ignore_syncs_of(site);
        }
        let outcome = parameters.run(&disk, &mut figures);
        figures.violation = outcome.err().map(|what| format!("{what}; {parameters:?}"));
        figures.operations += disk.operations();
        figures.syncs_ignored += disk.syncs_ignored();
        for (site, count) in disk.sync_sites() {
            *figures.sync_sites.entry(site).or_default() += count;
        }
        seed += 1;
    }
    figures
}

/// Runs each subject once more for each of its syncs, with that sync left out.
///
/// A site that several subjects share counts as noticed if one of them notices.
pub fn remove_each_sync(first_seed: u64, cuts: u64) -> Vec<Mutation> {
    let mut mutations: BTreeMap<SyncSite, Mutation> = BTreeMap::new();
    for subject in Subject::ALL {
        let plan = Plan { subject, first_seed, cuts, ignored_site: None };
        for site in run(&plan).sync_sites.into_keys() {
            if mutations.get(&site).is_some_and(|earlier| earlier.violation.is_some()) {
                continue;
            }
            let figures = run(&Plan { ignored_site: Some(site), ..plan });
            let Figures { cuts, syncs_ignored, violation, .. } = figures;
            mutations.insert(site, Mutation { site, syncs_ignored, cuts, violation });
        }
    }
    mutations.into_values().collect()
}

const SYNCS_A_LIFE_MAX: u32 = 24;

/// Everything drawn for a scenario besides its single operations.
#[derive(Debug)]
struct Parameters {
    subject: Subject,
    seed: u64,
    lives: u32,
    operations_a_life_max: u64,
    kill_percent: u32,
}

impl Parameters {
    fn draw(subject: Subject, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self {
            subject,
            seed,
            lives: 4 + below(&mut rng, 8),
            operations_a_life_max: 20 << below(&mut rng, 5),
            kill_percent: 10 + below(&mut rng, 80),
        }
    }

    fn run(&self, disk: &SimulatedDisk, figures: &mut Figures) -> Result<(), String> {
        match self.subject {
            Subject::Parts => self.run_model(disk, parts::Model::new(self.seed), figures),
            Subject::Shares => self.run_model(disk, shares::Model::new(), figures),
            Subject::Log => self.run_model(disk, log::Model::new(self.seed), figures),
            Subject::Settings => self.run_model(disk, settings::Model::new(), figures),
            Subject::Chain => self.run_model(disk, chain::Model::new(), figures),
        }
    }

    fn run_model(
        &self,
        disk: &SimulatedDisk,
        mut model: impl Model,
        figures: &mut Figures,
    ) -> Result<(), String> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed ^ u64::MAX);
        for life in 0..self.lives {
            let lived = if below(&mut rng, 4) == 0 {
                // Only shows what is there: no later sync may cover for those of the opening.
                model.open(disk).map(drop)
            } else {
                disk.stop_after(rng.next_u64() % self.operations_a_life_max);
                if below(&mut rng, 2) == 0 {
                    let syncs_max = 1 + below(&mut rng, SYNCS_A_LIFE_MAX);
                    disk.stop_before_sync(below(&mut rng, syncs_max).into());
                }
                live(&mut model, disk, &mut rng)
            };
            lived.map_err(|what| format!("life {life}: {what}"))?;
            if below(&mut rng, 100) < self.kill_percent {
                disk.restart();
                figures.kills += 1;
            } else {
                figures.faults.merge(&disk.power_cut(&mut rng));
                figures.cuts += 1;
            }
        }
        model.open(disk).map_err(|what| format!("at the end: {what}"))?;
        Ok(())
    }
}

/// Opens the store and works until the disk stops.
fn live<M: Model>(model: &mut M, disk: &SimulatedDisk, rng: &mut ChaCha8Rng) -> Result<(), String> {
    if let Some(mut store) = model.open(disk)? {
        while !disk.is_off() {
            model.step(&mut store, disk, rng)?;
        }
    }
    Ok(())
}

/// What a subject promised so far, and how to use it.
trait Model {
    /// The opened store.
    type Store;

    /// Opens the store and compares what it shows with what may be there; `None` if the disk
    /// stopped meanwhile.
    fn open(&mut self, disk: &SimulatedDisk) -> Result<Option<Self::Store>, String>;

    /// Does one thing with the store.
    fn step(
        &mut self,
        store: &mut Self::Store,
        disk: &SimulatedDisk,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), String>;
}

/// An error is a violation, unless the disk stopped: then it is `None`.
fn unless_off<T>(
    disk: &SimulatedDisk,
    doing: &str,
    result: Result<T, impl Display>,
) -> Result<Option<T>, String> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(_) if disk.is_off() => Ok(None),
        Err(error) => Err(format!("{doing}: {error}")),
    }
}

/// Drawn from 0..bound.
fn below(rng: &mut ChaCha8Rng, bound: u32) -> u32 {
    rng.next_u32() % bound
}

/// Bytes drawn from a seed, fewer than `length_bound`.
fn drawn_bytes(rng: &mut ChaCha8Rng, length_bound: u32) -> Vec<u8> {
    let mut bytes = vec![0; below(rng, length_bound) as usize];
    rng.fill_bytes(&mut bytes);
    bytes
}
