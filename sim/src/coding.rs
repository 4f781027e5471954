//! What the coding of repairs costs in processor time: the products in the field of the engine's own
//! maps, at rates that were measured of its kernels.

use kakera_engine::code::{Code, repair_products};
use serde::Serialize;

/// Products in a second on one core, of the code among rs(10,5,5), mbr(10,5,9) and msr(10,5,8) that
/// has the fewest. Measured on an Intel Xeon with AVX-512 and GFNI, Rust 1.95; `cargo xtask coding-rates`
/// measures again and fails where a rate is not half to twice as high. With the widest registers moving
/// the bytes is the limit.
///
/// The kernel of ARM is not among them: no such machine has measured it.
pub const PRODUCTS_PER_SECOND: [(&str, f64); 4] =
    [("portable", 3.2e9), ("avx2", 1.0e10), ("avx2-gfni", 1.2e10), ("avx512-gfni", 1.1e10)];

/// Seconds of one core that the coding of repairs takes, by the kernel that does it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CodingSeconds {
    /// The kernel's name in the engine.
    pub kernel: &'static str,
    /// Seconds.
    pub seconds: f64,
}

/// Seconds of coding, of the newcomer and all helpers, to rebuild so many bytes of fragments from d
/// helpers each. Hashes, signatures and encrypted connections are not among them.
pub fn coding_seconds(code: &Code, fragment_bytes: f64) -> Vec<CodingSeconds> {
    let products = repair_products(code) * fragment_bytes;
    let seconds = |(kernel, rate)| CodingSeconds { kernel, seconds: products / rate };
    PRODUCTS_PER_SECOND.into_iter().map(seconds).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use kakera_engine::code::CodeParameters;

    use super::*;

    #[test]
    fn a_repair_of_reed_solomon_takes_k_products_a_byte() {
        let code: CodeParameters = "rs(14,10,10)".parse().unwrap();
        let seconds = coding_seconds(&code.build().unwrap(), 1e9);
        assert_eq!(seconds.len(), PRODUCTS_PER_SECOND.len());
        for (of_kernel, (kernel, rate)) in seconds.iter().zip(PRODUCTS_PER_SECOND) {
            assert_eq!((of_kernel.kernel, of_kernel.seconds), (kernel, 10.0 * 1e9 / rate));
        }
    }
}
