//! The promises of the part store.

use std::collections::{BTreeMap, BTreeSet};

use kakera_engine::names::{GroupId, NodeId, ObjectId, Slot};
use kakera_engine::wire::PartReference;
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

use super::{below, drawn_bytes, unless_off};
use crate::store::disk::Disk;
use crate::store::parts::{Part, PartStore, PutError, ReadError};
use crate::store::simulated::SimulatedDisk;

type Store = PartStore<SimulatedDisk>;

const GROUPS: u32 = 4;
const SLOTS: u8 = 2;
const OBJECTS: u8 = 3;
const PIECE_LENGTH: usize = 1000;
const ORDER: &[u8] = b"an order";

pub(super) struct Model {
    seed: u64,
    parts: BTreeMap<PartReference, Expectation>,
    /// Parts whose last removal was acknowledged: no copy may be anywhere.
    erased: BTreeSet<PartReference>,
    /// Objects whose destruction was acknowledged or shown, and those whose destruction was begun.
    shredded: BTreeSet<(GroupId, ObjectId)>,
    condemned: BTreeSet<(GroupId, ObjectId)>,
    /// Number of the next contents put under a name.
    next_version: u64,
}

struct Expectation {
    /// What the opened store shows.
    shown: Contents,
    /// What a store opened after a crash may show.
    possible: Vec<Contents>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Contents {
    Absent,
    Version(u64),
    /// There, but refused.
    Damaged,
}

/// The bytes of a part.
struct Bytes {
    descriptor: Vec<u8>,
    share: Vec<u8>,
    fragment: Vec<u8>,
}

impl super::Model for Model {
    type Store = Store;

    fn open(&mut self, disk: &SimulatedDisk) -> Result<Option<Store>, String> {
        let opened = PartStore::open(disk.clone(), u64::MAX);
        let Some((store, _)) = unless_off(disk, "open", opened)? else {
            return Ok(None);
        };
        if self.check_tombstones(&store, disk)?.is_none() {
            return Ok(None);
        }
        let keys: Vec<PartReference> = self.parts.keys().copied().collect();
        for key in keys {
            let Some(found) = self.observe(&store, disk, &key)? else {
                return Ok(None);
            };
            self.expect(&key).opened(found).map_err(|what| format!("{key:?}: {what}"))?;
            if found == Contents::Damaged {
                // A removal that was begun after another put: it is overwritten, and set aside.
                self.erased.remove(&key);
            }
        }
        self.check_whole(&store)?;
        let Some(damaged) = unless_off(disk, "list", disk.list("damaged"))? else {
            return Ok(None);
        };
        let name = |key: &PartReference| format!("{}-{}-{}", key.group, key.slot, key.object);
        let erased: BTreeSet<String> = self.erased.iter().map(name).collect();
        match damaged.iter().find(|entry| erased.contains(&entry.name)) {
            Some(entry) => Err(format!("damaged/{} is back after its removal", entry.name)),
            None => Ok(Some(store)),
        }
    }

    fn step(
        &mut self,
        store: &mut Store,
        disk: &SimulatedDisk,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), String> {
        let keys: Vec<PartReference> = self.parts.keys().copied().collect();
        let key = keys[below(rng, keys.len() as u32) as usize];
        let shown = self.expect(&key).shown;
        let object = (key.group, key.object);
        let done = match (below(rng, 10), shown) {
            _ if below(rng, 40) == 0 => self.shred(store, disk, object),
            _ if self.shredded.contains(&object) => self.put_shredded(store, disk, &key),
            (0..=5, Contents::Absent) => self.put_new(store, disk, &key),
            (0, Contents::Version(version)) => self.put_again(store, disk, &key, version),
            (1, Contents::Version(_)) => self.put_different(store, disk, &key),
            (2..=3, Contents::Version(version)) => self.damage(store, disk, &key, version, rng),
            (4..=7, _) => self.remove(store, disk, &key),
            _ => match self.observe(store, disk, &key)? {
                Some(found) if found != shown => Err(format!("{found:?} instead of {shown:?}")),
                _ => Ok(()),
            },
        };
        done.map_err(|what| format!("{key:?}: {what}"))
    }
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        let mut parts = BTreeMap::new();
        for group in (0..GROUPS).map(GroupId) {
            for slot in Slot::all(SLOTS) {
                for object in (0..OBJECTS).map(|object| ObjectId([object; 32])) {
                    let possible = vec![Contents::Absent];
                    let key = PartReference { group, slot, object };
                    parts.insert(key, Expectation { shown: Contents::Absent, possible });
                }
            }
        }
        Self {
            seed,
            parts,
            erased: BTreeSet::new(),
            shredded: BTreeSet::new(),
            condemned: BTreeSet::new(),
            next_version: 0,
        }
    }

    fn expect(&mut self, key: &PartReference) -> &mut Expectation {
        match self.parts.get_mut(key) {
            Some(expectation) => expectation,
            None => unreachable!("keys are drawn from the map"),
        }
    }

