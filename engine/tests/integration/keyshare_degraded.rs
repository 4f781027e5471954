//! Degraded repair and audits: what k survivors, or two slots, can do for each other without V.

use std::collections::BTreeSet;

use crate::key_shares::{binding, dealt, slot, slots};
use kakera_engine::keyshare::{
    AuditAnswer, Binding, Dealt, DegradedHelp, DegradedRepairError, DegradedSetupError,
    KeyParameters, PeerFault, repair_degraded,
};
use kakera_engine::names::{Epoch, Slot};
use kakera_engine::wire::canonical::{decode, encode};
use proptest::prelude::*;

fn helps(
    binding: &Binding<'_>,
    dealt: &Dealt,
    failed: u8,
    helpers: &BTreeSet<Slot>,
) -> Vec<DegradedHelp> {
    let help = |helper: &Slot| {
        dealt.shares[helper.index()].help_degraded(binding, slot(failed), helpers).unwrap()
    };
    helpers.iter().map(help).collect()
}

/// The same with the last byte of its encoding turned, which is one of the padded part.
fn with_false_part(help: &DegradedHelp) -> DegradedHelp {
    let mut bytes = encode(help);
    *bytes.last_mut().unwrap() ^= 1;
    decode(&bytes, bytes.len()).unwrap()
}

