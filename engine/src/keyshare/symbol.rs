//! Symbols, and polynomials with symbols as coefficients.
//!
//! Points are slots and public; symbols are secret and meet only constant-time arithmetic.

use std::fmt;

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};
use rand_core::CryptoRng;
use subtle::{Choice, ConstantTimeEq};
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::parameters::SECRET_LEN;
use crate::gf::{self, POLYNOMIAL, constant_time};
use crate::names::Slot;

/// 32 field elements, the element at place t belonging to byte t of V. Wiped when dropped.
///
/// Encoded as a byte string; compared in constant time.
#[derive(Clone)]
pub struct Symbol(Zeroizing<[u8; SECRET_LEN]>);

impl Symbol {
    pub(super) fn zero() -> Self {
        Self(Zeroizing::new([0; SECRET_LEN]))
    }

    /// The secret bytes.
    pub fn expose(&self) -> &[u8; SECRET_LEN] {
        &self.0
    }

    /// A uniform symbol.
    pub(super) fn random(rng: &mut impl CryptoRng) -> Self {
        let mut symbol = Self::zero();
        rng.fill_bytes(symbol.0.as_mut_slice());
        symbol
    }

    /// Adds `factor` times `other`; the factor is public.
    pub(super) fn add_scaled(&mut self, factor: u8, other: &Self) {
        constant_time::add_scaled::<POLYNOMIAL>(self.0.as_mut_slice(), factor, other.0.as_slice());
    }

    /// Multiplies by `factor`, which is public.
    pub(super) fn scale(&mut self, factor: u8) {
        let mut product = Self::zero();
        product.add_scaled(factor, self);
        *self = product;
    }

    /// The sum of the products with public `coefficients`, place by place.
    pub(super) fn dot(&self, coefficients: &[u8; SECRET_LEN]) -> u8 {
        constant_time::dot::<POLYNOMIAL>(self.expose(), coefficients)
    }

    pub(super) fn is_zero(&self) -> bool {
        *self == Self::zero()
    }
}

impl From<[u8; SECRET_LEN]> for Symbol {
    fn from(bytes: [u8; SECRET_LEN]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl ConstantTimeEq for Symbol {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.as_slice().ct_eq(other.0.as_slice())
    }
}

impl PartialEq for Symbol {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for Symbol {}

impl ZeroizeOnDrop for Symbol {}

impl fmt::Debug for Symbol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Symbol(secret)")
    }
}

impl<C> Encode<C> for Symbol {
    fn encode<W: encode::Write>(
        &self,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), encode::Error<W::Error>> {
        encoder.bytes(self.expose())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Symbol {
    fn decode(decoder: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        let bytes: &[u8; SECRET_LEN] = decoder
            .bytes()?
            .try_into()
            .map_err(|_| decode::Error::message("a symbol is 32 bytes"))?;
        Ok(Self::from(*bytes))
    }
}

/// The value at `slot` of the polynomial with these coefficients, lowest first.
pub(super) fn evaluate(coefficients: &[Symbol], slot: Slot) -> Symbol {
    let mut value = Symbol::zero();
    for (exponent, coefficient) in coefficients.iter().enumerate() {
        value.add_scaled(gf::pow(slot.point(), exponent), coefficient);
    }
    value
}

/// The coefficients, lowest first, of the polynomial of least degree through the points, which
/// must be distinct (Newton's divided differences, then expansion to powers).
pub(super) fn interpolate(points: &[(Slot, &Symbol)]) -> Vec<Symbol> {
    let mut coefficients: Vec<Symbol> = points.iter().map(|&(_, value)| value.clone()).collect();
    for order in 1..points.len() {
        for index in (order..points.len()).rev() {
            let (below, from_index) = coefficients.split_at_mut(index);
            let distance = points[index].0.point() ^ points[index - order].0.point();
            from_index[0].add_scaled(1, &below[index - 1]);
            from_index[0].scale(gf::inv(distance));
        }
    }
    for order in (0..points.len().saturating_sub(1)).rev() {
        for index in order..points.len() - 1 {
            let (to_index, above) = coefficients.split_at_mut(index + 1);
            to_index[index].add_scaled(points[order].0.point(), &above[0]);
        }
    }
    coefficients
}
