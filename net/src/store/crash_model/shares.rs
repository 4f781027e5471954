//! The promises about key shares that are refreshed: each object has one share at every moment, all
//! of a batch change together, and the medium has no share any more that was replaced, dropped, or of
//! a destroyed object.

use std::collections::{BTreeMap, BTreeSet};

use kakera_engine::names::{GroupId, NodeId, ObjectId, Slot};
use kakera_engine::wire::PartReference;
use rand_chacha::ChaCha8Rng;
use zeroize::Zeroizing;

use super::{below, unless_off};
use crate::store::parts::{BatchName, Part, PartStore, ReadError, ShareRecord};
use crate::store::simulated::SimulatedDisk;

type Store = PartStore<SimulatedDisk>;

const GROUP: GroupId = GroupId(1);
/// How many there are at a time: one that is destroyed makes room for one with a new name.
const OBJECTS: u8 = 2;
const SHARE_LENGTH: usize = 200;
/// What every share begins and ends with, before its version and object: so it is found on the medium.
const MARK: [u8; 8] = *b"a share:";
const ROOT: [u8; 32] = [9; 32];
const ORDER: &[u8] = b"an order";

pub(super) struct Model {
    /// The versions of its share that each object may have; none: the part is not there.
    possible: BTreeMap<u8, Vec<Option<u64>>>,
    /// Batches that were acknowledged and not decided, and the objects in them.
    undecided: BTreeMap<u64, BTreeSet<u8>>,
    /// Those of them whose dropping was begun: they may have lost shares.
    void: BTreeSet<u64>,
    /// What the call that the disk interrupted was about.
    under_way: Option<(u64, BTreeSet<u8>)>,
    /// Objects whose destruction was acknowledged or shown, and those whose destruction was begun.
    shredded: BTreeSet<ObjectId>,
    condemned: BTreeSet<ObjectId>,
    next_object: u8,
    next_version: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            possible: (0..OBJECTS).map(|object| (object, vec![None])).collect(),
            undecided: BTreeMap::new(),
            void: BTreeSet::new(),
            under_way: None,
            shredded: BTreeSet::new(),
            condemned: BTreeSet::new(),
            next_object: OBJECTS,
            next_version: 0,
        }
    }

    fn shown(&self, object: u8) -> Option<u64> {
        self.possible[&object][0]
    }

    fn present(&self) -> BTreeSet<u8> {
        let present = |object: &u8| self.shown(*object).is_some();
        self.possible.keys().copied().filter(present).collect()
    }

    fn settle(&mut self, object: u8, now: Option<u64>) {
        self.possible.insert(object, vec![now]);
    }

    fn new_version(&mut self) -> u64 {
        self.next_version += 1;
        self.next_version
    }

    fn put(&mut self, store: &Store, disk: &SimulatedDisk, object: u8) -> Result<(), String> {
        let version = self.new_version();
        self.possible.entry(object).or_default().push(Some(version));
        let share = share(version, object);
        let part = Part {
            key: key(object),
            submitter: SUBMITTER,
            submitter_quota_bytes: None,
            descriptor: &[object; 100],
            share: &share,
            fragment: &[&[object; 3000]],
        };
        if unless_off(disk, "put", store.put(&part))?.is_some() {
            self.settle(object, Some(version));
        }
        Ok(())
    }

    fn remove(&mut self, store: &Store, disk: &SimulatedDisk, object: u8) -> Result<(), String> {
        self.possible.entry(object).or_default().push(None);
        if unless_off(disk, "remove", store.remove(&key(object)))?.is_some() {
            self.settle(object, None);
        }
        Ok(())
    }

    fn shred(&mut self, store: &Store, disk: &SimulatedDisk, object: u8) -> Result<(), String> {
        let places = disk.named_places();
        self.condemned.insert(id(object));
        let shredded = store.shred((GROUP, id(object)), ORDER, &SUBMITTER, None);
        if unless_off(disk, "shred", shredded)?.is_some() {
            self.forget(object);
            self.check_medium(disk, places)?;
        }
        Ok(())
    }

    /// The object was destroyed; another takes its place.
    fn forget(&mut self, object: u8) {
        self.shredded.insert(id(object));
        self.possible.remove(&object);
        let batches = self.undecided.values_mut().chain(self.under_way.as_mut().map(|(_, o)| o));
        for objects in batches {
            objects.remove(&object);
        }
        self.possible.insert(self.next_object, vec![None]);
        self.next_object += 1;
    }

    fn keep(&mut self, store: &Store, disk: &SimulatedDisk) -> Result<(), String> {
        let (version, objects) = (self.new_version(), self.present());
        let record = |object: &u8| ShareRecord {
            object: id(*object),
            share: Zeroizing::new(share(version, *object)),
        };
        let records: Vec<ShareRecord> = objects.iter().map(record).collect();
        self.under_way = Some((version, objects.clone()));
        let kept = store.keep_shares(&name(version), &ROOT, &records);
        if unless_off(disk, "keep", kept)?.is_some() {
            self.undecided.insert(version, objects);
            self.under_way = None;
        }
        Ok(())
    }

    /// Of several only the newest can be used: the ledger's epochs grow.
    fn decide(&mut self, store: &Store, disk: &SimulatedDisk, used: bool) -> Result<(), String> {
        let alone = self.undecided.len() == 1;
        let Some((version, objects)) = self.undecided.pop_first() else { return Ok(()) };
        let used = used && alone && !self.void.contains(&version);
        let places = disk.named_places();
        self.under_way = Some((version, objects.clone()));
        if !used {
            self.void.insert(version);
            if unless_off(disk, "drop", store.drop_shares(&name(version)))?.is_some() {
                self.under_way = None;
                self.check_medium(disk, places)?;
            }
            return Ok(());
        }
        let objects: BTreeSet<u8> = objects.intersection(&self.present()).copied().collect();
        for object in &objects {
            self.possible.entry(*object).or_default().push(Some(version));
        }
        if unless_off(disk, "use", store.use_shares(&name(version)))?.is_some() {
            objects.into_iter().for_each(|object| self.settle(object, Some(version)));
            self.under_way = None;
            self.check_medium(disk, places)?;
        }
        Ok(())
    }

    /// What was destroyed is so for ever; what was begun is done or not.
    fn check_tombstones(&mut self, store: &Store) -> Result<(), String> {
        let found = store.shredded(GROUP);
        if !found.is_superset(&self.shredded) || !self.condemned.is_superset(&found) {
            return Err(format!("tombstones {found:?}, of {:?}", self.shredded));
        }
        let objects: Vec<u8> = self.possible.keys().copied().collect();
        for object in objects.into_iter().filter(|object| found.contains(&id(*object))) {
            self.forget(object);
        }
        Ok(())
    }

    /// The medium has those shares only that are read or undecided, at all `places`, which are those
    /// that had names before, and where there is a name now.
    fn check_medium(&self, disk: &SimulatedDisk, places: BTreeSet<u64>) -> Result<(), String> {
        let shown = |(object, possible): (&u8, &Vec<Option<u64>>)| Some((possible[0]?, *object));
        let mut kept: BTreeSet<(u64, u8)> = self.possible.iter().filter_map(shown).collect();
        for (version, objects) in &self.undecided {
            kept.extend(objects.iter().map(|object| (*version, *object)));
        }
        for place in places.union(&disk.named_places()) {
            let found = shares_in(&disk.medium_at(*place));
            if let Some((version, object)) = found.iter().find(|found| !kept.contains(found)) {
                return Err(format!("share {version} of object {object} is on the medium still"));
            }
        }
        Ok(())
    }

    fn observe(
        &self,
        store: &Store,
        disk: &SimulatedDisk,
        object: u8,
    ) -> Result<Option<Option<u64>>, String> {
        let read = match store.meta(&key(object)) {
            // Overwritten by a removal that did not end, and set aside.
            Err(ReadError::Damaged { .. }) if self.possible[&object].contains(&None) => Ok(None),
            read => read,
        };
        let Some(meta) = unless_off(disk, "meta", read)? else { return Ok(None) };
        let Some(meta) = meta else { return Ok(Some(None)) };
        let found = self.possible[&object].iter().flatten();
        let found = found.copied().find(|version| share(*version, object) == *meta.share);
        found.map(|version| Some(Some(version))).ok_or_else(|| {
            format!("object {object} has another share than {:?}", self.possible[&object])
        })
    }
}

