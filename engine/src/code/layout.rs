//! Where the bytes of an object lie in its fragments.

use std::ops::Range;

/// Bytes of a group in a fragment, except the last group: one BLAKE3 chunk group.
pub const GROUP_LEN: u64 = 16 * 1024;

/// What the strips of a group are cut from.
#[derive(Clone, Copy)]
pub(super) enum Region {
    /// The object, padded with zeros to whole columns.
    Message,
    /// A fragment.
    Fragment,
    /// The symbols of one helper.
    Symbols,
}

/// How an object of some length is cut into groups, and where each lies in the object, in a
/// fragment and in the helper symbols of a repair (spec/code.md §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    coded_len: u64,
    alpha: u64,
    beta: u64,
    message_len: u64,
}

impl Layout {
    /// Of a code that stores alpha symbols per column of `message_len`, and of whose helpers each
    /// sends beta. An object longer than 2^32 - 1 groups is laid out up to there.
    pub(super) fn new(coded_len: u64, [alpha, beta, message_len]: [usize; 3]) -> Self {
        let [alpha, beta, message_len] = [alpha, beta, message_len].map(|symbols| symbols as u64);
        let layout = Self { coded_len, alpha, beta, message_len };
        let limit = u64::from(u32::MAX) * layout.group_message_len();
        Self { coded_len: coded_len.min(limit), ..layout }
    }

    /// Bytes of the object.
    pub fn coded_len(&self) -> u64 {
        self.coded_len
    }

    /// Groups of the object; none for an empty one.
    pub fn group_count(&self) -> u32 {
        self.coded_len.div_ceil(self.group_message_len()) as u32
    }

    /// Columns of a group; 0 if there is no such group.
    pub fn group_width(&self, group: u32) -> u64 {
        let start = u64::from(group) * self.group_message_len();
        let rest = self.coded_len.saturating_sub(start);
        rest.div_ceil(self.message_len).min(self.full_width())
    }

    /// Bytes of every fragment.
    pub fn fragment_len(&self) -> u64 {
        self.start(Region::Fragment, self.group_count())
    }

    /// Bytes that one helper sends to repair one fragment: beta per column.
    pub fn symbols_len(&self) -> u64 {
        self.start(Region::Symbols, self.group_count())
    }

    /// Bytes of the object that the group holds.
    pub fn message_range(&self, group: u32) -> Range<u64> {
        let place = |group: u64| (group * self.group_message_len()).min(self.coded_len);
        place(group.into())..place(u64::from(group) + 1)
    }

    /// Bytes of a fragment that the group occupies, the fill of a full group included.
    pub fn piece_range(&self, group: u32) -> Range<u64> {
        self.start(Region::Fragment, group)..self.start(Region::Fragment, group.saturating_add(1))
    }

    /// The groups that hold the given bytes of the object; empty if none does.
    pub fn groups_covering(&self, bytes: Range<u64>) -> Range<u32> {
        let end = bytes.end.min(self.coded_len);
        if bytes.start >= end {
            return 0..0;
        }
        let group_of = |byte: u64| (byte / self.group_message_len()) as u32;
        group_of(bytes.start)..group_of(end - 1) + 1
    }

    /// Bytes of the region in these groups, padding and fill included.
    pub(super) fn span(&self, region: Region, groups: &Range<u32>) -> usize {
        (self.start(region, groups.end) - self.start(region, groups.start)) as usize
    }

    /// Where the strips of a group lie in bytes of the region that begin with group `first`.
    pub(super) fn place(&self, region: Region, first: u32, group: u32) -> Range<usize> {
        let start = self.span(region, &(first..group));
        let (_, strips) = self.shape(region);
        start..start + (strips * self.group_width(group)) as usize
    }

    /// Where the group begins in the region; where the region ends if there is no such group.
    fn start(&self, region: Region, group: u32) -> u64 {
        let (stride, strips) = self.shape(region);
        match self.group_count().checked_sub(1) {
            Some(last) if group > last => {
                u64::from(last) * stride + strips * self.group_width(last)
            }
            Some(_) => u64::from(group) * stride,
            None => 0,
        }
    }

    /// Bytes of a full group, and strips of a group.
    fn shape(&self, region: Region) -> (u64, u64) {
        match region {
            Region::Message => (self.group_message_len(), self.message_len),
            Region::Fragment => (GROUP_LEN, self.alpha),
            Region::Symbols => (self.beta * self.full_width(), self.beta),
        }
    }

    /// Columns of every group but the last.
    fn full_width(&self) -> u64 {
        GROUP_LEN / self.alpha
    }

    /// Bytes of the object in every group but the last.
    fn group_message_len(&self) -> u64 {
        self.message_len * self.full_width()
    }
}
