//! What a repair moves, by the bound that regenerating codes meet.

/// Bytes moved to repair one share, per byte of the object, at the least storage: d / (k (d-k+1))
/// (Dimakis, Godfrey, Wu, Wainwright, Ramchandran 2010, eq. 5). Takes 1 <= k <= d.
pub fn msr_repair_share(k: u32, d: u32) -> f64 {
    f64::from(d) / (f64::from(k) * f64::from(d - k + 1))
}

/// The same at the least repair traffic: 2d / (k (2d-k+1)) (eq. 6). It is also what a slot stores.
pub fn mbr_repair_share(k: u32, d: u32) -> f64 {
    2.0 * f64::from(d) / (f64::from(k) * f64::from(2 * d - k + 1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use kakera_engine::code::{CodeKind, survey};

    use super::*;

    /// The engine counts the symbols that its own codes move.
    #[test]
    fn the_codes_of_the_engine_meet_the_bound() {
        let mut compared = 0;
        for (n, k, d) in [(10, 5, 9), (20, 10, 19), (14, 10, 13), (9, 6, 8), (10, 5, 7)] {
            for (code, costs) in survey(n, k, Some(d)) {
                let Ok(costs) = costs else { continue };
                let expected = match code.kind {
                    CodeKind::Rs => 1.0,
                    CodeKind::Mbr => mbr_repair_share(code.k.into(), code.d.into()),
                    CodeKind::Msr | CodeKind::Clay => {
                        msr_repair_share(code.k.into(), code.d.into())
                    }
                };
                assert!((costs.moved - expected).abs() < 1e-12, "{code}: {}", costs.moved);
                compared += 1;
            }
        }
        assert!(compared >= 14, "{compared}");
    }
}
