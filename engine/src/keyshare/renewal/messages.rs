//! What the participants of a renewal send and post. Lengths are checked against the terms by who
//! takes a message; decoders check shapes only.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::{Decode, Encode};

use crate::keyshare::commitment::Digest;
use crate::keyshare::share::Share;
use crate::names::Slot;

/// Bytes of a check value: with each, a wrong dealing survives with probability 1/256.
pub(super) const CHECKS: usize = 16;

/// What a dealer posts: the digests of the pair symbols of all its sharings, one for every pair of
/// receivers in ascending order. Encoded as one byte string.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct DealerPost {
    #[cbor(n(0), with = "chunks")]
    pub(super) pairs: Vec<Digest>,
}

/// What a dealer sends to one receiver and to nobody else: its share of every sharing, the mask
/// last. Encoded as an array of shares.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct DealtRows {
    #[n(0)]
    pub(super) shares: Vec<Share>,
}

/// What a receiver posts: the dealers whose rows did not come or do not match their post. Encoded
/// as an ascending array.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Complaint {
    /// Their slots.
    #[n(0)]
    pub against: BTreeSet<Slot>,
}

/// What a dealer posts to refute complaints: the rows of those who complained, by slot. If the
/// dealer is honest they are corrupt and know them; if not, nothing of it matters. Encoded as a map.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Answer {
    #[n(0)]
    pub(super) rows: BTreeMap<Slot, DealtRows>,
}

/// What a receiver posts of the masked random combinations: for every accepted dealer of a refresh,
/// or every parity check of a re-sharing, 16 bytes. Encoded as one byte string.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct CheckValues {
    #[cbor(n(0), with = "chunks")]
    pub(super) values: Vec<[u8; CHECKS]>,
}

/// What a receiver posts to commit to its new shares: for every object the leaves of its row, one
/// for every other receiver in ascending order. Encoded as one byte string.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Leaves {
    #[cbor(n(0), with = "chunks")]
    pub(super) leaves: Vec<Digest>,
}

/// Arrays of fixed length as one byte string.
mod chunks {
    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};

    pub(super) fn encode<C, W: Write, const N: usize>(
        chunks: &[[u8; N]],
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.bytes(chunks.as_flattened())?.ok()
    }

    pub(super) fn decode<C, const N: usize>(
        decoder: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Vec<[u8; N]>, minicbor::decode::Error> {
        let (chunks, rest) = decoder.bytes()?.as_chunks::<N>();
        if rest.is_empty() {
            Ok(chunks.to_vec())
        } else {
            Err(minicbor::decode::Error::message("not a whole number of values"))
        }
    }
}
