//! Gathering V and fragment groups of one object, from any enough holders.
//!
//! Every answer is checked before it counts; a wrong one names its sender and the next holder is
//! asked instead. Slow holders are hedged. Memory: the fragments gathered, at most a few more than
//! k, each at most the fragment length.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::{Answer, Ask, AskFailure, Fault, FaultKind, Member};
use crate::code::{Code, CodeParameters, GROUP_LEN, Layout};
use crate::keyshare::{self, KeyParameters, ProvenPart, RenewedRows, Secret, Share};
use crate::ledger::GroupEpochs;
use crate::names::{Epoch, GroupId, ObjectId, Slot};
use crate::object::{Descriptor, FragmentRoot, GroupHashes};
use crate::policy::durability;
use crate::policy::reading::initial_asks;
use crate::wire::{
    GroupRange, Operation, PartReference, Read, RefusalKind, RenewedShare, Response,
};

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
    /// What the ledger has of the group's epochs.
    pub epochs: GroupEpochs,
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
    known: Option<Known>,
    unexpected_codes: bool,
    parts: BTreeMap<Slot, ProvenPart>,
    /// Shares of refreshed epochs, each with the rows of all.
    renewed: BTreeMap<Epoch, (RenewedRows, BTreeMap<Slot, Share>)>,
    /// Some holder has shares of an epoch that is not among the roots known here.
    unknown_epoch: bool,
    pieces: BTreeMap<Slot, Bytes>,
    faults: Vec<Fault>,
    missing: BTreeMap<Slot, String>,
    hedge_delay: Duration,
    hedge_at: Option<Duration>,
    /// Questions still to be asked because others are late.
    hedges_due: usize,
    /// Whether every holder is asked for both its parts, however many are enough.
    asks_all: bool,
}

struct Question {
    member: Member,
    with_descriptor: bool,
    with_fragment: bool,
}