    fn put_new(
        &mut self,
        store: &Store,
        disk: &SimulatedDisk,
        key: &PartReference,
    ) -> Result<(), String> {
        let version = self.next_version;
        self.next_version += 1;
        self.expect(key).possible.push(Contents::Version(version));
        // An unfinished put may bring a copy back even while its removal was acknowledged before.
        let result = self.put(store, key, version);
        if unless_off(disk, "put", result)?.is_some() {
            self.expect(key).settle(Contents::Version(version));
        }
        Ok(())
    }

    fn put_again(
        &mut self,
        store: &Store,
        disk: &SimulatedDisk,
        key: &PartReference,
        version: u64,
    ) -> Result<(), String> {
        unless_off(disk, "put again", self.put(store, key, version)).map(drop)
    }

    fn put_different(
        &mut self,
        store: &Store,
        disk: &SimulatedDisk,
        key: &PartReference,
    ) -> Result<(), String> {
        match self.put(store, key, u64::MAX) {
            Err(PutError::AlreadyThere) => Ok(()),
            Ok(()) => Err("a different part was accepted".to_owned()),
            result => unless_off(disk, "put different", result).map(drop),
        }
    }

    fn remove(
        &mut self,
        store: &Store,
        disk: &SimulatedDisk,
        key: &PartReference,
    ) -> Result<(), String> {
        let shown = self.expect(key).shown;
        let path = format!("parts/{}/{}/{}", key.group, key.slot, key.object);
        let place = disk.place_of(&path);
        self.expect(key).possible.extend([Contents::Absent, Contents::Damaged]);
        if unless_off(disk, "remove", store.remove(key))?.is_some() {
            self.expect(key).settle(Contents::Absent);
            self.erased.insert(*key);
            if let (Contents::Version(version), Some(place)) = (shown, place) {
                let share = self.bytes(key, version).share;
                // A shorter one may be in the fragment by chance.
                if share.len() < 16 {
                    return Ok(());
                }
                if disk.medium_at(place).windows(share.len()).any(|bytes| bytes == share) {
                    return Err("the share is on the medium after its removal".to_owned());
                }
            }
        }
        Ok(())
    }

    fn shred(
        &mut self,
        store: &Store,
        disk: &SimulatedDisk,
        (group, object): (GroupId, ObjectId),
    ) -> Result<(), String> {
        self.condemned.insert((group, object));
        let keys: Vec<PartReference> = self.parts.keys().copied().collect();
        let keys = keys.into_iter().filter(|key| (key.group, key.object) == (group, object));
        let keys: Vec<PartReference> = keys.collect();
        for key in &keys {
            self.expect(key).possible.extend([Contents::Absent, Contents::Damaged]);
        }
        let shredded = store.shred((group, object), ORDER, &NodeId([1; 32]), None);
        if unless_off(disk, "shred", shredded)?.is_some() {
            self.shredded.insert((group, object));
            for key in &keys {
                self.expect(key).settle(Contents::Absent);
                self.erased.insert(*key);
            }
        }
        Ok(())
    }

    fn put_shredded(
        &mut self,
        store: &Store,
        disk: &SimulatedDisk,
        key: &PartReference,
    ) -> Result<(), String> {
        match self.put(store, key, self.next_version) {
            Err(PutError::Shredded) => Ok(()),
            Ok(()) => Err("a destroyed object was stored again".to_owned()),
            result => unless_off(disk, "put shredded", result).map(drop),
        }
    }

    /// What was destroyed is so for ever; what was begun is done or not; an opened store has erased
    /// what its tombstones say. `None` if the disk stopped.
    fn check_tombstones(
        &mut self,
        store: &Store,
        disk: &SimulatedDisk,
    ) -> Result<Option<()>, String> {
        let found: BTreeSet<_> = store.tombstones().into_iter().collect();
        if !found.is_superset(&self.shredded) || !self.condemned.is_superset(&found) {
            return Err(format!("tombstones {found:?}, of {:?}", self.shredded));
        }
        for (group, object) in found {
            let Some(order) = unless_off(disk, "order", store.order(group, object))? else {
                return Ok(None);
            };
            if order.is_none_or(|order| order != ORDER) {
                return Err("a tombstone has lost its order".to_owned());
            }
            self.shredded.insert((group, object));
            let of_object = |key: &&PartReference| (key.group, key.object) == (group, object);
            let keys: Vec<PartReference> = self.parts.keys().filter(of_object).copied().collect();
            for key in keys {
                self.expect(&key).settle(Contents::Absent);
                self.erased.insert(key);
            }
        }
        Ok(Some(()))
    }

