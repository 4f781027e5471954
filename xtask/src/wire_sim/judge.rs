//! What is checked once all machines have stopped: the chain block by block, and every disk.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, Result};
use kakera_engine::code::Code;
use kakera_engine::keyshare::{KeyParameters, read_robust};
use kakera_engine::ledger::{Body, Chain, State};
use kakera_engine::names::{GroupId, NodeId, ObjectId, Slot};
use kakera_engine::object::Descriptor;
use kakera_engine::peer::is_sound;
use kakera_engine::policy::suspicion::exclusions_max;
use kakera_net::chain_store::{CHAIN_FILE, ChainStore};
use kakera_net::node::{KeptPart, kept_parts};
use kakera_net::store::disk::OsDisk;
use kakera_net::testkit::network::Network;

use super::course::LOST_AFTER;
use super::storm::Storm;
use crate::report::{Goal, Report};
use crate::soak::Deceit;

/// From the end of a silence to the block that has the last vote that it led to, at most.
const VOTING_MS: u64 = 60_000;

/// After so long a machine that was given up holds nobody else up any more, whole or not.
const PATIENCE_MS: u64 = 4 * LOST_AFTER.as_millis() as u64;

/// Of all parts, how many must be in slots that nothing was done to in the last blocks.
const CHECKED_MIN: f64 = 0.95;

/// What the chain and the disks say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Judged {
    blocks: usize,
    liars: usize,
    /// Answers that they falsified.
    lies: usize,
    /// Those of them that came from key shares that had been replaced.
    old_shares_offered: usize,
    liars_given_up: usize,
    given_up: usize,
    given_up_wrongly: usize,
    given_up_at_once_max: usize,
    /// How many the policy allows, at most.
    cap: usize,
    readmitted: usize,
    slots_rebuilt: usize,
    epochs_advanced: usize,
    objects: usize,
    /// A part for every slot of every object.
    parts_due: usize,
    parts_checked: usize,
    parts_lacking: usize,
    parts_not_as_encoded: usize,
    shares_of_old_epochs: usize,
    /// Shares that do not give the secret which those of the other slots give.
    shares_wrong: usize,
}

impl Judged {
    pub(super) fn add(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.liars += other.liars;
        self.lies += other.lies;
        self.old_shares_offered += other.old_shares_offered;
        self.liars_given_up += other.liars_given_up;
        self.given_up += other.given_up;
        self.given_up_wrongly += other.given_up_wrongly;
        self.given_up_at_once_max = self.given_up_at_once_max.max(other.given_up_at_once_max);
        self.cap = self.cap.max(other.cap);
        self.readmitted += other.readmitted;
        self.slots_rebuilt += other.slots_rebuilt;
        self.epochs_advanced += other.epochs_advanced;
        self.objects += other.objects;
        self.parts_due += other.parts_due;
        self.parts_checked += other.parts_checked;
        self.parts_lacking += other.parts_lacking;
        self.parts_not_as_encoded += other.parts_not_as_encoded;
        self.shares_of_old_epochs += other.shares_of_old_epochs;
        self.shares_wrong += other.shares_wrong;
    }

    pub(super) fn add_to(&self, report: &mut Report) {
        report.count("blocks", self.blocks);
        report.count("liars", self.liars).goal(Goal::AtLeast(Deceit::ALL.len() as f64));
        report.count("lies_told", self.lies).goal(Goal::AtLeast(1.0));
        report.count("old_shares_offered", self.old_shares_offered).goal(Goal::AtLeast(1.0));
        report.count("liars_given_up", self.liars_given_up).goal(Goal::AtLeast(self.liars as f64));
        report.count("machines_given_up", self.given_up).goal(Goal::AtLeast(1.0));
        report.count("given_up_wrongly", self.given_up_wrongly).goal(Goal::AtMost(0.0));
        report
            .count("given_up_at_once_max", self.given_up_at_once_max)
            .goal(Goal::AtMost(self.cap as f64));
        report.count("machines_readmitted", self.readmitted).goal(Goal::AtLeast(1.0));
        report.count("slots_rebuilt", self.slots_rebuilt).goal(Goal::AtLeast(1.0));
        report.count("epochs_advanced", self.epochs_advanced).goal(Goal::AtLeast(1.0));
        report.count("objects", self.objects).goal(Goal::AtLeast(1.0));
        report
            .count("parts_checked", self.parts_checked)
            .goal(Goal::AtLeast(CHECKED_MIN * self.parts_due as f64));
        report.count("parts_lacking", self.parts_lacking).goal(Goal::AtMost(0.0));
        report.count("parts_not_as_encoded", self.parts_not_as_encoded).goal(Goal::AtMost(0.0));
        report.count("shares_of_old_epochs", self.shares_of_old_epochs).goal(Goal::AtMost(0.0));
        report.count("shares_not_of_the_secret", self.shares_wrong).goal(Goal::AtMost(0.0));
    }
}

