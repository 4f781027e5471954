//! The kernel for any processor, in plain code that compilers turn into whatever vectors there are.
//!
//! With the bits of a coefficient c = sum of c_b · 2^b, a sum of products is, by Horner's rule over
//! the bits, a chain of seven doublings with sums of those inputs between them whose coefficient has
//! the bit. The doublings are shared by all inputs, so a product costs four additions on average,
//! and no table.

use super::POLYNOMIAL;
use super::kernel::Pass;

/// Outputs share nothing here, but fewer passes are fewer calls.
pub(super) const PASS_OUTPUTS: usize = 8;

/// Bytes of a strip in one step: as many as eight registers of 16 bytes hold.
const STEP: usize = 128;

/// The kernel. Nothing in it is unsafe, it only has the type of all kernels.
///
/// # Panics
/// If the promises of kernels are broken.
pub(super) fn combine(pass: &Pass, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
    for (place, &output) in pass.outputs.iter().enumerate() {
        for (step, target) in outputs[output].chunks_mut(STEP).enumerate() {
            let range = step * STEP..step * STEP + target.len();
            let sources = pass.inputs.iter().map(|&input| &inputs[input][range.clone()]);
            let coefficients = pass.coefficients.iter().skip(place).step_by(pass.outputs.len());
            let sum = sum_of_products(sources.zip(coefficients.copied()));
            target.copy_from_slice(&sum[..target.len()]);
        }
    }
}

/// The sum of at most [`STEP`] bytes each, times coefficients.
fn sum_of_products<'a>(products: impl Iterator<Item = (&'a [u8], u8)> + Clone) -> [u8; STEP] {
    let mut sum = [0; STEP];
    for bit in (0..8).rev() {
        for byte in &mut sum {
            *byte = double(*byte);
        }
        for (source, coefficient) in products.clone() {
            if coefficient >> bit & 1 == 1 {
                add(&mut sum, source);
            }
        }
    }
    sum
}

/// x times the element.
fn double(element: u8) -> u8 {
    let carry = (element.cast_signed() >> 7).cast_unsigned();
    element << 1 ^ carry & POLYNOMIAL as u8
}

fn add(sum: &mut [u8; STEP], source: &[u8]) {
    match source.as_array::<STEP>() {
        Some(source) => sum.iter_mut().zip(source).for_each(|(sum, byte)| *sum ^= byte),
        None => sum.iter_mut().zip(source).for_each(|(sum, byte)| *sum ^= byte),
    }
}
