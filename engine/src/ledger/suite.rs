//! The byte that names a set of algorithms.

use minicbor::{Decode, Encode};

/// The algorithms of every structure here: Ed25519, cSHAKE256 and SHA3-256.
///
/// Encoded as the byte 1; nothing else decodes, so a structure under later algorithms is never
/// read under these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Suite;

const SUITE: u8 = 1;

impl<C> Encode<C> for Suite {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.u8(SUITE)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Suite {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        match decoder.u8()? {
            SUITE => Ok(Self),
            _ => Err(minicbor::decode::Error::message("unknown suite")),
        }
    }
}
