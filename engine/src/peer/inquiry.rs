//! Who is to blame where an audited part is not there.
//!
//! A holder may lack it through the fault of the object's writer, who stored parts that do not fit
//! together, so that the slot's newcomer could not rebuild its own, or gave parts to so few that nobody
//! else ever can. An auditor that is told of nothing there finds out before it blames the holder:
//!
//! - It asks the holder for a proof ([`MisfitProof`]), and if there is none at hand once more after a while. The
//!   symbols of a share prove themselves. Of a fragment the proof names k slots: their fragments are asked for,
//!   those of others where one does not come, and decoded.
//! - Without one it asks all others whether they have the object. Where so many have not that a newcomer
//!   would find too few helpers, nobody is to blame.
//!
//! What the holder says is never believed: of an object that was written right no symbols and no fragments
//! prove anything, and that others lack it they say themselves. One question at a time; memory: k
//! fragments, the whole object.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{Answer, AskFailure, Member, StoredPart};
use crate::keyshare::{self, ProvenSymbol, RepairError};
use crate::names::{GroupId, Slot};
use crate::object::Descriptor;
use crate::policy::durability::repair_helpers;
use crate::wire::{
    BODY_LEN_MAX, MisfitProof, Operation, PartReference, Response, Symbols, canonical,
};

/// What an auditor keeps of the object.
pub(super) struct Own {
    pub(super) part: StoredPart,
    pub(super) fragment: Bytes,
}

/// An inquiry about one part.
pub(super) struct Inquiry {
    /// The part that is missing, and who should have it.
    part: PartReference,
    accused: Member,
    own: Own,
    descriptor: Descriptor,
    /// The other holders of the group that are whole.
    others: Vec<Member>,
    stage: Stage,
    /// The next question.
    next: Option<(Member, Operation)>,
    /// Who is being asked.
    asked: Option<Member>,
}

enum Stage {
    /// The holder is asked for a proof, for the first time or `again`.
    Proof { again: bool },
    /// Fragments are gathered.
    Fragments { wanted: VecDeque<Slot>, fragments: BTreeMap<Slot, Bytes> },
    /// The others are asked whether they have the object.
    Others { to_ask: VecDeque<Member>, having: usize, lacking: usize },
}

/// What comes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// There is a question more.
    Open,
    /// The next question should wait a while.
    Later,
    /// The writer is to blame, or nobody can tell.
    Excused,
    /// The holder could have what it lacks.
    Guilty,
}

impl Inquiry {
    /// About `part`, which `accused` should have and has not; `others` are the other holders that are
    /// whole.
    pub(super) fn new(
        part: PartReference,
        accused: Member,
        own: Own,
        descriptor: Descriptor,
        others: Vec<Member>,
    ) -> Self {
        let stage = Stage::Proof { again: false };
        let mut inquiry =
            Self { part, accused, own, descriptor, others, stage, next: None, asked: None };
        inquiry.ask_for_proof();
        inquiry
    }

    /// The group and the auditor's slot in it.
    pub(super) fn seat(&self) -> (GroupId, Slot) {
        (self.part.group, self.own.part.share.slot())
    }

    /// The next question, if the last one was answered.
    pub(super) fn poll_question(&mut self) -> Option<(Member, Operation)> {
        let (member, operation) = self.next.take()?;
        self.asked = Some(member);
        Some((member, operation))
    }

    /// Whether a question waits for its answer.
    pub(super) fn is_waiting(&self) -> bool {
        self.asked.is_some()
    }

    /// Takes the answer.
    pub(super) fn handle_answer(&mut self, answer: Result<Answer, AskFailure>) -> Finding {
        let Some(member) = self.asked.take() else { return Finding::Open };
        match &mut self.stage {
            Stage::Proof { again } => {
                let again = *again;
                self.take_proof(again, answer)
            }
            Stage::Fragments { fragments, .. } => {
                if let Ok(Answer { response: Response::Witness, body }) = answer
                    && self.descriptor.is_fragment(member.slot, &body)
                {
                    fragments.insert(member.slot, body);
                }
                self.gather_fragments()
            }
            Stage::Others { having, lacking, .. } => {
                match answer {
                    Ok(answer) if answer.is_not_found() => *lacking += 1,
                    // Who does not say may have it.
                    _ => *having += 1,
                }
                self.count_others()
            }
        }
    }

