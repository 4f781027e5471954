//! What an encoder cannot do without: its loads and stores, without its arithmetic. And the arithmetic
//! of a dense matrix, without its strips. None of these sides computes anything of use.
//!
//! A code of k data and m parity strips has to load every data byte and store every parity byte. It is
//! measured with one plain loop; an encoder is hardly faster.
//!
//! With one instruction for a product of 64 bytes (GFNI), multiplying by the k × m matrix takes m of
//! these for every 64 bytes of data. That is the limit of encoders which do so, ours for most shapes;
//! between quads of points it takes fewer products (engine/spec/gf.md §4). Nor can the k · m factors
//! stay in 32 registers: the sums of m outputs fill most of them, and each factor is loaded again for
//! every few vectors.

use std::hint::black_box;
use std::rc::Rc;

use crate::contest::Side;
use crate::strips::Strips;

/// What the loads and stores of encoding `data` to so many parities take; `None` where the processor
/// lacks the instructions of our fastest kernel.
pub(crate) fn of_strips(data: &Rc<Strips>, parities: usize) -> Option<Side> {
    #[cfg(target_arch = "x86_64")]
    if has_instructions() {
        return Some(loads_and_stores(data, parities));
    }
    let _ = (data, parities);
    None
}

/// What the products of a dense matrix take; none where the processor lacks the instructions.
pub(crate) fn of_dense_products(data: &Rc<Strips>, parities: usize) -> Vec<Side> {
    #[cfg(target_arch = "x86_64")]
    if has_instructions() {
        let in_registers = products(data, parities);
        return [in_registers].into_iter().chain(products_from_cache(data, parities)).collect();
    }
    let _ = (data, parities);
    Vec::new()
}

#[cfg(target_arch = "x86_64")]
fn has_instructions() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("gfni")
}

/// Each strip of `data` loaded once and each parity stored once.
#[cfg(target_arch = "x86_64")]
fn loads_and_stores(data: &Rc<Strips>, parities: usize) -> Side {
    let (bytes, len) = (bytes(data), data.slices()[0].len());
    let (data, mut parity) = (data.clone(), Strips::zeroed(parities, len));
    // More strips than prefetchers follow: one vector at a time, and asking ahead, is faster then.
    let many = data.slices().len() + parities > 16;
    Side::unseen("limit: loads and stores", bytes, move || {
        let (data, mut parity) = (data.slices(), parity.slices_mut());
        // SAFETY: the callers have seen the instructions.
        unsafe {
            if many {
                x86::load_and_store::<1, true>(&data, &mut parity);
            } else {
                x86::load_and_store::<4, false>(&data, &mut parity);
            }
        }
        black_box(&mut parity);
    })
}

/// As many products and sums as there are in the matrix, in registers.
#[cfg(target_arch = "x86_64")]
fn products(data: &Strips, parities: usize) -> Side {
    let pairs = bytes(data) as usize / 64 * parities / 2;
    // SAFETY: the callers have seen the instructions.
    Side::unseen("dense products", bytes(data), move || unsafe { x86::add_products(pairs) })
}

/// The same, with operands and factors from the first-level cache; `None` for a number of parities
/// that no contest has.
#[cfg(target_arch = "x86_64")]
fn products_from_cache(data: &Strips, parities: usize) -> Option<Side> {
    use x86::add_products_from_cache as add;
    let (inputs, bytes) = (data.slices().len(), bytes(data));
    let vectors = data.slices()[0].len() / 64;
    let add = match parities {
        2 => add::<2, 4>,
        3 => add::<3, 4>,
        4 => add::<4, 3>,
        10 => add::<10, 2>,
        _ => return None,
    };
    // SAFETY: the callers have seen the instructions.
    let operation = move || unsafe { add(inputs, vectors) };
    Some(Side::unseen("dense products from L1", bytes, operation))
}

