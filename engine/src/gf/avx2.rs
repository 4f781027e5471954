//! The kernel for processors with AVX2: 32 bytes are multiplied by a constant with two shuffles
//! ([`nibbles`](super::nibbles)).

use std::arch::x86_64::{
    __m256i, _mm_load_si128, _mm256_and_si256, _mm256_broadcastsi128_si256, _mm256_loadu_si256,
    _mm256_set1_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_srli_epi16,
    _mm256_storeu_si256, _mm256_xor_si256,
};

use super::kernel::Prepared;
use super::nibbles::PRODUCTS;
use super::patchwork::Batch;
use super::program::Strips;
use super::quads::QUAD;
use super::vector::Vector;

/// With two vectors of each, sums and nibbles take 12 of the 16 registers.
pub(super) const PASS_OUTPUTS: usize = 4;

/// Of quads: 2 of them.
pub(super) const QUAD_OUTPUTS: usize = 16;

/// Most outputs of a patch.
pub(super) const PATCH_OUTPUTS: usize = 4;

/// The kernel.
///
/// # Safety
/// As for every kernel.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn combine(coefficients: &[Prepared], strips: &Strips) {
    use super::pass_loop::combine;
    // SAFETY: the caller's promise is passed on.
    unsafe {
        match strips.outputs.len() {
            1 => combine::<Bytes, 1, 2>(coefficients, strips),
            2 => combine::<Bytes, 2, 2>(coefficients, strips),
            3 => combine::<Bytes, 3, 2>(coefficients, strips),
            _ => combine::<Bytes, 4, 2>(coefficients, strips),
        }
    }
}

/// The kernel for quads.
///
/// # Safety
/// As for every kernel.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn interpolate(coefficients: &[Prepared], strips: &Strips) {
    use super::quad_loop::interpolate;
    // SAFETY: the caller's promise is passed on.
    unsafe {
        match strips.outputs.len().div_ceil(QUAD) {
            1 => interpolate::<Bytes, 1>(coefficients, strips),
            2 => interpolate::<Bytes, 2>(coefficients, strips),
            3 => interpolate::<Bytes, 3>(coefficients, strips),
            _ => interpolate::<Bytes, 4>(coefficients, strips),
        }
    }
}

/// The kernel for patches.
///
/// # Safety
/// As for every kernel for patches.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn sum_patches(
    coefficients: &[Prepared],
    batch: &Batch,
    unit: usize,
    strips: &[*mut u8],
) {
    use super::patch_loop::sum_patches;
    // SAFETY: the caller's promise is passed on.
    unsafe {
        match batch.shape.outputs {
            1 => sum_patches::<Bytes, 1, 2>(coefficients, batch, unit, strips),
            2 => sum_patches::<Bytes, 2, 2>(coefficients, batch, unit, strips),
            3 => sum_patches::<Bytes, 3, 2>(coefficients, batch, unit, strips),
            _ => sum_patches::<Bytes, 4, 2>(coefficients, batch, unit, strips),
        }
    }
}

/// A register of this kernel.
#[derive(Clone, Copy)]
struct Bytes(__m256i);

/// A vector cut into nibbles, or a constant's products with them: low, high.
type LowHigh = [__m256i; 2];

impl Vector for Bytes {
    const LEN: usize = 32;
    type Factor = LowHigh;
    type Operand = LowHigh;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has the instructions, as below.
        Self(unsafe { _mm256_setzero_si256() })
    }

    #[inline(always)]
    unsafe fn load(source: *const u8) -> Self {
        // SAFETY: the caller promises 32 readable bytes.
        Self(unsafe { _mm256_loadu_si256(source.cast()) })
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut u8) {
        // SAFETY: the caller promises 32 writable bytes.
        unsafe { _mm256_storeu_si256(target.cast(), self.0) }
    }

    #[inline(always)]
    unsafe fn factor(coefficient: Prepared) -> LowHigh {
        let products = PRODUCTS.0[usize::from(coefficient as u8)].as_ptr();
        // SAFETY: a row has 32 bytes and starts at a multiple of 32.
        unsafe {
            [
                _mm256_broadcastsi128_si256(_mm_load_si128(products.cast())),
                _mm256_broadcastsi128_si256(_mm_load_si128(products.add(16).cast())),
            ]
        }
    }

    #[inline(always)]
    unsafe fn operand(self) -> LowHigh {
        // SAFETY: the caller has the instructions.
        unsafe {
            let low = _mm256_set1_epi8(0x0f);
            [_mm256_and_si256(self.0, low), _mm256_and_si256(_mm256_srli_epi16::<4>(self.0), low)]
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller has the instructions.
        Self(unsafe { _mm256_xor_si256(self.0, other.0) })
    }

    #[inline(always)]
    unsafe fn add_product(self, [low, high]: LowHigh, products: LowHigh) -> Self {
        // SAFETY: the caller has the instructions.
        Self(unsafe {
            let sum = _mm256_xor_si256(self.0, _mm256_shuffle_epi8(products[0], low));
            _mm256_xor_si256(sum, _mm256_shuffle_epi8(products[1], high))
        })
    }
}
