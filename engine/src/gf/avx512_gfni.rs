//! The kernel for processors with AVX-512 and GFNI: 64 bytes are multiplied by a constant with one
//! instruction ([`affine`](super::affine)), and 32 registers hold the sums of many outputs.

use std::arch::x86_64::{
    __m512i, _mm512_gf2p8affine_epi64_epi8, _mm512_loadu_si512, _mm512_mask_storeu_epi8,
    _mm512_maskz_loadu_epi8, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_storeu_si512,
    _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

use super::kernel::Prepared;
use super::patchwork::Batch;
use super::program::Strips;
use super::quads::QUAD;
use super::vector::Vector;

/// With two vectors of each, the sums take 24 of the 32 registers. Fewer outputs take more vectors in
/// a step, as far as sums, operands and products fit.
pub(super) const PASS_OUTPUTS: usize = 12;

/// Of quads: 4 of them.
pub(super) const QUAD_OUTPUTS: usize = 20;

/// Most outputs of a patch.
pub(super) const PATCH_OUTPUTS: usize = 6;

/// The kernel.
///
/// # Safety
/// As for every kernel.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
pub(super) unsafe fn combine(coefficients: &[Prepared], strips: &Strips) {
    use super::pass_loop::combine;
    // SAFETY: the caller's promise is passed on.
    unsafe {
        match strips.outputs.len() {
            1 => combine::<__m512i, 1, 4>(coefficients, strips),
            2 => combine::<__m512i, 2, 4>(coefficients, strips),
            3 => combine::<__m512i, 3, 4>(coefficients, strips),
            4 => combine::<__m512i, 4, 3>(coefficients, strips),
            5 => combine::<__m512i, 5, 3>(coefficients, strips),
            6 => combine::<__m512i, 6, 2>(coefficients, strips),
            7 => combine::<__m512i, 7, 2>(coefficients, strips),
            8 => combine::<__m512i, 8, 2>(coefficients, strips),
            9 => combine::<__m512i, 9, 2>(coefficients, strips),
            10 => combine::<__m512i, 10, 2>(coefficients, strips),
            11 => combine::<__m512i, 11, 2>(coefficients, strips),
            _ => combine::<__m512i, 12, 2>(coefficients, strips),
        }
    }
}

/// The kernel for quads.
///
/// # Safety
/// As for every kernel.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
pub(super) unsafe fn interpolate(coefficients: &[Prepared], strips: &Strips) {
    use super::quad_loop::interpolate;
    // SAFETY: the caller's promise is passed on.
    unsafe {
        match strips.outputs.len().div_ceil(QUAD) {
            1 => interpolate::<__m512i, 1>(coefficients, strips),
            2 => interpolate::<__m512i, 2>(coefficients, strips),
            3 => interpolate::<__m512i, 3>(coefficients, strips),
            4 => interpolate::<__m512i, 4>(coefficients, strips),
            _ => interpolate::<__m512i, 5>(coefficients, strips),
        }
    }
}

/// The kernel for patches.
///
/// # Safety
/// As for every kernel for patches.
#[target_feature(enable = "avx512f,avx512bw,gfni")]
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
            1 => sum_patches::<__m512i, 1, 4>(coefficients, batch, unit, strips),
            2 => sum_patches::<__m512i, 2, 4>(coefficients, batch, unit, strips),
            3 => sum_patches::<__m512i, 3, 4>(coefficients, batch, unit, strips),
            4 => sum_patches::<__m512i, 4, 4>(coefficients, batch, unit, strips),
            5 => sum_patches::<__m512i, 5, 3>(coefficients, batch, unit, strips),
            _ => sum_patches::<__m512i, 6, 3>(coefficients, batch, unit, strips),
        }
    }
}

impl Vector for __m512i {
    const LEN: usize = 64;
    const ADDS_TWO: bool = true;
    type Factor = __m512i;
    type Operand = __m512i;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has the instructions, as below.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn load(source: *const u8) -> Self {
        // SAFETY: the caller promises 64 readable bytes.
        unsafe { _mm512_loadu_si512(source.cast()) }
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut u8) {
        // SAFETY: the caller promises 64 writable bytes.
        unsafe { _mm512_storeu_si512(target.cast(), self) }
    }

    #[inline(always)]
    unsafe fn factor(coefficient: Prepared) -> __m512i {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_set1_epi64(coefficient.cast_signed()) }
    }

    #[inline(always)]
    unsafe fn operand(self) -> __m512i {
        self
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_xor_si512(self, other) }
    }

    #[inline(always)]
    unsafe fn add_product(self, operand: __m512i, matrix: __m512i) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { _mm512_xor_si512(self, _mm512_gf2p8affine_epi64_epi8::<0>(operand, matrix)) }
    }

    /// Both additions are one instruction: the truth table 0x96 is that of a sum of three bits.
    #[inline(always)]
    unsafe fn add_products(self, operands: [__m512i; 2], matrices: [__m512i; 2]) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe {
            let one = _mm512_gf2p8affine_epi64_epi8::<0>(operands[0], matrices[0]);
            let other = _mm512_gf2p8affine_epi64_epi8::<0>(operands[1], matrices[1]);
            _mm512_ternarylogic_epi64::<0x96>(self, one, other)
        }
    }

    #[inline(always)]
    unsafe fn load_first(source: *const u8, length: usize) -> Self {
        // SAFETY: the mask leaves alone what the caller does not promise.
        unsafe { _mm512_maskz_loadu_epi8(first(length), source.cast()) }
    }

    #[inline(always)]
    unsafe fn store_first(self, target: *mut u8, length: usize) {
        // SAFETY: the mask leaves alone what the caller does not promise.
        unsafe { _mm512_mask_storeu_epi8(target.cast(), first(length), self) }
    }
}

/// The mask of the first `length` < 64 bytes.
fn first(length: usize) -> u64 {
    (1 << length) - 1
}
