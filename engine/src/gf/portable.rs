//! The kernel for any processor, in plain code that compilers turn into whatever vectors there are.
//!
//! With the bits of a coefficient c = sum of c_b · 2^b, a sum of products is, by Horner's rule over
//! the bits, a chain of seven doublings with sums of those inputs between them whose coefficient has
//! the bit. The doublings are shared by all inputs, so a product costs four additions on average,
//! and no table.

use super::POLYNOMIAL;
use super::kernel::Prepared;
use super::patchwork::{Batch, Shape, Start};
use super::program::Strips;

/// Outputs share nothing here, but fewer passes are fewer calls.
pub(super) const PASS_OUTPUTS: usize = 8;
/// The same.
pub(super) const PATCH_OUTPUTS: usize = 8;

/// Bytes of a strip in one step: as many as eight registers of 16 bytes hold.
const STEP: usize = 128;

/// The kernel.
///
/// # Safety
/// As for every kernel.
pub(super) unsafe fn combine(coefficients: &[Prepared], strips: &Strips) {
    let outputs = strips.outputs.len();
    for (place, &output) in strips.outputs.iter().enumerate() {
        // SAFETY: the caller promises that these bytes can be written and overlap nothing.
        let output = unsafe { std::slice::from_raw_parts_mut(output, strips.length) };
        for (step, target) in output.chunks_mut(STEP).enumerate() {
            // SAFETY: the caller promises these bytes.
            let bytes = |strip: *mut u8| unsafe {
                std::slice::from_raw_parts(strip.add(step * STEP), target.len())
            };
            let rows = strips.inputs.iter().zip(coefficients.chunks_exact(outputs));
            let mut sum =
                sum_of_products(rows.map(|(&input, row)| (bytes(input), row[place] as u8)));
            if let Some(&start) = strips.starts.get(place) {
                add(&mut sum, bytes(start));
            }
            target.copy_from_slice(&sum[..target.len()]);
        }
    }
}

/// The kernel for patches.
///
/// # Safety
/// As for every kernel for patches.
pub(super) unsafe fn sum_patches(
    coefficients: &[Prepared],
    batch: &Batch,
    unit: usize,
    strips: &[*mut u8],
) {
    let Shape { outputs, singles, pairs, length } = batch.shape;
    let length = length * unit;
    for patch in 0..batch.outputs.len() / outputs {
        let singles = &batch.singles[patch * singles..(patch + 1) * singles];
        let pairs = &batch.pairs[patch * pairs..(patch + 1) * pairs];
        for start in (0..length).step_by(STEP) {
            let bytes = start..length.min(start + STEP);
            // SAFETY: the caller promises that the patch lies within its strips.
            let address = |start: Start| unsafe {
                strips[start.strip as usize].add(start.place as usize * unit + bytes.start)
            };
            // SAFETY: the same, and none of these bytes is written in this step.
            let read = |start| unsafe { std::slice::from_raw_parts(address(start), bytes.len()) };
            let coefficient = |column: u32, output| coefficients[column as usize + output] as u8;
            let coupled = pairs.iter().map(|pair| {
                let product = [(read(pair.other), coefficient(pair.factor, 0))];
                let mut sum = sum_of_products(product.into_iter());
                add(&mut sum, read(pair.start));
                sum
            });
            let coupled: Vec<[u8; STEP]> = coupled.collect();
            for (output, &target) in batch.outputs[patch * outputs..][..outputs].iter().enumerate()
            {
                let singles = singles.iter().map(|term| (read(term.start), term.column));
                let coupled = coupled.iter().map(|bytes| &bytes[..]);
                let pairs = coupled.zip(pairs).map(|(bytes, term)| (bytes, term.column));
                let terms = singles.chain(pairs);
                let sum = sum_of_products(
                    terms.map(|(bytes, column)| (bytes, coefficient(column, output))),
                );
                // SAFETY: the same, and the caller promises that it can be written.
                let target =
                    unsafe { std::slice::from_raw_parts_mut(address(target), bytes.len()) };
                target.copy_from_slice(&sum[..bytes.len()]);
            }
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

#[inline(always)]
fn add(sum: &mut [u8; STEP], source: &[u8]) {
    match source.as_array::<STEP>() {
        Some(source) => sum.iter_mut().zip(source).for_each(|(sum, byte)| *sum ^= byte),
        None => sum.iter_mut().zip(source).for_each(|(sum, byte)| *sum ^= byte),
    }
}
