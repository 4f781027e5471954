//! Gathering V and fragment groups of one object, from any enough holders.
//!
//! Every answer is checked before it counts; a wrong one names its sender and the next holder is
//! asked instead. Slow holders are hedged. Memory: the fragments gathered, at most a few more than
//! k, each at most the fragment length.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::{Answer, Ask, AskFailure, Fault, FaultKind, Member};
use crate::code::{CodeParameters, GROUP_LEN};
use crate::keyshare::{self, KeyParameters, ProvenPart, Secret};
use crate::names::{GroupId, ObjectId, Slot};
use crate::object::{Descriptor, FragmentRoot, GroupHashes};
use crate::policy::durability;
use crate::policy::reading::initial_asks;
use crate::wire::{GroupRange, Operation, PartReference, Read, RefusalKind, Response};

const READ_TIMEOUT: Duration = Duration::from_secs(10);
const NO_GROUPS: GroupRange = GroupRange { first: 0, count: 0 };

/// What to read of an object.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The group that holds it.
    pub group: GroupId,
    /// The object.
    pub object: ObjectId,
    /// The group's data code.
    pub code: CodeParameters,
    /// The group's key code.
    pub key: KeyParameters,
    /// The fragment groups: all when absent.
    pub groups: Option<GroupRange>,
    /// About how many bytes one answer carries, for the decision how many to ask.
    pub answer_len: u64,
}

/// The read of one object, or of a range of its groups.
pub struct GetObject {
    wanted: Wanted,
    /// Not asked yet, in the order of preference.
    candidates: std::vec::IntoIter<Member>,
    asked: BTreeMap<u64, Question>,
    next_id: u64,
    descriptor: Option<Descriptor>,
    /// Answers that came before any descriptor.
    unchecked: Vec<(Member, UncheckedAnswer)>,
    parts: BTreeMap<Slot, ProvenPart>,
    pieces: BTreeMap<Slot, Bytes>,
    faults: Vec<Fault>,
    missing: BTreeMap<Slot, String>,
    hedge_delay: Duration,
    hedge_at: Option<Duration>,
}

struct Question {
    member: Member,
    with_fragment: bool,
}

struct UncheckedAnswer {
    key_part: Option<ProvenPart>,
    hashes: Option<GroupHashes>,
    body: Bytes,
    with_fragment: bool,
}

/// What was gathered.
pub struct Gathered {
    /// The object's descriptor.
    pub descriptor: Descriptor,
    /// V.
    pub secret: Secret,
    /// Coded bytes of the groups read, in order.
    pub coded: Vec<u8>,
}

/// The object cannot be read now. Nothing was changed.
#[derive(Debug, Error)]
pub enum GetError {
    /// Too few holders gave good answers.
    #[error(
        "{reached} of the {needed} holders needed answered; at least {} more must come back ({})",
        needed.saturating_sub(*reached), reasons.join("; ")
    )]
    BelowThreshold {
        /// Good answers.
        reached: usize,
        /// Good answers needed.
        needed: usize,
        /// Why the others are missing.
        reasons: Vec<String>,
        /// Whether enough holders answered but their answers were wrong.
        wrong: bool,
    },
    /// The writer stored parts that do not fit together: no holder is to blame.
    #[error("the object is ill-formed: its writer stored parts that do not fit together")]
    IllFormed,
    /// The descriptor's codes are not the group's.
    #[error("the object's codes are not those of its group")]
    UnexpectedCodes,
}

impl GetObject {
    /// A read from `members`, in the order in which they should be asked. `hedge_delay` is how long
    /// to wait before asking one more.
    pub fn new(wanted: Wanted, members: Vec<Member>, hedge_delay: Duration) -> Self {
        Self {
            wanted,
            candidates: members.into_iter(),
            asked: BTreeMap::new(),
            next_id: 0,
            descriptor: None,
            unchecked: Vec::new(),
            parts: BTreeMap::new(),
            pieces: BTreeMap::new(),
            faults: Vec::new(),
            missing: BTreeMap::new(),
            hedge_delay,
            hedge_at: None,
        }
    }

