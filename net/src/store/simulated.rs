//! A disk in memory that loses power.
//!
//! # Fault model
//! The disk keeps two images: *live*, what the running program sees, and *durable*, what is on the
//! medium. Power is cut between two operations ([`SimulatedDisk::stop_after`],
//! [`SimulatedDisk::stop_before_sync`]; every later operation fails without effect). Then, at
//! [`SimulatedDisk::power_cut`]:
//!
//! - **File bytes.** Of a file written or truncated since its last sync, either nothing is
//!   kept, or everything, or each 512-byte sector on its own becomes: the durable one, the live
//!   one (so later writes can be kept and earlier ones lost), or, where nothing was durable,
//!   zeros or arbitrary bytes. Its length becomes any between the durable and the live
//!   one. A sector is written whole or not at all: its durable bytes never vanish by a torn write
//!   that left them unchanged.
//! - **Names.** Each creation, rename and removal since a sync of its directory is lost or kept on
//!   its own, in any combination. A rename is one step: never both names, never none. A directory
//!   whose own name is lost takes what is in it along, synced or not.
//! - **Syncs** that returned are kept. A sync of a directory makes durable every change of names in
//!   it, together with earlier changes of the same names elsewhere. `sync_all` keeps everything but
//!   what was written to files that have no name any more.
//!
//! A killed process ([`SimulatedDisk::restart`]) keeps the live image. Besides: a full disk (a
//! write that stops halfway), failing reads, failing syncs, flipped bits, and syncs that return
//! without doing anything, one call site at a time.
//!
//! Not modelled: damage to durable sectors by a power cut, lost or misdirected writes after
//! a sync that returned.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand_core::Rng;

use super::disk::{Disk, DiskFile, Entry, EntryKind, components, parent};
use image::{Change, ChangeKind, Content, Directories, Inode, ROOT};

pub use image::{Fault, Faults};

mod image;

/// A line of the program that syncs, and how deep the directory it syncs is (0: a file, or the folder).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SyncSite {
    file: &'static str,
    line: u32,
    depth: usize,
}

impl fmt::Display for SyncSite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{} at depth {}", self.file, self.line, self.depth)
    }
}

/// A disk in memory, with the faults of this module's head. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// An open file of [`SimulatedDisk`].
#[derive(Debug)]
pub struct SimulatedFile {
    disk: SimulatedDisk,
    inode: Inode,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<Inode, Content>,
    directories: Directories,
    next_inode: Inode,
    operations: u64,
    stop_after: Option<u64>,
    syncs_left: Option<u64>,
    capacity: Option<u64>,
    failing_reads: bool,
    failing_syncs: bool,
    ignored_site: Option<SyncSite>,
    sites: BTreeMap<SyncSite, u64>,
    syncs_ignored: u64,
}

