//! Which segments a head lists, and when they are merged: a log-structured merge with two levels
//! below the segments that are merged no more.

use std::collections::{BTreeMap, BTreeSet};

use super::{Catalogue, Head, Piece, Segment, SegmentPlace, Version, VersionKey};
use crate::object::ObjectReference;

/// The most bytes of versions that the head holds itself.
const RECENT_LEN_MAX: usize = 4 * 1024;
/// Segments of one level that are merged when there are so many.
const FANOUT: usize = 16;
/// From this length on, in bytes, a segment is of the next level; from the last on it stays as it
/// is.
const LEVELS: [u64; 2] = [64 * 1024, 1024 * 1024];

/// The segments of a catalogue, and the versions that its head holds itself.
#[derive(Clone, Debug, Default)]
pub struct Log {
    segments: Vec<Filed>,
    recent: Vec<VersionKey>,
}

/// A segment that lies in objects.
#[derive(Clone, Debug)]
pub struct Filed {
    /// Where.
    pub place: SegmentPlace,
    /// What it holds.
    pub versions: Vec<VersionKey>,
}

/// What the next put writes beside its records.
#[derive(Clone, Debug)]
pub struct NextHead {
    kept: Vec<Filed>,
    /// To be written before the head, if there is one.
    pub segment: Option<Segment>,
    recent: Segment,
}

impl Log {
    /// The log that a head told of, with what its segments hold.
    pub fn new(segments: Vec<Filed>, recent: &Segment) -> Self {
        Self { segments, recent: keys(recent) }
    }

    /// Counts versions that no segment holds, of old manifests, to what the next head holds.
    pub fn leave(&mut self, versions: impl IntoIterator<Item = VersionKey>) {
        self.recent.extend(versions);
    }

    /// Takes the segments back that lie in one of these objects or tell one of these versions: what
    /// they tell is written again by the next put.
    pub fn take_back(&mut self, objects: &BTreeSet<ObjectReference>, told: &BTreeSet<VersionKey>) {
        let stays = |filed: &Filed| {
            let lies = |piece: &Piece| objects.contains(&piece.object);
            !filed.place.pieces.iter().any(lies)
                && !filed.versions.iter().any(|key| told.contains(key))
        };
        let (kept, taken) = std::mem::take(&mut self.segments).into_iter().partition(stays);
        self.segments = kept;
        self.recent.extend(taken.into_iter().flat_map(|filed: Filed| filed.versions));
    }

    /// The segments.
    pub fn segments(&self) -> &[Filed] {
        &self.segments
    }

    /// What to write so that the versions `new`, which follow on the catalogue, are found; `labels`
    /// are those of all compartments.
    pub fn next(
        &self,
        catalogue: &Catalogue,
        new: &[Version],
        labels: &BTreeMap<u32, String>,
    ) -> NextHead {
        let find = |keys: &[VersionKey]| -> Vec<Version> {
            keys.iter().filter_map(|key| catalogue.version(*key)).cloned().collect()
        };
        let mut versions = find(&self.recent);
        versions.extend_from_slice(new);
        let mut segment = Segment::new(versions, labels);
        let mut kept = self.segments.clone();
        if encoded_len(&segment) <= RECENT_LEN_MAX as u64 {
            return NextHead { kept, segment: None, recent: segment };
        }
        while let Some(level) = level(encoded_len(&segment)) {
            let same = |filed: &Filed| self::level(filed.place.encoded_len()) == Some(level);
            if kept.iter().filter(|filed| same(filed)).count() + 1 < FANOUT {
                break;
            }
            let (merged, rest): (Vec<Filed>, Vec<Filed>) = kept.into_iter().partition(same);
            kept = rest;
            let older = merged.iter().flat_map(|filed| find(&filed.versions));
            let versions = older.chain(segment.versions).collect();
            segment = Segment::new(versions, labels);
        }
        NextHead { kept, segment: Some(segment), recent: Segment::default() }
    }
}

impl NextHead {
    /// The head; `segment` is where [`Self::segment`] was written, if there was one.
    pub fn head(&self, segment: Option<&SegmentPlace>, here: &ObjectReference) -> Head {
        let places = self.kept.iter().map(|filed| &filed.place).chain(segment);
        Head { segments: places.cloned().collect(), recent: self.recent.encode(here) }
    }

    /// The log once the head is final.
    pub fn log(self, segment: Option<SegmentPlace>) -> Log {
        let Self { mut kept, segment: written, recent } = self;
        if let (Some(place), Some(written)) = (segment, written) {
            kept.push(Filed { place, versions: keys(&written) });
        }
        Log { segments: kept, recent: keys(&recent) }
    }
}

fn keys(segment: &Segment) -> Vec<VersionKey> {
    segment.versions.iter().map(Version::key).collect()
}

/// `None` for what is merged no more.
fn level(len: u64) -> Option<usize> {
    LEVELS.iter().position(|limit| len < *limit)
}

/// Nearly the same wherever the segment will lie.
fn encoded_len(segment: &Segment) -> u64 {
    let nowhere = ObjectReference {
        group: crate::names::GroupId(0),
        object_id: crate::names::ObjectId([0; 32]),
        salt: [0; 32],
    };
    segment.encode(&nowhere).len() as u64
}