/// The same with a byte of its pair symbol turned: after two array heads, the slot and a length.
fn with_false_symbol(help: &DegradedHelp) -> DegradedHelp {
    let mut bytes = encode(help);
    bytes[6] ^= 1;
    decode(&bytes, bytes.len()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_k_survivors_restore_the_share(
        (k, order) in (4u8..24).prop_flat_map(|n| {
            (2..n - 1, Just((1..=n).collect::<Vec<u8>>()).prop_shuffle())
        }),
        seed: u8,
    ) {
        let binding = binding(order.len() as u8, k, k + 1);
        let dealt = dealt(&binding, seed);
        let (failed, helpers) = (order[0], slots(&order[1..=usize::from(k)]));
        let helps = helps(&binding, &dealt, failed, &helpers);
        let share = repair_degraded(&binding, slot(failed), &helpers, &dealt.rows, &helps);
        prop_assert_eq!(share.unwrap(), dealt.shares[slot(failed).index()].clone());
    }
}

#[test]
fn a_false_symbol_names_its_helper_and_a_false_part_nobody() {
    let binding = binding(10, 5, 6);
    let dealt = dealt(&binding, 1);
    let helpers = slots(&[1, 3, 5, 7, 9]);
    let helps = helps(&binding, &dealt, 2, &helpers);
    let attempt = |helps: &[DegradedHelp]| {
        repair_degraded(&binding, slot(2), &helpers, &dealt.rows, helps).unwrap_err()
    };
    for liar in 0..5 {
        let mut lies = helps.clone();
        lies[liar] = with_false_symbol(&helps[liar]);
        let liars = slots(&[2 * liar as u8 + 1]);
        assert_eq!(attempt(&lies), DegradedRepairError::Missing { missing: 1, liars });
        lies[liar] = with_false_part(&helps[liar]);
        assert_eq!(attempt(&lies), DegradedRepairError::Unattributable);
    }
    assert_eq!(
        attempt(&helps[1..]),
        DegradedRepairError::Missing { missing: 1, liars: BTreeSet::new() }
    );
}

#[test]
fn pads_cancel_only_for_the_same_helpers_slot_and_epoch() {
    let binding = binding(10, 3, 4);
    let dealt = dealt(&binding, 2);
    let helpers = slots(&[1, 2, 3]);
    let attempt = |one: DegradedHelp| {
        let mut helps = helps(&binding, &dealt, 9, &helpers);
        helps[0] = one;
        repair_degraded(&binding, slot(9), &helpers, &dealt.rows, &helps)
    };
    let first = &dealt.shares[0];
    let true_help = first.help_degraded(&binding, slot(9), &helpers).unwrap();
    assert_eq!(attempt(true_help.clone()).unwrap(), dealt.shares[8]);
    let other = first.help_degraded(&binding, slot(9), &slots(&[1, 2, 4])).unwrap();
    assert_eq!(attempt(other).unwrap_err(), DegradedRepairError::Unattributable);
    // The padded parts of one slot under two sets differ by more than a public factor.
    let later = Binding { epoch: Epoch(4), ..binding };
    let other = first.help_degraded(&later, slot(9), &helpers).unwrap();
    assert!(matches!(attempt(other).unwrap_err(), DegradedRepairError::Missing { .. }));
    let other = first.help_degraded(&binding, slot(8), &helpers).unwrap();
    assert!(matches!(attempt(other).unwrap_err(), DegradedRepairError::Missing { .. }));
}

#[test]
fn degraded_repairs_that_cannot_be_are_refused() {
    let binding = binding(10, 3, 4);
    let dealt = dealt(&binding, 3);
    let help = |failed, helpers: &[u8]| {
        dealt.shares[0].help_degraded(&binding, slot(failed), &slots(helpers)).unwrap_err()
    };
    for (failed, helpers) in [
        (9, [2, 3, 4].as_slice()),
        (9, &[1, 2]),
        (9, &[1, 2, 3, 4]),
        (1, &[1, 2, 3]),
        (11, &[1, 2, 3]),
    ] {
        assert_eq!(help(failed, helpers), DegradedSetupError::Helpers, "{failed} {helpers:?}");
    }
    assert_eq!(help(9, &[1, 2, 11]), DegradedSetupError::Helpers);
    let helpers = slots(&[1, 2, 3]);
    let helps = helps(&binding, &dealt, 9, &helpers);
    assert_eq!(
        repair_degraded(&binding, slot(9), &helpers, &dealt.rows[1..], &helps).unwrap_err(),
        DegradedRepairError::Mismatch { rows: 9, n: 10 }
    );
    let minimal = Binding { parameters: KeyParameters::new(10, 3, 3).unwrap(), ..binding };
    let share = &crate::key_shares::dealt(&minimal, 3).shares[0];
    assert_eq!(
        share.help_degraded(&minimal, slot(9), &helpers).unwrap_err(),
        DegradedSetupError::Unneeded
    );
}

#[test]
fn an_audit_is_passed_by_the_holder_of_this_share_only() {
    let nonce = [5; 32];
    for (n, k, d) in [(5, 3, 4), (5, 3, 3)] {
        let binding = binding(n, k, d);
        let (dealt, other) = (dealt(&binding, 4), dealt(&binding, 5));
        let (audited, auditor) = (&dealt.shares[1], &dealt.shares[3]);
        let answer = audited.answer_audit(&binding, slot(4), &nonce).unwrap();
        let check = |binding: &Binding<'_>, answer: &AuditAnswer| {
            auditor.check_audit(binding, slot(2), &nonce, answer)
        };
        assert_eq!(check(&binding, &answer), Ok(()));
        let fault = Err(PeerFault { slot: slot(2) });
        let stale = Binding { epoch: Epoch(2), ..binding };
        let elsewhere = Binding { salt: &[8; 32], ..binding };
        let wrong = [
            other.shares[1].answer_audit(&binding, slot(4), &nonce),
            dealt.shares[2].answer_audit(&binding, slot(4), &nonce),
            audited.answer_audit(&binding, slot(3), &nonce),
            audited.answer_audit(&binding, slot(4), &[6; 32]),
            audited.answer_audit(&stale, slot(4), &nonce),
            audited.answer_audit(&elsewhere, slot(4), &nonce),
            // the auditor's own answer to the same nonce, reflected
            auditor.answer_audit(&binding, slot(2), &nonce),
        ];
        for answer in wrong {
            assert_eq!(check(&binding, &answer.unwrap()), fault);
        }
        assert_eq!(check(&stale, &answer), fault);
        assert_eq!(audited.answer_audit(&binding, slot(2), &nonce), None);
        assert_eq!(audited.answer_audit(&binding, slot(6), &nonce), None);
        assert!(auditor.check_audit(&binding, slot(6), &nonce, &answer).is_err());
        assert!(auditor.check_audit(&binding, slot(4), &nonce, &answer).is_err());
    }
}

#[test]
fn every_turned_bit_of_an_answer_is_refused() {
    let binding = binding(5, 3, 4);
    let dealt = dealt(&binding, 6);
    let bytes = encode(&dealt.shares[1].answer_audit(&binding, slot(4), &[7; 32]).unwrap());
    assert_eq!(bytes.len(), 34);
    for bit in 16..8 * bytes.len() {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let answer = decode(&bytes, 34).unwrap();
        assert!(dealt.shares[3].check_audit(&binding, slot(2), &[7; 32], &answer).is_err());
    }
}