impl SimulatedDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets `operations` more operations happen; then the power is off.
    pub fn stop_after(&self, operations: u64) {
        let mut state = self.state();
        state.stop_after = Some(state.operations + operations);
    }

    /// Lets `syncs` more syncs happen; the power is off just before the next one, when most is at
    /// stake.
    pub fn stop_before_sync(&self, syncs: u64) {
        self.state().syncs_left = Some(syncs);
    }

    /// Whether the power is off, or would be at the next operation.
    pub fn is_off(&self) -> bool {
        let state = self.state();
        state.stop_after.is_some_and(|limit| state.operations >= limit)
    }

    /// Loses what was not durable as the fault model says, and switches the power on again.
    pub fn power_cut(&self, rng: &mut impl Rng) -> Faults {
        let mut faults = Faults::default();
        let mut state = self.state();
        for content in state.files.values_mut() {
            content.cut(rng, &mut faults);
        }
        state.directories.cut(rng, &mut faults);
        state.switch_on();
        faults
    }

    /// The process was killed and starts again: nothing is lost, nothing becomes durable.
    pub fn restart(&self) {
        self.state().switch_on();
    }

    /// Where a file's bytes are on the medium; they stay there when its name is gone.
    pub fn place_of(&self, path: &str) -> Option<Inode> {
        self.state().find(path).ok()
    }

    /// Where the bytes of all files are that have a name.
    pub fn named_places(&self) -> BTreeSet<Inode> {
        let state = self.state();
        state.named().into_iter().filter(|inode| state.files.contains_key(inode)).collect()
    }

    /// What the medium holds at a place, without what only the cache knows.
    pub fn medium_at(&self, place: Inode) -> Vec<u8> {
        let state = self.state();
        state.files.get(&place).map_or_else(Vec::new, |content| content.durable.clone())
    }

    /// Lets files hold at most `bytes` in all; `None` for no limit.
    pub fn limit_capacity(&self, bytes: Option<u64>) {
        self.state().capacity = bytes;
    }

    /// Makes every read of file bytes fail, or none.
    pub fn fail_reads(&self, failing: bool) {
        self.state().failing_reads = failing;
    }

    /// Makes every sync fail, or none.
    pub fn fail_syncs(&self, failing: bool) {
        self.state().failing_syncs = failing;
    }

    /// Flips the lowest bit of a byte, on the medium and in the cache.
    pub fn flip_bit(&self, path: &str, offset: u64) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.find(path)?;
        let content = state.files.get_mut(&inode).ok_or(ErrorKind::IsADirectory)?;
        for image in [&mut content.live, &mut content.durable] {
            if let Some(byte) = image.get_mut(offset as usize) {
                *byte ^= 1;
            }
        }
        Ok(())
    }

    /// Makes the syncs of one site return without doing anything.
    pub fn ignore_syncs_of(&self, site: SyncSite) {
        self.state().ignored_site = Some(site);
    }

    /// The sites that synced, and how often.
    pub fn sync_sites(&self) -> BTreeMap<SyncSite, u64> {
        self.state().sites.clone()
    }

    /// How many syncs returned without doing anything.
    pub fn syncs_ignored(&self) -> u64 {
        self.state().syncs_ignored
    }

    /// How many operations happened.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state for one more operation, unless the power is off.
    fn operate(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.stop_after.is_some_and(|limit| state.operations >= limit) {
            return Err(io::Error::other("the power is off"));
        }
        state.operations += 1;
        Ok(state)
    }

    /// The state for a sync, or `None` if this one is to be ignored.
    fn sync_from(
        &self,
        caller: &Location<'static>,
        depth: usize,
    ) -> io::Result<Option<MutexGuard<'_, State>>> {
        self.state().count_down_syncs();
        let mut state = self.operate()?;
        if state.failing_syncs {
            return Err(io::Error::other("simulated failure of a sync"));
        }
        let site = SyncSite { file: caller.file(), line: caller.line(), depth };
        *state.sites.entry(site).or_default() += 1;
        if state.ignored_site == Some(site) {
            state.syncs_ignored += 1;
            return Ok(None);
        }
        Ok(Some(state))
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn create_new(&self, path: &str) -> io::Result<SimulatedFile> {
        let mut state = self.operate()?;
        let inode = state.create(path)?;
        state.files.insert(inode, Content::default());
        Ok(SimulatedFile { disk: self.clone(), inode })
    }

    fn open(&self, path: &str) -> io::Result<SimulatedFile> {
        let state = self.operate()?;
        let inode = state.find(path)?;
        if !state.files.contains_key(&inode) {
            return Err(ErrorKind::IsADirectory.into());
        }
        Ok(SimulatedFile { disk: self.clone(), inode })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        let inode = state.find(from)?;
        let (from_directory, from_name) = state.place(from)?;
        let (to_directory, to_name) = state.place(to)?;
        let names = vec![(from_directory, from_name, None), (to_directory, to_name, Some(inode))];
        state.directories.change(Change { kind: ChangeKind::Rename, names });
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        let inode = state.find(path)?;
        if !state.files.contains_key(&inode) {
            return Err(ErrorKind::IsADirectory.into());
        }
        let (directory, name) = state.place(path)?;
        state
            .directories
            .change(Change { kind: ChangeKind::Removal, names: vec![(directory, name, None)] });
        Ok(())
    }

    fn create_directory(&self, path: &str) -> io::Result<()> {
        let mut state = self.operate()?;
        let inode = state.create(path)?;
        state.directories.insert_directory(inode);
        Ok(())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<Entry>> {
        let state = self.operate()?;
        let names = &state.directories.live[&state.find_directory(directory)?];
        let entry = |(name, inode): (&String, &Inode)| {
            let kind = state
                .files
                .get(inode)
                .map_or(EntryKind::Directory, |content| EntryKind::File(content.live.len() as u64));
            Entry { name: name.clone(), kind }
        };
        Ok(names.iter().map(entry).collect())
    }

    fn sync_directory(&self, directory: &str) -> io::Result<()> {
        let depth = components(directory)?.len();
        if let Some(mut state) = self.sync_from(Location::caller(), depth)? {
            let inode = state.find_directory(directory)?;
            state.directories.sync(inode);
        }
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        if let Some(mut state) = self.sync_from(Location::caller(), 0)? {
            for inode in state.named() {
                if let Some(content) = state.files.get_mut(&inode) {
                    content.sync();
                }
            }
            state.directories.sync_all();
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.operate()?.free_bytes())
    }
}

