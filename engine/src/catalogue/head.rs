//! The head of a catalogue: what a pointer on the ledger leads to.

use minicbor::{Decode, Encode};

use super::table::ObjectTable;
use super::{FormatVersion, Piece};
use crate::object::{FormatError, ObjectReference, PlacedExtent, require};
use crate::wire::canonical;

/// The longest encoding, in bytes.
pub const HEAD_LEN_MAX: usize = 1024 * 1024;

/// Leads to every segment of the catalogue, and holds the newest versions itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The segments, oldest first.
    pub segments: Vec<SegmentPlace>,
    /// The newest versions: the encoding of one more segment, which lies in the head.
    pub recent: Vec<u8>,
}

/// Where a segment lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentPlace {
    /// The number of the pointer with which it was written; it entered its keys.
    pub put: u64,
    /// Versions in it.
    pub versions: u64,
    /// Its pieces, at least one.
    pub pieces: Vec<Piece>,
}

impl SegmentPlace {
    /// Bytes of its encoding.
    pub fn encoded_len(&self) -> u64 {
        self.pieces.iter().map(|piece| u64::from(piece.extent.plain_len)).sum()
    }
}

#[derive(Debug, PartialEq, Encode, Decode)]
struct Encoded {
    #[n(0)]
    version: FormatVersion,
    #[n(1)]
    objects: Vec<ObjectReference>,
    #[n(2)]
    segments: Vec<EncodedPlace>,
    #[cbor(n(3), with = "minicbor::bytes")]
    recent: Vec<u8>,
}

#[derive(Debug, PartialEq, Encode, Decode)]
struct EncodedPlace {
    #[n(0)]
    put: u64,
    #[n(1)]
    versions: u64,
    #[n(2)]
    pieces: Vec<PlacedExtent>,
}

impl Head {
    /// The canonical encoding, as it stands in a stream whose first byte lies in the object `here`.
    pub fn encode(&self, here: &ObjectReference) -> Vec<u8> {
        let pieces = self.segments.iter().flat_map(|place| &place.pieces);
        let table = ObjectTable::of(pieces.map(|piece| &piece.object), here);
        let place = |place: &SegmentPlace| EncodedPlace {
            put: place.put,
            versions: place.versions,
            pieces: table.place(&place.pieces),
        };
        canonical::encode(&Encoded {
            version: FormatVersion::V1,
            segments: self.segments.iter().map(place).collect(),
            objects: table.objects().to_vec(),
            recent: self.recent.clone(),
        })
    }

    /// Reads and checks a head from a stream whose first byte lies in the object `here`.
    pub fn decode(bytes: &[u8], here: &ObjectReference) -> Result<Self, FormatError> {
        let Encoded { objects, segments, recent, .. } = canonical::decode(bytes, HEAD_LEN_MAX)?;
        let table = ObjectTable::read(objects, here);
        let mut places = Vec::with_capacity(segments.len());
        for EncodedPlace { put, versions, pieces } in segments {
            require(!pieces.is_empty(), "a segment lies nowhere")?;
            places.push(SegmentPlace { put, versions, pieces: table.resolve(pieces)? });
        }
        let head = Self { segments: places, recent };
        require(head.encode(here) == bytes, "a head is written in another way than it is")?;
        Ok(head)
    }
}
