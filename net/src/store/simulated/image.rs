//! What a power cut does to file bytes and to names.

use std::collections::{BTreeMap, BTreeSet};

use rand_core::Rng;

const SECTOR_LENGTH: usize = 512;

/// What a power cut did to something that was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A file lost all its unsynced bytes.
    FileDropped,
    /// A file kept some of its unsynced sectors and lost others.
    FileTorn,
    /// A file has not the length it had.
    LengthChanged,
    /// A sector fell back to what was durable.
    SectorLost,
    /// A new sector became zeros.
    SectorZeroed,
    /// A new sector became arbitrary bytes.
    SectorGarbled,
    /// A sector was kept although one before it was lost.
    SectorReordered,
    /// A new file or directory lost its name.
    CreationLost,
    /// A renamed file got its old name back.
    RenameLost,
    /// A removed file came back.
    RemovalLost,
    /// A change of names was kept.
    NameKept,
    /// A change of names was kept although an earlier one was lost.
    NameReordered,
}

impl Fault {
    /// Every kind.
    pub const ALL: [Self; 12] = [
        Self::FileDropped,
        Self::FileTorn,
        Self::LengthChanged,
        Self::SectorLost,
        Self::SectorZeroed,
        Self::SectorGarbled,
        Self::SectorReordered,
        Self::CreationLost,
        Self::RenameLost,
        Self::RemovalLost,
        Self::NameKept,
        Self::NameReordered,
    ];
}

/// How often each fault really happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(BTreeMap<Fault, u64>);

impl Faults {
    /// How often `fault` happened.
    pub fn count(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// Counts another run's faults in.
    pub fn merge(&mut self, other: &Self) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_default() += count;
        }
    }

    fn add(&mut self, fault: Fault) {
        *self.0.entry(fault).or_default() += 1;
    }
}

/// A file's bytes, live and durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Sectors written or cut off since the last sync.
    dirty: BTreeSet<usize>,
}

impl Content {
    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let begin = offset.min(self.live.len());
        let end = offset + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[offset..end].copy_from_slice(bytes);
        self.dirty.extend(begin / SECTOR_LENGTH..end.div_ceil(SECTOR_LENGTH));
    }

    pub(super) fn truncate(&mut self, length: usize) {
        let (begin, end) = (length.min(self.live.len()), length.max(self.live.len()));
        self.live.resize(length, 0);
        self.dirty.extend(begin / SECTOR_LENGTH..end.div_ceil(SECTOR_LENGTH));
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.live);
        self.dirty.clear();
    }

    pub(super) fn cut(&mut self, rng: &mut impl Rng, faults: &mut Faults) {
        if self.dirty.is_empty() {
            return;
        }
        match rng.next_u32() % 4 {
            0 => {
                faults.add(Fault::FileDropped);
                self.live.clone_from(&self.durable);
            }
            1 => {}
            _ => {
                faults.add(Fault::FileTorn);
                self.tear(rng, faults);
            }
        }
        self.sync();
    }

    fn tear(&mut self, rng: &mut impl Rng, faults: &mut Faults) {
        let (short, long) =
            (self.durable.len().min(self.live.len()), self.durable.len().max(self.live.len()));
        let length = match rng.next_u32() % 3 {
            0 => self.live.len(),
            1 => self.durable.len(),
            _ => short + rng.next_u32() as usize % (long - short + 1),
        };
        if length != self.live.len() {
            faults.add(Fault::LengthChanged);
        }
        self.live.resize(long, 0);
        let mut lost_before = false;
        for &sector in &self.dirty {
            let begin = (sector * SECTOR_LENGTH).min(long);
            let end = (begin + SECTOR_LENGTH).min(long);
            let bytes = &mut self.live[begin..end];
            let durable = self.durable.get(begin..).unwrap_or(&[]);
            // Zeros and old bytes only where nothing durable was.
            let choices = if durable.is_empty() { 4 } else { 2 };
            match rng.next_u32() % choices {
                0 => {
                    if lost_before {
                        faults.add(Fault::SectorReordered);
                    }
                    continue;
                }
                1 => {
                    faults.add(Fault::SectorLost);
                    let kept = durable.len().min(bytes.len());
                    bytes[..kept].copy_from_slice(&durable[..kept]);
                    bytes[kept..].fill(0);
                }
                2 => {
                    faults.add(Fault::SectorZeroed);
                    bytes.fill(0);
                }
                _ => {
                    faults.add(Fault::SectorGarbled);
                    rng.fill_bytes(bytes);
                }
            }
            lost_before = true;
        }
        self.live.truncate(length);
    }
}