#[cfg(target_arch = "x86_64")]
fn bytes(data: &Strips) -> u64 {
    data.slices().iter().map(|strip| strip.len() as u64).sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512i, _MM_HINT_T1, _mm_prefetch, _mm512_gf2p8affine_epi64_epi8, _mm512_loadu_si512,
        _mm512_set1_epi64, _mm512_setzero_si512, _mm512_storeu_si512, _mm512_ternarylogic_epi64,
        _mm512_xor_si512,
    };
    use std::hint::black_box;

    /// Bytes of a vector.
    const LEN: usize = 64;
    /// Independent sums: enough that none waits for the latency of another's product.
    const SUMS: usize = 12;
    /// Bytes that are asked for ahead.
    const AHEAD: usize = 4096;
    /// Strips at most.
    const INPUTS: usize = 32;

    /// Stores the sum of all inputs to every output; the sum is there only so that the loads are.
    ///
    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn load_and_store<const VECTORS: usize, const ASK: bool>(
        inputs: &[&[u8]],
        outputs: &mut [&mut [u8]],
    ) {
        let length = inputs[0].len() / (VECTORS * LEN) * (VECTORS * LEN);
        assert!(inputs.iter().all(|strip| strip.len() >= length), "input lengths");
        assert!(outputs.iter().all(|strip| strip.len() >= length), "output lengths");
        for at in (0..length).step_by(VECTORS * LEN) {
            let mut sums = [_mm512_setzero_si512(); VECTORS];
            for input in inputs {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    let source = input.as_ptr().wrapping_add(at + vector * LEN);
                    if ASK {
                        _mm_prefetch::<_MM_HINT_T1>(source.wrapping_add(AHEAD).cast());
                    }
                    // SAFETY: `at` and all vectors from there on lie within the length.
                    let bytes = unsafe { _mm512_loadu_si512(source.cast()) };
                    *sum = _mm512_xor_si512(*sum, bytes);
                }
            }
            for output in &mut *outputs {
                for (vector, &sum) in sums.iter().enumerate() {
                    let target = output.as_mut_ptr();
                    // SAFETY: the same.
                    unsafe { _mm512_storeu_si512(target.add(at + vector * LEN).cast(), sum) };
                }
            }
        }
    }

    /// Adds two products to a sum, so many times or a few more.
    ///
    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f,gfni")]
    pub(super) unsafe fn add_products(pairs: usize) {
        let matrices = black_box([_mm512_set1_epi64(3), _mm512_set1_epi64(5)]);
        let mut sums = black_box([matrices[0]; SUMS]);
        for _ in 0..black_box(pairs).div_ceil(SUMS) {
            for sum in &mut sums {
                *sum = add_two(*sum, [*sum; 2], matrices);
            }
        }
        black_box(sums);
    }

    /// Multiplies so many vectors of every input by a factor for every output, `VECTORS` at a time;
    /// each time the inputs are the same, and so they stay in the first-level cache.
    ///
    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f,gfni")]
    pub(super) unsafe fn add_products_from_cache<const OUTPUTS: usize, const VECTORS: usize>(
        inputs: usize,
        vectors: usize,
    ) {
        let operands = [[_mm512_set1_epi64(7); VECTORS]; INPUTS];
        let factors = [[3i64; OUTPUTS]; INPUTS];
        for _ in 0..vectors.div_ceil(VECTORS) {
            let (operands, factors) = (black_box(&operands), black_box(&factors));
            let mut sums = [[_mm512_setzero_si512(); VECTORS]; OUTPUTS];
            let operands = operands[..inputs].as_chunks::<2>().0;
            for ([one, other], factors) in operands.iter().zip(factors.as_chunks::<2>().0) {
                for (output, sums) in sums.iter_mut().enumerate() {
                    let matrices = factors.map(|factors| _mm512_set1_epi64(factors[output]));
                    for (vector, sum) in sums.iter_mut().enumerate() {
                        *sum = add_two(*sum, [one[vector], other[vector]], matrices);
                    }
                }
            }
            black_box(sums);
        }
    }

    #[target_feature(enable = "avx512f,gfni")]
    fn add_two(sum: __m512i, operands: [__m512i; 2], matrices: [__m512i; 2]) -> __m512i {
        let one = _mm512_gf2p8affine_epi64_epi8::<0>(operands[0], matrices[0]);
        let other = _mm512_gf2p8affine_epi64_epi8::<0>(operands[1], matrices[1]);
        _mm512_ternarylogic_epi64::<0x96>(sum, one, other)
    }
}
