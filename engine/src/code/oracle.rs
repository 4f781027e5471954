//! The codes as their papers define them, slowly, and the closed forms tested against them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::{Code, CodeKind, CodeParameters, GROUP_LEN};
use crate::gf::{Matrix, POLYNOMIAL, oracle, pow};
use crate::names::Slot;

const SIZES: [[u8; 3]; 9] = [
    [3, 2, 2],
    [4, 2, 3],
    [5, 3, 4],
    [10, 5, 7],
    [10, 5, 8],
    [10, 5, 9],
    [20, 8, 14],
    [20, 10, 18],
    [20, 10, 19],
];

/// Every code of these sizes that exists; `rs` with d = k.
fn codes() -> Vec<CodeParameters> {
    let kinds = [CodeKind::Rs, CodeKind::Mbr, CodeKind::Msr];
    let all = SIZES.into_iter().flat_map(|[n, k, d]| {
        kinds.map(|kind| CodeParameters { kind, n, k, d: if kind == CodeKind::Rs { k } else { d } })
    });
    all.filter(|parameters| parameters.check().is_ok()).collect()
}

/// alpha × B for every slot.
fn generators(parameters: CodeParameters) -> Vec<Matrix> {
    match parameters.kind {
        CodeKind::Rs => rs(parameters),
        CodeKind::Mbr => mbr(parameters),
        CodeKind::Msr => msr(parameters),
    }
}

/// The Vandermonde matrix times the inverse of its top, as `reed-solomon-erasure` builds it.
fn rs(CodeParameters { n, k, .. }: CodeParameters) -> Vec<Matrix> {
    let vandermonde = Matrix::vandermonde(&(0..n).collect::<Vec<u8>>(), k.into());
    let generator = vandermonde.mul(&inverse(&top(&vandermonde, k.into())));
    (0..n.into()).map(|row| generator.select_rows(&[row])).collect()
}

/// psi · M with M symmetric, psi the Vandermonde rows precoded by [[P, -P·D], [0, I]].
fn mbr(CodeParameters { n, k, d, .. }: CodeParameters) -> Vec<Matrix> {
    let [k, d] = [k, d].map(usize::from);
    let vandermonde = Matrix::vandermonde(&(1..=n).collect::<Vec<u8>>(), d);
    let phi = inverse(&Matrix::from_rows(k, (0..k).map(|row| &vandermonde.row(row)[..k])));
    let delta = Matrix::from_rows(d - k, (0..k).map(|row| &vandermonde.row(row)[k..]));
    let mut precoding = Matrix::identity(d);
    for row in 0..k {
        precoding.row_mut(row)[..k].copy_from_slice(phi.row(row));
        precoding.row_mut(row)[k..].copy_from_slice(phi.mul(&delta).row(row));
    }
    let psi = vandermonde.mul(&precoding);
    let entries: Vec<[usize; 2]> = (0..k).flat_map(|a| (a..d).map(move |b| [a, b])).collect();
    let content = |slot: usize| {
        let mut generator = Matrix::zero(d, entries.len());
        for (symbol, &[a, b]) in entries.iter().enumerate() {
            generator[(b, symbol)] = psi[(slot, a)];
            generator[(a, symbol)] = psi[(slot, b)];
        }
        generator
    };
    (0..n.into()).map(content).collect()
}

/// psi · [S1; S2] over (n+i, k+i, d+i), in the basis of the first alpha nodes, made systematic by
/// inverting the contents of the first k+i nodes, and the i virtual nodes cut off.
fn msr(CodeParameters { n, k, d, .. }: CodeParameters) -> Vec<Matrix> {
    let [n, k, d] = [n, k, d].map(usize::from);
    let (alpha, virtual_nodes) = (d - k + 1, d + 2 - 2 * k);
    let mut points: Vec<u8> = Vec::new();
    for point in 1..=255 {
        if points.iter().all(|&other| pow(other, alpha) != pow(point, alpha)) {
            points.push(point);
        }
    }
    let systematic: Vec<usize> = (0..k).chain(n..n + virtual_nodes).collect();
    let size = alpha * (alpha + 1) / 2;
    let product = |a, b| oracle::mul(POLYNOMIAL, a, b);
    let content = |node: usize| {
        let lambda = pow(points[node], alpha);
        let mut rows = Matrix::zero(alpha, 2 * size);
        for (row, &stored) in systematic[..alpha].iter().enumerate() {
            for a in 0..alpha {
                for b in 0..alpha {
                    let (low, high) = (a.min(b), a.max(b));
                    let entry = high * (high + 1) / 2 + low;
                    let factor = product(pow(points[node], a), pow(points[stored], b));
                    rows[(row, entry)] ^= factor;
                    rows[(row, size + entry)] ^= product(lambda, factor);
                }
            }
        }
        rows
    };
    let systematic_contents: Vec<Matrix> = systematic.iter().map(|&node| content(node)).collect();
    let precoding = inverse(&stack(&systematic_contents));
    let shortened = |matrix: Matrix| {
        Matrix::from_rows(k * alpha, (0..alpha).map(|row| &matrix.row(row)[..k * alpha]))
    };
    (0..n).map(|node| shortened(content(node).mul(&precoding))).collect()
}

