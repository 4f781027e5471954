//! The codes as their papers define them, slowly, and the closed forms tested against them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::construction::GroupMap;
use super::{Code, CodeKind, CodeParameters, GROUP_LEN};
use crate::gf::{Matrix, POLYNOMIAL, oracle, pow};
use crate::names::Slot;

const SIZES: [[u8; 3]; 11] = [
    [3, 2, 2],
    [4, 2, 3],
    [5, 3, 4],
    [6, 4, 5],
    [9, 6, 8],
    [10, 5, 7],
    [10, 5, 8],
    [10, 5, 9],
    [20, 8, 14],
    [20, 10, 18],
    [20, 10, 19],
];

/// Every code of these sizes that exists; `rs` with d = k.
fn codes() -> Vec<CodeParameters> {
    let kinds = [CodeKind::Rs, CodeKind::Mbr, CodeKind::Msr, CodeKind::Clay];
    let all = SIZES.into_iter().flat_map(|[n, k, d]| {
        kinds.map(|kind| CodeParameters { kind, n, k, d: if kind == CodeKind::Rs { k } else { d } })
    });
    // The naive definition of larger clay codes takes minutes; tests/code_objects.rs has them.
    let small = |code: &CodeParameters| code.kind != CodeKind::Clay || code.n <= 10;
    all.filter(|parameters| parameters.check().is_ok() && small(parameters)).collect()
}

/// alpha × B for every slot.
fn generators(parameters: CodeParameters) -> Vec<Matrix> {
    match parameters.kind {
        CodeKind::Rs => rs(parameters),
        CodeKind::Mbr => mbr(parameters),
        CodeKind::Msr => msr(parameters),
        CodeKind::Clay => clay(parameters),
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

/// The parity checks of every plane on the uncoupled symbols, written in coupled ones and solved for
/// those of the last q nodes; virtual nodes are cut off.
fn clay(CodeParameters { n, k, .. }: CodeParameters) -> Vec<Matrix> {
    let [n, k] = [n, k].map(usize::from);
    let (q, gamma) = (n - k, 2);
    let t = n.div_ceil(q);
    let (nodes, systematic, alpha) = (q * t, q * (t - 1), q.pow(t as u32));
    let points: Vec<u8> = (0..nodes).map(|node| node as u8).collect();
    let vandermonde = Matrix::vandermonde(&points, systematic);
    let plane_code = vandermonde.mul(&inverse(&top(&vandermonde, systematic)));
    let mut checks = Matrix::zero(q * alpha, nodes * alpha);
    for plane in 0..alpha {
        let digits: Vec<usize> =
            (0..t).map(|section| plane / q.pow((t - 1 - section) as u32) % q).collect();
        for check in 0..q {
            for node in 0..nodes {
                let factor = match node.checked_sub(systematic) {
                    None => plane_code[(systematic + check, node)],
                    Some(parity) => u8::from(parity == check),
                };
                let (section, x) = (node / q, node % q);
                checks[(plane * q + check, node * alpha + plane)] ^= factor;
                if digits[section] != x {
                    let mut other = digits.clone();
                    other[section] = x;
                    let other = other.iter().fold(0, |number, digit| number * q + digit);
                    let partner = section * q + digits[section];
                    checks[(plane * q + check, partner * alpha + other)] ^=
                        oracle::mul(POLYNOMIAL, gamma, factor);
                }
            }
        }
    }
    let columns = |matrix: &Matrix, range: std::ops::Range<usize>| {
        let rows = (0..matrix.rows()).map(|row| matrix.row(row)[range.clone()].to_vec());
        Matrix::from_rows(range.len(), rows)
    };
    let parity = columns(&checks, systematic * alpha..nodes * alpha);
    let parity = inverse(&parity).mul(&columns(&checks, 0..k * alpha));
    let contents = stack(&[Matrix::identity(k * alpha), parity]);
    let content = |slot: usize| (slot * alpha..(slot + 1) * alpha).collect::<Vec<usize>>();
    (0..n).map(|slot| contents.select_rows(&content(slot))).collect()
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
        let code = build(parameters);
        for (slot, expected) in Slot::all(parameters.n).zip(generators(parameters)) {
            assert_eq!(generator(&code, slot), expected, "{parameters} slot {slot}");
        }
    }
}

#[test]
fn the_first_k_slots_store_the_message() {
    for parameters in codes() {
        let code = build(parameters);
        for slot in Slot::all(parameters.k) {
            let generator = generator(&code, slot);
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
    let sparse = [CodeKind::Mbr, CodeKind::Msr];
    for parameters in codes().into_iter().filter(|code| sparse.contains(&code.kind)) {
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
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn decoders_undo_generators((parameters, slots) in code_and_slots()) {
        let code = build(parameters);
        let slots = &slots[..parameters.k.into()];
        let contents: Vec<Matrix> = slots.iter().map(|&slot| generator(&code, slot)).collect();
        let decoder = code.construction.decoder(slots);
        let decoded = image(&*decoder, &contents, code.message_len());
        prop_assert_eq!(decoded, Matrix::identity(code.message_len()));
    }

    #[test]
    fn repairs_give_the_lost_content((parameters, slots) in code_and_slots()) {
        let code = build(parameters);
        let (failed, helpers) = (slots[0], &slots[1..=parameters.d.into()]);
        let helper = code.construction.helper(failed);
        let symbols: Vec<Matrix> = helpers
            .iter()
            .map(|&slot| image(&*helper, &[generator(&code, slot)], code.beta()))
            .collect();
        let repairer = code.construction.repairer(failed, helpers);
        let repaired = image(&*repairer, &symbols, code.alpha());
        prop_assert_eq!(repaired, generator(&code, failed));
    }

    #[test]
    fn k_contents_give_any_other((parameters, slots) in code_and_slots()) {
        let code = build(parameters);
        let (failed, helpers) = (slots[0], &slots[1..=parameters.k.into()]);
        let contents: Vec<Matrix> = helpers.iter().map(|&slot| generator(&code, slot)).collect();
        let rebuilder = code.construction.rebuilder(failed, helpers);
        prop_assert_eq!(image(&*rebuilder, &contents, code.alpha()), generator(&code, failed));
    }
}

/// alpha × B: the contents of a slot for every unit message.
fn generator(code: &Code, slot: Slot) -> Matrix {
    let message = Matrix::identity(code.message_len());
    image(&*code.construction.encoder(&[slot]), &[message], code.alpha())
}

/// What a map makes of sources whose strips are the rows of these matrices.
fn image(map: &dyn GroupMap, sources: &[Matrix], rows: usize) -> Matrix {
    let width = sources[0].columns();
    let flat = |matrix: &Matrix| {
        (0..matrix.rows()).flat_map(|row| matrix.row(row).to_vec()).collect::<Vec<u8>>()
    };
    let sources: Vec<Vec<u8>> = sources.iter().map(flat).collect();
    let sources: Vec<&[u8]> = sources.iter().map(Vec::as_slice).collect();
    let mut target = vec![0; rows * width];
    map.apply(width, &sources, &mut [&mut target], &mut vec![7; 3]);
    Matrix::from_rows(width, target.chunks_exact(width))
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
