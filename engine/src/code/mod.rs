//! Erasure and regenerating codes for the ciphertext of objects (spec/code.md).
//!
//! [`CodeParameters`] name a code and [`build`](CodeParameters::build) it; a [`Code`] cuts an
//! object into n fragments, gives the object back from any k of them, and rebuilds a lost fragment
//! from one symbol per column of any d others. [`Layout`] tells where bytes lie. The codes
//! themselves are only matrices, one module each: `rs`, `mbr`, `msr`.

mod construction;
mod error;
mod layout;
mod map_cache;
mod mbr;
mod msr;
#[cfg(test)]
mod oracle;
mod parameters;
mod rs;

use std::fmt;
use std::ops::Range;

pub use error::CodeError;
pub use layout::{GROUP_LEN, Layout};
pub use parameters::{CodeKind, CodeParameters, ParametersError};

use construction::Construction;
use layout::Region;
use map_cache::{MapCache, MapKey};

use crate::gf::{Combination, Matrix};
use crate::names::Slot;

/// A code, ready to work on whole objects.
///
/// Every operation is exact and deterministic: the same bytes on every machine. What an operation
/// prepares it keeps for the next one with the same slots, so share a `Code` between objects. The
/// methods that end in `_into` reuse their caller's buffers: fresh memory costs more than the code.
pub struct Code {
    parameters: CodeParameters,
    construction: Box<dyn Construction>,
    maps: MapCache,
}

impl Code {
    fn new(parameters: CodeParameters, construction: Box<dyn Construction>) -> Self {
        Self { parameters, construction, maps: MapCache::default() }
    }

    /// What the code was built from.
    pub fn parameters(&self) -> CodeParameters {
        self.parameters
    }

    /// Bytes that a slot stores per column.
    pub fn alpha(&self) -> usize {
        self.construction.alpha()
    }

    /// Bytes that one helper sends per column to repair a fragment: 1 in every code here.
    pub fn beta(&self) -> usize {
        1
    }

    /// Bytes of the object per column, B.
    pub fn message_len(&self) -> usize {
        self.construction.message_len()
    }