/// Judges a network that was stopped; what is broken is added.
pub(super) fn judge(
    network: &Network,
    storm: &Storm,
    objects: &BTreeSet<(GroupId, ObjectId)>,
    broken: &mut Vec<String>,
) -> Result<Judged> {
    let mut judge = Judge { storm, broken, judged: Judged::default(), open: BTreeMap::new() };
    let state = judge.read_chain(network)?;
    judge.read_disks(network, &state, objects)?;
    let given_up = &judge.judged;
    if given_up.liars_given_up < given_up.liars {
        let (found, all) = (given_up.liars_given_up, given_up.liars);
        judge.broken.push(format!("{found} of {all} liars were given up"));
    }
    Ok(judge.judged)
}

struct Judge<'a> {
    storm: &'a Storm,
    broken: &'a mut Vec<String>,
    judged: Judged,
    /// Machines given up by votes that are not replaced yet.
    open: BTreeMap<NodeId, Open>,
}

/// A machine that was given up.
struct Open {
    since: u64,
    /// Its slots that are not whole again.
    seats: BTreeSet<(GroupId, Slot)>,
}

impl Judge<'_> {
    fn read_chain(&mut self, network: &Network) -> Result<State> {
        let liars: BTreeSet<NodeId> = self.storm.liars().map(|(id, ..)| *id).collect();
        self.judged.liars = liars.len();
        self.judged.lies = self.storm.liars().map(|(.., told)| told).sum();
        let with_old_shares = self.storm.liars().filter(|liar| liar.1 == Deceit::OldShares);
        self.judged.old_shares_offered = with_old_shares.map(|(.., told)| told).sum();
        let store = ChainStore::open(&OsDisk::open(&network.validators()[0].folder)?, CHAIN_FILE)?;
        let mut chain = Chain::new(network.file().genesis.clone())?;
        let (mut gone, mut ever_gone) = (BTreeSet::new(), BTreeSet::new());
        for height in 1..=store.height() {
            let block = store.block(height)?.context("a block is missing")?;
            let before = chain.state().clone();
            chain.apply(&block, None)?;
            let (state, time) = (chain.state(), block.block.header.time);
            for entry in &block.block.entries {
                match &entry.entry.body {
                    Body::SlotFilled(_) => self.judged.slots_rebuilt += 1,
                    Body::RefreshEnd(_) => self.judged.epochs_advanced += 1,
                    _ => {}
                }
            }
            let retired: BTreeSet<NodeId> =
                state.nodes().filter(|node| node.retired).map(|node| node.join.node).collect();
            self.judged.readmitted += gone.difference(&retired).count();
            for id in retired.difference(&gone) {
                self.judged.given_up += 1;
                ever_gone.insert(*id);
                let voted = block.block.entries.iter().any(
                    |entry| matches!(&entry.entry.body, Body::NodeLost(lost) if lost.node == *id),
                );
                self.note_given_up(id, &before, voted, liars.contains(id), time);
            }
            gone = retired;
            self.look_at_losses(state, height, time);
        }
        self.judged.blocks = store.height() as usize;
        self.judged.liars_given_up = liars.intersection(&ever_gone).count();
        Ok(chain.state().clone())
    }

    fn note_given_up(&mut self, id: &NodeId, before: &State, voted: bool, lies: bool, time: u64) {
        let seats: BTreeSet<(GroupId, Slot)> = before
            .groups()
            .filter_map(|(group, seats)| seats.slot_of(id).map(|slot| (group, slot)))
            .collect();
        // What it was drawn for is its own loss now, and that of who had it before no more.
        self.open.values_mut().for_each(|open| open.seats.retain(|seat| !seats.contains(seat)));
        self.open.retain(|_, open| !open.seats.is_empty());
        // Who is convicted is no misjudgement, of which there may be so many at a time.
        if voted {
            self.open.insert(*id, Open { since: time, seats });
        }
        let absence = self.storm.absence(id, [time.saturating_sub(VOTING_MS), time]);
        // A probe finds it silent only when it is asked the next time.
        if !lies && absence + Duration::from_secs(3) < LOST_AFTER {
            self.judged.given_up_wrongly += 1;
            self.broken.push(format!("{id} was given up, was there and did not lie"));
        }
    }

    /// Whether not too many are given up at a time (`engine/spec/peer.md` §8).
    fn look_at_losses(&mut self, state: &State, height: u64, time: u64) {
        self.open.retain(|id, Open { since, seats }| {
            seats.retain(|(group, slot)| {
                let holder = state.group(*group).and_then(|group| group.holder(*slot).copied());
                holder.is_some_and(|holder| holder.node == *id || holder.is_filling())
            });
            !seats.is_empty()
                && time < *since + PATIENCE_MS
                && state.node(id).is_some_and(|node| node.retired)
        });
        let live = state.nodes().filter(|node| node.join.roles.storage && !node.retired).count();
        let open = self.open.len();
        let cap = exclusions_max(live + open);
        self.judged.cap = self.judged.cap.max(cap);
        self.judged.given_up_at_once_max = self.judged.given_up_at_once_max.max(open);
        if open > cap {
            self.broken
                .push(format!("block {height}: {open} machines given up at once, not {cap}"));
        }
    }

    fn read_disks(
        &mut self,
        network: &Network,
        state: &State,
        objects: &BTreeSet<(GroupId, ObjectId)>,
    ) -> Result<()> {
        let mut kept: BTreeMap<(GroupId, ObjectId), BTreeMap<Slot, KeptPart>> = BTreeMap::new();
        for machine in network.nodes() {
            for part in kept_parts(&machine.folder, Some(state))? {
                let holds =
                    state.group(part.part.group).and_then(|group| group.slot_of(&machine.id));
                if holds == Some(part.part.slot) {
                    let (group, slot, object) = (part.part.group, part.part.slot, part.part.object);
                    kept.entry((group, object)).or_default().insert(slot, part);
                }
            }
        }
        self.judged.objects = objects.len();
        for place in objects {
            let group = state.group(place.0).context("an object of no group")?;
            let mut parts = kept.remove(place).unwrap_or_default();
            // What the last blocks had drawn or refreshed without it cannot be whole yet.
            let settled: BTreeSet<Slot> = Slot::all(group.code.n)
                .zip(&group.holders)
                .filter(|(_, holder)| !holder.is_filling())
                .map(|(slot, _)| slot)
                .collect();
            self.judged.parts_due += group.holders.len();
            parts.retain(|slot, _| settled.contains(slot));
            for slot in settled.iter().filter(|slot| !parts.contains_key(slot)) {
                let (group, object) = place;
                self.judged.parts_lacking += 1;
                self.broken.push(format!("slot {slot} of group {group} lacks object {object}"));
            }
            self.read_object(place, &group.code.build()?, &parts);
            self.read_shares(place, group.key, &parts);
        }
        Ok(())
    }

    /// Every part is what encoding gives, with a key share of the newest epoch.
    fn read_object(
        &mut self,
        (group, object): &(GroupId, ObjectId),
        code: &Code,
        parts: &BTreeMap<Slot, KeptPart>,
    ) {
        let k = usize::from(code.parameters().k);
        let sound = |part: &&KeptPart| is_sound(&part.part, &part.stored, &part.fragment);
        let first: Vec<(Slot, &[u8])> = parts
            .values()
            .filter(sound)
            .take(k)
            .map(|part| (part.part.slot, &part.fragment[..]))
            .collect();
        let described = parts.values().find(sound);
        let Some(descriptor) =
            described.and_then(|part| Descriptor::decode(&part.stored.object.descriptor).ok())
        else {
            return;
        };
        let encoded = code
            .decode(&code.layout(descriptor.coded_len), &first)
            .map(|coded| code.encode(&coded))
            .unwrap_or_default();
        let epochs = parts.values().map(|part| part.stored.epoch(&descriptor));
        let newest = epochs.max();
        for (slot, part) in parts {
            self.judged.parts_checked += 1;
            if !sound(&part) || encoded.get(slot.index()) != Some(&part.fragment) {
                self.judged.parts_not_as_encoded += 1;
                self.broken
                    .push(format!("slot {slot} of group {group}: {object} is not as encoded"));
            }
            if Some(part.stored.epoch(&descriptor)) != newest {
                self.judged.shares_of_old_epochs += 1;
                self.broken
                    .push(format!("slot {slot} of group {group}: {object} has an old share"));
            }
        }
    }

    /// All key shares give one secret: one that was rebuilt from an old share does not, and nothing else
    /// tells it from a good one where its slot missed the refresh.
    fn read_shares(
        &mut self,
        (group, object): &(GroupId, ObjectId),
        key: KeyParameters,
        parts: &BTreeMap<Slot, KeptPart>,
    ) {
        let said = parts.iter().filter_map(|(slot, KeptPart { stored, .. })| {
            let descriptor = Descriptor::decode(&stored.object.descriptor).ok()?;
            Some((*slot, stored.share.prove_part(&descriptor.binding()).part().clone()))
        });
        let said: Vec<_> = said.collect();
        let said: Vec<_> = said.iter().map(|(slot, part)| (*slot, part)).collect();
        let wrong = read_robust(key, &said).map(|(_, wrong)| wrong.len()).unwrap_or(said.len());
        self.judged.shares_wrong += wrong;
        if wrong > 0 {
            self.broken.push(format!(
                "{wrong} key shares of object {object} in group {group} do not fit the others"
            ));
        }
    }
}
