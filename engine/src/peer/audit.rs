//! A holder looks whether the others of its groups still have what they promised.
//!
//! Now and then it draws one of its slots, an object in it, another holder and some groups of that
//! holder's fragment from the newest beacon, and asks for an answer that needs both parts: the bytes,
//! and a code made from the pair symbol that the two share ([`AuditAnswer`]). Each slot's fragment is
//! another one, and to rebuild it takes an authorised repair, so who does not keep it cannot answer
//! by the deadline. Every fourth audit *rehearses a repair* instead: it asks for the symbols with which
//! the other would help to rebuild the auditor's own part, as a newcomer does, and compares them with
//! that part. A signed pair symbol that is wrong convicts ([`Auditor::take_evidence`]).
//!
//! Where two slots do not agree the writer may have given them parts that do not fit together. So the
//! other is asked at once for what proves its side, its committed symbol or its whole fragment, before it
//! is blamed.
//!
//! Where the part is not there at all, who is to blame is found out first (`inquiry`).
//!
//! Any other failure proves nothing: the object may just not have come there yet. Whoever fails several
//! audits of one kind in a row and passes none is named to the validators, who count the accusers
//! ([`Watch`](super::Watch)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::helped_symbol::{Helped, HelpedSymbol, NoSymbol};
use super::inquiry::{Finding, Inquiry, Own};
use super::{Answer, Ask, AskFailure, Member, StoredPart};
use crate::code::{CodeKind, GROUP_LEN};
use crate::hash::hash;
use crate::keyshare::AuditAnswer;
use crate::ledger::{Group, State, WrongSymbol};
use crate::names::{Epoch, GroupId, NetworkId, NodeId, ObjectId, Slot};
use crate::object::{Descriptor, GroupHashes};
use crate::policy::audit::sample;
use crate::wire::{
    Audit, Operation, PartReference, RefusalKind, Response, Symbols, VouchedDescriptor,
};

/// Groups of a fragment that one audit asks for: 64 KiB.
const GROUPS: u32 = 4;
/// One audit in so many rehearses a repair: it moves a helper's symbols, which may be more.
const REHEARSE_EVERY: u64 = 4;
/// Failures in a row after which a holder is named.
const FAILURES_MAX: u32 = 3;
/// Names told at a time.
const SUSPECTS_MAX: usize = 16;

/// How often a node audits, and how long it waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Between two audits.
    pub every: Duration,
    /// How long an answer may take.
    pub deadline: Duration,
}

impl Default for AuditSettings {
    /// One in three minutes, which is 360 B/s a node for what is shown of long fragments; ten seconds
    /// for 64 KiB over a slow link.
    fn default() -> Self {
        Self { every: Duration::from_secs(180), deadline: Duration::from_secs(10) }
    }
}

/// What an auditor wants done.
#[derive(Debug)]
pub enum AuditAction {
    /// Read what is kept here of the first object of a slot after this id, or of the first of all if
    /// there is none after it; then call [`Auditor::handle_loaded`].
    Load {
        /// The group.
        group: GroupId,
        /// The slot.
        slot: Slot,
        /// The id.
        after: ObjectId,
    },
    /// Ask, then call [`Auditor::handle_answer`].
    Ask(Ask),
}

/// What a node keeps of an object that it audits.
#[derive(Debug)]
pub struct Loaded {
    /// The object.
    pub object: ObjectId,
    /// The node's part of it.
    pub part: StoredPart,
    /// The part's fragment.
    pub fragment: Bytes,
}

/// Audits the other holders of one node's groups.
pub struct Auditor {
    network: NetworkId,
    own: NodeId,
    settings: AuditSettings,
    seats: Vec<Seat>,
    beacon: [u8; 32],
    /// Audits begun: no two are drawn alike.
    count: u64,
    next: Duration,
    stage: Stage,
    failures: BTreeMap<(NodeId, Test), u32>,
    evidence: Vec<WrongSymbol>,
}

/// What an audit tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Test {
    /// Whether the holder has its parts.
    Possession,
    /// Whether it would help to repair.
    Rehearsal,
}

/// A slot of this node and those that it can audit.
struct Seat {
    group: GroupId,
    slot: Slot,
    epoch: Epoch,
    others: Vec<Member>,
}