fn inverse(matrix: &Matrix) -> Matrix {
    matrix.inverse().unwrap()
}

fn top(matrix: &Matrix, rows: usize) -> Matrix {
    matrix.select_rows(&(0..rows).collect::<Vec<usize>>())
}

fn stack(matrices: &[Matrix]) -> Matrix {
    let rows = matrices.iter().flat_map(|matrix| (0..matrix.rows()).map(|row| matrix.row(row)));
    Matrix::from_rows(matrices[0].columns(), rows)
}

/// The fragments, byte by byte, from the definition of the layout.
fn fragments(parameters: CodeParameters, data: &[u8]) -> Vec<Vec<u8>> {
    let generators = generators(parameters);
    let (alpha, message_len) = (generators[0].rows(), generators[0].columns());
    let width = GROUP_LEN as usize / alpha;
    let groups: Vec<&[u8]> = data.chunks(width * message_len).collect();
    let fragment = |generator: &Matrix| {
        let mut fragment = Vec::new();
        for (index, group) in groups.iter().enumerate() {
            let width = group.len().div_ceil(message_len);
            for row in 0..alpha {
                fragment.extend((0..width).map(|column| {
                    (0..message_len).fold(0, |sum, symbol| {
                        let byte = group.get(symbol * width + column).copied().unwrap_or(0);
                        sum ^ oracle::mul(POLYNOMIAL, generator[(row, symbol)], byte)
                    })
                }));
            }
            if index + 1 < groups.len() {
                fragment.resize((index + 1) * GROUP_LEN as usize, 0);
            }
        }
        fragment
    };
    generators.iter().map(fragment).collect()
}

fn build(parameters: CodeParameters) -> Code {
    parameters.build().unwrap()
}

#[test]
fn generators_are_those_of_the_papers() {
    for parameters in codes() {
        let construction = build(parameters).construction;
        for (slot, expected) in Slot::all(parameters.n).zip(generators(parameters)) {
            assert_eq!(construction.generator(slot), expected, "{parameters} slot {slot}");
        }
    }
}

#[test]
fn the_first_k_slots_store_the_message() {
    for parameters in codes() {
        let construction = build(parameters).construction;
        for slot in Slot::all(parameters.k) {
            let generator = construction.generator(slot);
            for row in 0..generator.rows() {
                let ones = generator.row(row).iter().filter(|&&entry| entry == 1).count();
                let zeros = generator.row(row).iter().filter(|&&entry| entry == 0).count();
                assert_eq!((ones, zeros), (1, generator.columns() - 1), "{parameters}");
            }
        }
    }
}

/// What makes encoding cheap: d of the B message symbols enter a parity symbol.
#[test]
fn parity_symbols_are_sparse() {
    for parameters in codes().into_iter().filter(|code| code.kind != CodeKind::Rs) {
        for generator in &generators(parameters)[parameters.k.into()..] {
            for row in 0..generator.rows() {
                let entries = generator.row(row).iter().filter(|&&entry| entry != 0).count();
                assert!(entries <= parameters.d.into(), "{parameters}: {entries}");
            }
        }
    }
}

/// A code and its slots in random order.
fn code_and_slots() -> impl Strategy<Value = (CodeParameters, Vec<Slot>)> {
    select(codes()).prop_flat_map(|parameters| {
        let slots: Vec<Slot> = Slot::all(parameters.n).collect();
        (Just(parameters), subsequence(slots.clone(), slots.len()).prop_shuffle())
    })
}

proptest! {
    #[test]
    fn decoders_undo_generators((parameters, slots) in code_and_slots()) {
        let construction = build(parameters).construction;
        let slots = &slots[..parameters.k.into()];
        let contents: Vec<Matrix> =
            slots.iter().map(|&slot| construction.generator(slot)).collect();
        let decoded = construction.decoder(slots).mul(&stack(&contents));
        prop_assert_eq!(decoded, Matrix::identity(construction.message_len()));
    }

    #[test]
    fn repairs_give_the_lost_content((parameters, slots) in code_and_slots()) {
        let construction = build(parameters).construction;
        let (failed, helpers) = (slots[0], &slots[1..=parameters.d.into()]);
        let helper = construction.helper(failed);
        let symbols: Vec<Matrix> =
            helpers.iter().map(|&slot| helper.mul(&construction.generator(slot))).collect();
        let repaired = construction.repair(failed, helpers).mul(&stack(&symbols));
        prop_assert_eq!(repaired, construction.generator(failed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn fragments_are_those_of_the_definition(
        parameters in select(codes()),
        length in prop_oneof![0usize..300, 15_000usize..40_000, 80_000usize..200_000],
        seed in any::<u64>(),
    ) {
        let mut data = vec![0; length];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut data);
        prop_assert_eq!(build(parameters).encode(&data), fragments(parameters, &data));
    }
}
