//! The choice of the kernel, and the portable one.

use std::ops::Range;

use super::combination::Pass;
use super::{POLYNOMIAL, oracle};

/// Computes the outputs of a pass in the byte range.
///
/// # Safety
/// The processor has the instructions of the kernel, all strips have the same length, the range
/// lies within it, and every strip that the pass names exists.
pub(super) type Kernel = unsafe fn(&Pass, &[&[u8]], &mut [&mut [u8]], Range<usize>);

/// For every coefficient its products with 0..16, then with 0, 16, 32, …, 240.
#[repr(align(32))]
pub(super) struct Products(pub(super) [[u8; 32]; 256]);

pub(super) static PRODUCTS: Products = products();

/// The fastest kernel that this processor runs.
pub(super) fn fastest() -> Kernel {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        return super::avx2::combine;
    }
    portable
}

/// Every kernel that this processor runs.
#[cfg(test)]
pub(super) fn available() -> Vec<Kernel> {
    vec![portable, fastest()]
}

/// Works on any processor.
pub(super) fn portable(
    pass: &Pass,
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    range: Range<usize>,
) {
    for (place, &output) in pass.outputs.iter().enumerate() {
        let output = &mut outputs[output][range.clone()];
        output.fill(0);
        for term in &pass.terms {
            let products = &PRODUCTS.0[term.coefficients[place] as usize];
            for (sum, &byte) in output.iter_mut().zip(&inputs[term.input][range.clone()]) {
                *sum ^= products[byte as usize & 15] ^ products[16 + (byte as usize >> 4)];
            }
        }
    }
}

const fn products() -> Products {
    let mut products = [[0; 32]; 256];
    let mut coefficient = 0;
    while coefficient < 256 {
        let mut nibble = 0;
        while nibble < 16 {
            let row = &mut products[coefficient];
            row[nibble] = oracle::mul(POLYNOMIAL, coefficient as u8, nibble as u8);
            row[16 + nibble] = oracle::mul(POLYNOMIAL, coefficient as u8, (nibble << 4) as u8);
            nibble += 1;
        }
        coefficient += 1;
    }
    Products(products)
}