/// What the proven descriptor tells.
struct Known {
    descriptor: Descriptor,
    code: Code,
    layout: Layout,
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
    /// Holders have key shares of an epoch that is newer than those given, or some of one and some
    /// of another: it is under way. Read the group from the ledger again.
    #[error("the holders are between two epochs of their key shares")]
    StaleEpochs,
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
            known: None,
            unexpected_codes: false,
            parts: BTreeMap::new(),
            renewed: BTreeMap::new(),
            unknown_epoch: false,
            pieces: BTreeMap::new(),
            faults: Vec::new(),
            missing: BTreeMap::new(),
            hedge_delay,
            hedge_at: None,
            hedges_due: 0,
            asks_all: false,
        }
    }

    /// As [`Self::new`], but asks every holder at once and ends when all have answered or failed:
    /// [`Self::sound_slots`] tells what it found.
    pub fn survey(wanted: Wanted, members: Vec<Member>) -> Self {
        Self { asks_all: true, ..Self::new(wanted, members, READ_TIMEOUT) }
    }

    /// The slots whose key part and fragment groups were both right.
    pub fn sound_slots(&self) -> usize {
        let renewed = self.renewed.values().flat_map(|(_, shares)| shares.keys());
        self.parts.keys().chain(renewed).filter(|slot| self.pieces.contains_key(slot)).count()
    }

    /// Holders whose answers proved wrong.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The next question, if one should be asked now.
    pub fn poll_ask(&mut self, now: Duration) -> Option<Ask> {
        if self.is_done() || self.unexpected_codes {
            return None;
        }
        if self.hedge_at.is_some_and(|at| at <= now) {
            // One more for everyone who is late, at once: several may be dead.
            self.hedges_due = self.asked.len();
        }
        let hedge = self.hedges_due > 0 || self.asks_all;
        let with_fragment = self.pieces_in_hand() < self.target_pieces() || hedge;
        if self.parts_in_hand() >= self.target_parts() && !with_fragment {
            return None;
        }
        let member = self.candidates.next()?;
        self.hedges_due = self.hedges_due.saturating_sub(1);
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
            descriptor: self.known.is_none(),
            key_part: true,
        };
        let question = Question { member, with_descriptor: read.descriptor, with_fragment };
        self.asked.insert(id, question);
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
        let Some(question) = self.asked.remove(&id) else {
            return;
        };
        let member = question.member;
        let checked = match answer {
            Ok(Answer {
                response: Response::Read { descriptor, key_part, hashes, renewed },
                body,
            }) => self
                .check_descriptor(&question, descriptor.as_deref())
                .and_then(|()| match renewed {
                    Some(renewed) => self.check_renewed(member, *renewed),
                    None => self.check_key_part(member, key_part),
                })
                .and_then(|()| self.check_fragment(&question, hashes.as_ref(), body)),
            Ok(Answer { response: Response::Refused(refusal), .. }) => {
                self.missing.insert(member.slot, refusal.message);
                match refusal.kind {
                    RefusalKind::Damaged => Err(FaultKind::Fragment),
                    _ => Ok(()),
                }
            }
            Ok(_) => Err(FaultKind::Unfitting),
            Err(failure) => {
                self.missing.insert(member.slot, failure.to_string());
                Ok(())
            }
        };
        if let Err(kind) = checked {
            self.faults.push(Fault { member, kind });
            self.missing.entry(member.slot).or_insert_with(|| kind.to_string());
        }
    }

    /// The result, once there is one. Ends the machine.
    pub fn poll_outcome(&mut self) -> Option<Result<Gathered, GetError>> {
        if self.unexpected_codes {
            return Some(Err(GetError::UnexpectedCodes));
        }
        if self.is_done()
            && self.is_enough()
            && let Some(known) = self.known.take()
        {
            return Some(self.assemble(known));
        }
        if !self.asked.is_empty() || self.candidates.len() > 0 {
            return None;
        }
        let needed = durability::read_threshold(&self.wanted.code, &self.wanted.key);
        let (k, most) = (usize::from(self.wanted.key.k()), self.parts_of_an_epoch());
        let renewed = self.renewed.values().map(|(_, shares)| shares.len());
        let between_two = most < k && renewed.sum::<usize>() + self.parts.len() >= k;
        if self.unknown_epoch || between_two {
            return Some(Err(GetError::StaleEpochs));
        }
        let parts_missing = k.saturating_sub(most);
        let pieces_missing = usize::from(self.wanted.code.k).saturating_sub(self.pieces.len());
        let reached = needed - parts_missing.max(pieces_missing);
        let liars: BTreeSet<Slot> = self.faults.iter().map(|fault| fault.member.slot).collect();
        let reasons = self.missing.iter().map(|(slot, why)| format!("slot {slot}: {why}"));
        Some(Err(GetError::BelowThreshold {
            reached,
            needed,
            reasons: reasons.collect(),
            wrong: reached + liars.len() >= needed,
        }))
    }

    /// Every answer is asked for the descriptor until one has proved it, so that any answer can be
    /// checked when it comes.
    fn check_descriptor(
        &mut self,
        question: &Question,
        bytes: Option<&[u8]>,
    ) -> Result<(), FaultKind> {
        if !question.with_descriptor {
            return Ok(());
        }
        let descriptor = bytes
            .and_then(|bytes| Descriptor::decode(bytes).ok())
            .filter(|descriptor| descriptor.object_id() == self.wanted.object)
            .ok_or(FaultKind::Descriptor)?;
        if self.known.is_none() {
            self.known = Known::new(descriptor, &self.wanted);
            self.unexpected_codes = self.known.is_none();
        }
        Ok(())
    }

    fn check_key_part(&mut self, from: Member, part: Option<ProvenPart>) -> Result<(), FaultKind> {
        let Some(Known { descriptor, .. }) = &self.known else {
            return Ok(());
        };
        let row = descriptor.rows.get(from.slot.index()).ok_or(FaultKind::Unfitting)?;
        let part = part.filter(|part| part.slot() == from.slot).ok_or(FaultKind::KeyPart)?;
        part.verify(&descriptor.binding(), row).map_err(|_| FaultKind::KeyPart)?;
        self.parts.insert(from.slot, part);
        Ok(())
    }

    /// A share of a refreshed epoch counts if the ledger has the root of its rows.
    fn check_renewed(&mut self, from: Member, renewed: RenewedShare) -> Result<(), FaultKind> {
        let Some(Known { descriptor, .. }) = &self.known else {
            return Ok(());
        };
        let RenewedShare { share, rows } = renewed;
        let Some(root) = self.wanted.epochs.root(rows.epoch) else {
            self.unknown_epoch |= rows.epoch > self.wanted.epochs.epoch;
            let reason = "its key share is of an epoch that is not known here";
            self.missing.insert(from.slot, reason.to_owned());
            return Ok(());
        };
        let object = &self.wanted.object;
        let binding = rows.binding(descriptor.key, &descriptor.salt);
        let row = rows.rows.get(from.slot.index());
        let proven = share.slot() == from.slot
            && rows.stand_under(root, object, descriptor.key, &descriptor.salt)
            && row.is_some_and(|row| share.matches(&binding, row));
        if !proven {
            return Err(FaultKind::KeyPart);
        }
        let epoch = rows.epoch;
        let (_, shares) = self.renewed.entry(epoch).or_insert_with(|| (rows, BTreeMap::new()));
        shares.insert(from.slot, share);
        Ok(())
    }

    fn check_fragment(
        &mut self,
        question: &Question,
        hashes: Option<&GroupHashes>,
        body: Bytes,
    ) -> Result<(), FaultKind> {
        let (Some(known), true) = (&self.known, question.with_fragment) else {
            return Ok(());
        };
        let slot = question.member.slot;
        let root = known.descriptor.fragment_roots.get(slot.index()).ok_or(FaultKind::Unfitting)?;
        let length = known.layout.fragment_len();
        let proven = match (self.wanted.groups, hashes) {
            (None, _) => body.len() as u64 == length && FragmentRoot::of(&body) == *root,
            (Some(range), Some(hashes)) => {
                hashes.verify(root, length) && groups_match(hashes, range, length, &body)
            }
            (Some(_), None) => false,
        };
        if !proven {
            return Err(FaultKind::Fragment);
        }
        self.pieces.insert(slot, body);
        Ok(())
    }

    fn assemble(&mut self, known: Known) -> Result<Gathered, GetError> {
        let descriptor = &known.descriptor;
        let secret = self.secret(descriptor)?;
        let coded = self.decode(&known).ok_or(GetError::IllFormed)?;
        Ok(Gathered { descriptor: known.descriptor, secret, coded })
    }

    /// V from k key parts or shares of one epoch; never from two.
    fn secret(&mut self, descriptor: &Descriptor) -> Result<Secret, GetError> {
        let k = usize::from(descriptor.key.k());
        let enough = |(rows, shares): (RenewedRows, BTreeMap<Slot, Share>)| {
            (shares.len() >= k).then_some((rows, shares))
        };
        let read = match std::mem::take(&mut self.renewed).into_values().find_map(enough) {
            Some((rows, shares)) => {
                let shares: Vec<Share> = shares.into_values().collect();
                let binding = rows.binding(descriptor.key, &descriptor.salt);
                keyshare::read_shares(&binding, &rows.rows, &shares)
            }
            None => {
                let parts = std::mem::take(&mut self.parts);
                let parts: Vec<ProvenPart> = parts.into_values().collect();
                keyshare::read(&descriptor.binding(), &descriptor.rows, &parts)
            }
        };
        read.map(|(secret, _)| secret).map_err(|_| GetError::IllFormed)
    }

    fn decode(&self, Known { descriptor, code, layout }: &Known) -> Option<Vec<u8>> {
        let pieces: Vec<(Slot, &[u8])> = self
            .pieces
            .iter()
            .take(usize::from(descriptor.code.k))
            .map(|(slot, piece)| (*slot, piece.as_ref()))
            .collect();
        let decoded = match self.wanted.groups {
            None => code.decode(layout, &pieces),
            Some(range) => {
                let end = range.first.saturating_add(range.count).min(layout.group_count());
                code.decode_groups(layout, range.first..end, &pieces)
            }
        };
        decoded.ok()
    }

    fn is_enough(&self) -> bool {
        self.parts_of_an_epoch() >= usize::from(self.wanted.key.k())
            && self.pieces.len() >= usize::from(self.wanted.code.k)
    }

    /// Whether nobody needs to be asked or waited for any more.
    fn is_done(&self) -> bool {
        let all_answered = self.asked.is_empty() && self.candidates.len() == 0;
        self.is_enough() && (all_answered || !self.asks_all)
    }

    /// Good key parts of the epoch of which there are most: those of different epochs do not add up.
    fn parts_of_an_epoch(&self) -> usize {
        let renewed = self.renewed.values().map(|(_, shares)| shares.len());
        renewed.chain([self.parts.len()]).max().unwrap_or(0)
    }

    /// Good answers, and questions under way.
    fn parts_in_hand(&self) -> usize {
        self.parts_of_an_epoch() + self.asked.len()
    }

    fn pieces_in_hand(&self) -> usize {
        let asked = self.asked.values().filter(|question| question.with_fragment).count();
        self.pieces.len() + asked
    }

    fn target_parts(&self) -> usize {
        initial_asks(usize::from(self.wanted.key.k()), self.wanted.answer_len)
    }

    fn target_pieces(&self) -> usize {
        initial_asks(usize::from(self.wanted.code.k), self.wanted.answer_len)
    }
}

impl Known {
    /// `None` when the descriptor's codes are not the group's.
    fn new(descriptor: Descriptor, wanted: &Wanted) -> Option<Self> {
        let expected = (descriptor.code, descriptor.key) == (wanted.code, wanted.key);
        let code = descriptor.code.build().ok().filter(|_| expected)?;
        let layout = code.layout(descriptor.coded_len);
        Some(Self { descriptor, code, layout })
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
