//! What no encoder on this processor can undercut: its loads and stores without its arithmetic, and
//! its arithmetic without its loads and stores. Neither computes anything of use.
//!
//! A code of k data and m parity strips has to load every data byte and store every parity byte, and
//! with one instruction for a product of 64 bytes (GFNI) it needs m of these for every 64 bytes of
//! data. Which of the two takes longer depends on k, m and where the strips lie.

use std::hint::black_box;
use std::rc::Rc;

use crate::contest::Side;
use crate::strips::Strips;

/// Each strip of `data` loaded once and each of `parities` others stored once.
///
/// `None` where the processor lacks the instructions of our fastest kernel, as below.
pub(crate) fn loads_and_stores(data: &Rc<Strips>, parities: usize) -> Option<Side> {
    if !has_instructions() {
        return None;
    }
    let bytes = bytes(data);
    let (data, mut parity) = (data.clone(), Strips::zeroed(parities, data.slices()[0].len()));
    Some(Side::unseen("limit: loads and stores", bytes, move || {
        // SAFETY: the instructions are there.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            x86::load_and_store(&data.slices(), &mut parity.slices_mut());
        }
        black_box(&mut parity);
    }))
}

/// As many products and sums as a code of `parities` strips needs, in registers.
pub(crate) fn products(data: &Rc<Strips>, parities: usize) -> Option<Side> {
    if !has_instructions() {
        return None;
    }
    let bytes = bytes(data);
    let pairs = bytes as usize / 64 * parities / 2;
    Some(Side::unseen("limit: products", bytes, move || {
        // SAFETY: the instructions are there.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            x86::add_pairs_of_products(black_box(pairs));
        }
    }))
}

fn bytes(data: &Strips) -> u64 {
    data.slices().iter().map(|strip| strip.len() as u64).sum()
}

fn has_instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("gfni");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512i, _mm512_gf2p8affine_epi64_epi8, _mm512_loadu_si512, _mm512_set1_epi64,
        _mm512_setzero_si512, _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_xor_si512,
    };
    use std::hint::black_box;

    /// Vectors of each strip in a step.
    const VECTORS: usize = 4;
    const LEN: usize = 64;
    /// Independent sums: enough that none waits for the latency of another's product.
    const SUMS: usize = 12;

    /// Stores the sum of all inputs to every output; the sum is there only so that the loads are.
    ///
    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn load_and_store(inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
        let length = inputs[0].len() / (VECTORS * LEN) * (VECTORS * LEN);
        assert!(inputs.iter().all(|strip| strip.len() >= length), "input lengths");
        assert!(outputs.iter().all(|strip| strip.len() >= length), "output lengths");
        for at in (0..length).step_by(VECTORS * LEN) {
            let mut sums = [_mm512_setzero_si512(); VECTORS];
            for input in inputs {
                for (vector, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: `at` and all vectors from there on lie within the length.
                    let bytes =
                        unsafe { _mm512_loadu_si512(input.as_ptr().add(at + vector * LEN).cast()) };
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

    /// Adds so many times, or a few more, two products to a sum.
    ///
    /// # Safety
    /// The processor has the instructions.
    #[target_feature(enable = "avx512f,gfni")]
    pub(super) unsafe fn add_pairs_of_products(pairs: usize) {
        let matrices = black_box([_mm512_set1_epi64(3), _mm512_set1_epi64(5)]);
        let mut sums: [__m512i; SUMS] = black_box([matrices[0]; SUMS]);
        for _ in 0..pairs.div_ceil(SUMS) {
            for sum in &mut sums {
                let one = _mm512_gf2p8affine_epi64_epi8::<0>(*sum, matrices[0]);
                let other = _mm512_gf2p8affine_epi64_epi8::<0>(*sum, matrices[1]);
                *sum = _mm512_ternarylogic_epi64::<0x96>(*sum, one, other);
            }
        }
        black_box(sums);
    }
}
