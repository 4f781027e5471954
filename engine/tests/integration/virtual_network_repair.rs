//! Repairs on the virtual network: bit-identical, minimal, and no liar goes unnamed.

use std::collections::BTreeMap;

use crate::virtual_network::{
    GROUP, Lie, Misfit, Repaired, VirtualNetwork, all_codes, code, liars, slot,
};
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::names::NetworkId;
use kakera_engine::peer::{FaultKind, GetError, SymbolUse};
use kakera_engine::wire::PartReference;
use kakera_sim::protocol::Kept;

fn mbr() -> (CodeParameters, KeyParameters) {
    (code(CodeKind::Mbr, 10, 5, 7), KeyParameters::new(10, 5, 6).unwrap())
}

/// Takes everything from a slot's holder.
fn lose(network: &mut VirtualNetwork, point: u8) -> BTreeMap<PartReference, Kept> {
    std::mem::take(&mut network.at(point).disk.parts)
}

/// Whether the holder has again exactly what it lost.
fn assert_restored(
    network: &mut VirtualNetwork,
    point: u8,
    lost: &BTreeMap<PartReference, Kept>,
    repaired: &Repaired,
) {
    let progress = &repaired.progress;
    assert!(progress.finished);
    assert_eq!(progress.objects_failed, 0, "{:?}", progress.last_failure);
    assert_eq!(progress.objects_held, lost.len() as u64);
    assert_eq!(progress.objects_found, lost.len() as u64);
    let disk = &network.at(point).disk;
    assert!(disk.parts.keys().eq(lost.keys()));
    for (part, before) in lost {
        let after = &disk.parts[part];
        assert!(after.fragment == before.fragment && after.share == before.share);
        assert_eq!(after.object, before.object);
    }
}

#[test]
fn a_lost_slot_comes_back_bit_for_bit_with_every_code() {
    for (seed, codes) in all_codes().into_iter().enumerate() {
        let mut network = VirtualNetwork::new(seed as u64, codes);
        let lengths = [0, 700, 20_000, 20_000, 100_000, 500_000];
        let layouts: Vec<_> = lengths
            .iter()
            .map(|&len| {
                let coded = network.stored(len).coded.len();
                codes.0.build().unwrap().layout(coded as u64)
            })
            .collect();
        let lost = lose(&mut network, 2);
        let repaired = network.repair(2);
        assert_restored(&mut network, 2, &lost, &repaired);
        let progress = &repaired.progress;
        // d·β, the bound of the code, and not a byte more
        let theory: u64 =
            layouts.iter().map(|layout| u64::from(codes.0.d) * layout.symbols_len()).sum();
        assert_eq!(progress.symbol_bytes_theory, theory);
        if codes.0.kind != CodeKind::Rs {
            assert_eq!(progress.symbol_bytes, theory, "{}", codes.0);
            assert_eq!(repaired.symbol_use.useful_in_theory, theory);
        }
        let fragments: u64 = layouts.iter().map(|layout| layout.fragment_len()).sum();
        assert_eq!(progress.fragment_bytes, fragments);
        if codes.0.kind == CodeKind::Mbr {
            // MBR moves what it stores, but for the fill of full groups
            let groups: u32 = layouts.iter().map(|layout| layout.group_count()).sum();
            assert!((0..u64::from(groups) * u64::from(codes.0.d)).contains(&(fragments - theory)));
        }
        assert_eq!(progress.witness_bytes, 0);
        assert!(repaired.faults.is_empty());
    }
}