enum Stage {
    Idle,
    Loading {
        seat: usize,
        test: Test,
    },
    Loaded(Box<Challenge>),
    Asked(Box<Challenge>),
    /// The part is not there: who is to blame is found out, from this time on.
    Inquiring {
        tried: (NodeId, Test),
        inquiry: Box<Inquiry>,
        from: Duration,
    },
}

struct Challenge {
    member: Member,
    part: PartReference,
    own: Own,
    descriptor: Descriptor,
    trial: Trial,
}

enum Trial {
    Possession {
        nonce: [u8; 32],
        groups: BTreeSet<u32>,
    },
    /// The code was not that of the pair's symbol: it shows the symbol that its row commits to.
    Symbol,
    Rehearsal {
        epoch: Epoch,
        describe: bool,
    },
    /// These were not the symbols expected: it shows the fragment that they are of.
    Fragment {
        symbols: Bytes,
    },
}

/// What an answer shows.
enum Verdict {
    Passed,
    Failed,
    /// Neither.
    Open,
    /// It says that the part is not there.
    Missing,
    Convicted(Box<WrongSymbol>),
    /// Failed, unless this shows that the writer is to blame.
    Doubtful(Trial),
}

impl Auditor {
    /// An auditor that knows of no slots.
    pub fn new(network: NetworkId, own: NodeId, settings: AuditSettings) -> Self {
        Self {
            network,
            own,
            settings,
            seats: Vec::new(),
            beacon: [0; 32],
            count: 0,
            next: settings.every,
            stage: Stage::Idle,
            failures: BTreeMap::new(),
            evidence: Vec::new(),
        }
    }

    /// Takes the state of the newest block and its beacon.
    pub fn handle_state(&mut self, state: &State, beacon: [u8; 32]) {
        self.beacon = beacon;
        let seat = |(group, seats): (GroupId, &Arc<Group>)| {
            let slot = seats
                .slot_of(&self.own)
                .filter(|slot| seats.holder(*slot).is_some_and(|holder| !holder.is_filling()))?;
            let places = Slot::all(seats.code.n).zip(&seats.holders);
            let whole = places.filter(|(other, holder)| *other != slot && !holder.is_filling());
            let others = whole.map(|(slot, holder)| Member { slot, node: holder.node }).collect();
            Some(Seat { group, slot, epoch: seats.epoch, others })
        };
        self.seats = state.groups().filter_map(seat).collect();
        let seats = &self.seats;
        let is_over = match &self.stage {
            Stage::Loading { .. } => true,
            Stage::Inquiring { inquiry, .. } => {
                !seats.iter().any(|seat| (seat.group, seat.slot) == inquiry.seat())
            }
            Stage::Idle | Stage::Loaded(_) | Stage::Asked(_) => false,
        };
        if is_over {
            self.stage = Stage::Idle;
        }
        let present =
            |node: &NodeId| seats.iter().any(|s| s.others.iter().any(|m| m.node == *node));
        self.failures.retain(|(node, _), _| present(node));
    }