impl super::Model for Model {
    type Store = Store;

    fn open(&mut self, disk: &SimulatedDisk) -> Result<Option<Store>, String> {
        let places = disk.named_places();
        let opened = PartStore::open(disk.clone(), u64::MAX);
        let Some((store, _)) = unless_off(disk, "open", opened)? else {
            return Ok(None);
        };
        self.check_tombstones(&store)?;
        let mut found = BTreeMap::new();
        for object in self.possible.keys().copied() {
            let Some(version) = self.observe(&store, disk, object)? else { return Ok(None) };
            if !self.possible[&object].contains(&version) {
                return Err(format!("object {object} is {version:?} after a crash"));
            }
            found.insert(object, version);
        }
        if disk.is_off() {
            // Setting aside what was damaged may not have ended.
            return Ok(None);
        }
        let listed: BTreeSet<u64> =
            store.undecided_shares().into_iter().map(|(name, _)| name.epoch).collect();
        if let Some((version, objects)) = self.under_way.take() {
            let has = |object: &u8| found[object] == Some(version);
            let there: BTreeSet<&u8> = objects.iter().filter(|o| found[o].is_some()).collect();
            if there.iter().any(|o| has(o)) && !there.iter().all(|o| has(o)) {
                return Err(format!("batch {version} is used for some of {objects:?} only"));
            }
            if listed.contains(&version) {
                self.undecided.insert(version, objects);
            }
        }
        if listed != self.undecided.keys().copied().collect() {
            return Err(format!("{listed:?} are undecided where {:?} were", self.undecided));
        }
        found.into_iter().for_each(|(object, version)| self.settle(object, version));
        self.check_medium(disk, places)?;
        Ok(Some(store))
    }