    /// Where an object of `coded_len` bytes lies.
    pub fn layout(&self, coded_len: u64) -> Layout {
        Layout::new(coded_len, self.alpha(), self.message_len())
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
        fragments.resize_with(self.parameters.n.into(), Vec::new);
        let encoder = self.maps.map(MapKey::Encode, || self.generator());
        self.generate(&layout, &encoder, data, fragments);
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
        let encoder = self.maps.map(key, || self.construction.generator(slot));
        let mut fragments = [Vec::new()];
        self.generate(layout, &encoder, data, &mut fragments);
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
        message.resize(layout.span(Region::Message, &groups), 0);
        let key = MapKey::Decode(slots.clone());
        let decoder = self.maps.map(key, || self.construction.decoder(&slots));
        transform(
            layout,
            groups.clone(),
            &decoder,
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
        let mut symbols = vec![0; layout.symbols_len() as usize];
        transform(
            layout,
            0..layout.group_count(),
            &self.maps.map(MapKey::Help(failed), || self.construction.helper(failed)),
            (Region::Fragment, &[fragment]),
            (Region::Symbols, &mut [&mut symbols]),
        );
        Ok(symbols)
    }

    /// The whole fragment of slot `failed`, bit for bit, from the symbols of exactly d distinct
    /// helpers (k for `rs`).
    pub fn repair(
        &self,
        layout: &Layout,
        failed: Slot,
        symbols: &[(Slot, &[u8])],
    ) -> Result<Vec<u8>, CodeError> {
        let mut fragment = Vec::new();
        self.repair_into(layout, failed, symbols, &mut fragment)?;
        Ok(fragment)
    }

    /// As [`repair`](Self::repair), into a buffer whose contents do not matter; after an error they
    /// are the same as before.
    pub fn repair_into(
        &self,
        layout: &Layout,
        failed: Slot,
        symbols: &[(Slot, &[u8])],
        fragment: &mut Vec<u8>,
    ) -> Result<(), CodeError> {
        self.check_layout(layout)?;
        self.check_slot(failed)?;
        let symbols_len = layout.symbols_len() as usize;
        let helpers = self.check_parts(self.parameters.d, symbols_len, symbols)?;
        if helpers.contains(&failed) {
            return Err(CodeError::SelfRepair(failed));
        }
        fragment.resize(layout.fragment_len() as usize, 0);
        let key = MapKey::Repair(failed, helpers.clone());
        let repair = self.maps.map(key, || self.construction.repair(failed, &helpers));
        transform(
            layout,
            0..layout.group_count(),
            &repair,
            (Region::Symbols, &bytes_of(symbols)),
            (Region::Fragment, &mut [fragment]),
        );
        Ok(())
    }

    /// All slots' generators one under another.
    fn generator(&self) -> Matrix {
        let generators: Vec<Matrix> =
            Slot::all(self.parameters.n).map(|slot| self.construction.generator(slot)).collect();
        let rows = generators.iter().flat_map(|matrix| (0..matrix.rows()).map(|r| matrix.row(r)));
        Matrix::from_rows(self.message_len(), rows)
    }

    /// Encodes `data` into fragments of any length.
    fn generate(
        &self,
        layout: &Layout,
        encoder: &Combination,
        data: &[u8],
        fragments: &mut [Vec<u8>],
    ) {
        for fragment in &mut *fragments {
            fragment.resize(layout.fragment_len() as usize, 0);
        }
        let mut fragments: Vec<&mut [u8]> = fragments.iter_mut().map(Vec::as_mut_slice).collect();
        let mut padding = Vec::new();
        for group in 0..layout.group_count() {
            let width = layout.group_width(group) as usize;
            let start = layout.place(Region::Message, 0, group).start;
            let end = data.len().min(start + self.message_len() * width);
            let mut inputs: Vec<&[u8]> = data[start..end].chunks(width).collect();
            if end - start < self.message_len() * width {
                // The last strip with data is filled up, and those after it are all fill.
                let partial = inputs.pop_if(|strip| strip.len() < width).unwrap_or_default();
                padding.extend_from_slice(partial);
                padding.resize(2 * width, 0);
                let (partial, zeros) = padding.split_at(width);
                inputs.push(partial);
                inputs.resize(self.message_len(), zeros);
            }
            let mut outputs = strips(layout, Region::Fragment, 0, group, &mut fragments);
            encoder.apply(&inputs, &mut outputs);
        }
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
        let mut slots = Vec::with_capacity(parts.len());
        for &(slot, bytes) in parts {
            self.check_slot(slot)?;
            if slots.contains(&slot) {
                return Err(CodeError::Duplicate(slot));
            }
            if bytes.len() != length {
                return Err(CodeError::PartLength { slot, needed: length, given: bytes.len() });
            }
            slots.push(slot);
        }
        Ok(slots)
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

/// Applies `map` to every group: the strips of all sources to the strips of all targets.
///
/// Sources and targets begin with the first of `groups`.
fn transform(
    layout: &Layout,
    groups: Range<u32>,
    map: &Combination,
    (from, sources): (Region, &[&[u8]]),
    (to, targets): (Region, &mut [&mut [u8]]),
) {
    for group in groups.clone() {
        let width = layout.group_width(group) as usize;
        let source = layout.place(from, groups.start, group);
        let inputs: Vec<&[u8]> =
            sources.iter().flat_map(|bytes| bytes[source.clone()].chunks_exact(width)).collect();
        let mut outputs = strips(layout, to, groups.start, group, targets);
        map.apply(&inputs, &mut outputs);
    }
}

/// The strips of a group in all targets, which begin with group `first`; the fill after them is
/// zeroed.
fn strips<'a>(
    layout: &Layout,
    region: Region,
    first: u32,
    group: u32,
    targets: &'a mut [&mut [u8]],
) -> Vec<&'a mut [u8]> {
    let width = layout.group_width(group) as usize;
    let place = layout.place(region, first, group);
    let end = layout.span(region, &(first..group + 1));
    let strips = targets.iter_mut().flat_map(|bytes| {
        let (strips, fill) = bytes[place.start..end].split_at_mut(place.len());
        fill.fill(0);
        strips.chunks_exact_mut(width)
    });
    strips.collect()
}
