//! CBOR of a digest that may be absent: a byte string or null (`#[cbor(with, has_nil)]`).

use minicbor::{Decode, Decoder, Encode, Encoder};

use super::log::{Digest32, PathHash};

pub(super) fn encode<C, W: minicbor::encode::Write>(
    digest: &Option<Digest32>,
    encoder: &mut Encoder<W>,
    context: &mut C,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    digest.map(PathHash).encode(encoder, context)
}

pub(super) fn decode<'b, C>(
    decoder: &mut Decoder<'b>,
    context: &mut C,
) -> Result<Option<Digest32>, minicbor::decode::Error> {
    Ok(Option::<PathHash>::decode(decoder, context)?.map(|PathHash(digest)| digest))
}

pub(super) fn nil() -> Option<Option<Digest32>> {
    Some(None)
}

pub(super) fn is_nil(digest: &Option<Digest32>) -> bool {
    digest.is_none()
}