/// Of ten helpers one is enough where both have the same; what one lacks spreads all the same.
#[test]
fn a_slot_that_was_whole_looks_at_one_helper_first() {
    let mut network = VirtualNetwork::new(12, mbr());
    let level = network.compare(3, Some(6));
    assert!(level.whole && level.asked == [6], "nobody has anything yet");
    network.stored(20_000);
    let object = network.stored(700).sealed.object_id;
    for helper in [1, 4, 10] {
        let level = network.compare(3, Some(helper));
        assert!(level.whole && level.asked == [helper], "{:?}", level.asked);
    }
    network.down([7, 8]);
    let level = network.compare(3, Some(7));
    assert!(level.whole && level.asked == [7, 8, 9], "{:?}", level.asked);
    // What the other lacks is for the other to repair, what is lacking here is repaired.
    network.up([7, 8]);
    for lacking in [9, 3] {
        let part = network.part(lacking, object);
        let lost = network.at(lacking).disk.parts.remove(&part).unwrap();
        let compared = network.compare(3, Some(9));
        assert!(compared.whole && compared.progress.objects_failed == 0);
        assert!((1..=10).filter(|point| *point != 3).all(|point| compared.asked.contains(&point)));
        let repaired = usize::from(lacking == 3);
        assert_eq!(compared.parts.len(), repaired);
        network.at(lacking).disk.parts.insert(part, lost);
    }
    network.down((1..=10).filter(|point| *point != 3));
    let alone = network.compare(3, Some(1));
    assert!(!alone.whole && alone.asked.len() == 9);
}

#[test]
fn many_objects_are_repaired_in_pages() {
    let codes = (code(CodeKind::Mbr, 3, 2, 2), KeyParameters::new(3, 2, 2).unwrap());
    let mut network = VirtualNetwork::new(1, codes);
    for _ in 0..1100 {
        network.stored(10);
    }
    let lost = lose(&mut network, 3);
    let repaired = network.repair(3);
    assert_restored(&mut network, 3, &lost, &repaired);
    let progress = repaired.progress;
    assert_eq!(progress.symbol_bytes, progress.symbol_bytes_theory);
}

/// What cannot be kept is not asked for: a newcomer with a full disk would move all its slots each time
/// that it tries.
#[test]
fn a_full_disk_costs_the_helpers_little() {
    let mut network = VirtualNetwork::new(18, mbr());
    for _ in 0..30 {
        network.stored(20_000);
    }
    let lost = lose(&mut network, 4);
    network.at(4).disk.full = true;
    let tried = network.repair(4);
    assert!(tried.progress.finished && !tried.whole && tried.parts.is_empty());
    assert_eq!(tried.progress.last_failure.as_deref(), Some("the disk is full"));
    assert_eq!(tried.symbol_use.failed, tried.progress.symbol_bytes);
    network.at(4).disk.full = false;
    let repaired = network.repair(4);
    assert_restored(&mut network, 4, &lost, &repaired);
    assert!(tried.symbol_use.failed * 10 <= repaired.symbol_use.useful);
}

#[test]
fn only_what_is_missing_is_repaired() {
    let mut network = VirtualNetwork::new(2, mbr());
    network.stored(100);
    network.down([4]);
    let missed = network.write(100);
    network.put(&missed).0.unwrap();
    assert!(network.fired("down") > 0);
    network.at(4).up = true;
    let repaired = network.repair(4);
    assert_eq!((repaired.parts.len(), repaired.progress.objects_held), (1, 2));
    assert!(repaired.parts[0].fragment == missed.sealed.fragments[3]);
    assert!(repaired.parts[0].share == missed.sealed.shares[3]);
}

#[test]
fn helpers_that_lie_are_named_and_worked_around() {
    for (lie, kind) in [
        (Lie::KeySymbol, FaultKind::KeySymbol),
        (Lie::FragmentSymbols, FaultKind::FragmentSymbols),
        (Lie::SymbolsLength, FaultKind::FragmentSymbols),
        (Lie::Unsigned, FaultKind::Signature),
        (Lie::NoDescription, FaultKind::Descriptor),
        (Lie::Unfitting, FaultKind::Unfitting),
        (Lie::UnsortedIds, FaultKind::Inventory),
        (Lie::InventedIds, FaultKind::Inventory),
        (Lie::EndlessIds, FaultKind::Inventory),
    ] {
        let mut network = VirtualNetwork::new(3, mbr());
        for len in [300, 40_000, 100] {
            network.stored(len);
        }
        // two of nine helpers, so that d = 7 are left
        for point in [1, 5] {
            network.at(point).lie = Some(lie);
        }
        let lost = lose(&mut network, 9);
        let repaired = network.repair(9);
        assert!(network.fired("lie") > 0, "{lie:?}");
        assert_restored(&mut network, 9, &lost, &repaired);
        assert!(repaired.faults.iter().all(|fault| fault.kind == kind), "{:?}", repaired.faults);
        let named = liars(&repaired.faults);
        assert!(!named.is_empty() && named.is_subset(&[1, 5].into()), "{lie:?}: {named:?}");
        assert_eq!(repaired.progress.liars.len(), named.len());
        assert_eq!(repaired.progress.witness_bytes > 0, lie == Lie::FragmentSymbols, "{lie:?}");
        let SymbolUse { useful, useful_in_theory, replaced, refused, failed } = repaired.symbol_use;
        assert_eq!((useful, failed), (useful_in_theory, 0), "{lie:?}");
        assert_eq!(replaced > 0, lie == Lie::FragmentSymbols, "{lie:?}");
        let sends_symbols =
            matches!(lie, Lie::KeySymbol | Lie::SymbolsLength | Lie::Unsigned | Lie::NoDescription);
        assert_eq!(refused > 0, sends_symbols, "{lie:?}");
    }
}