impl DiskFile for SimulatedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        let free = state.free_bytes();
        let content = state.content(self.inode);
        let offset = offset as usize;
        let room = (content.live.len().saturating_sub(offset) as u64).saturating_add(free);
        let fitting = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        content.write(offset, &bytes[..fitting]);
        if fitting < bytes.len() { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.operate()?;
        if state.failing_reads {
            return Err(io::Error::other("simulated failure of a read"));
        }
        let content = state.content(self.inode);
        let end = (offset as usize).checked_add(buffer.len()).ok_or(ErrorKind::UnexpectedEof)?;
        let bytes = content.live.get(offset as usize..end).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.operate()?.content(self.inode).live.len() as u64)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.disk.operate()?.content(self.inode).truncate(length as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if let Some(mut state) = self.disk.sync_from(Location::caller(), 0)? {
            state.content(self.inode).sync();
        }
        Ok(())
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            directories: Directories::new(),
            next_inode: ROOT + 1,
            operations: 0,
            stop_after: None,
            syncs_left: None,
            capacity: None,
            failing_reads: false,
            failing_syncs: false,
            ignored_site: None,
            sites: BTreeMap::new(),
            syncs_ignored: 0,
        }
    }
}

impl State {
    fn switch_on(&mut self) {
        self.stop_after = None;
        self.syncs_left = None;
    }

    fn count_down_syncs(&mut self) {
        match &mut self.syncs_left {
            Some(0) => self.stop_after = Some(self.operations),
            Some(left) => *left -= 1,
            None => {}
        }
    }

    fn content(&mut self, inode: Inode) -> &mut Content {
        self.files.entry(inode).or_default()
    }

    fn find(&self, path: &str) -> io::Result<Inode> {
        components(path)?.into_iter().try_fold(ROOT, |directory, name| {
            let names = self.directories.live.get(&directory).ok_or(ErrorKind::NotADirectory)?;
            Ok(*names.get(name).ok_or(ErrorKind::NotFound)?)
        })
    }

    fn find_directory(&self, path: &str) -> io::Result<Inode> {
        let inode = self.find(path)?;
        if self.directories.live.contains_key(&inode) {
            Ok(inode)
        } else {
            Err(ErrorKind::NotADirectory.into())
        }
    }

    /// The directory a path's last component is in, and that component.
    fn place(&self, path: &str) -> io::Result<(Inode, String)> {
        let components = components(path)?;
        let name = components.last().ok_or(ErrorKind::InvalidInput)?;
        Ok((self.find_directory(parent(path))?, (*name).to_owned()))
    }

    fn create(&mut self, path: &str) -> io::Result<Inode> {
        let (directory, name) = self.place(path)?;
        if self.directories.live[&directory].contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let inode = self.next_inode;
        self.next_inode += 1;
        let names = vec![(directory, name, Some(inode))];
        self.directories.change(Change { kind: ChangeKind::Creation, names });
        Ok(inode)
    }

    /// Everything that has a name.
    fn named(&self) -> BTreeSet<Inode> {
        self.directories.live.values().flat_map(BTreeMap::values).copied().collect()
    }

    /// Bytes left; of files that still have a name.
    fn free_bytes(&self) -> u64 {
        let named = self.named();
        let lengths = named.iter().filter_map(|inode| self.files.get(inode));
        let used: u64 = lengths.map(|content| content.live.len() as u64).sum();
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(used))
    }
}
