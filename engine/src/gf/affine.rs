//! Multiplication by a constant as an 8 × 8 bit matrix, for the instruction `gf2p8affineqb`.
//!
//! A product is linear over GF(2) in each factor. So for a constant c there is a matrix of bits A
//! with c · x = A · x, x taken as a column of eight bits: column j of A is c · 2^j. The instruction
//! multiplies every byte of a vector by one such matrix, whatever the field: all that GFNI fixes to
//! the polynomial 0x11B is another instruction.

use super::{POLYNOMIAL, oracle};

static MATRICES: [u64; 256] = matrices();

/// The matrix of a constant, as `gf2p8affineqb` reads it: bit i of the result is the parity of x and
/// byte 7 - i.
pub(super) fn matrix_of(constant: u8) -> u64 {
    MATRICES[usize::from(constant)]
}

const fn matrices() -> [u64; 256] {
    let mut matrices = [0; 256];
    let mut constant = 0;
    while constant < 256 {
        matrices[constant] = matrix(constant as u8);
        constant += 1;
    }
    matrices
}

const fn matrix(constant: u8) -> u64 {
    let mut matrix = 0;
    let mut column = 0;
    while column < 8 {
        let product = oracle::mul(POLYNOMIAL, constant, 1 << column);
        let mut bit = 0;
        while bit < 8 {
            matrix |= ((product >> bit & 1) as u64) << (8 * (7 - bit) + column);
            bit += 1;
        }
        column += 1;
    }
    matrix
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The instruction as the manual defines it.
    fn affine(matrix: u64, x: u8) -> u8 {
        (0..8).fold(0, |result, bit| {
            let row = (matrix >> (8 * (7 - bit))) as u8;
            result | ((row & x).count_ones() as u8 & 1) << bit
        })
    }

    #[test]
    fn matrices_multiply() {
        for constant in 0..=255 {
            for x in 0..=255 {
                let product = oracle::mul(POLYNOMIAL, constant, x);
                assert_eq!(affine(matrix_of(constant), x), product);
            }
        }
    }
}