/// A file or a directory, whatever its name.
pub(super) type Inode = u64;

/// The folder itself.
pub(super) const ROOT: Inode = 0;

/// What the names in each directory stand for.
pub(super) type Names = BTreeMap<Inode, BTreeMap<String, Inode>>;

/// The names of all directories, live and durable.
#[derive(Clone, Debug)]
pub(super) struct Directories {
    pub(super) live: Names,
    durable: Names,
    /// Changes that no sync has covered yet, oldest first.
    pending: Vec<Change>,
}

/// One atomic change of names.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) kind: ChangeKind,
    /// Directory, name, and what the name stands for afterwards.
    pub(super) names: Vec<(Inode, String, Option<Inode>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChangeKind {
    Creation,
    Rename,
    Removal,
}

impl Directories {
    pub(super) fn new() -> Self {
        let root = Names::from([(ROOT, BTreeMap::new())]);
        Self { live: root.clone(), durable: root, pending: Vec::new() }
    }

    /// Makes `inode` an empty directory; it still needs a name.
    pub(super) fn insert_directory(&mut self, inode: Inode) {
        self.live.insert(inode, BTreeMap::new());
        self.durable.insert(inode, BTreeMap::new());
    }

    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    /// Makes durable every change in `directory`, and earlier ones of the same names elsewhere.
    pub(super) fn sync(&mut self, directory: Inode) {
        let mut names_covered = BTreeSet::new();
        let mut covered = Vec::new();
        let mut left = Vec::new();
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            let place = |(inode, name, _): &(Inode, String, Option<Inode>)| (*inode, name.clone());
            let places: Vec<_> = change.names.iter().map(place).collect();
            let touches =
                |place: &(Inode, String)| place.0 == directory || names_covered.contains(place);
            if places.iter().any(touches) {
                names_covered.extend(places);
                covered.push(change);
            } else {
                left.push(change);
            }
        }
        covered.iter().rev().for_each(|change| change.apply(&mut self.durable));
        self.pending = left.into_iter().rev().collect();
    }

    pub(super) fn sync_all(&mut self) {
        self.pending.clear();
        self.durable.clone_from(&self.live);
    }

    pub(super) fn cut(&mut self, rng: &mut impl Rng, faults: &mut Faults) {
        // One cut in four loses all, one keeps all, so that both ends are met as well.
        let style = rng.next_u32() % 4;
        let mut lost_before = false;
        for change in std::mem::take(&mut self.pending) {
            let kept = style == 1 || style > 1 && rng.next_u32().is_multiple_of(2);
            if kept {
                change.apply(&mut self.durable);
                faults.add(Fault::NameKept);
                if lost_before {
                    faults.add(Fault::NameReordered);
                }
            } else {
                lost_before = true;
                faults.add(change.kind.loss());
            }
        }
        self.live.clone_from(&self.durable);
    }
}

impl Change {
    fn apply(&self, image: &mut Names) {
        for (directory, name, inode) in &self.names {
            let names = image.entry(*directory).or_default();
            match inode {
                Some(inode) => names.insert(name.clone(), *inode),
                None => names.remove(name),
            };
        }
    }
}

impl ChangeKind {
    fn loss(self) -> Fault {
        match self {
            Self::Creation => Fault::CreationLost,
            Self::Rename => Fault::RenameLost,
            Self::Removal => Fault::RemovalLost,
        }
    }
}
