//! What the repairs of one node found out about writers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::holder::not_found;
use super::{Answer, RepairSlot};
use crate::names::{Epoch, GroupId, ObjectId, Slot};
use crate::wire::{MisfitProof, PartReference, Response, canonical};

/// The most slots that the proofs at hand name together: at 300 bytes each about a mebibyte.
const PROOF_SLOTS_MAX: usize = 4096;
/// The most objects that are tried again by one repair because auditors ask for them.
const RETRIED_MAX: usize = 8;

/// Objects that the repairs of a node found ill-formed: their writers stored parts that do not fit
/// together. A repair that is told of them ([`RepairSlot::without`]) does not try
/// again before the next epoch of the group, which may have made their shares fit. Memory: 32 bytes
/// an object and slot, and a mebibyte of proofs for auditors; a proof that had no room is found again
/// when an auditor asks for it.
#[derive(Debug, Default)]
pub struct IllFormed {
    found: BTreeMap<(GroupId, Slot), (Epoch, BTreeSet<ObjectId>)>,
    /// The newest last.
    proofs: VecDeque<(PartReference, MisfitProof)>,
    /// Forgotten since the last repair.
    retried: usize,
}

impl IllFormed {
    /// Those of a slot in an epoch.
    pub fn of(&self, group: GroupId, slot: Slot, epoch: Epoch) -> BTreeSet<ObjectId> {
        let found = self.found.get(&(group, slot)).filter(|(of, _)| *of == epoch);
        found.map(|(_, objects)| objects.clone()).unwrap_or_default()
    }

    /// Takes what a repair has found.
    pub fn learn(&mut self, repair: &RepairSlot) {
        let (group, slot, found_in, found) = repair.ill_formed();
        self.retried = 0;
        if found.is_empty() {
            return;
        }
        let (epoch, known) = self.found.entry((group, slot)).or_default();
        if *epoch != found_in {
            (*epoch, *known) = (found_in, BTreeSet::new());
        }
        known.extend(found.keys());
        for (&object, proof) in found {
            if let Some(proof) = proof {
                self.keep(PartReference { group, slot, object }, proof.clone());
            }
        }
    }

    /// Answers an auditor that finds a part missing. Where there is no proof at hand the part is no
    /// longer taken for ill-formed: the next comparison of the slot tries to rebuild it, and finds one.
    pub fn answer(&mut self, part: &PartReference) -> Answer {
        if let Some((_, proof)) = self.proofs.iter().find(|(of, _)| of == part) {
            let body = canonical::encode(proof).into();
            return Answer { response: Response::Misfit, body };
        }
        if let Some((_, objects)) = self.found.get_mut(&(part.group, part.slot))
            && self.retried < RETRIED_MAX
            && objects.remove(&part.object)
        {
            self.retried += 1;
        }
        Answer::bare(Response::Refused(not_found()))
    }

    fn keep(&mut self, part: PartReference, proof: MisfitProof) {
        self.proofs.retain(|(of, _)| *of != part);
        self.proofs.push_back((part, proof));
        let mut slots: usize = self.proofs.iter().map(|(_, proof)| proof.slots()).sum();
        while slots > PROOF_SLOTS_MAX
            && let Some((_, oldest)) = self.proofs.pop_front()
        {
            slots -= oldest.slots();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_proofs_give_way_and_are_looked_for_again() {
        let (group, slot) = (GroupId(7), Slot::new(2).unwrap());
        let part = |number: u16| {
            let mut object = [0; 32];
            object[..2].copy_from_slice(&number.to_be_bytes());
            PartReference { group, slot, object: ObjectId(object) }
        };
        let proof =
            || MisfitProof::Fragment(Slot::all(10).filter(|other| *other != slot).collect());
        let kept = (PROOF_SLOTS_MAX / proof().slots()) as u16;
        let mut ill_formed = IllFormed::default();
        let all = (0..kept + 1).map(|number| part(number).object).collect();
        ill_formed.found.insert((group, slot), (Epoch(3), all));
        (0..kept + 1).for_each(|number| ill_formed.keep(part(number), proof()));
        assert_eq!(ill_formed.proofs.len(), usize::from(kept));

        let newest = ill_formed.answer(&part(kept));
        assert!(matches!(newest.response, Response::Misfit));
        assert_eq!(newest.body[..], canonical::encode(&proof())[..]);
        assert!(ill_formed.answer(&part(0)).is_not_found());
        // That one is tried again now, and no other.
        let known = ill_formed.of(group, slot, Epoch(3));
        assert!(!known.contains(&part(0).object) && known.len() == usize::from(kept));
        assert!(ill_formed.of(group, slot, Epoch(4)).is_empty());
        ill_formed.keep(part(0), proof());
        assert!(matches!(ill_formed.answer(&part(0)).response, Response::Misfit));
        assert!(ill_formed.answer(&part(1)).is_not_found());

        // Nor is everything, whoever asks for it.
        ill_formed.proofs.clear();
        (0..kept).for_each(|number| drop(ill_formed.answer(&part(number))));
        let known = ill_formed.of(group, slot, Epoch(3));
        assert_eq!(known.len(), usize::from(kept) + 1 - RETRIED_MAX);
    }
}
