//! The kernel for any processor, in plain code that compilers turn into whatever vectors there are.
//!
//! With the bits of a coefficient c = sum of c_b · 2^b, a sum of products is, by Horner's rule over
//! the bits, a chain of seven doublings with sums of those inputs between them whose coefficient has
//! the bit. The doublings are shared by all inputs, so a product costs four additions on average,
//! and no table.

use super::POLYNOMIAL;
use super::kernel::Prepared;
use super::pair_sum::{MirroredRun, PairRun, PairSum};
use super::program::Strips;

/// Outputs share nothing here, but fewer passes are fewer calls.
pub(super) const PASS_OUTPUTS: usize = 8;

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
            let coefficients = coefficients.iter().map(|&c| c as u8).skip(place).step_by(outputs);
            let sources = strips.inputs.iter().map(|&input| bytes(input));
            let mut sum = sum_of_products(sources.zip(coefficients));
            if let Some(&start) = strips.starts.get(place) {
                add(&mut sum, bytes(start));
            }
            target.copy_from_slice(&sum[..target.len()]);
        }
    }
}

/// The kernel for pairs.
///
/// # Safety
/// As for every kernel for pairs.
pub(super) unsafe fn sum_pairs(sum: &PairSum, unit: usize, inputs: &[&[u8]], targets: &[*mut u8]) {
    let mirror = |&(run, output): &MirroredRun| {
        let [one, other] = run.inputs;
        [run, PairRun { inputs: [other, one], output, ..run }]
    };
    for run in sum.runs.iter().copied().chain(sum.mirrored.iter().flat_map(mirror)) {
        let length = run.length * unit;
        // SAFETY: the caller promises that the run can be written and is no input.
        let target = unsafe {
            std::slice::from_raw_parts_mut(targets[run.output.0].add(run.output.1 * unit), length)
        };
        for (step, target) in target.chunks_mut(STEP).enumerate() {
            let sources = run
                .inputs
                .map(|(strip, place)| &inputs[strip][place * unit + step * STEP..][..target.len()]);
            let bytes = sum_of_products(sources.into_iter().zip(sum.coefficients.map(|c| c as u8)));
            target.copy_from_slice(&bytes[..target.len()]);
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
