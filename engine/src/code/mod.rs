//! Erasure and regenerating codes for the ciphertext of objects (spec/code.md).
//!
//! [`CodeParameters`] name a code and [`build`](CodeParameters::build) it; a [`Code`] cuts an
//! object into n fragments, gives the object back from any k of them, and rebuilds a lost fragment
//! from a little of every byte of d others, or from k others whole. [`Layout`] tells where bytes
//! lie. The codes themselves are linear maps, one module each: `rs`, `mbr`, `msr`, `clay`.

mod clay;
mod clay_solution;
mod construction;
mod error;
mod layout;
mod mbr;
mod msr;
mod msr_edges;
#[cfg(test)]
mod oracle;
mod parameters;
mod recent;
mod repair_plan;
mod rs;
mod schedule;
mod survey;

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use error::CodeError;
pub use layout::{GROUP_LEN, Layout};
pub use parameters::{CodeKind, CodeParameters, ParametersError};
pub use repair_plan::{HelperAnswer, RepairPlan};
pub use survey::{CodeCosts, repair_products, survey};

use construction::{Construction, GroupMap};
use layout::Region;
use recent::Recent;

use crate::names::Slot;

/// Bytes by which the fragments of an object are allocated apart, more than their length: when all
/// begin in the same sets of the caches, encoding takes up to twice the time.
const SKEW: usize = 192;

/// Maps that a code keeps. A slot under repair uses one, and one for each set of holders that
/// answers reads.
const MAPS_MAX: usize = 16;

/// A code, ready to work on whole objects.
///
/// Every operation is exact and deterministic: the same bytes on every machine. What an operation
/// prepares is kept for the next one with the same slots, and shared by clones. The methods that end
/// in `_into` reuse their caller's buffers: fresh memory costs more than the code.
#[derive(Clone)]
pub struct Code {
    parameters: CodeParameters,
    construction: Arc<dyn Construction>,
    maps: Arc<Recent<MapKey, Arc<dyn GroupMap>, MAPS_MAX>>,
    /// What the last operation kept intermediate strips in, for the next one.
    workspace: Arc<Mutex<Vec<u8>>>,
}

/// What a map does. The order of the slots is that of its inputs.
#[derive(Debug, PartialEq, Eq)]
enum MapKey {
    /// The message to the content of all slots.
    Encode,
    /// The message to the content of one slot.
    EncodeSlot(Slot),
    /// The contents of these slots to the message.
    Decode(Vec<Slot>),
    /// Any helper's content to its symbols for this slot.
    Help(Slot),
    /// The symbols of these helpers to the content of the lost slot.
    Repair(Slot, Vec<Slot>),
    /// The contents of these slots to the content of the lost slot.
    Rebuild(Slot, Vec<Slot>),
}

impl Code {
    fn new(parameters: CodeParameters, construction: Arc<dyn Construction>) -> Self {
        let (maps, workspace) = (Arc::new(Recent::new()), Arc::default());
        Self { parameters, construction, maps, workspace }
    }

    /// What the code was built from.
    pub fn parameters(&self) -> CodeParameters {
        self.parameters
    }

    /// Bytes that a slot stores per column.
    pub fn alpha(&self) -> usize {
        self.construction.alpha()
    }

    /// Bytes that one helper sends per column to repair a fragment.
    pub fn beta(&self) -> usize {
        self.construction.beta()
    }

    /// Bytes of the object per column, B.
    pub fn message_len(&self) -> usize {
        self.construction.message_len()
    }

    /// Where an object of `coded_len` bytes lies.
    pub fn layout(&self, coded_len: u64) -> Layout {
        Layout::new(coded_len, [self.alpha(), self.beta(), self.message_len()])
    }

    /// The n fragments of an object, in the order of the slots.
    pub fn encode(&self, data: &[u8]) -> Vec<Vec<u8>> {
        let mut fragments = Vec::new();
        self.encode_into(data, &mut fragments);
        fragments
    }

    /// As [`encode`](Self::encode), into buffers whose contents do not matter.
    pub fn encode_into(&self, data: &[u8], fragments: &mut Vec<Vec<u8>>) {
        let layout = self.layout(data.len() as u64);
        let slots = || Slot::all(self.parameters.n).collect::<Vec<_>>();
        let encoder = self.map(MapKey::Encode, || self.construction.encoder(&slots()));
        fragments.resize_with(self.parameters.n.into(), Vec::new);
        self.generate(&layout, &*encoder, data, fragments);
    }

    /// The fragment of one slot, the same as [`encode`](Self::encode) makes.
    pub fn encode_slot(
        &self,
        layout: &Layout,
        data: &[u8],
        slot: Slot,
    ) -> Result<Vec<u8>, CodeError> {
        self.check_layout(layout)?;
        self.check_slot(slot)?;
        CodeError::check_length(layout.coded_len(), data)?;
        let key = MapKey::EncodeSlot(slot);
        let encoder = self.map(key, || self.construction.encoder(&[slot]));
        let mut fragments = [Vec::new()];
        self.generate(layout, &*encoder, data, &mut fragments);
        let [fragment] = fragments;
        Ok(fragment)
    }

