//! Field arithmetic for secrets: no branch and no memory index depends on an operand.
//!
//! Conditions are masks made by an arithmetic right shift of the sign bit, the form compilers keep
//! as it is. The field polynomial is a parameter, because vectors of other implementations use
//! 0x11B; Kakera itself uses [`POLYNOMIAL`](super::POLYNOMIAL).

use std::hint::black_box;

/// The product of `a` and `b` modulo `POLY`.
pub const fn mul<const POLY: u16>(a: u8, b: u8) -> u8 {
    let mut product = 0u8;
    let mut bit = 0;
    while bit < 8 {
        product = double::<POLY>(product) ^ (sign_mask(b << bit) & a);
        bit += 1;
    }
    product
}

/// The inverse of `a` modulo `POLY`; 0 for 0.
///
/// a^254 by Fermat, with a fixed chain of squarings and products.
pub const fn inv<const POLY: u16>(a: u8) -> u8 {
    let mut power = a;
    let mut step = 0;
    while step < 6 {
        power = mul::<POLY>(mul::<POLY>(power, power), a);
        step += 1;
    }
    mul::<POLY>(power, power)
}

/// Adds `factor` times each of `values` to each of `sums`; the shorter one sets the length.
pub fn add_scaled<const POLY: u16>(sums: &mut [u8], factor: u8, values: &[u8]) {
    // An optimiser that knew that these are masks would branch on them outside the loop.
    let masks = black_box(std::array::from_fn::<u8, 8, _>(|bit| sign_mask(factor << bit)));
    for (sum, &value) in sums.iter_mut().zip(values) {
        *sum ^= masks.iter().fold(0, |product, mask| double::<POLY>(product) ^ (mask & value));
    }
}

/// The sum of the products of secret `left` and public `right`, place by place; the shorter one sets
/// the length.
pub fn dot<const POLY: u16>(left: &[u8], right: &[u8]) -> u8 {
    left.iter().zip(right).fold(0, |sum, (&left, &right)| sum ^ mul::<POLY>(left, right))
}

/// x times `element`.
const fn double<const POLY: u16>(element: u8) -> u8 {
    (element << 1) ^ (sign_mask(element) & POLY as u8)
}

/// All ones if the highest bit is set, else zero.
const fn sign_mask(byte: u8) -> u8 {
    ((byte as i8) >> 7) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gf::oracle;

    fn equals_the_oracle<const POLY: u16>() {
        for a in 0..=255 {
            assert_eq!(inv::<POLY>(a), oracle::inv(POLY, a));
            for b in 0..=255 {
                assert_eq!(mul::<POLY>(a, b), oracle::mul(POLY, a, b));
            }
        }
    }

    #[test]
    fn equals_the_oracle_in_both_fields() {
        equals_the_oracle::<0x11D>();
        equals_the_oracle::<0x11B>();
    }

    /// FIPS 197 §4.2 works this product out in the AES field.
    #[test]
    fn the_aes_field_has_the_published_product() {
        assert_eq!(mul::<0x11B>(0x57, 0x83), 0xC1);
        assert_eq!(mul::<0x11B>(0x57, 0x13), 0xFE);
    }

    #[test]
    fn sums_are_sums_of_products() {
        let (a, b) = ([3, 0, 250, 7], [9, 200, 250, 1]);
        let mut sums = b;
        add_scaled::<0x11D>(&mut sums, 0x8e, &a);
        for ((sum, a), b) in sums.into_iter().zip(a).zip(b) {
            assert_eq!(sum, b ^ oracle::mul(0x11D, a, 0x8e));
        }
    }
}