    /// The next thing to do, if any.
    pub fn poll_action(&mut self, now: Duration) -> Option<AuditAction> {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle if now >= self.next && !self.seats.is_empty() => {
                self.next = now + self.settings.every;
                self.count += 1;
                let test = match self.count % REHEARSE_EVERY {
                    0 => Test::Rehearsal,
                    _ => Test::Possession,
                };
                let seat = self.draw("slot", self.seats.len())?;
                let Seat { group, slot, .. } = self.seats[seat];
                self.stage = Stage::Loading { seat, test };
                let after = ObjectId(self.seed("object"));
                Some(AuditAction::Load { group, slot, after })
            }
            Stage::Loaded(challenge) => {
                let ask = Ask {
                    id: self.count,
                    to: challenge.member,
                    operation: challenge.operation(),
                    body: Bytes::new(),
                    timeout: self.settings.deadline,
                };
                self.stage = Stage::Asked(challenge);
                Some(AuditAction::Ask(ask))
            }
            Stage::Inquiring { tried, mut inquiry, from } if now >= from => {
                let (id, timeout) = (self.count, self.settings.deadline);
                let question = inquiry.poll_question();
                self.stage = Stage::Inquiring { tried, inquiry, from };
                let (to, operation) = question?;
                Some(AuditAction::Ask(Ask { id, to, operation, body: Bytes::new(), timeout }))
            }
            other => {
                self.stage = other;
                None
            }
        }
    }

    /// What is kept here; `nonce` is fresh and random.
    pub fn handle_loaded(&mut self, loaded: Option<Loaded>, nonce: [u8; 32]) {
        let Stage::Loading { seat, test } = self.stage else { return };
        self.stage = Stage::Idle;
        let Some(Loaded { object, part: own, fragment }) = loaded else { return };
        let Ok(descriptor) = Descriptor::decode(&own.object.descriptor) else { return };
        let Seat { group, epoch, ref others, .. } = self.seats[seat];
        let Some(member) = self.draw("holder", others.len()).map(|place| others[place]) else {
            return;
        };
        let trial = match test {
            Test::Possession => {
                let Ok(code) = descriptor.code.build() else { return };
                let fragment_len = code.layout(descriptor.coded_len).fragment_len();
                let total = u32::try_from(fragment_len.div_ceil(GROUP_LEN)).unwrap_or(u32::MAX);
                let groups = sample(self.seed("groups"), total, GROUPS);
                Trial::Possession { nonce, groups }
            }
            // Whose own part rotted can compare nothing, nor is there anything to compare where a
            // refresh left the pair uncommitted.
            Test::Rehearsal => {
                let slot = own.share.slot();
                let covered = own.commitments(&descriptor).0.covers(slot, member.slot);
                if !covered || !descriptor.is_fragment(slot, &fragment) {
                    return;
                }
                // As of a newcomer, some questions ask for the description.
                let describe = self.seed("describe")[0] & 1 == 1;
                Trial::Rehearsal { epoch, describe }
            }
        };
        let part = PartReference { group, slot: member.slot, object };
        let own = Own { part: own, fragment };
        self.stage = Stage::Loaded(Box::new(Challenge { member, part, own, descriptor, trial }));
    }

    /// Takes the answer. One that is not reached is the watchers' concern, not the auditors'.
    pub fn handle_answer(&mut self, id: u64, answer: Result<Answer, AskFailure>) {
        if id != self.count {
            return;
        }
        let challenge = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Asked(challenge) => challenge,
            Stage::Inquiring { tried, inquiry, .. } => {
                return self.go_on_inquiring(tried, inquiry, answer);
            }
            other => {
                self.stage = other;
                return;
            }
        };
        let verdict = match answer {
            Ok(answer) => challenge.judge(&self.network, answer),
            Err(AskFailure::Unreachable | AskFailure::NotAdmitted) => Verdict::Open,
            Err(AskFailure::TimedOut | AskFailure::Misbehaved(_)) => Verdict::Failed,
        };
        let tried = (challenge.member.node, challenge.test());
        match verdict {
            Verdict::Open => {}
            Verdict::Missing => self.inquire(tried, *challenge),
            Verdict::Passed => drop(self.failures.remove(&tried)),
            Verdict::Failed => *self.failures.entry(tried).or_default() += 1,
            Verdict::Convicted(proof) => {
                *self.failures.entry(tried).or_default() += 1;
                self.evidence.push(*proof);
            }
            Verdict::Doubtful(trial) => {
                self.stage = Stage::Loaded(Box::new(Challenge { trial, ..*challenge }));
            }
        }
    }

    fn inquire(&mut self, tried: (NodeId, Test), challenge: Challenge) {
        let Challenge { member, part, own, descriptor, .. } = challenge;
        let seat = self.seats.iter().find(|seat| seat.group == part.group);
        let Some(Seat { others, .. }) = seat else { return };
        let others = others.iter().copied().filter(|other| other.slot != member.slot).collect();
        let inquiry = Box::new(Inquiry::new(part, member, own, descriptor, others));
        self.stage = Stage::Inquiring { tried, inquiry, from: Duration::ZERO };
    }

    fn go_on_inquiring(
        &mut self,
        tried: (NodeId, Test),
        mut inquiry: Box<Inquiry>,
        answer: Result<Answer, AskFailure>,
    ) {
        let from = match inquiry.handle_answer(answer) {
            Finding::Excused => return,
            Finding::Guilty => return *self.failures.entry(tried).or_default() += 1,
            Finding::Open => Duration::ZERO,
            // Half of the time until the next audit is left for it.
            Finding::Later => self.next.saturating_sub(self.settings.every / 2),
        };
        self.stage = Stage::Inquiring { tried, inquiry, from };
    }

    /// What convicts holders before everybody, to be put on the ledger; each proof once.
    pub fn take_evidence(&mut self) -> Vec<WrongSymbol> {
        std::mem::take(&mut self.evidence)
    }

    /// Those that failed several audits in a row.
    pub fn suspects(&self) -> Vec<NodeId> {
        let failed = self.failures.iter().filter(|(_, failures)| **failures >= FAILURES_MAX);
        let named: BTreeSet<NodeId> = failed.map(|((node, _), _)| *node).collect();
        named.into_iter().take(SUSPECTS_MAX).collect()
    }

    /// When to poll again, if nothing happens before; not before it holds a whole slot.
    pub fn next_wake(&self) -> Option<Duration> {
        match self.stage {
            Stage::Idle => Some(self.next).filter(|_| !self.seats.is_empty()),
            Stage::Loaded(_) => Some(Duration::ZERO),
            Stage::Inquiring { ref inquiry, from, .. } => {
                Some(from).filter(|_| !inquiry.is_waiting())
            }
            Stage::Loading { .. } | Stage::Asked(_) => None,
        }
    }

    fn seed(&self, of: &str) -> [u8; 32] {
        let count = self.count.to_be_bytes();
        hash("audit", &[&self.beacon, self.own.as_bytes(), &count, of.as_bytes()])
    }

    /// A number below `total`.
    fn draw(&self, of: &str, total: usize) -> Option<usize> {
        let total = u32::try_from(total).ok()?;
        sample(self.seed(of), total, 1).first().map(|drawn| *drawn as usize)
    }
}