    /// The object from exactly k whole fragments of distinct slots.
    pub fn decode(
        &self,
        layout: &Layout,
        fragments: &[(Slot, &[u8])],
    ) -> Result<Vec<u8>, CodeError> {
        self.decode_groups(layout, 0..layout.group_count(), fragments)
    }

    /// The bytes of the object in a range of groups, from those groups of exactly k fragments.
    ///
    /// `pieces` are the bytes of the fragments from the start of the first group to the end of the
    /// last; the result begins at the first byte of `layout.message_range(groups.start)`.
    pub fn decode_groups(
        &self,
        layout: &Layout,
        groups: Range<u32>,
        pieces: &[(Slot, &[u8])],
    ) -> Result<Vec<u8>, CodeError> {
        let mut message = Vec::new();
        self.decode_groups_into(layout, groups, pieces, &mut message)?;
        Ok(message)
    }

    /// As [`decode_groups`](Self::decode_groups), into a buffer whose contents do not matter; after
    /// an error they are the same as before.
    pub fn decode_groups_into(
        &self,
        layout: &Layout,
        groups: Range<u32>,
        pieces: &[(Slot, &[u8])],
        message: &mut Vec<u8>,
    ) -> Result<(), CodeError> {
        self.check_layout(layout)?;
        if groups.start > groups.end || groups.end > layout.group_count() {
            return Err(CodeError::Groups { groups, count: layout.group_count() });
        }
        let piece_len = layout.span(Region::Fragment, &groups);
        let slots = self.check_parts(self.parameters.k, piece_len, pieces)?;
        let key = MapKey::Decode(slots.clone());
        let decoder = self.map(key, || self.construction.decoder(&slots));
        message.resize(layout.span(Region::Message, &groups), 0);
        self.transform(
            layout,
            groups.clone(),
            &*decoder,
            (Region::Fragment, &bytes_of(pieces)),
            (Region::Message, &mut [message]),
        );
        let unpadded =
            layout.message_range(groups.end).start - layout.message_range(groups.start).start;
        message.truncate(unpadded as usize);
        Ok(())
    }

    /// What the holder of `fragment` sends for the repair of slot `failed`: `symbols_len` bytes.
    pub fn helper_symbols(
        &self,
        layout: &Layout,
        failed: Slot,
        fragment: &[u8],
    ) -> Result<Vec<u8>, CodeError> {
        self.check_layout(layout)?;
        self.check_slot(failed)?;
        CodeError::check_length(layout.fragment_len(), fragment)?;
        let helper = self.map(MapKey::Help(failed), || self.construction.helper(failed));
        let mut symbols = vec![0; layout.symbols_len() as usize];
        self.transform(
            layout,
            0..layout.group_count(),
            &*helper,
            (Region::Fragment, &[fragment]),
            (Region::Symbols, &mut [&mut symbols]),
        );
        Ok(symbols)
    }

    /// What to ask of whom so as to repair slot `failed` when the slots `survivors` are left.
    ///
    /// The first of the survivors are preferred.
    pub fn plan_repair(&self, failed: Slot, survivors: &[Slot]) -> Result<RepairPlan, CodeError> {
        self.check_helpers(failed, survivors)?;
        RepairPlan::new(self.parameters, survivors)
    }

    /// The whole fragment of slot `failed`, bit for bit, from what a [`RepairPlan`] asks for: the
    /// symbols of d distinct helpers, or the whole fragments of k (for `rs` they are the same).
    pub fn repair(
        &self,
        layout: &Layout,
        failed: Slot,
        answers: &[(Slot, &[u8])],
    ) -> Result<Vec<u8>, CodeError> {
        let mut fragment = Vec::new();
        self.repair_into(layout, failed, answers, &mut fragment)?;
        Ok(fragment)
    }

    /// As [`repair`](Self::repair), into a buffer whose contents do not matter; after an error they
    /// are the same as before.
    pub fn repair_into(
        &self,
        layout: &Layout,
        failed: Slot,
        answers: &[(Slot, &[u8])],
        fragment: &mut Vec<u8>,
    ) -> Result<(), CodeError> {
        self.check_layout(layout)?;
        let answer = HelperAnswer::told_by(self.parameters, layout, answers)?;
        let (needed, region) = match answer {
            HelperAnswer::Symbols => (self.parameters.d, Region::Symbols),
            HelperAnswer::Fragment => (self.parameters.k, Region::Fragment),
        };
        let slots = self.check_parts(needed, answer.len(layout) as usize, answers)?;
        self.check_helpers(failed, &slots)?;
        let map = match answer {
            HelperAnswer::Symbols => {
                let key = MapKey::Repair(failed, slots.clone());
                self.map(key, || self.construction.repairer(failed, &slots))
            }
            HelperAnswer::Fragment => {
                let key = MapKey::Rebuild(failed, slots.clone());
                self.map(key, || self.construction.rebuilder(failed, &slots))
            }
        };
        fragment.resize(layout.fragment_len() as usize, 0);
        self.transform(
            layout,
            0..layout.group_count(),
            &*map,
            (region, &bytes_of(answers)),
            (Region::Fragment, &mut [fragment]),
        );
        Ok(())
    }