    fn step(
        &mut self,
        store: &mut Store,
        disk: &SimulatedDisk,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), String> {
        let drawn = below(rng, OBJECTS.into()) as usize;
        let Some(object) = self.possible.keys().nth(drawn).copied() else { return Ok(()) };
        match (below(rng, 10), self.shown(object)) {
            _ if below(rng, 20) == 0 && self.next_object < u8::MAX => {
                self.shred(store, disk, object)
            }
            (0..=4, None) => self.put(store, disk, object),
            (0 | 9, Some(_)) => self.remove(store, disk, object),
            (1..=3, _) if self.undecided.len() < 3 => self.keep(store, disk),
            (1..=6, _) => self.decide(store, disk, true),
            (7, _) => self.decide(store, disk, false),
            (_, shown) => match self.observe(store, disk, object)? {
                Some(found) if found != shown => Err(format!("{found:?} instead of {shown:?}")),
                _ => Ok(()),
            },
        }
    }
}

fn key(object: u8) -> PartReference {
    PartReference { group: GROUP, slot: SLOT, object: id(object) }
}

fn id(object: u8) -> ObjectId {
    ObjectId([object; 32])
}

fn name(version: u64) -> BatchName {
    BatchName { group: GROUP, slot: SLOT, epoch: version, attempt: 0 }
}

const SLOT: Slot = match Slot::new(2) {
    Some(slot) => slot,
    None => unreachable!(),
};

const SUBMITTER: NodeId = NodeId([1; 32]);

/// Bytes that no two versions have in common.
fn share(version: u64, object: u8) -> Vec<u8> {
    let mark = [&MARK[..], &version.to_le_bytes(), &[object]].concat();
    let mut middle = vec![0; SHARE_LENGTH - 2 * mark.len()];
    blake3::Hasher::new().update(&mark).finalize_xof().fill(&mut middle);
    [&mark[..], &middle, &mark].concat()
}

/// The versions and objects of the shares in `bytes`, or of what a torn write left of them.
fn shares_in(bytes: &[u8]) -> Vec<(u64, u8)> {
    let found = bytes.windows(MARK.len() + 9).filter_map(|window| {
        let (version, object) = window.strip_prefix(&MARK)?.split_first_chunk::<8>()?;
        Some((u64::from_le_bytes(*version), *object.first()?))
    });
    found.collect()
}