/// Whatever a writer stored, no holder is blamed for it, and what else a slot had comes back.
#[test]
fn a_writer_whose_parts_do_not_fit_together_blames_no_holder_and_stalls_nothing() {
    for (seed, codes) in all_codes().into_iter().enumerate() {
        let n = codes.0.n;
        for (misfit, lost) in [(Misfit::Fragment, 2), (Misfit::Share, 2), (Misfit::Fragment, 1)] {
            for point in (1..=n).filter(|point| *point % 3 != 0) {
                let mut network = VirtualNetwork::new(seed as u64, codes);
                let ill_formed = network.stored_ill_formed(20_000, misfit, point);
                network.stored(20_000);
                let parts = lose(&mut network, lost);
                let repaired = network.repair(lost);
                let told = format!("{} {misfit:?} at {point}: {:?}", codes.0, repaired.progress);
                assert!(repaired.whole && repaired.faults.is_empty(), "{told}");
                assert!(
                    repaired.evidence.is_empty() && repaired.progress.liars.is_empty(),
                    "{told}"
                );
                let object = ill_formed.sealed.object_id;
                for (part, before) in parts {
                    match network.at(lost).disk.parts.get(&part) {
                        Some(after) => assert!(after.fragment == before.fragment, "{told}"),
                        None => assert_eq!(part.object, object, "{told}"),
                    }
                }
                let (read, faults) = network.get(&ill_formed, None);
                assert!(faults.is_empty(), "{faults:?}");
                // What is read is what this reader's holders have, or nothing.
                let told = read.err();
                assert!(matches!(told, None | Some(GetError::IllFormed)), "{told:?}");
            }
        }
    }
}

/// The first helpers describe the object; if they lie, the others are asked to.
#[test]
fn liars_about_the_descriptor_do_not_block_the_last_helpers() {
    let mut network = VirtualNetwork::new(4, mbr());
    network.stored(3000);
    let lost = lose(&mut network, 10);
    for point in 1..=3 {
        network.at(point).lie = Some(Lie::NoDescription);
    }
    // six honest helpers: enough for the key, not for the data code's d
    let repaired = network.repair(10);
    assert_eq!(network.fired("lie"), 3);
    assert_restored(&mut network, 10, &lost, &repaired);
    assert!(repaired.progress.witness_bytes > 0);
    assert_eq!(liars(&repaired.faults), [1, 2, 3].into());
}

#[test]
fn a_helper_that_hides_objects_hides_nothing() {
    let mut network = VirtualNetwork::new(5, mbr());
    network.stored(100);
    for point in 1..=8 {
        network.at(point).lie = Some(Lie::MissingIds);
    }
    let lost = lose(&mut network, 10);
    let repaired = network.repair(10);
    assert_eq!(network.fired("lie"), 8);
    assert_restored(&mut network, 10, &lost, &repaired);
}

