//! What every code of some size costs, and why the others do not exist.

use super::{Code, CodeKind, CodeParameters, ParametersError};
use crate::names::Slot;

/// What a code costs, by its own maps.
///
/// Products are multiplications of a byte by a constant in the field, copies are none: a measure of
/// the work that no machine enters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeCosts {
    /// Bytes that a slot stores per column.
    pub alpha: usize,
    /// Bytes stored on all slots, per byte of the object.
    pub stored: f64,
    /// Helpers of a repair.
    pub helpers: u8,
    /// Bytes that all helpers of a repair send, per byte of the object.
    pub moved: f64,
    /// Products to encode, per byte of the object.
    pub encode_products: f64,
    /// Products to decode from the last k slots, per byte of the object.
    pub decode_products: f64,
    /// Products of a repair, helpers and newcomer, per byte of the fragment.
    pub repair_products: f64,
}

/// The codes for n slots any k of which give the object back, with d helpers, or without a d with
/// the d that suit each kind: each code's costs, or why there is none.
///
/// Takes 1 <= k < n, and k <= d < n.
pub fn survey(
    n: u8,
    k: u8,
    d: Option<u8>,
) -> Vec<(CodeParameters, Result<CodeCosts, ParametersError>)> {
    let costs = |code: CodeParameters| (code, code.build().map(|code| CodeCosts::of(&code)));
    candidates(n, k, d).into_iter().map(costs).collect()
}

fn candidates(n: u8, k: u8, d: Option<u8>) -> Vec<CodeParameters> {
    let last = n.saturating_sub(1);
    let middle = (u16::from(n) + u16::from(k)) / 2;
    let least = (2 * u16::from(k)).saturating_sub(2).max(k.into()).min(last.into());
    let suiting = |kind: CodeKind| match (kind, d) {
        (CodeKind::Rs, _) => vec![k],
        (_, Some(d)) => vec![d],
        (CodeKind::Mbr, None) => vec![k, middle as u8, last],
        (CodeKind::Msr, None) => vec![least as u8, last],
        (CodeKind::Clay, None) => vec![last],
    };
    let mut codes = Vec::new();
    for kind in [CodeKind::Rs, CodeKind::Mbr, CodeKind::Msr, CodeKind::Clay] {
        let mut helpers = suiting(kind);
        helpers.dedup();
        codes.extend(helpers.into_iter().map(|d| CodeParameters { kind, n, k, d }));
    }
    codes
}

impl CodeCosts {
    fn of(code: &Code) -> Self {
        let CodeParameters { n, k, d, .. } = code.parameters;
        let construction = &code.construction;
        let slots: Vec<Slot> = Slot::all(n).collect();
        let [message, alpha] = [code.message_len(), code.alpha()].map(|symbols| symbols as f64);
        let products = |map: Box<dyn super::GroupMap>| map.products() as f64;
        let encode = products(construction.encoder(&slots));
        let decode = products(construction.decoder(&slots[usize::from(n - k)..]));
        Self {
            alpha: code.alpha(),
            stored: f64::from(n) * alpha / message,
            helpers: d,
            moved: f64::from(d) * code.beta() as f64 / message,
            encode_products: encode / message,
            decode_products: decode / message,
            repair_products: repair_products(code),
        }
    }
}

/// Products of a repair, of all helpers and the newcomer, per byte of the fragment. The maps of a repair
/// are small where that of an encoding is not: d rows of d at most, but for `clay`.
pub fn repair_products(code: &Code) -> f64 {
    let CodeParameters { n, d, .. } = code.parameters;
    let slots: Vec<Slot> = Slot::all(n).collect();
    let (failed, helpers) = (slots[0], &slots[usize::from(n - d)..]);
    let help = code.construction.helper(failed).products() as f64;
    let newcomer = code.construction.repairer(failed, helpers).products() as f64;
    (f64::from(d) * help + newcomer) / code.alpha() as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn codes(n: u8, k: u8, d: Option<u8>) -> Vec<String> {
        candidates(n, k, d).iter().map(CodeParameters::to_string).collect()
    }

    #[test]
    fn every_kind_is_offered_where_it_suits() {
        assert_eq!(
            codes(20, 8, None),
            [
                "rs(20,8,8)",
                "mbr(20,8,8)",
                "mbr(20,8,14)",
                "mbr(20,8,19)",
                "msr(20,8,14)",
                "msr(20,8,19)",
                "clay(20,8,19)",
            ]
        );
        assert_eq!(
            codes(14, 10, Some(12)),
            ["rs(14,10,10)", "mbr(14,10,12)", "msr(14,10,12)", "clay(14,10,12)"]
        );
        assert_eq!(codes(2, 1, None), ["rs(2,1,1)", "mbr(2,1,1)", "msr(2,1,1)", "clay(2,1,1)"]);
        for n in 2..=255 {
            for k in 1..n {
                let known = [CodeKind::Rs, CodeKind::Mbr];
                let offered = candidates(n, k, None);
                assert!(
                    offered
                        .iter()
                        .all(|code| { code.check().is_ok() || !known.contains(&code.kind) })
                );
            }
        }
    }

    #[test]
    fn costs_are_those_of_the_maps() {
        let [(_, rs), (_, mbr), (_, msr), (_, clay)] = &survey(14, 10, Some(13))[..] else {
            panic!("four kinds");
        };
        let rs = rs.as_ref().unwrap();
        assert_eq!((rs.alpha, rs.stored, rs.moved), (1, 1.4, 1.0));
        // four parity symbols, and the four message symbols that are not at hand, of ten each
        assert_eq!((rs.encode_products, rs.decode_products, rs.repair_products), (4.0, 4.0, 10.0));
        let mbr = mbr.as_ref().unwrap();
        assert_eq!((mbr.alpha, mbr.helpers), (13, 13));
        assert!((mbr.stored - 2.141).abs() < 1e-3 && (mbr.moved - 0.153).abs() < 1e-3);
        assert!(matches!(msr, Err(ParametersError::MsrHelpers { .. })));
        let clay = clay.as_ref().unwrap();
        assert_eq!((clay.alpha, clay.stored), (256, 1.4));
        assert!((clay.moved - 0.325).abs() < 1e-9);
        // more than rs, which uncoupling and coupling add
        assert!((5.0..6.0).contains(&clay.encode_products), "{}", clay.encode_products);
    }
}
