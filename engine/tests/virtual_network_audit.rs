//! Audits between holders on the virtual network.
#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

mod virtual_network;

use std::collections::BTreeSet;
use std::time::Duration;

use kakera_engine::code::CodeKind;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::peer::{AuditAction, AuditSettings, Auditor, StoredPart};
use kakera_engine::signature::node_id;
use kakera_engine::wire::PartReference;
use virtual_network::{VirtualNetwork, code};

fn network() -> VirtualNetwork {
    let key = KeyParameters::new(5, 3, 4).unwrap();
    VirtualNetwork::new(1, (code(CodeKind::Mbr, 5, 3, 4), key))
}

/// Lets the holder of slot 1 audit so often; whom it suspects then, and how often it asked.
fn audit(network: &mut VirtualNetwork, times: u32) -> (BTreeSet<u8>, u32) {
    let own = network.at(1).key.clone();
    let settings = AuditSettings::default();
    let mut auditor = Auditor::new(node_id(&own), settings);
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
                        (object, StoredPart { object: vouched, share, renewed })
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
    let suspects = auditor.suspects();
    let slots = network.members().into_iter().filter(|m| suspects.contains(&m.node));
    (slots.map(|member| member.slot.point()).collect(), asked)
}

#[test]
fn holders_that_lack_what_they_promised_are_found_and_no_others() {
    let mut network = network();
    for len in [100, 5000, 300_000] {
        network.stored(len);
    }
    assert_eq!(audit(&mut network, 60), (BTreeSet::new(), 60));
    // One lost everything, one lost all its fragments' bytes, one is only down.
    network.at(2).disk.parts.clear();
    let parts: Vec<PartReference> = network.at(3).disk.parts.keys().copied().collect();
    for part in parts {
        let kept = network.at(3).disk.parts.get_mut(&part).unwrap();
        kept.fragment = vec![0; kept.fragment.len()].into();
    }
    network.down([4]);
    assert_eq!(audit(&mut network, 120).0, BTreeSet::from([2, 3]));
}