    /// Encodes `data` into fragments of any length; a last group that is not whole columns, from a
    /// zero-filled copy.
    fn generate(
        &self,
        layout: &Layout,
        encoder: &dyn GroupMap,
        data: &[u8],
        fragments: &mut [Vec<u8>],
    ) {
        for (slot, fragment) in fragments.iter_mut().enumerate() {
            let length = layout.fragment_len() as usize;
            // Of little use to a capacity, but it moves the next allocation to other cache sets.
            fragment.reserve_exact((length + slot * SKEW).saturating_sub(fragment.len()));
            fragment.resize(length, 0);
        }
        let groups = layout.group_count();
        let padded = layout.span(Region::Message, &(0..groups)) > data.len();
        let whole = if padded { groups - 1 } else { groups };
        let (data, tail) = data.split_at(layout.span(Region::Message, &(0..whole)));
        let pieces = layout.span(Region::Fragment, &(0..whole));
        let (mut pieces, mut last_pieces): (Vec<_>, Vec<_>) =
            fragments.iter_mut().map(|fragment| fragment.split_at_mut(pieces)).unzip();
        let (from, to) = (Region::Message, Region::Fragment);
        self.transform(layout, 0..whole, encoder, (from, &[data]), (to, &mut pieces));
        let mut tail = tail.to_vec();
        tail.resize(layout.span(Region::Message, &(whole..groups)), 0);
        self.transform(layout, whole..groups, encoder, (from, &[&tail]), (to, &mut last_pieces));
    }

    /// The map of this key, made ready by `prepare` unless it is kept.
    fn map(&self, key: MapKey, prepare: impl FnOnce() -> Box<dyn GroupMap>) -> Arc<dyn GroupMap> {
        self.maps.or_make(key, || Arc::from(prepare()))
    }

    /// Applies `map` to every group: the strips of all sources to the strips of all targets.
    ///
    /// Sources and targets begin with the first of `groups`. The fill of the targets is zeroed.
    fn transform(
        &self,
        layout: &Layout,
        groups: Range<u32>,
        map: &dyn GroupMap,
        (from, sources): (Region, &[&[u8]]),
        (to, targets): (Region, &mut [&mut [u8]]),
    ) {
        let mut workspace = std::mem::take(&mut *self.workspace());
        for group in groups.clone() {
            let width = layout.group_width(group) as usize;
            let source = layout.place(from, groups.start, group);
            let place = layout.place(to, groups.start, group);
            let end = layout.span(to, &(groups.start..group + 1));
            let sources: Vec<&[u8]> = sources.iter().map(|bytes| &bytes[source.clone()]).collect();
            let targets = targets.iter_mut().map(|bytes| {
                let (strips, fill) = bytes[place.start..end].split_at_mut(place.len());
                fill.fill(0);
                strips
            });
            map.apply(width, &sources, &mut targets.collect::<Vec<_>>(), &mut workspace);
        }
        *self.workspace() = workspace;
    }

    fn workspace(&self) -> MutexGuard<'_, Vec<u8>> {
        self.workspace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_layout(&self, layout: &Layout) -> Result<(), CodeError> {
        if *layout == self.layout(layout.coded_len()) {
            Ok(())
        } else {
            Err(CodeError::ForeignLayout(self.parameters))
        }
    }

    fn check_slot(&self, slot: Slot) -> Result<(), CodeError> {
        if slot.point() <= self.parameters.n {
            Ok(())
        } else {
            Err(CodeError::Slot { slot, n: self.parameters.n })
        }
    }

    fn check_distinct(&self, slots: &[Slot]) -> Result<(), CodeError> {
        for (place, &slot) in slots.iter().enumerate() {
            self.check_slot(slot)?;
            if slots[..place].contains(&slot) {
                return Err(CodeError::Duplicate(slot));
            }
        }
        Ok(())
    }

    fn check_helpers(&self, failed: Slot, helpers: &[Slot]) -> Result<(), CodeError> {
        self.check_slot(failed)?;
        self.check_distinct(helpers)?;
        if helpers.contains(&failed) { Err(CodeError::SelfRepair(failed)) } else { Ok(()) }
    }

    /// The slots of `parts`, if they are `needed` distinct ones with `length` bytes each.
    fn check_parts(
        &self,
        needed: u8,
        length: usize,
        parts: &[(Slot, &[u8])],
    ) -> Result<Vec<Slot>, CodeError> {
        if parts.len() != usize::from(needed) {
            return Err(CodeError::Count { needed, given: parts.len() });
        }
        let slots: Vec<Slot> = parts.iter().map(|&(slot, _)| slot).collect();
        self.check_distinct(&slots)?;
        match parts.iter().find(|(_, bytes)| bytes.len() != length) {
            Some(&(slot, bytes)) => {
                Err(CodeError::PartLength { slot, needed: length, given: bytes.len() })
            }
            None => Ok(slots),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.parameters)
    }
}

fn bytes_of<'a>(parts: &[(Slot, &'a [u8])]) -> Vec<&'a [u8]> {
    parts.iter().map(|&(_, bytes)| bytes).collect()
}
