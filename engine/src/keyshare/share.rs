//! One node's share.

use minicbor::{Decode, Encode};
use zeroize::ZeroizeOnDrop;

use super::parameters::KeyParameters;
use super::symbol::{self, Symbol};
use crate::names::Slot;

/// Columns that the largest parameters give a share (n = 255, d = 254).
const COLUMNS_MAX: usize = 254;

/// One node's share of V: the polynomial f_i(y) = F(x_i, y) of degree below d, 32 d bytes.
///
/// A decoded share is well-formed, not yet true: compare [`Share::row`] with the committed row.
/// Encoded as `[slot, bytes]`, the coefficients in ascending order. Wiped when dropped; compared
/// in constant time.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Share {
    #[n(0)]
    slot: Slot,
    /// Never empty.
    #[cbor(n(1), with = "columns")]
    columns: Vec<Symbol>,
}

impl Share {
    pub(super) fn new(slot: Slot, columns: Vec<Symbol>) -> Self {
        Self { slot, columns }
    }

    /// The slot whose share this is.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// u_ij = F(x_i, x_j): what this slot and `other` both know, and what this slot gives when
    /// `other` is repaired.
    pub fn pair_symbol(&self, other: Slot) -> Symbol {
        symbol::evaluate(&self.columns, other)
    }

    /// The coefficients of f_i, lowest first; at least one.
    pub(super) fn columns(&self) -> &[Symbol] {
        &self.columns
    }

    /// The Shamir share of V within: the last column, or the first if d = k.
    pub(super) fn read_part(&self, parameters: KeyParameters) -> &Symbol {
        &self.columns[if parameters.has_spare() { self.columns.len() - 1 } else { 0 }]
    }
}

impl ZeroizeOnDrop for Share {}

/// The coefficients as one byte string.
mod columns {
    use minicbor::encode::Write;
    use minicbor::{Decoder, Encoder};
    use zeroize::Zeroizing;

    use super::{COLUMNS_MAX, Symbol};
    use crate::keyshare::parameters::SECRET_LEN;

    pub(super) fn encode<C, W: Write>(
        columns: &[Symbol],
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(columns.len() * SECRET_LEN));
        columns.iter().for_each(|column| bytes.extend_from_slice(column.expose()));
        encoder.bytes(&bytes)?.ok()
    }

    pub(super) fn decode<C>(
        decoder: &mut Decoder<'_>,
        _: &mut C,
    ) -> Result<Vec<Symbol>, minicbor::decode::Error> {
        let (columns, rest) = decoder.bytes()?.as_chunks::<SECRET_LEN>();
        if rest.is_empty() && (2..=COLUMNS_MAX).contains(&columns.len()) {
            Ok(columns.iter().copied().map(Symbol::from).collect())
        } else {
            Err(minicbor::decode::Error::message("a share is 2 to 254 symbols of 32 bytes"))
        }
    }
}
