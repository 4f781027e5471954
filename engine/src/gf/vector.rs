//! The loop of all vector kernels: sums of products, kept in registers.
//!
//! One step takes a few vectors at one place of every strip. It loads each input once, multiplies
//! it by the coefficient of each output and adds that to the output's sum; the sums never leave the
//! registers until they are stored, once. What a vector is and how it is multiplied by a constant
//! is the processor's part: [`Vector`].

use super::kernel::Pass;

/// A vector register of bytes and the operations that a kernel needs of it.
///
/// # Safety
/// Every method needs the instructions of the implementation; callers reach the loop only through a
/// function that enables them, into which all of it is inlined.
pub(super) trait Vector: Copy {
    /// Bytes of a vector.
    const LEN: usize;
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
    /// Prepares a factor.
    unsafe fn factor(coefficient: u8) -> Self::Factor;
    /// Prepares a vector.
    unsafe fn operand(self) -> Self::Operand;
    /// The sum of this vector and the product.
    unsafe fn add_product(self, operand: Self::Operand, factor: Self::Factor) -> Self;

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

/// Computes a pass, `VECTORS` vectors of each strip in a step.
///
/// # Safety
/// As for every kernel, and the pass has `OUTPUTS` outputs.
#[inline(always)]
pub(super) unsafe fn combine<V: Vector, const OUTPUTS: usize, const VECTORS: usize>(
    pass: &Pass,
    inputs: &[&[u8]],
    outputs: &mut [&mut [u8]],
) {
    let length = outputs[pass.outputs[0]].len();
    let mut targets = [std::ptr::null_mut(); OUTPUTS];
    for (target, &output) in targets.iter_mut().zip(&pass.outputs) {
        *target = outputs[output].as_mut_ptr();
    }
    let whole = |at| Place { at, length: V::LEN };
    // SAFETY: every place lies within the strips.
    unsafe {
        if length < V::LEN {
            return step::<V, OUTPUTS, 1, true>(pass, inputs, &targets, Place { at: 0, length });
        }
        let mut at = 0;
        while at + VECTORS * V::LEN <= length {
            step::<V, OUTPUTS, VECTORS, false>(pass, inputs, &targets, whole(at));
            at += VECTORS * V::LEN;
        }
        while at < length {
            // The last vector reaches back over bytes that are done and computes them again.
            let place = whole(at.min(length - V::LEN));
            step::<V, OUTPUTS, 1, false>(pass, inputs, &targets, place);
            at += V::LEN;
        }
    }
}

/// Where in the strips a step works.
#[derive(Clone, Copy)]
struct Place {
    at: usize,
    /// Bytes of each vector that exist; all but in a strip that is shorter than a vector.
    length: usize,
}

/// Computes `VECTORS` vectors of every output.
///
/// # Safety
/// The processor has the instructions, the pass has `OUTPUTS` outputs, and its inputs and `targets`
/// have so many bytes at the place.
#[inline(always)]
unsafe fn step<V: Vector, const OUTPUTS: usize, const VECTORS: usize, const SHORT: bool>(
    pass: &Pass,
    inputs: &[&[u8]],
    targets: &[*mut u8; OUTPUTS],
    Place { at, length }: Place,
) {
    // SAFETY: the caller promises the instructions and the bytes that are read and written; a pass
    // names existing inputs, as every kernel is promised.
    unsafe {
        let mut sums = [[V::zero(); VECTORS]; OUTPUTS];
        let coefficients = pass.coefficients.chunks_exact(OUTPUTS);
        for (&input, coefficients) in pass.inputs.iter().zip(coefficients) {
            let source = inputs.get_unchecked(input).as_ptr().add(at);
            let operands: [V::Operand; VECTORS] = std::array::from_fn(|vector| {
                let source = source.add(vector * V::LEN);
                let bytes = if SHORT { V::load_first(source, length) } else { V::load(source) };
                bytes.operand()
            });
            for (sums, &coefficient) in sums.iter_mut().zip(coefficients) {
                let factor = V::factor(coefficient);
                for (sum, &operand) in sums.iter_mut().zip(&operands) {
                    *sum = sum.add_product(operand, factor);
                }
            }
        }
        for (sums, target) in sums.iter().zip(targets) {
            for (vector, sum) in sums.iter().enumerate() {
                let target = target.add(at + vector * V::LEN);
                if SHORT { sum.store_first(target, length) } else { sum.store(target) }
            }
        }
    }
}