#[test]
fn below_d_the_fragment_is_rebuilt_from_witnesses() {
    for codes in [mbr(), (code(CodeKind::Msr, 10, 5, 8), mbr().1)] {
        let mut network = VirtualNetwork::new(6, codes);
        let fragment_len = network.stored(50_000).sealed.fragments[0].len() as u64;
        let lost = lose(&mut network, 1);
        // d = 6 for the key
        network.down(2..=4);
        let repaired = network.repair(1);
        assert!(network.fired("down") > 0);
        assert_restored(&mut network, 1, &lost, &repaired);
        assert_eq!(repaired.progress.witness_bytes, 5 * fragment_len, "k whole fragments");

        // k = 5 for the key: the survivors' second round
        let lost = lose(&mut network, 1);
        network.down([5]);
        let repaired = network.repair(1);
        assert_restored(&mut network, 1, &lost, &repaired);

        let lost = lose(&mut network, 1);
        network.down([6]);
        let repaired = network.repair(1);
        let progress = repaired.progress;
        assert_eq!((progress.objects_failed, repaired.parts.len()), (1, 0));
        assert_eq!(repaired.symbol_use.failed, progress.symbol_bytes);
        assert!(progress.symbol_bytes > 0);
        let message = progress.last_failure.unwrap();
        assert!(message.starts_with("4 of the 6 helpers needed for the key share"), "{message}");

        // nothing was broken: with the helper back it goes on
        network.at(6).up = true;
        let repaired = network.repair(1);
        assert_restored(&mut network, 1, &lost, &repaired);
    }
}

/// Exactly k survive, of both codes; one of them lies, and its lie names nobody: then nothing is
/// rebuilt that is not what was dealt.
#[test]
fn k_survivors_rebuild_everything_or_nothing() {
    let key = KeyParameters::new(8, 4, 5).unwrap();
    let mut network = VirtualNetwork::new(9, (code(CodeKind::Mbr, 8, 4, 6), key));
    for len in [0, 300, 40_000] {
        network.stored(len);
    }
    let lost = lose(&mut network, 8);
    network.down(5..=7);
    network.at(2).lie = Some(Lie::DegradedPart);
    let repaired = network.repair(8);
    assert!(network.fired("lie") > 0);
    assert_eq!((repaired.parts.len(), repaired.progress.objects_failed), (0, 3));
    network.at(2).lie = None;
    let repaired = network.repair(8);
    assert_restored(&mut network, 8, &lost, &repaired);
    assert!(repaired.faults.is_empty());
}

#[test]
fn equal_inventories_are_not_read() {
    let mut network = VirtualNetwork::new(12, mbr());
    for _ in 0..20 {
        network.stored(10);
    }
    let compared = network.repair(4);
    assert!(compared.whole && compared.parts.is_empty());
    assert_eq!(compared.progress.header_bytes, 0);
    lose_one(&mut network, 4);
    let repaired = network.repair(4);
    assert!(repaired.whole && repaired.parts.len() == 1);
    assert!(repaired.progress.header_bytes > 0);
}

fn lose_one(network: &mut VirtualNetwork, point: u8) {
    network.at(point).disk.parts.pop_first().unwrap();
}

/// An object that a put left at too few holders is nobody's to wait for.
#[test]
fn what_was_never_put_at_enough_holders_does_not_keep_a_slot_from_being_whole() {
    let mut network = VirtualNetwork::new(10, mbr());
    network.stored(500);
    network.down(4..=10);
    let half = network.write(100);
    assert!(network.put(&half).0.is_err());
    (4..=10).for_each(|point| network.at(point).up = true);
    let lost = lose(&mut network, 9);
    let repaired = network.repair(9);
    assert!(repaired.whole && network.at(9).disk.parts.keys().eq(lost.keys()));
    assert_eq!(repaired.progress.objects_failed, 1);
    let message = repaired.progress.last_failure.unwrap();
    assert!(message.starts_with("3 of the 5 holders needed"), "{message}");
}

