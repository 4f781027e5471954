//! The promises about key shares that are refreshed: each object has one share at every moment, all
//! of a batch change together, and what was replaced is in no file any more.

use std::collections::{BTreeMap, BTreeSet};

use kakera_engine::names::{GroupId, NodeId, ObjectId, Slot};
use kakera_engine::wire::PartReference;
use rand_chacha::ChaCha8Rng;
use zeroize::Zeroizing;

use super::{below, unless_off};
use crate::store::disk::{Disk, DiskFile, if_found};
use crate::store::parts::{BatchName, Part, PartStore, ReadError, ShareRecord};
use crate::store::simulated::SimulatedDisk;

type Store = PartStore<SimulatedDisk>;

const OBJECTS: u8 = 2;
const SHARE_LEN: usize = 200;
const ROOT: [u8; 32] = [9; 32];

pub(super) struct Model {
    /// The versions of its share that each object may have; none: the part is not there.
    possible: BTreeMap<u8, Vec<Option<u64>>>,
    /// Batches that were acknowledged and not decided, and the objects in them.
    undecided: BTreeMap<u64, BTreeSet<u8>>,
    /// What the call that the disk interrupted was about.
    under_way: Option<(u64, BTreeSet<u8>)>,
    /// Versions of objects' shares that were replaced.
    replaced: BTreeSet<(u64, u8)>,
    next_version: u64,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            possible: (0..OBJECTS).map(|object| (object, vec![None])).collect(),
            undecided: BTreeMap::new(),
            under_way: None,
            replaced: BTreeSet::new(),
            next_version: 0,
        }
    }

    fn shown(&self, object: u8) -> Option<u64> {
        self.possible[&object][0]
    }

    fn present(&self) -> BTreeSet<u8> {
        (0..OBJECTS).filter(|object| self.shown(*object).is_some()).collect()
    }

    fn settle(&mut self, object: u8, now: Option<u64>) {
        let before = self.possible.insert(object, vec![now]).unwrap_or_default();
        let replaced = before.into_iter().flatten().filter(|version| Some(*version) != now);
        self.replaced.extend(replaced.map(|version| (version, object)));
        self.replaced.retain(|replaced| now.map(|version| (version, object)) != Some(*replaced));
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
            submitter: NodeId([1; 32]),
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

    fn keep(&mut self, store: &Store, disk: &SimulatedDisk) -> Result<(), String> {
        let (version, objects) = (self.new_version(), self.present());
        let record = |object: &u8| ShareRecord {
            object: ObjectId([*object; 32]),
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
        let used = used && self.undecided.len() == 1;
        let Some((version, objects)) = self.undecided.pop_first() else { return Ok(()) };
        self.under_way = Some((version, objects.clone()));
        if !used {
            if unless_off(disk, "drop", store.drop_shares(&name(version)))?.is_some() {
                self.under_way = None;
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
            self.check_erased(disk)?;
        }
        Ok(())
    }

    /// No file has a share that was replaced.
    fn check_erased(&self, disk: &SimulatedDisk) -> Result<(), String> {
        self.find_replaced(disk).or_else(|what| if disk.is_off() { Ok(()) } else { Err(what) })
    }

    fn find_replaced(&self, disk: &SimulatedDisk) -> Result<(), String> {
        let mut paths: Vec<String> = (0..OBJECTS).map(|object| part_path(&key(object))).collect();
        for entry in disk.list("shares").map_err(|error| error.to_string())? {
            paths.push(format!("shares/{}", entry.name));
        }
        for path in paths {
            let Some(file) = if_found(disk.open(&path)).map_err(|error| error.to_string())? else {
                continue;
            };
            let mut bytes = vec![0; file.length().map_err(|error| error.to_string())? as usize];
            file.read_at(0, &mut bytes).map_err(|error| error.to_string())?;
            // One whose use a power cut interrupted waits for its turn.
            let gone = |(version, _): &&(u64, u8)| !self.undecided.contains_key(version);
            for &(version, object) in self.replaced.iter().filter(gone) {
                let share = share(version, object);
                if bytes.windows(SHARE_LEN).any(|window| window == share) {
                    return Err(format!("{path} has share {version} of object {object} still"));
                }
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
        let opened = PartStore::open(disk.clone(), u64::MAX);
        let Some((store, _)) = unless_off(disk, "open", opened)? else {
            return Ok(None);
        };
        let mut found = BTreeMap::new();
        for object in 0..OBJECTS {
            let Some(version) = self.observe(&store, disk, object)? else { return Ok(None) };
            if !self.possible[&object].contains(&version) {
                return Err(format!("object {object} is {version:?} after a crash"));
            }
            found.insert(object, version);
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
        self.check_erased(disk)?;
        Ok(Some(store))
    }

    fn step(
        &mut self,
        store: &mut Store,
        disk: &SimulatedDisk,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), String> {
        let object = below(rng, OBJECTS.into()) as u8;
        match (below(rng, 10), self.shown(object)) {
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
    PartReference { group: GroupId(1), slot: SLOT, object: ObjectId([object; 32]) }
}

fn name(version: u64) -> BatchName {
    BatchName { group: GroupId(1), slot: SLOT, epoch: version, attempt: 0 }
}

const SLOT: Slot = match Slot::new(2) {
    Some(slot) => slot,
    None => unreachable!(),
};

fn part_path(key: &PartReference) -> String {
    format!("parts/{}/{}/{}", key.group, key.slot, key.object)
}

/// Bytes that no two versions have in common.
fn share(version: u64, object: u8) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&version.to_le_bytes()).update(&[object]);
    let mut bytes = vec![0; SHARE_LEN];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}
