//! The instructions of the NEON kernel in plain code, so that every machine tests that kernel.
//!
//! Names, arguments and results are those of the ARM C Language Extensions ("Neon Intrinsics
//! Reference").

#![allow(non_camel_case_types, reason = "ARM's names")]

#[derive(Clone, Copy)]
pub(super) struct uint8x16_t([u8; 16]);

pub(super) unsafe fn vdupq_n_u8(value: u8) -> uint8x16_t {
    uint8x16_t([value; 16])
}

pub(super) unsafe fn vld1q_u8(source: *const u8) -> uint8x16_t {
    // SAFETY: the caller promises 16 readable bytes.
    uint8x16_t(unsafe { source.cast::<[u8; 16]>().read_unaligned() })
}

pub(super) unsafe fn vst1q_u8(target: *mut u8, vector: uint8x16_t) {
    // SAFETY: the caller promises 16 writable bytes.
    unsafe { target.cast::<[u8; 16]>().write_unaligned(vector.0) }
}

pub(super) unsafe fn vandq_u8(one: uint8x16_t, other: uint8x16_t) -> uint8x16_t {
    uint8x16_t(std::array::from_fn(|lane| one.0[lane] & other.0[lane]))
}

pub(super) unsafe fn veorq_u8(one: uint8x16_t, other: uint8x16_t) -> uint8x16_t {
    uint8x16_t(std::array::from_fn(|lane| one.0[lane] ^ other.0[lane]))
}

pub(super) unsafe fn vshrq_n_u8<const BITS: i32>(vector: uint8x16_t) -> uint8x16_t {
    uint8x16_t(vector.0.map(|byte| byte >> BITS))
}

/// An index beyond the table gives 0.
pub(super) unsafe fn vqtbl1q_u8(table: uint8x16_t, indices: uint8x16_t) -> uint8x16_t {
    uint8x16_t(indices.0.map(|index| table.0.get(usize::from(index)).copied().unwrap_or(0)))
}
