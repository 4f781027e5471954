//! Repair: any d helpers restore the very share, and every lie is refused and named.

use std::collections::BTreeSet;

use crate::key_shares::{binding, dealt, group, slot, slots};
use kakera_engine::keyshare::{
    Binding, Dealt, KeyParameters, PeerFault, ProvenSymbol, RepairError, RowHash, Share, repair,
    root,
};
use kakera_engine::names::Epoch;
use kakera_engine::wire::canonical::{decode, encode};
use proptest::prelude::*;

fn symbols(binding: &Binding<'_>, dealt: &Dealt, failed: u8, helpers: &[u8]) -> Vec<ProvenSymbol> {
    let share = |point: &u8| &dealt.shares[usize::from(*point) - 1];
    helpers.iter().map(|point| share(point).prove_symbol(binding, slot(failed)).unwrap()).collect()
}

/// The value with one bit of its encoding turned, where that is still an encoding.
fn flips<T>(value: &T) -> impl Iterator<Item = T>
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()>,
{
    let bytes = encode(value);
    (0..8 * bytes.len()).filter_map(move |bit| {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        decode(&bytes, bytes.len()).ok()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_d_helpers_restore_the_share_bit_by_bit((k, d, order) in group(), seed: u8) {
        let binding = binding(order.len() as u8, k, d);
        let dealt = dealt(&binding, seed);
        let (failed, helpers) = (order[0], &order[1..=usize::from(d)]);
        let symbols = symbols(&binding, &dealt, failed, helpers);
        let (share, liars) = repair(&binding, slot(failed), &dealt.rows, &symbols).unwrap();
        prop_assert_eq!(encode(&share), encode(&dealt.shares[slot(failed).index()]));
        prop_assert!(liars.is_empty());
        prop_assert_eq!(
            repair(&binding, slot(failed), &dealt.rows, &symbols[1..]).unwrap_err(),
            RepairError::Missing { missing: 1, liars: BTreeSet::new() }
        );
    }

    #[test]
    fn a_share_restored_from_restored_shares_is_the_same((k, d, order) in group()) {
        let binding = binding(order.len() as u8, k, d);
        let Dealt { mut shares, rows } = dealt(&binding, 1);
        let original = shares.clone();
        for &failed in &order {
            let helpers = order.iter().filter(|&&point| point != failed).take(usize::from(d));
            let symbols: Vec<_> = helpers
                .filter_map(|&helper| shares[slot(helper).index()].prove_symbol(&binding, slot(failed)))
                .collect();
            shares[slot(failed).index()] =
                repair(&binding, slot(failed), &rows, &symbols).unwrap().0;
        }
        prop_assert_eq!(shares, original);
    }
}

#[test]
fn rows_are_recomputed_from_shares() {
    for (n, k, d) in [(3, 2, 2), (4, 2, 3), (5, 3, 4), (17, 8, 9), (20, 10, 11), (255, 2, 3)] {
        let binding = binding(n, k, d);
        let dealt = dealt(&binding, 4);
        let rows: Vec<RowHash> = dealt.shares.iter().map(|share| share.row(&binding)).collect();
        assert_eq!(rows, dealt.rows);
        for share in &dealt.shares {
            let other = binding.parameters.slots().find(|&other| other != share.slot()).unwrap();
            let symbol = share.pair_symbol(other);
            assert_eq!(symbol, dealt.shares[other.index()].pair_symbol(share.slot()));
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_and_the_helper_named() {
    let binding = binding(5, 3, 4);
    let dealt = dealt(&binding, 5);
    let symbols = symbols(&binding, &dealt, 2, &[1, 3, 4, 5]);
    for (index, true_symbol) in symbols.iter().enumerate() {
        let mut tried = 0;
        for lie in flips(true_symbol) {
            tried += 1;
            let claimed = lie.helper();
            if let Some(row) = dealt.rows.get(claimed.index()) {
                assert_eq!(lie.verify(&binding, slot(2), row), Err(PeerFault { slot: claimed }));
            }
            let mut symbols = symbols.clone();
            symbols[index] = lie;
            assert_eq!(
                repair(&binding, slot(2), &dealt.rows, &symbols).unwrap_err(),
                RepairError::Missing { missing: 1, liars: BTreeSet::from([claimed]) }
            );
        }
        // 32 bytes of symbol and at least two path hashes
        assert!(tried >= 8 * 96, "{tried}");
    }
}

#[test]
fn a_turned_row_shows_its_helper_as_liar_and_a_turned_target_row_the_writer() {
    let binding = binding(5, 3, 4);
    let dealt = dealt(&binding, 6);
    let symbols = symbols(&binding, &dealt, 2, &[1, 3, 4, 5]);
    for bit in 0..256 {
        let turned = |index: usize| {
            let mut rows = dealt.rows.clone();
            rows[index].0[bit / 8] ^= 1 << (bit % 8);
            repair(&binding, slot(2), &rows, &symbols).unwrap_err()
        };
        assert_eq!(turned(3), RepairError::Missing { missing: 1, liars: slots(&[4]) });
        assert_eq!(turned(1), RepairError::IllFormed);
    }
}

#[test]
fn a_symbol_serves_only_its_own_repair() {
    let binding = binding(5, 3, 4);
    let dealt = dealt(&binding, 7);
    let symbol = dealt.shares[0].prove_symbol(&binding, slot(2)).unwrap();
    let row = &dealt.rows[0];
    assert_eq!(symbol.verify(&binding, slot(2), row), Ok(()));
    let refused = Err(PeerFault { slot: slot(1) });
    for failed in [1, 3, 4, 5, 6, 255] {
        assert_eq!(symbol.verify(&binding, slot(failed), row), refused, "slot {failed}");
    }
    assert_eq!(symbol.verify(&binding, slot(2), &dealt.rows[2]), refused);
    let later = Binding { epoch: Epoch(4), ..binding };
    assert_eq!(symbol.verify(&later, slot(2), row), refused);
    let elsewhere = Binding { salt: &[8; 32], ..binding };
    assert_eq!(symbol.verify(&elsewhere, slot(2), row), refused);
    assert!(dealt.shares[0].prove_symbol(&binding, slot(1)).is_none());
    assert!(dealt.shares[0].prove_symbol(&binding, slot(6)).is_none());
}

#[test]
fn liars_among_enough_helpers_are_named_and_do_not_matter() {
    let binding = binding(10, 5, 6);
    let dealt = dealt(&binding, 8);
    let mut symbols = symbols(&binding, &dealt, 10, &[1, 2, 3, 4, 5, 6, 7, 8]);
    for index in [2, 7] {
        let lie = flips(&symbols[index]).last().unwrap();
        symbols[index] = lie;
    }
    let (share, liars) = repair(&binding, slot(10), &dealt.rows, &symbols).unwrap();
    assert_eq!((share, liars), (dealt.shares[9].clone(), slots(&[3, 8])));
}

#[test]
fn one_helper_counts_once() {
    let binding = binding(5, 3, 4);
    let dealt = dealt(&binding, 9);
    let symbols = symbols(&binding, &dealt, 5, &[1, 2, 3, 3, 3]);
    assert_eq!(
        repair(&binding, slot(5), &dealt.rows, &symbols).unwrap_err(),
        RepairError::Missing { missing: 1, liars: BTreeSet::new() }
    );
}

#[test]
fn wrong_calls_are_refused() {
    let binding = binding(5, 3, 4);
    let dealt = dealt(&binding, 10);
    let symbols = symbols(&binding, &dealt, 5, &[1, 2, 3, 4]);
    assert_eq!(
        repair(&binding, slot(6), &dealt.rows, &symbols).unwrap_err(),
        RepairError::Mismatch { failed: slot(6), rows: 5, n: 5 }
    );
    assert_eq!(
        repair(&binding, slot(2), &dealt.rows[..4], &symbols).unwrap_err(),
        RepairError::Mismatch { failed: slot(2), rows: 4, n: 5 }
    );
}

/// Shares of two dealings under rows that fit them one by one: the writer's lie, nobody else's.
#[test]
fn an_ill_formed_sharing_is_the_writers_fault() {
    let binding = binding(5, 3, 4);
    let (honest, other) = (dealt(&binding, 11), dealt(&binding, 12));
    let mut rows = honest.rows.clone();
    rows[4] = other.rows[4];
    let symbols = symbols(&binding, &honest, 5, &[1, 2, 3, 4]);
    assert_eq!(repair(&binding, slot(5), &rows, &symbols).unwrap_err(), RepairError::IllFormed);
}

#[test]
fn a_share_of_another_shape_has_another_row() {
    for (k, d) in [(3, 3), (3, 4)] {
        let binding = binding(8, k, d);
        let dealt = dealt(&binding, 13);
        let bytes = encode(&dealt.shares[0]);
        // [1, h'..'] with a two-byte length, and 32 more bytes of zero coefficient
        let mut longer = bytes.clone();
        longer[3] += 32;
        longer.extend([0; 32]);
        let longer: Share = decode(&longer, 4096).unwrap();
        assert_eq!(longer.pair_symbol(slot(7)), dealt.shares[0].pair_symbol(slot(7)));
        assert_ne!(longer.row(&binding), dealt.rows[0]);
        let mut outside = bytes;
        outside[1] = 9;
        let outside: Share = decode(&outside, 4096).unwrap();
        assert!(!dealt.rows.contains(&outside.row(&binding)));
    }
}

#[test]
fn the_root_binds_everything_public() {
    let binding = binding(5, 3, 4);
    let rows = dealt(&binding, 14).rows;
    let mut swapped = rows.clone();
    swapped.swap(0, 1);
    let other = KeyParameters::new(5, 3, 3).unwrap();
    let roots = [
        root(&binding, &rows),
        root(&binding, &rows[1..]),
        root(&binding, &swapped),
        root(&Binding { epoch: Epoch(4), ..binding }, &rows),
        root(&Binding { salt: &[8; 32], ..binding }, &rows),
        root(&Binding { parameters: other, ..binding }, &rows),
    ];
    assert_eq!(BTreeSet::from(roots).len(), roots.len());
}
