//! A segment of a catalogue, and a head.

use std::collections::BTreeMap;

use kakera_engine::catalogue::{
    About, Content, Head, Piece, RecordName, SealedAs, Segment, SegmentPlace, Stored, Version,
};
use kakera_engine::names::{ObjectId, RecordId};
use kakera_engine::object::ObjectReference;
use kakera_engine::seal::Compartment;

use super::{NOW, object};

/// Where the samples lie.
pub(crate) fn here() -> ObjectReference {
    ObjectReference { object_id: ObjectId([3; 32]), ..object::sealed().reference() }
}

pub(crate) fn segments() -> Vec<Vec<u8>> {
    [Segment::default(), segment()].map(|segment| segment.encode(&here())).into()
}

pub(crate) fn heads() -> Vec<Vec<u8>> {
    let place = SegmentPlace { put: 4, versions: 2, pieces: pieces() };
    let recent = segment().encode(&here());
    [Head::default(), Head { segments: vec![place], recent }]
        .map(|head| head.encode(&here()))
        .into()
}

fn pieces() -> Vec<Piece> {
    let extent = object::extent();
    [object::sealed().reference(), here()]
        .map(|object| Piece { object, extent: extent.clone() })
        .into()
}

fn segment() -> Segment {
    let version = |number: u64, name: &str, content: Content| {
        Some(Version {
            record: RecordId([1; 16]),
            number,
            based_on: number - 1,
            name: RecordName::new(name)?,
            put: number,
            recorded: NOW / 1000,
            content,
        })
    };
    let stored = Stored {
        compartment: Compartment { number: 1, generation: 0 },
        sealed: SealedAs { record: RecordId([2; 16]), number: 7 },
        len: 2 * u64::from(object::extent().plain_len),
        modified: NOW * 1_000_000,
        hash: [2; 32],
        pieces: pieces(),
        about: Some(About { patient: "12".into(), date: "20260401".into(), kind: "CT".into() }),
        retain_until: Some(NOW / 1000 + 5 * 365 * 86_400),
    };
    let versions = [
        version(1, "a/カルテ.dcm", Content::Stored(Box::new(stored))),
        version(2, "a/カルテ", Content::SameAs(1)),
        version(3, "a/カルテ", Content::Deleted),
        version(4, "a/カルテ", Content::Shredded(vec![object::sealed().reference()])),
    ];
    let labels = BTreeMap::from([(1, "0000012345".to_owned())]);
    Segment::new(versions.into_iter().flatten().collect(), &labels)
}
