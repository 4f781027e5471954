//! Multiplication by a constant as two table look-ups, for shuffle instructions.
//!
//! A byte is the sum of its low nibble and its high nibble, so its product with a constant is the
//! sum of two entries of 16-entry tables, and one shuffle looks up a whole vector of nibbles
//! (Plank, Greenan, Miller, "Screaming fast Galois field arithmetic using Intel SIMD instructions",
//! FAST 2013).

use super::{POLYNOMIAL, oracle};

/// For every constant its products with 0..16, then with 0, 16, 32, …, 240.
#[repr(align(32))]
pub(super) struct Products(pub(super) [[u8; 32]; 256]);

pub(super) static PRODUCTS: Products = products();

const fn products() -> Products {
    let mut products = [[0; 32]; 256];
    let mut constant = 0;
    while constant < 256 {
        let mut nibble = 0;
        while nibble < 16 {
            let row = &mut products[constant];
            row[nibble] = oracle::mul(POLYNOMIAL, constant as u8, nibble as u8);
            row[16 + nibble] = oracle::mul(POLYNOMIAL, constant as u8, (nibble << 4) as u8);
            nibble += 1;
        }
        constant += 1;
    }
    Products(products)
}