impl Challenge {
    fn test(&self) -> Test {
        match self.trial {
            Trial::Possession { .. } | Trial::Symbol => Test::Possession,
            Trial::Rehearsal { .. } | Trial::Fragment { .. } => Test::Rehearsal,
        }
    }

    fn operation(&self) -> Operation {
        let (part, own) = (self.part, self.own.part.share.slot());
        match &self.trial {
            Trial::Possession { nonce, groups } => {
                let groups = groups.iter().copied().collect();
                Operation::Audit(Audit { part, auditor: own, nonce: *nonce, groups })
            }
            Trial::Symbol => Operation::PairSymbols(Symbols { part, lost: own, describe: false }),
            Trial::Fragment { .. } => Operation::Witness { part, lost: own },
            Trial::Rehearsal { epoch, describe } => {
                Operation::symbols(Symbols { part, lost: own, describe: *describe }, *epoch)
            }
        }
    }

    fn judge(&self, network: &NetworkId, answer: Answer) -> Verdict {
        let Answer { response, body } = answer;
        match (&self.trial, response) {
            (Trial::Possession { nonce, groups }, Response::Audit { answer, hashes })
                if self.shows_groups(groups, &hashes, &body) =>
            {
                self.judge_code(nonce, &answer)
            }
            (Trial::Symbol, response) => match HelpedSymbol::of(response) {
                Some(symbol) => self.judge_symbol(network, &symbol),
                None => Verdict::Failed,
            },
            (Trial::Fragment { symbols }, Response::Witness)
                if self.descriptor.is_fragment(self.member.slot, &body)
                    && self.would_send(&body).as_ref() == Some(symbols) =>
            {
                Verdict::Open
            }
            // Its share is of another epoch than was asked for, or it cannot tell.
            (Trial::Rehearsal { .. }, Response::Refused(refusal))
                if refusal.kind == RefusalKind::Unavailable =>
            {
                Verdict::Open
            }
            (Trial::Possession { .. } | Trial::Rehearsal { .. }, Response::Refused(refusal))
                if refusal.kind == RefusalKind::NotFound =>
            {
                Verdict::Missing
            }
            (Trial::Rehearsal { describe, .. }, response) => {
                let described = match &response {
                    Response::Symbols { object, .. } | Response::RenewedSymbols { object, .. } => {
                        self.is_described(*describe, object.as_ref())
                    }
                    _ => false,
                };
                match HelpedSymbol::of(response) {
                    Some(symbol) if described => self.judge_help(network, &symbol, &body),
                    _ => Verdict::Failed,
                }
            }
            _ => Verdict::Failed,
        }
    }

