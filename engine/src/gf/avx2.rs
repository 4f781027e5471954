//! The AVX2 kernel: multiplication by a constant as two shuffles of 16-entry product tables
//! (Plank, Greenan, Miller, "Screaming fast Galois field arithmetic using Intel SIMD
//! instructions", FAST 2013).
//!
//! One step computes 64 bytes of up to four outputs. The sums stay in eight registers over all
//! inputs, each input is loaded and split into nibbles once, and each output is written once.

use std::arch::x86_64::{
    __m256i, _mm_load_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_loadu_si256,
    _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16,
    _mm256_storeu_si256, _mm256_xor_si256,
};
use std::ops::Range;

use super::combination::Pass;
use super::kernel::{PRODUCTS, portable};

/// Bytes of one vector.
const VECTOR: usize = 32;
/// Bytes of each strip that one step handles.
const STEP: usize = 2 * VECTOR;

/// [`Kernel`](super::kernel::Kernel) for processors with AVX2.
///
/// # Safety
/// As for every kernel.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn combine(
    pass: &Pass,
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    range: Range<usize>,
) {
    // SAFETY: the caller's promise is passed on.
    unsafe {
        match pass.outputs.len() {
            1 => combine_outputs::<1>(pass, inputs, outputs, range),
            2 => combine_outputs::<2>(pass, inputs, outputs, range),
            3 => combine_outputs::<3>(pass, inputs, outputs, range),
            _ => combine_outputs::<4>(pass, inputs, outputs, range),
        }
    }
}

/// # Safety
/// As for every kernel; the pass has `OUTPUTS` outputs.
#[target_feature(enable = "avx2")]
unsafe fn combine_outputs<const OUTPUTS: usize>(
    pass: &Pass,
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    range: Range<usize>,
) {
    if range.end < STEP {
        return portable(pass, inputs, outputs, range);
    }
    let mut at = range.start;
    while at < range.end {
        // The last step reaches back over bytes that are already done and computes them again.
        let start = at.min(range.end - STEP);
        // SAFETY: `start + STEP` is at most the end of the range, so within every strip.
        unsafe { step::<OUTPUTS>(pass, inputs, outputs, start) };
        at += STEP;
    }
}

/// # Safety
/// The processor has AVX2, every strip has at least `at + STEP` bytes, and the pass has `OUTPUTS`
/// outputs.
#[target_feature(enable = "avx2")]
unsafe fn step<const OUTPUTS: usize>(
    pass: &Pass,
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
    at: usize,
) {
    let nibble = _mm256_set1_epi8(0x0f);
    let mut sums = [[_mm256_setzero_si256(); 2]; OUTPUTS];
    for term in &pass.terms {
        let source = inputs[term.input].as_ptr();
        let mut low = [nibble; 2];
        let mut high = [nibble; 2];
        for half in 0..2 {
            // SAFETY: the caller promises `at + STEP` bytes; the load may be unaligned.
            let bytes = unsafe { _mm256_loadu_si256(source.add(at + half * VECTOR).cast()) };
            low[half] = _mm256_and_si256(bytes, nibble);
            high[half] = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble);
        }
        for (sum, &coefficient) in sums.iter_mut().zip(&term.coefficients) {
            let [low_products, high_products] = product_tables(coefficient);
            for half in 0..2 {
                let product = _mm256_xor_si256(
                    _mm256_shuffle_epi8(low_products, low[half]),
                    _mm256_shuffle_epi8(high_products, high[half]),
                );
                sum[half] = _mm256_xor_si256(sum[half], product);
            }
        }
    }
    for (sum, &output) in sums.iter().zip(&pass.outputs) {
        let target = outputs[output].as_mut_ptr();
        for (half, &bytes) in sum.iter().enumerate() {
            // SAFETY: the caller promises `at + STEP` bytes; the store may be unaligned.
            unsafe { _mm256_storeu_si256(target.add(at + half * VECTOR).cast(), bytes) };
        }
    }
}

/// The products of a coefficient with the low and with the high nibbles, in both lanes.
#[inline]
#[target_feature(enable = "avx2")]
fn product_tables(coefficient: u8) -> [__m256i; 2] {
    let products = PRODUCTS.0[coefficient as usize].as_ptr();
    // SAFETY: a row has 32 bytes and starts at a multiple of 32.
    unsafe {
        [
            _mm256_broadcastsi128_si256(_mm_load_si128(products.cast())),
            _mm256_broadcastsi128_si256(_mm_load_si128(products.add(16).cast())),
        ]
    }
}
