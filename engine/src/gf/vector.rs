//! A vector register of bytes, and sums of products kept in such registers.
//!
//! What a vector is and how it is multiplied by a constant is the processor's part: [`Vector`]. The
//! loops of all vector kernels are made of the rest: `pass_loop` and `patch_loop`. Everything here is
//! inlined into a kernel, the only place that has the instructions; hence no closures, which are not
//! always.

use super::kernel::Prepared;

/// A vector register of bytes and the operations that a kernel needs of it.
///
/// # Safety
/// Every method needs the instructions of the implementation; callers reach the loop only through a
/// function that enables them, into which all of it is inlined.
pub(super) trait Vector: Copy {
    /// Bytes of a vector.
    const LEN: usize;
    /// Whether [`add_products`](Self::add_products) is better than two of
    /// [`add_product`](Self::add_product); it needs more registers.
    const ADDS_TWO: bool = false;
    /// A constant factor, ready to be used many times.
    type Factor: Copy;
    /// A vector, ready to be multiplied by many factors.
    type Operand: Copy;

    /// All bytes zero.
    unsafe fn zero() -> Self;
    /// The bytes at `source`, at any alignment; `LEN` of them can be read.
    unsafe fn load(source: *const u8) -> Self;
    /// Stores to `target`, at any alignment; `LEN` bytes can be written.
    unsafe fn store(self, target: *mut u8);
    /// Loads a factor that the kernel has prepared.
    unsafe fn factor(coefficient: Prepared) -> Self::Factor;
    /// Prepares a vector.
    unsafe fn operand(self) -> Self::Operand;
    /// The sum of two vectors.
    unsafe fn add(self, other: Self) -> Self;
    /// The sum of this vector and the product.
    unsafe fn add_product(self, operand: Self::Operand, factor: Self::Factor) -> Self;

    /// The sum of this vector and two products.
    #[inline(always)]
    unsafe fn add_products(self, operands: [Self::Operand; 2], factors: [Self::Factor; 2]) -> Self {
        let [one, other] = operands;
        // SAFETY: the caller's promise is passed on.
        unsafe { self.add_product(one, factors[0]).add_product(other, factors[1]) }
    }

    /// The `length` < `LEN` bytes at `source`, then anything.
    #[inline(always)]
    unsafe fn load_first(source: *const u8, length: usize) -> Self {
        let mut bytes = [0; 64];
        // SAFETY: the caller promises `length` readable bytes; the buffer is longer than a vector.
        unsafe {
            std::ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), length);
            Self::load(bytes.as_ptr())
        }
    }

    /// Stores the first `length` < `LEN` bytes.
    #[inline(always)]
    unsafe fn store_first(self, target: *mut u8, length: usize) {
        let mut bytes = [0; 64];
        // SAFETY: the caller promises `length` writable bytes; the buffer is longer than a vector.
        unsafe {
            self.store(bytes.as_mut_ptr());
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, length);
        }
    }
}

/// The sums of a few outputs, a few vectors each.
pub(super) struct Sums<V, const OUTPUTS: usize, const VECTORS: usize>(
    pub(super) [[V; VECTORS]; OUTPUTS],
);

/// # Safety
/// Of all methods: the processor has the instructions.
impl<V: Vector, const OUTPUTS: usize, const VECTORS: usize> Sums<V, OUTPUTS, VECTORS> {
    #[inline(always)]
    pub(super) unsafe fn zero() -> Self {
        // SAFETY: the caller's promise, as below.
        unsafe { Self([[V::zero(); VECTORS]; OUTPUTS]) }
    }

    /// Adds what was read, times a coefficient for every output.
    #[inline(always)]
    pub(super) unsafe fn add_product(
        &mut self,
        operands: [V::Operand; VECTORS],
        row: &[Prepared; OUTPUTS],
    ) {
        for (sums, &coefficient) in self.0.iter_mut().zip(row) {
            // SAFETY: the caller's promise.
            unsafe {
                let factor = V::factor(coefficient);
                for (sum, &operand) in sums.iter_mut().zip(&operands) {
                    *sum = sum.add_product(operand, factor);
                }
            }
        }
    }

    /// The same for what was read at two places.
    #[inline(always)]
    pub(super) unsafe fn add_products(
        &mut self,
        [one, other]: [[V::Operand; VECTORS]; 2],
        rows: [&[Prepared; OUTPUTS]; 2],
    ) {
        for (output, sums) in self.0.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                let factors = [V::factor(rows[0][output]), V::factor(rows[1][output])];
                for (vector, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add_products([one[vector], other[vector]], factors);
                }
            }
        }
    }
}

/// Reads so many vectors, or the first `length` bytes of one.
///
/// # Safety
/// The processor has the instructions, and the bytes can be read.
#[inline(always)]
pub(super) unsafe fn load<V: Vector, const VECTORS: usize, const SHORT: bool>(
    source: *const u8,
    length: usize,
) -> [V; VECTORS] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut bytes = [V::zero(); VECTORS];
        for (vector, bytes) in bytes.iter_mut().enumerate() {
            let source = source.add(vector * V::LEN);
            *bytes = if SHORT { V::load_first(source, length) } else { V::load(source) };
        }
        bytes
    }
}

/// Prepares vectors for multiplication.
///
/// # Safety
/// The processor has the instructions.
#[inline(always)]
pub(super) unsafe fn operands<V: Vector, const VECTORS: usize>(
    bytes: [V; VECTORS],
) -> [V::Operand; VECTORS] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut operands = [V::zero().operand(); VECTORS];
        for (operand, bytes) in operands.iter_mut().zip(bytes) {
            *operand = bytes.operand();
        }
        operands
    }
}

/// Writes so many vectors, or the first `length` bytes of one.
///
/// # Safety
/// The processor has the instructions, and the bytes can be written.
#[inline(always)]
pub(super) unsafe fn store<V: Vector, const VECTORS: usize, const SHORT: bool>(
    bytes: [V; VECTORS],
    target: *mut u8,
    length: usize,
) {
    for (vector, bytes) in bytes.into_iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let target = target.add(vector * V::LEN);
            if SHORT { bytes.store_first(target, length) } else { bytes.store(target) }
        }
    }
}