    /// Holders whose answers proved wrong.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The next question, if one should be asked now.
    pub fn poll_ask(&mut self, now: Duration) -> Option<Ask> {
        if self.is_enough() {
            return None;
        }
        let hedge = self.hedge_at.is_some_and(|at| at <= now);
        let with_fragment = self.pieces_in_hand() < self.target_pieces() || hedge;
        if self.parts_in_hand() >= self.target_parts() && !with_fragment {
            return None;
        }
        let member = self.candidates.next()?;
        let id = self.next_id;
        self.next_id += 1;
        self.hedge_at = Some(now + self.hedge_delay);
        let read = Read {
            part: PartReference {
                group: self.wanted.group,
                slot: member.slot,
                object: self.wanted.object,
            },
            groups: if with_fragment { self.wanted.groups } else { Some(NO_GROUPS) },
            descriptor: self.descriptor.is_none(),
            key_part: true,
        };
        self.asked.insert(id, Question { member, with_fragment });
        Some(Ask {
            id,
            to: member,
            operation: Operation::Read(read),
            body: Bytes::new(),
            timeout: READ_TIMEOUT,
        })
    }

    /// When to poll again even if nothing happens.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.candidates.len() == 0 { None } else { self.hedge_at }
    }

    /// Takes the answer to a question.
    pub fn handle_answer(&mut self, id: u64, answer: Result<Answer, AskFailure>) {
        let Some(Question { member, with_fragment }) = self.asked.remove(&id) else {
            return;
        };
        match answer {
            Ok(Answer { response: Response::Read { descriptor, key_part, hashes }, body }) => {
                if let Some(bytes) = descriptor {
                    self.adopt_descriptor(member, &bytes);
                }
                let answer = UncheckedAnswer { key_part, hashes, body, with_fragment };
                match self.descriptor.take() {
                    Some(descriptor) => {
                        self.check(&descriptor, member, answer);
                        self.descriptor = Some(descriptor);
                    }
                    None => self.unchecked.push((member, answer)),
                }
            }
            Ok(Answer { response: Response::Refused(refusal), .. }) => {
                if refusal.kind == RefusalKind::Damaged {
                    self.faults.push(Fault { member, kind: FaultKind::Fragment });
                }
                self.missing.insert(member.slot, refusal.message);
            }
            Ok(_) => self.blame(member, FaultKind::Unfitting),
            Err(failure) => {
                self.missing.insert(member.slot, failure.to_string());
            }
        }
    }

    /// The result, once there is one. Ends the machine.
    pub fn poll_outcome(&mut self) -> Option<Result<Gathered, GetError>> {
        if self.parts_and_pieces_suffice()
            && let Some(descriptor) = self.descriptor.take()
        {
            return Some(self.assemble(descriptor));
        }
        if !self.asked.is_empty() || self.candidates.len() > 0 {
            return None;
        }
        let needed = durability::read_threshold(&self.wanted.code, &self.wanted.key);
        let reached = self.parts.len().min(self.pieces.len()).min(needed);
        let reasons = self.missing.iter().map(|(slot, why)| format!("slot {slot}: {why}"));
        Some(Err(GetError::BelowThreshold {
            reached,
            needed,
            reasons: reasons.collect(),
            wrong: reached + self.faults.len() >= needed,
        }))
    }

    fn adopt_descriptor(&mut self, member: Member, bytes: &[u8]) {
        if self.descriptor.is_some() {
            return;
        }
        let proven =
            |descriptor: &Descriptor| descriptor.object_id() == self.wanted.object;
        let Some(descriptor) = Descriptor::decode(bytes).ok().filter(proven) else {
            self.blame(member, FaultKind::Descriptor);
            return;
        };
        for (member, answer) in std::mem::take(&mut self.unchecked) {
            self.check(&descriptor, member, answer);
        }
        self.descriptor = Some(descriptor);
    }

    fn check(&mut self, descriptor: &Descriptor, member: Member, answer: UncheckedAnswer) {
        let index = member.slot.index();
        let (Some(row), Some(root)) =
            (descriptor.rows.get(index), descriptor.fragment_roots.get(index))
        else {
            return self.blame(member, FaultKind::Unfitting);
        };
        match answer.key_part {
            Some(part)
                if part.slot() == member.slot
                    && part.verify(&descriptor.binding(), row).is_ok() =>
            {
                self.parts.insert(member.slot, part);
            }
            _ => return self.blame(member, FaultKind::KeyPart),
        }
        if !answer.with_fragment {
            return;
        }
        let Ok(code) = descriptor.code.build() else {
            return;
        };
        let length = code.layout(descriptor.coded_len).fragment_len();
        let good = match (self.wanted.groups, &answer.hashes) {
            (None, _) => {
                answer.body.len() as u64 == length && FragmentRoot::of(&answer.body) == *root
            }
            (Some(range), Some(hashes)) => {
                hashes.verify(root, length)
                    && groups_match(hashes, range, length, &answer.body)
            }
            (Some(_), None) => false,
        };
        if good {
            self.pieces.insert(member.slot, answer.body);
        } else {
            self.blame(member, FaultKind::Fragment);
        }
    }

    fn assemble(&mut self, descriptor: Descriptor) -> Result<Gathered, GetError> {
        if (descriptor.code, descriptor.key) != (self.wanted.code, self.wanted.key) {
            return Err(GetError::UnexpectedCodes);
        }
        let parts: Vec<ProvenPart> = std::mem::take(&mut self.parts).into_values().collect();
        let (secret, _) = keyshare::read(&descriptor.binding(), &descriptor.rows, &parts)
            .map_err(|_| GetError::IllFormed)?;
        let coded = self.decode(&descriptor).ok_or(GetError::IllFormed)?;
        Ok(Gathered { descriptor, secret, coded })
    }

    fn decode(&self, descriptor: &Descriptor) -> Option<Vec<u8>> {
        let code = descriptor.code.build().ok()?;
        let layout = code.layout(descriptor.coded_len);
        let pieces: Vec<(Slot, &[u8])> = self
            .pieces
            .iter()
            .take(usize::from(descriptor.code.k))
            .map(|(slot, piece)| (*slot, piece.as_ref()))
            .collect();
        let decoded = match self.wanted.groups {
            None => code.decode(&layout, &pieces),
            Some(range) => {
                let end = range.first.saturating_add(range.count).min(layout.group_count());
                code.decode_groups(&layout, range.first..end, &pieces)
            }
        };
        decoded.ok()
    }

    fn blame(&mut self, member: Member, kind: FaultKind) {
        self.faults.push(Fault { member, kind });
        self.missing.insert(member.slot, kind.to_string());
    }

    fn is_enough(&self) -> bool {
        self.descriptor.is_some() && self.parts_and_pieces_suffice()
    }

    fn parts_and_pieces_suffice(&self) -> bool {
        self.parts.len() >= usize::from(self.wanted.key.k())
            && self.pieces.len() >= usize::from(self.wanted.code.k)
    }

    /// Good answers, and questions under way.
    fn parts_in_hand(&self) -> usize {
        self.parts.len() + self.unchecked.len() + self.asked.len()
    }

    fn pieces_in_hand(&self) -> usize {
        let asked = self.asked.values().filter(|question| question.with_fragment).count();
        let unchecked = self.unchecked.iter().filter(|(_, answer)| answer.with_fragment).count();
        self.pieces.len() + unchecked + asked
    }

    fn target_parts(&self) -> usize {
        initial_asks(usize::from(self.wanted.key.k()), self.wanted.answer_len)
    }

    fn target_pieces(&self) -> usize {
        initial_asks(usize::from(self.wanted.code.k), self.wanted.answer_len)
    }
}

fn groups_match(hashes: &GroupHashes, range: GroupRange, fragment_len: u64, body: &[u8]) -> bool {
    let start = u64::from(range.first) * GROUP_LEN;
    let end = (start + u64::from(range.count) * GROUP_LEN).min(fragment_len);
    start < end
        && body.len() as u64 == end - start
        && body
            .chunks(GROUP_LEN as usize)
            .zip(range.first..)
            .all(|(group, index)| hashes.check_group(index as usize, group))
}