    fn shows_groups(&self, groups: &BTreeSet<u32>, hashes: &GroupHashes, body: &[u8]) -> bool {
        let Self { member, descriptor, .. } = self;
        let Some(root) = descriptor.fragment_roots.get(member.slot.index()) else { return false };
        let Ok(code) = descriptor.code.build() else { return false };
        let length = code.layout(descriptor.coded_len).fragment_len();
        let mut rest = body;
        let whole = groups.iter().all(|&group| {
            let start = u64::from(group) * GROUP_LEN;
            let len = GROUP_LEN.min(length.saturating_sub(start)) as usize;
            let Some((bytes, after)) = rest.split_at_checked(len) else { return false };
            rest = after;
            hashes.check_group(group as usize, bytes)
        });
        whole && rest.is_empty() && hashes.verify(root, length)
    }

    fn judge_code(&self, nonce: &[u8; 32], answer: &AuditAnswer) -> Verdict {
        let Self { member, own, descriptor, .. } = self;
        let (binding, _) = own.part.commitments(descriptor);
        let share = &own.part.share;
        if share.check_audit(&binding, member.slot, nonce, answer).is_ok() {
            return Verdict::Passed;
        }
        // Of a pair that a refresh left uncommitted nobody can show anything.
        let committed =
            binding.commits_to(share.slot()) && binding.covers(share.slot(), member.slot);
        if committed { Verdict::Doubtful(Trial::Symbol) } else { Verdict::Open }
    }

    /// Where its row commits to another symbol than the own share gives the writer dealt it so.
    fn judge_symbol(&self, network: &NetworkId, symbol: &HelpedSymbol) -> Verdict {
        let Self { member, own, descriptor, .. } = self;
        let Own { part: own, .. } = own;
        match symbol.check(&self.asked(network), descriptor, own.renewed.as_ref(), &[]) {
            Err(NoSymbol::Wrong(proof)) => Verdict::Convicted(proof),
            Ok(()) if *symbol.key_symbol.symbol() != own.share.pair_symbol(member.slot) => {
                Verdict::Open
            }
            _ => Verdict::Failed,
        }
    }

    fn is_described(&self, wanted: bool, object: Option<&VouchedDescriptor>) -> bool {
        !wanted || object.is_some_and(|object| object.descriptor == self.own.part.object.descriptor)
    }

    fn judge_help(&self, network: &NetworkId, symbol: &HelpedSymbol, symbols: &Bytes) -> Verdict {
        let renewed = self.own.part.renewed.as_ref();
        match symbol.check(&self.asked(network), &self.descriptor, renewed, symbols) {
            Err(NoSymbol::Useless) => Verdict::Open,
            Err(NoSymbol::Signature) => Verdict::Failed,
            Err(NoSymbol::Wrong(proof)) => Verdict::Convicted(proof),
            Ok(()) => self.judge_symbols(symbols),
        }
    }

    /// Whether these may be the helper's symbols of its fragment. In a product-matrix code at the MBR
    /// point what two slots would send each other is the same (Rashmi, Shah and Kumar 2011, §IV: M is
    /// symmetric), and Reed-Solomon sends the fragment; of other codes only the length is known.
    fn judge_symbols(&self, symbols: &Bytes) -> Verdict {
        let Self { member, own, descriptor, .. } = self;
        let Ok(code) = descriptor.code.build() else { return Verdict::Failed };
        let layout = code.layout(descriptor.coded_len);
        let fits = match descriptor.code.kind {
            CodeKind::Mbr => {
                let expected = code.helper_symbols(&layout, member.slot, &own.fragment);
                if expected.is_ok_and(|expected| expected == *symbols) {
                    return Verdict::Passed;
                }
                return Verdict::Doubtful(Trial::Fragment { symbols: symbols.clone() });
            }
            CodeKind::Rs => descriptor.is_fragment(member.slot, symbols),
            _ => symbols.len() as u64 == layout.symbols_len(),
        };
        if fits { Verdict::Passed } else { Verdict::Failed }
    }

    /// What a helper with this fragment sends to the own slot.
    fn would_send(&self, fragment: &[u8]) -> Option<Bytes> {
        let code = self.descriptor.code.build().ok()?;
        let layout = code.layout(self.descriptor.coded_len);
        code.helper_symbols(&layout, self.own.part.share.slot(), fragment).ok().map(Bytes::from)
    }

    fn asked<'a>(&'a self, network: &'a NetworkId) -> Helped<'a> {
        let (helper, lost) = (&self.member.node, self.own.part.share.slot());
        Helped { network, helper, part: self.part, lost }
    }
}
