//! Audits between holders on the virtual network.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::virtual_network::{Lie, Misfit, VirtualNetwork, Written, code, slot};
use kakera_engine::code::CodeKind;
use kakera_engine::keyshare::{KeyParameters, ProvenSymbol};
use kakera_engine::ledger::WrongSymbol;
use kakera_engine::object::SealedObject;
use kakera_engine::peer::{
    Alarm, Answer, AuditAction, AuditSettings, Auditor, IllFormed, Loaded, StoredPart,
};
use kakera_engine::signature::node_id;
use kakera_engine::wire::{MisfitProof, Operation, PartReference, Response, canonical};

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
    audit_and(network, times, |_, _, _| {})
}

/// The same; `meddle` sees every answer before the auditor does.
fn audit_and(
    network: &mut VirtualNetwork,
    times: u32,
    mut meddle: impl FnMut(&mut VirtualNetwork, &Operation, &mut Answer),
) -> Audited {
    let own = network.at(1).key.clone();
    let settings = AuditSettings::default();
    let mut auditor = Auditor::new(network.id(), node_id(&own), settings);
    let (mut now, mut asked) = (Duration::ZERO, 0);
    for round in 0..times {
        now += settings.every;
        auditor.handle_state(&network.view.state, [round as u8; 32]);
        while let Some(action) = auditor.poll_action(now) {
            match action {
                AuditAction::Load { group, slot, after } => {
                    let objects = network.at(1).disk.objects(group, slot);
                    let next = objects.range(after..).next().or(objects.first()).copied();
                    let loaded = next.map(|object| {
                        let part = PartReference { group, slot, object };
                        let kept = network.at(1).disk.parts[&part].clone();
                        let (vouched, share, renewed) = (kept.object, kept.share, kept.renewed);
                        let part = StoredPart { object: vouched, share, renewed };
                        Loaded { object, part, fragment: kept.fragment }
                    });
                    auditor.handle_loaded(loaded, [round as u8; 32]);
                }
                AuditAction::Ask(ask) => {
                    asked += 1;
                    let (id, operation) = (ask.id, canonical::encode(&ask.operation));
                    let mut answer = network.send_now(&own, ask);
                    let operation = canonical::decode(&operation, usize::MAX).unwrap();
                    if let Ok(answer) = &mut answer {
                        meddle(network, &operation, answer);
                    }
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

/// Who could not rebuild what fits nothing, or is in too few places, is not suspected for having nothing of
/// it; who lost what was stored right is, whatever it says.
#[test]
fn a_newcomer_is_not_suspected_for_what_a_writer_kept_from_it() {
    // The part that fits none is the newcomer's own, or that of the auditor, whom it asked.
    for (misfit, point) in [(Misfit::Share, 2), (Misfit::Fragment, 2), (Misfit::Fragment, 1)] {
        let mut network = network();
        for len in [100, 5000, 300_000] {
            network.stored_ill_formed(len, misfit, point);
        }
        network.at(2).disk.parts.clear();
        assert!(network.repair(2).whole);
        assert!(network.at(2).disk.parts.is_empty());
        let audited = audit(&mut network, 120);
        assert_eq!((audited.suspects, audited.evidence.len()), (BTreeSet::new(), 0));

        for len in [200, 6000, 200_000] {
            network.stored(len);
        }
        assert_eq!(audit(&mut network, 120).suspects, BTreeSet::new());
        network.at(2).disk.parts.clear();
        assert_eq!(audit(&mut network, 200).suspects, BTreeSet::from([2]), "{misfit:?}");
        network.at(2).lie = Some(Lie::Excuse);
        assert_eq!(audit(&mut network, 200).suspects, BTreeSet::from([2]), "{misfit:?}");
    }
}

/// A newcomer that started anew since, or had no room for its proofs, finds them when it is asked.
#[test]
fn a_newcomer_that_has_no_proof_at_hand_finds_it_again() {
    for misfit in [Misfit::Share, Misfit::Fragment] {
        let mut network = network();
        for len in [100, 5000, 300_000] {
            network.stored_ill_formed(len, misfit, 2);
        }
        network.at(2).disk.parts.clear();
        let mut compared = 0;
        let audited = audit_and(&mut network, 120, |network, operation, answer| {
            let Some(alarm) = Alarm::if_not_found(operation).filter(|_| answer.is_not_found())
            else {
                return;
            };
            let Alarm::Wanting { slot, auditor, .. } = alarm else { panic!("{alarm:?}") };
            assert_eq!((slot.point(), auditor.point()), (2, 1));
            compared += 1;
            assert!(network.compare(2, Some(1)).whole);
        });
        assert_eq!(audited.suspects, BTreeSet::new(), "{misfit:?}");
        assert!(compared > 1);

        // Who does not look for them has none.
        network.at(2).ill_formed = IllFormed::default();
        assert_eq!(audit(&mut network, 120).suspects, BTreeSet::from([2]), "{misfit:?}");
    }
}

/// The symbols of d others for a slot.
fn symbols(sealed: &SealedObject, lost: u8) -> Vec<ProvenSymbol> {
    let binding = sealed.descriptor.binding();
    let shares = sealed.shares.iter();
    let proven = shares.filter_map(|share| share.prove_symbol(&binding, slot(lost)));
    proven.take(sealed.descriptor.key.d().into()).collect()
}

#[test]
fn symbols_that_prove_nothing_excuse_nobody() {
    let mut network = network();
    let written: Vec<_> = [100, 5000, 300_000].map(|len| network.stored(len)).into();
    let other = network.stored_ill_formed(200, Misfit::Share, 2);
    network.at(2).disk.parts.clear();
    let falsified = |sealed: &SealedObject| {
        let mut proof = canonical::encode(&MisfitProof::Share(symbols(sealed, 2)));
        let value = proof.windows(2).position(|head| head == [0x58, 32]).unwrap();
        proof[value + 2] ^= 1;
        canonical::decode(&proof, usize::MAX).unwrap()
    };
    let forgeries: [&dyn Fn(&SealedObject) -> MisfitProof; 6] = [
        &|sealed| MisfitProof::Share(symbols(sealed, 2)),
        &|sealed| MisfitProof::Share(symbols(sealed, 3)),
        &|sealed| MisfitProof::Share(symbols(sealed, 2)[1..].to_vec()),
        &|sealed| MisfitProof::Share(vec![symbols(sealed, 2)[0].clone(); 4]),
        &|_| MisfitProof::Share(symbols(&other.sealed, 2)),
        &falsified,
    ];
    for (number, forge) in forgeries.into_iter().enumerate() {
        let audited = audit_and(&mut network, 200, |_, operation, answer| {
            let Operation::Misfit { part, .. } = operation else { return };
            let of_part = |one: &&Written| one.sealed.object_id == part.object;
            let Some(lost) = written.iter().find(of_part) else { return };
            let body = canonical::encode(&forge(&lost.sealed)).into();
            *answer = Answer { response: Response::Misfit, body };
        });
        assert_eq!(audited.suspects, BTreeSet::from([2]), "forgery {number}");
    }
}

/// A refresh makes an ill-formed object fit: what was proof against its writer excuses nobody any more.
#[test]
fn a_proof_from_before_a_refresh_excuses_nobody() {
    let key = KeyParameters::new(10, 5, 6).unwrap();
    let mut network = VirtualNetwork::new(1, (code(CodeKind::Mbr, 10, 5, 7), key));
    network.upgrade();
    let written: Vec<_> =
        [100, 5000, 300_000].map(|len| network.stored_ill_formed(len, Misfit::Share, 2)).into();
    let excuse = |_: &mut VirtualNetwork, operation: &Operation, answer: &mut Answer| {
        let Operation::Misfit { part, .. } = operation else { return };
        let of_part = |one: &&Written| one.sealed.object_id == part.object;
        let lost = written.iter().find(of_part).unwrap();
        let body = canonical::encode(&MisfitProof::Share(symbols(&lost.sealed, 2))).into();
        *answer = Answer { response: Response::Misfit, body };
    };
    let parts = std::mem::take(&mut network.at(2).disk.parts);
    assert_eq!(audit_and(&mut network, 200, excuse).suspects, BTreeSet::new());
    network.at(2).disk.parts = parts;
    assert_eq!(network.refresh(Duration::from_secs(3600)), [Ok(3)]);
    network.at(2).disk.parts.clear();
    assert_eq!(audit_and(&mut network, 200, excuse).suspects, BTreeSet::from([2]));
}

#[test]
fn nobody_is_suspected_for_what_too_few_have() {
    for (lacking, suspects) in [(&[3, 4, 5][..], vec![]), (&[3], vec![3])] {
        let mut network = network();
        for len in [100, 5000, 300_000] {
            network.stored(len);
        }
        lacking.iter().for_each(|point| network.at(*point).disk.parts.clear());
        assert_eq!(audit(&mut network, 200).suspects, suspects.into_iter().collect());
    }
}