    fn take_proof(&mut self, again: bool, answer: Result<Answer, AskFailure>) -> Finding {
        let body = match answer {
            Ok(Answer { response: Response::Misfit, body }) => body,
            Ok(answer) if answer.is_not_found() && !again => {
                self.stage = Stage::Proof { again: true };
                self.ask_for_proof();
                return Finding::Later;
            }
            // Who is not reached now could be reached a moment ago, and said that it has nothing.
            _ => return self.ask_others(),
        };
        match canonical::decode(&body, BODY_LEN_MAX) {
            Ok(MisfitProof::Share(symbols)) if self.is_contradicted(&symbols) => Finding::Excused,
            Ok(MisfitProof::Fragment(named)) => {
                let all = self.others.iter().map(|other| other.slot);
                let all = all.chain([self.own.part.share.slot()]);
                let (first, then): (Vec<Slot>, Vec<Slot>) =
                    all.partition(|slot| named.contains(slot));
                let wanted = first.into_iter().chain(then).collect();
                self.stage = Stage::Fragments { wanted, fragments: BTreeMap::new() };
                self.gather_fragments()
            }
            _ => self.ask_others(),
        }
    }

    fn ask_for_proof(&mut self) {
        let auditor = self.own.part.share.slot();
        self.next = Some((self.accused, Operation::Misfit { part: self.part, auditor }));
    }

    /// Whether these symbols stand under rows of the descriptor and give another share than the slot's.
    /// After a renewal two that lie could make such symbols, and an object that is renewed fits: then nothing
    /// is proved so.
    fn is_contradicted(&self, symbols: &[ProvenSymbol]) -> bool {
        let Self { accused, own, descriptor, .. } = self;
        let binding = descriptor.binding();
        let restored = keyshare::repair(&binding, accused.slot, &descriptor.rows, symbols);
        own.part.renewed.is_none() && matches!(restored, Err(RepairError::IllFormed))
    }

    fn gather_fragments(&mut self) -> Finding {
        let Self { part, own, descriptor, others, stage, .. } = self;
        let Stage::Fragments { wanted, fragments } = stage else { return Finding::Open };
        let lost = own.part.share.slot();
        while fragments.len() < usize::from(descriptor.code.k) {
            let Some(slot) = wanted.pop_front() else { return Finding::Excused };
            if let Some(member) = others.iter().find(|other| other.slot == slot) {
                let part = PartReference { slot, ..*part };
                self.next = Some((*member, Operation::Witness { part, lost }));
                return Finding::Open;
            }
            if descriptor.is_fragment(slot, &own.fragment) {
                fragments.insert(slot, own.fragment.clone());
            }
        }
        if self.gives_fragment() { Finding::Guilty } else { Finding::Excused }
    }

    /// Whether the fragments gathered give that of the slot.
    fn gives_fragment(&self) -> bool {
        let Self { accused, descriptor, stage, .. } = self;
        let Stage::Fragments { fragments, .. } = stage else { return false };
        let Ok(code) = descriptor.code.build() else { return false };
        let layout = code.layout(descriptor.coded_len);
        let fragments: Vec<(Slot, &[u8])> =
            fragments.iter().map(|(slot, bytes)| (*slot, &bytes[..])).collect();
        let coded = code.decode(&layout, &fragments).ok();
        let fragment = coded.and_then(|coded| code.encode_slot(&layout, &coded, accused.slot).ok());
        fragment.is_some_and(|fragment| descriptor.is_fragment(accused.slot, &fragment))
    }

    fn ask_others(&mut self) -> Finding {
        let to_ask = self.others.iter().copied().collect();
        // Who is filling its slot has nothing to help with yet.
        let lacking = usize::from(self.descriptor.code.n) - 2 - self.others.len();
        self.stage = Stage::Others { to_ask, having: 1, lacking };
        self.count_others()
    }

    fn count_others(&mut self) -> Finding {
        let Self { part, accused, own, descriptor, stage, .. } = self;
        let Stage::Others { to_ask, having, lacking } = stage else { return Finding::Open };
        let (binding, _) = own.part.commitments(descriptor);
        let unproven = usize::from(!binding.commits_to(accused.slot));
        let needed = repair_helpers(&descriptor.code, &descriptor.key) + unproven;
        let helpers = usize::from(descriptor.code.n) - 1;
        if helpers - *lacking < needed {
            return Finding::Excused;
        }
        let Some(member) = to_ask.pop_front().filter(|_| *having < needed) else {
            return Finding::Guilty;
        };
        let part = PartReference { slot: member.slot, ..*part };
        let lost = own.part.share.slot();
        let symbols = Symbols { part, lost, describe: false };
        self.next = Some((member, Operation::PairSymbols(symbols)));
        Finding::Open
    }
}
