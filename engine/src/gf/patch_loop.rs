//! The loop over patches: the same as that over a pass, but every patch says where it reads and
//! writes.

use super::kernel::Prepared;
use super::patchwork::{Batch, Pair, Single, Start};
use super::vector::{Sums, Vector, load, operands, store};

/// Computes a batch of patches, `VECTORS` vectors of each strip in a step.
///
/// # Safety
/// As for every kernel for patches, and the patches have `OUTPUTS` outputs.
#[inline(always)]
pub(super) unsafe fn sum_patches<V: Vector, const OUTPUTS: usize, const VECTORS: usize>(
    coefficients: &[Prepared],
    batch: &Batch,
    unit: usize,
    strips: &[*mut u8],
) {
    let length = batch.shape.length * unit;
    // SAFETY: the caller promises the patches and their strips; every step lies within its patch.
    unsafe {
        for index in 0..batch.outputs.len() / OUTPUTS {
            let patch = Patch { coefficients, batch, index, unit, strips };
            if length < V::LEN {
                patch.step::<V, OUTPUTS, 1, true>(0, length);
                continue;
            }
            let mut at = 0;
            while at + VECTORS * V::LEN <= length {
                patch.step::<V, OUTPUTS, VECTORS, false>(at, length);
                at += VECTORS * V::LEN;
            }
            while at < length {
                // The last vector reaches back over bytes that are done and computes them again.
                patch.step::<V, OUTPUTS, 1, false>(at.min(length - V::LEN), length);
                at += V::LEN;
            }
        }
    }
}

/// One patch of a batch, and where the strips are.
struct Patch<'a> {
    coefficients: &'a [Prepared],
    batch: &'a Batch,
    index: usize,
    unit: usize,
    strips: &'a [*mut u8],
}

/// # Safety
/// Of all methods, as for every kernel for patches: what is named is there, and there are so many
/// vectors at the place, or if `SHORT` the first `length` bytes of one.
impl Patch<'_> {
    /// Computes every output at a place.
    #[inline(always)]
    unsafe fn step<V: Vector, const OUTPUTS: usize, const VECTORS: usize, const SHORT: bool>(
        &self,
        at: usize,
        length: usize,
    ) {
        // SAFETY: the caller's promise; a batch has all that its shape says for each of its patches.
        unsafe {
            let Batch { shape, singles, pairs, outputs } = self.batch;
            let mut sums = Sums::<V, OUTPUTS, VECTORS>::zero();
            let (twos, last) = self.part(singles, shape.singles).as_chunks::<2>();
            for [one, other] in twos {
                let rows = [self.row(one.column), self.row(other.column)];
                let one = self.single::<V, VECTORS, SHORT>(one, at, length);
                let other = self.single::<V, VECTORS, SHORT>(other, at, length);
                sums.add_products([one, other], rows);
            }
            for term in last {
                let operands = self.single::<V, VECTORS, SHORT>(term, at, length);
                sums.add_product(operands, self.row(term.column));
            }
            let (twos, last) = self.part(pairs, shape.pairs).as_chunks::<2>();
            for [one, other] in twos {
                let rows = [self.row(one.column), self.row(other.column)];
                let one = self.pair::<V, VECTORS, SHORT>(one, at, length);
                let other = self.pair::<V, VECTORS, SHORT>(other, at, length);
                sums.add_products([one, other], rows);
            }
            for term in last {
                let operands = self.pair::<V, VECTORS, SHORT>(term, at, length);
                sums.add_product(operands, self.row(term.column));
            }
            for (sums, &output) in sums.0.into_iter().zip(self.part(outputs, OUTPUTS)) {
                store::<V, VECTORS, SHORT>(sums, self.address(output).add(at), length);
            }
        }
    }

    #[inline(always)]
    unsafe fn single<V: Vector, const VECTORS: usize, const SHORT: bool>(
        &self,
        term: &Single,
        at: usize,
        length: usize,
    ) -> [V::Operand; VECTORS] {
        // SAFETY: the caller's promise.
        unsafe { operands(load::<V, VECTORS, SHORT>(self.address(term.start).add(at), length)) }
    }

    #[inline(always)]
    unsafe fn pair<V: Vector, const VECTORS: usize, const SHORT: bool>(
        &self,
        term: &Pair,
        at: usize,
        length: usize,
    ) -> [V::Operand; VECTORS] {
        // SAFETY: the caller's promise.
        unsafe {
            let start = load::<V, VECTORS, SHORT>(self.address(term.start).add(at), length);
            let other = load::<V, VECTORS, SHORT>(self.address(term.other).add(at), length);
            let mut sums = Sums([start]);
            sums.add_product(operands(other), self.row(term.factor));
            let Sums([sum]) = sums;
            operands(sum)
        }
    }

    /// Of so many for every patch, those of this one.
    #[inline(always)]
    unsafe fn part<'a, T>(&self, all: &'a [T], count: usize) -> &'a [T] {
        // SAFETY: the caller's promise.
        unsafe { all.get_unchecked(self.index * count..(self.index + 1) * count) }
    }

    /// As many coefficients as there are outputs.
    #[inline(always)]
    unsafe fn row<const OUTPUTS: usize>(&self, column: u32) -> &[Prepared; OUTPUTS] {
        // SAFETY: the caller's promise.
        unsafe { &*self.coefficients.as_ptr().add(column as usize).cast() }
    }

    #[inline(always)]
    unsafe fn address(&self, start: Start) -> *mut u8 {
        let bytes = start.place as usize * self.unit;
        // SAFETY: the caller's promise.
        unsafe { self.strips.get_unchecked(start.strip as usize).add(bytes) }
    }
}
