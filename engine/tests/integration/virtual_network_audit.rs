//! Audits between holders on the virtual network.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::virtual_network::{Lie, Misfit, VirtualNetwork, code};
use kakera_engine::code::CodeKind;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::WrongSymbol;
use kakera_engine::peer::{AuditAction, AuditSettings, Auditor, Loaded, StoredPart};
use kakera_engine::signature::node_id;
use kakera_engine::wire::{PartReference, canonical};

fn network() -> VirtualNetwork {
    let key = KeyParameters::new(5, 3, 4).unwrap();
    VirtualNetwork::new(1, (code(CodeKind::Mbr, 5, 3, 4), key))
}

/// What the audits of one holder came to.
struct Audited {
    /// The slots that it suspects.
    suspects: BTreeSet<u8>,
    evidence: Vec<WrongSymbol>,
    asked: u32,
}

/// Lets the holder of slot 1 audit so often.
fn audit(network: &mut VirtualNetwork, times: u32) -> Audited {
    let own = network.at(1).key.clone();
    let settings = AuditSettings::default();
    let mut auditor = Auditor::new(network.id(), node_id(&own), settings);
    let (mut now, mut asked) = (Duration::ZERO, 0);
    for round in 0..times {
        now += settings.every;
        auditor.handle_state(&network.view.state, [round as u8; 32]);
        while let Some(action) = auditor.poll_action(now) {
            match action {
                AuditAction::Load { group, slot, after, .. } => {
                    let objects = network.at(1).disk.objects(group, slot);
                    let next = objects.range(after..).next().or(objects.first()).copied();
                    let loaded = next.map(|object| {
                        let part = PartReference { group, slot, object };
                        let kept = network.at(1).disk.parts[&part].clone();
                        let (vouched, share, renewed) = (kept.object, kept.share, kept.renewed);
                        let part = StoredPart { object: vouched, share, renewed };
                        Loaded { object, part, fragment: Some(kept.fragment) }
                    });
                    auditor.handle_loaded(loaded, [round as u8; 32]);
                }
                AuditAction::Ask(ask) => {
                    asked += 1;
                    let id = ask.id;
                    let answer = network.send_now(&own, ask);
                    auditor.handle_answer(id, answer);
                }
            }
        }
    }
    let named = auditor.suspects();
    let slots = network.members().into_iter().filter(|m| named.contains(&m.node));
    let suspects = slots.map(|member| member.slot.point()).collect();
    Audited { suspects, evidence: auditor.take_evidence(), asked }
}

#[test]
fn holders_that_lack_what_they_promised_are_found_and_no_others() {
    let mut network = network();
    for len in [100, 5000, 300_000] {
        network.stored(len);
    }
    let honest = audit(&mut network, 60);
    assert_eq!((honest.suspects, honest.evidence.len(), honest.asked), (BTreeSet::new(), 0, 60));
    // One lost everything, one lost all its fragments' bytes, one is only down.
    network.at(2).disk.parts.clear();
    let parts: Vec<PartReference> = network.at(3).disk.parts.keys().copied().collect();
    for part in parts {
        let kept = network.at(3).disk.parts.get_mut(&part).unwrap();
        kept.fragment = vec![0; kept.fragment.len()].into();
    }
    network.down([4]);
    let audited = audit(&mut network, 120);
    assert_eq!((audited.suspects, audited.evidence.len()), (BTreeSet::from([2, 3]), 0));
}

/// A machine that signs wrong pair symbols where nothing is ever lost: rehearsals convict it, with
/// shares as they were dealt and with renewed ones, and three objects take its slots away.
#[test]
fn a_liar_to_newcomers_is_convicted_before_there_is_a_newcomer() {
    for refreshes in 0..3 {
        let mut network = network();
        network.upgrade_to(5);
        for len in [100, 5000, 300_000] {
            network.stored(len);
        }
        for _ in 0..refreshes {
            assert_eq!(network.refresh(Duration::from_secs(3600)), [Ok(3)]);
        }
        network.at(3).lie = Some(Lie::KeySymbol);
        let audited = audit(&mut network, 120);
        let liar = network.members()[2].node;
        let proofs = audited.evidence;
        let of_liar = |proof: &WrongSymbol| proof.helper == liar && proof.convicts(&network.id());
        assert!(proofs.len() >= 3 && proofs.iter().all(of_liar));
        assert!(proofs.iter().all(|proof| proof.names_epoch() == (refreshes > 0)));
        // Of shares as they were dealt, the proof is encoded as under earlier rules: seven fields.
        let fields = |proof: &WrongSymbol| canonical::encode(proof)[0] & 0x1f;
        assert_eq!(fields(&proofs[0]), if refreshes > 0 { 9 } else { 7 });
        assert!(!audited.suspects.iter().any(|slot| *slot != 3));

        if refreshes > 0 {
            assert!(!network.show(&proofs[0]), "version 5 knows no proofs of renewed shares");
        }
        network.upgrade();
        if let Some(rows) = &proofs[0].renewed {
            // Rows that are not under the epoch's root frame nobody, whatever they prove.
            let mut other = rows.clone();
            other.rows.swap(0, 1);
            let framed = WrongSymbol { renewed: Some(other), ..proofs[0].clone() };
            assert!(framed.convicts(&network.id()));
            assert!(!network.show(&framed));
        }
        let told = proofs.iter().filter(|proof| network.show(proof)).count();
        assert_eq!(told, 3, "each object counts once");
        assert!(network.view.state.node(&liar).unwrap().retired);
    }
}

#[test]
fn a_liar_about_fragment_symbols_is_suspected_where_the_code_lets_it_be_seen() {
    for kind in [CodeKind::Mbr, CodeKind::Rs] {
        let (n, k, d) = if kind == CodeKind::Rs { (5, 3, 3) } else { (5, 3, 4) };
        let key = KeyParameters::new(5, 3, 4).unwrap();
        let mut network = VirtualNetwork::new(2, (code(kind, n, k, d), key));
        network.stored(20_000);
        network.at(4).lie = Some(Lie::FragmentSymbols);
        let audited = audit(&mut network, 120);
        assert_eq!((audited.suspects, audited.evidence.len()), (BTreeSet::from([4]), 0));
    }
}

/// A writer gave one slot parts that fit no other's: its holder fails nobody's audits for it, and whoever
/// lacks or falsifies something is found all the same.
#[test]
fn nobody_is_suspected_for_what_a_writer_did() {
    for misfit in [Misfit::Share, Misfit::Fragment] {
        let mut network = network();
        for len in [100, 5000, 300_000] {
            network.stored_ill_formed(len, misfit, 2);
        }
        let audited = audit(&mut network, 120);
        assert_eq!((audited.suspects, audited.evidence.len()), (BTreeSet::new(), 0));
        assert!(audited.asked > 120, "{misfit:?}: nothing was asked again");

        network.at(2).lie = Some(Lie::FragmentSymbols);
        let audited = audit(&mut network, 200);
        assert_eq!((audited.suspects, audited.evidence.len()), (BTreeSet::from([2]), 0));
        network.at(2).lie = None;
        network.at(2).disk.parts.clear();
        assert_eq!(audit(&mut network, 120).suspects, BTreeSet::from([2]));
    }
}