/// What a newcomer shows of a lie convicts the liar before everybody, and nobody else.
#[test]
fn wrong_symbols_convict_and_right_ones_do_not() {
    let mut network = VirtualNetwork::new(11, mbr());
    network.stored(300);
    network.at(3).lie = Some(Lie::KeySymbol);
    let liar = network.members()[2].node;
    lose(&mut network, 9);
    let repaired = network.repair(9);
    let [proof] = &repaired.evidence[..] else { panic!("{} proofs", repaired.evidence.len()) };
    assert_eq!(proof.helper, liar);
    let id = network.id();
    assert!(proof.convicts(&id));
    let other = NetworkId([9; 32]);
    let mut framed = proof.clone();
    framed.helper = network.members()[4].node;
    let mut elsewhere = proof.clone();
    elsewhere.part.slot = slot(2);
    assert!(!proof.convicts(&other) && !framed.convicts(&id) && !elsewhere.convicts(&id));
    // An honest answer is no proof.
    network.at(3).lie = None;
    lose(&mut network, 9);
    assert!(network.repair(9).evidence.is_empty());
}

/// Down to k, with every code whose key code needs no more.
#[test]
fn whoever_survives_gives_the_fragment_back() {
    for (parameters, key) in [
        (code(CodeKind::Clay, 6, 4, 5), (3, 4)),
        (code(CodeKind::Mbr, 10, 5, 8), (4, 5)),
        (code(CodeKind::Msr, 10, 5, 9), (4, 5)),
    ] {
        let key = KeyParameters::new(parameters.n, key.0, key.1).unwrap();
        for survivors in parameters.k..=parameters.d {
            let mut network = VirtualNetwork::new(survivors.into(), (parameters, key));
            let fragment_len = network.stored(30_000).sealed.fragments[0].len() as u64;
            let lost = lose(&mut network, 1);
            network.down(2..=parameters.n - survivors);
            let repaired = network.repair(1);
            assert_restored(&mut network, 1, &lost, &repaired);
            let progress = &repaired.progress;
            let witnesses = if survivors < parameters.d { u64::from(parameters.k) } else { 0 };
            assert_eq!(progress.witness_bytes, witnesses * fragment_len, "{parameters}");
            assert!(repaired.faults.is_empty());
        }
    }
}

#[test]
fn losses_and_crashes_leave_a_repair_that_can_be_repeated() {
    let mut network = VirtualNetwork::new(7, mbr());
    for _ in 0..20 {
        network.stored(5000);
    }
    let lost = lose(&mut network, 7);
    network.plan.loss_percent = 20;
    network.at(1).crashes_at = Some(network.now + std::time::Duration::from_millis(300));
    let mut repaired = network.repair(7);
    assert!(network.fired("loss") > 0 && network.fired("crash") > 0);
    for _ in 0..10 {
        if repaired.progress.objects_held < lost.len() as u64 {
            repaired = network.repair(7);
        }
    }
    assert!(network.at(7).disk.parts.keys().eq(lost.keys()));
    assert!(network.at(7).disk.parts.iter().all(|(part, kept)| {
        kept.share == lost[part].share && kept.fragment == lost[part].fragment
    }));
}

#[test]
fn the_newcomer_of_a_reassigned_slot_fills_it() {
    let mut network = VirtualNetwork::new(8, mbr());
    let written = network.stored(10_000);
    let before = network.members()[2].node;
    network.reassign(3);
    assert_ne!(network.members()[2].node, before);
    let repaired = network.repair(3);
    assert_eq!(repaired.progress.objects_held, 1);
    let part = network.part(3, written.sealed.object_id);
    let kept = network.at(3).disk.parts[&part].clone();
    assert!(kept.share == written.sealed.shares[2]);
    assert!(kept.fragment == written.sealed.fragments[2]);
    assert_eq!((part.group, part.slot), (GROUP, slot(3)));
}

/// House rule: what is in scope of a repair cannot name V, nor read or deal it.
#[test]
fn the_repair_modules_import_nothing_that_holds_the_secret() {
    for source in [
        include_str!("../../src/peer/repair_object.rs"),
        include_str!("../../src/peer/rebuilt.rs"),
        include_str!("../../src/peer/repair_slot.rs"),
        include_str!("../../src/peer/degraded.rs"),
    ] {
        for forbidden in ["Secret", "ProvenPart", "read(", "read_robust", "deal", "::*", "seal::"] {
            assert!(!source.contains(forbidden), "{forbidden}");
        }
    }
}
