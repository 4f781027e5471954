//! The kernel for ARM processors with NEON: 16 bytes are multiplied by a constant with two table
//! look-ups ([`nibbles`](super::nibbles)).
//!
//! Tests on other processors run it too, over an emulation of its eight instructions.

#[cfg(target_arch = "aarch64")]
use std::arch::aarch64 as instructions;

#[cfg(not(target_arch = "aarch64"))]
use super::neon_emulation as instructions;

use instructions::{
    uint8x16_t, vandq_u8, vdupq_n_u8, veorq_u8, vld1q_u8, vqtbl1q_u8, vshrq_n_u8, vst1q_u8,
};

use super::kernel::Prepared;
use super::nibbles::PRODUCTS;
use super::patchwork::Batch;
use super::program::Strips;
use super::quads::QUAD;
use super::vector::Vector;

/// With two vectors of each, sums and nibbles take 20 of the 32 registers.
pub(super) const PASS_OUTPUTS: usize = 8;

/// Of quads: 4 of them.
pub(super) const QUAD_OUTPUTS: usize = 16;

/// Most outputs of a patch.
pub(super) const PATCH_OUTPUTS: usize = 6;

/// The kernel.
///
/// # Safety
/// As for every kernel.
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(super) unsafe fn combine(coefficients: &[Prepared], strips: &Strips) {
    use super::pass_loop::combine;
    // SAFETY: the caller's promise is passed on.
    unsafe {
        match strips.outputs.len() {
            1 => combine::<uint8x16_t, 1, 4>(coefficients, strips),
            2 => combine::<uint8x16_t, 2, 4>(coefficients, strips),
            3 => combine::<uint8x16_t, 3, 4>(coefficients, strips),
            4 => combine::<uint8x16_t, 4, 4>(coefficients, strips),
            5 => combine::<uint8x16_t, 5, 2>(coefficients, strips),
            6 => combine::<uint8x16_t, 6, 2>(coefficients, strips),
            7 => combine::<uint8x16_t, 7, 2>(coefficients, strips),
            _ => combine::<uint8x16_t, 8, 2>(coefficients, strips),
        }
    }
}

/// The kernel for quads.
///
/// # Safety
/// As for every kernel.
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
pub(super) unsafe fn interpolate(coefficients: &[Prepared], strips: &Strips) {
    use super::quad_loop::interpolate;
    // SAFETY: the caller's promise is passed on.
    unsafe {
        match strips.outputs.len().div_ceil(QUAD) {
            1 => interpolate::<uint8x16_t, 1>(coefficients, strips),
            2 => interpolate::<uint8x16_t, 2>(coefficients, strips),
            3 => interpolate::<uint8x16_t, 3>(coefficients, strips),
            _ => interpolate::<uint8x16_t, 4>(coefficients, strips),
        }
    }
}

/// The kernel for patches.
///
/// # Safety
/// As for every kernel for patches.
#[cfg_attr(target_arch = "aarch64", target_feature(enable = "neon"))]
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
            1 => sum_patches::<uint8x16_t, 1, 2>(coefficients, batch, unit, strips),
            2 => sum_patches::<uint8x16_t, 2, 2>(coefficients, batch, unit, strips),
            3 => sum_patches::<uint8x16_t, 3, 2>(coefficients, batch, unit, strips),
            4 => sum_patches::<uint8x16_t, 4, 2>(coefficients, batch, unit, strips),
            5 => sum_patches::<uint8x16_t, 5, 2>(coefficients, batch, unit, strips),
            _ => sum_patches::<uint8x16_t, 6, 2>(coefficients, batch, unit, strips),
        }
    }
}

/// A vector cut into nibbles, or a constant's products with them: low, high.
type LowHigh = [uint8x16_t; 2];

impl Vector for uint8x16_t {
    const LEN: usize = 16;
    type Factor = LowHigh;
    type Operand = LowHigh;

    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has the instructions, as below.
        unsafe { vdupq_n_u8(0) }
    }

    #[inline(always)]
    unsafe fn load(source: *const u8) -> Self {
        // SAFETY: the caller promises 16 readable bytes.
        unsafe { vld1q_u8(source) }
    }

    #[inline(always)]
    unsafe fn store(self, target: *mut u8) {
        // SAFETY: the caller promises 16 writable bytes.
        unsafe { vst1q_u8(target, self) }
    }

    #[inline(always)]
    unsafe fn factor(coefficient: Prepared) -> LowHigh {
        let products = PRODUCTS.0[usize::from(coefficient as u8)].as_ptr();
        // SAFETY: a row has 32 bytes.
        unsafe { [vld1q_u8(products), vld1q_u8(products.add(16))] }
    }

    #[inline(always)]
    unsafe fn operand(self) -> LowHigh {
        // SAFETY: the caller has the instructions.
        unsafe { [vandq_u8(self, vdupq_n_u8(0x0f)), vshrq_n_u8::<4>(self)] }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe { veorq_u8(self, other) }
    }

    #[inline(always)]
    unsafe fn add_product(self, [low, high]: LowHigh, products: LowHigh) -> Self {
        // SAFETY: the caller has the instructions.
        unsafe {
            let sum = veorq_u8(self, vqtbl1q_u8(products[0], low));
            veorq_u8(sum, vqtbl1q_u8(products[1], high))
        }
    }
}
