//! The definition of the field, as slow and plain as possible.
//!
//! Every table is built from it at compile time and every faster path is tested against it.

/// The product of `a` and `b` modulo `polynomial`, by shifting and adding.
pub const fn mul(polynomial: u16, a: u8, b: u8) -> u8 {
    let mut shifted = a as u16;
    let mut rest = b;
    let mut product = 0;
    while rest != 0 {
        if rest & 1 == 1 {
            product ^= shifted;
        }
        shifted <<= 1;
        if shifted & 0x100 != 0 {
            shifted ^= polynomial;
        }
        rest >>= 1;
    }
    product as u8
}

/// The inverse of `a` modulo `polynomial` by trying every element; 0 for 0.
pub const fn inv(polynomial: u16, a: u8) -> u8 {
    let mut candidate = 255;
    while candidate > 0 && mul(polynomial, a, candidate) != 1 {
        candidate -= 1;
    }
    candidate
}