    /// Flips a bit before the fragment, outside the version, and has the store notice.
    fn damage(
        &mut self,
        store: &Store,
        disk: &SimulatedDisk,
        key: &PartReference,
        version: u64,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), String> {
        let bytes = self.bytes(key, version);
        let header_length = 24 + bytes.descriptor.len() + bytes.share.len() + 32;
        let place = below(rng, header_length as u32 - 4);
        let offset = if place < 8 { place } else { place + 4 };
        let path = format!("parts/{}/{}/{}", key.group, key.slot, key.object);
        disk.flip_bit(&path, offset.into()).map_err(|error| format!("flip a bit: {error}"))?;
        self.erased.remove(key);
        let expectation = self.expect(key);
        expectation.possible = vec![Contents::Damaged, Contents::Absent];
        match self.observe(store, disk, key)? {
            None | Some(Contents::Damaged) => {}
            Some(found) => return Err(format!("{found:?} although damaged")),
        }
        self.expect(key).shown = Contents::Absent;
        Ok(())
    }

    fn put(&self, store: &Store, key: &PartReference, version: u64) -> Result<(), PutError> {
        let Bytes { descriptor, share, fragment } = self.bytes(key, version);
        let pieces: Vec<&[u8]> = fragment.chunks(PIECE_LENGTH).collect();
        store.put(&Part {
            key: *key,
            submitter: NodeId([1; 32]),
            submitter_quota_bytes: None,
            descriptor: &descriptor,
            share: &share,
            fragment: &pieces,
        })
    }

    /// What the store shows under a name, all its bytes compared; `None` if the disk stopped.
    fn observe(
        &self,
        store: &Store,
        disk: &SimulatedDisk,
        key: &PartReference,
    ) -> Result<Option<Contents>, String> {
        let meta = match store.meta(key) {
            Err(ReadError::Damaged { .. }) => return Ok(Some(Contents::Damaged)),
            meta => match unless_off(disk, "meta", meta)? {
                None => return Ok(None),
                Some(None) => return Ok(Some(Contents::Absent)),
                Some(Some(meta)) => meta,
            },
        };
        let read = store.fragment(key, 0..meta.fragment_length);
        let Some(fragment) = unless_off(disk, "fragment", read)? else {
            return Ok(None);
        };
        let expectation = &self.parts[key];
        let version_found = expectation.possible.iter().find(|contents| {
            let &&Contents::Version(version) = contents else {
                return false;
            };
            let bytes = self.bytes(key, version);
            bytes.descriptor == meta.descriptor
                && bytes.share == *meta.share
                && Some(&bytes.fragment) == fragment.as_ref()
        });
        version_found.copied().map(Some).ok_or_else(|| format!("{key:?}: bytes never put"))
    }

    /// The index and its figures agree with the parts.
    fn check_whole(&mut self, store: &Store) -> Result<(), String> {
        let mut slots: BTreeMap<(GroupId, Slot), Vec<ObjectId>> = BTreeMap::new();
        let mut length = self.shredded.len() * (12 + ORDER.len());
        for (key, expectation) in &self.parts {
            if let Contents::Version(version) = expectation.shown {
                let bytes = self.bytes(key, version);
                slots.entry((key.group, key.slot)).or_default().push(key.object);
                length += 24 + bytes.descriptor.len() + bytes.share.len() + 32;
                length += bytes.fragment.len();
            }
        }
        if store.usage().bytes != length as u64 {
            return Err(format!("usage {:?} where parts have {length} bytes", store.usage()));
        }
        let listed = |(group, slot)| ((group, slot), store.objects(group, slot, None, usize::MAX));
        if store.slots().into_iter().map(listed).collect::<BTreeMap<_, _>>() != slots {
            return Err("the index does not list the parts that are there".to_owned());
        }
        Ok(())
    }

    /// The contents that a version stands for.
    fn bytes(&self, key: &PartReference, version: u64) -> Bytes {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        seed[8..16].copy_from_slice(&version.to_le_bytes());
        seed[16..20].copy_from_slice(&key.group.0.to_le_bytes());
        seed[20] = key.slot.point();
        seed[21] = key.object.0[0];
        let mut rng = ChaCha8Rng::from_seed(seed);
        Bytes {
            descriptor: drawn_bytes(&mut rng, 300),
            share: drawn_bytes(&mut rng, 300),
            fragment: drawn_bytes(&mut rng, 4000),
        }
    }
}

impl Expectation {
    /// `contents` was acknowledged.
    fn settle(&mut self, contents: Contents) {
        self.shown = contents;
        self.possible = vec![contents];
    }

    /// The store was opened and showed `found`, which is durable from now on.
    fn opened(&mut self, found: Contents) -> Result<(), String> {
        if !self.possible.contains(&found) {
            return Err(format!("{found:?} after a crash, where {:?} are possible", self.possible));
        }
        self.settle(found);
        if found == Contents::Damaged {
            // Moved aside; the move is not synced.
            self.settle(Contents::Absent);
            self.possible.push(Contents::Damaged);
        }
        Ok(())
    }
}
