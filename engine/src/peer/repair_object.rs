//! Rebuilding one slot's part of one object from helpers.
//!
//! The newcomer asks as many helpers as the codes need, one round trip. Every pair symbol is checked
//! against its commitment before use, the rebuilt share against its row and the rebuilt fragment
//! against its root. When the fragment does not match, some helper sent wrong symbols: the helpers
//! then *witness* with their whole fragments, which prove themselves; recomputing their symbols names
//! the liar, and k good witnesses rebuild the fragment by decoding ciphertext. The same path serves
//! when fewer than d, but at least k, helpers are left.
//!
//! Neither V nor anything that determines it ever exists here: this module has no access to the
//! types of `keyshare` that hold it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::{Answer, Ask, AskFailure, Fault, FaultKind, Member};
use crate::code::{Code, CodeParameters, Layout};
use crate::keyshare::{self, KeyParameters, ProvenSymbol, Share};
use crate::names::{GroupId, NetworkId, ObjectId, Slot};
use crate::object::{Descriptor, FragmentRoot};
use crate::policy::durability;
use crate::wire::{
    Operation, PartReference, Response, SymbolStatement, Symbols, VouchedDescriptor, canonical,
};

const SYMBOLS_TIMEOUT: Duration = Duration::from_secs(20);
/// How many questions under way ask for the descriptor as well: the second is for the case that the
/// first is not answered.
const DESCRIPTIONS: usize = 2;

/// The repair of one slot of one object.
pub struct RepairObject {
    network: NetworkId,
    group: GroupId,
    object: ObjectId,
    lost: Slot,
    helpers_wanted: usize,
    candidates: std::vec::IntoIter<Member>,
    asked: BTreeMap<u64, Question>,
    next_id: u64,
    known: Option<Known>,
    unchecked: Vec<(Member, SymbolsAnswer)>,
    /// Helpers with a checked key symbol and fragment symbols of the right length.
    good: BTreeMap<Slot, Helper>,
    share: Option<Share>,
    witnessing: Option<Witnessing>,
    traffic: RepairTraffic,
    faults: Vec<Fault>,
    missing: BTreeMap<Slot, String>,
    unanswered: usize,
    outcome: Option<Result<RepairedPart, RepairError>>,
}

struct Question {
    member: Member,
    kind: QuestionKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum QuestionKind {
    Symbols,
    SymbolsAndDescription,
    Witness,
}

/// What the descriptor tells.
struct Known {
    vouched: VouchedDescriptor,
    descriptor: Descriptor,
    code: Code,
    layout: Layout,
}

struct SymbolsAnswer {
    key_symbol: ProvenSymbol,
    signature: crate::signature::Signature,
    body: Bytes,
}

struct Helper {
    member: Member,
    key_symbol: ProvenSymbol,
    symbols: Bytes,
}

/// The second phase: whole fragments, which prove themselves.
#[derive(Default)]
struct Witnessing {
    to_ask: Vec<Member>,
    fragments: BTreeMap<Slot, Bytes>,
}

/// Bytes received in a repair, by purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairTraffic {
    /// Helper symbols of the fragment.
    pub symbol_bytes: u64,
    /// Pair symbols of the key share with their paths.
    pub key_bytes: u64,
    /// The rest of the headers: descriptors, signatures.
    pub header_bytes: u64,
    /// Whole fragments of helpers, asked only to find a liar or below d helpers.
    pub witness_bytes: u64,
}

/// A part rebuilt, bit-identical to the lost one.
#[derive(Debug)]
pub struct RepairedPart {
    /// Its name.
    pub part: PartReference,
    /// The descriptor and who vouched for it.
    pub object: VouchedDescriptor,
    /// The key share.
    pub share: Share,
    /// The fragment.
    pub fragment: Bytes,
    /// What the code's theory says the fragment's repair moves, in bytes.
    pub symbol_bytes_theory: u64,
    /// What Reed-Solomon would have moved: k fragments of coded_len / k bytes.
    pub reed_solomon_bytes: u64,
}

/// The part cannot be rebuilt now. Nothing was changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RepairError {
    /// Every helper answered, and none could prove that the object exists.
    #[error("no helper could prove that the object was ever stored")]
    Unproven,
    /// Too few helpers for the key share.
    #[error("{good} of the {needed} helpers needed for the key share gave good symbols ({})",
        reasons.join("; "))]
    TooFewHelpers {
        /// Good helpers.
        good: usize,
        /// Needed.
        needed: usize,
        /// Why the others are missing.
        reasons: Vec<String>,
    },
    /// Too few good fragments to rebuild the lost one.
    #[error("{good} of the {needed} fragments needed are good")]
    TooFewFragments {
        /// Good fragments.
        good: usize,
        /// Needed.
        needed: usize,
    },
    /// All helpers were honest and yet it does not fit: the writer stored an ill-formed object.
    #[error("the object is ill-formed: its writer stored parts that do not fit together")]
    IllFormed,
}

impl RepairObject {
    /// A repair of slot `lost` of `object` from `helpers`, in the order in which they should be
    /// asked. `codes` are the group's.
    pub fn new(
        network: NetworkId,
        group: GroupId,
        object: ObjectId,
        lost: Slot,
        codes: (CodeParameters, KeyParameters),
        helpers: Vec<Member>,
    ) -> Self {
        Self {
            network,
            group,
            object,
            lost,
            helpers_wanted: durability::repair_helpers(&codes.0, &codes.1),
            candidates: helpers.into_iter(),
            asked: BTreeMap::new(),
            next_id: 0,
            known: None,
            unchecked: Vec::new(),
            good: BTreeMap::new(),
            share: None,
            witnessing: None,
            traffic: RepairTraffic::default(),
            faults: Vec::new(),
            missing: BTreeMap::new(),
            unanswered: 0,
            outcome: None,
        }
    }

    /// Bytes received so far.
    pub fn traffic(&self) -> RepairTraffic {
        self.traffic
    }

    /// Helpers whose answers proved wrong.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// The next question, if one should be asked now.
    pub fn poll_ask(&mut self) -> Option<Ask> {
        if self.outcome.is_some() {
            return None;
        }
        let (member, operation, kind) = if let Some(witnessing) = &mut self.witnessing {
            let member = witnessing.to_ask.pop()?;
            let part = part_of(self.group, member, self.object);
            (member, Operation::Witness { part, lost: self.lost }, QuestionKind::Witness)
        } else {
            let in_hand = self.good.len() + self.unchecked.len() + self.asked.len();
            if in_hand >= self.helpers_wanted {
                return None;
            }
            let member = self.candidates.next()?;
            let describe = self.known.is_none() && self.descriptions_asked() < DESCRIPTIONS;
            let part = part_of(self.group, member, self.object);
            let operation = Operation::Symbols(Symbols { part, lost: self.lost, describe });
            let kind =
                if describe { QuestionKind::SymbolsAndDescription } else { QuestionKind::Symbols };
            (member, operation, kind)
        };
        let id = self.next_id;
        self.next_id += 1;
        self.asked.insert(id, Question { member, kind });
        Some(Ask { id, to: member, operation, body: Bytes::new(), timeout: SYMBOLS_TIMEOUT })
    }

    /// Takes the answer to a question.
    pub fn handle_answer(&mut self, id: u64, answer: Result<Answer, AskFailure>) {
        let Some(Question { member, kind }) = self.asked.remove(&id) else {
            return;
        };
        match answer {
            Err(failure) => {
                self.unanswered += 1;
                self.missing.insert(member.slot, failure.to_string());
            }
            Ok(Answer { response: Response::Refused(refusal), .. }) => {
                self.missing.insert(member.slot, refusal.message);
            }
            Ok(Answer { response: Response::Symbols { key_symbol, signature, object }, body })
                if kind != QuestionKind::Witness =>
            {
                self.count_symbols(&key_symbol, object.as_ref(), &body);
                self.take_description(member, object);
                let answer = SymbolsAnswer { key_symbol, signature, body };
                match self.known.take() {
                    Some(known) => {
                        self.check_symbols(&known, member, answer);
                        self.known = Some(known);
                    }
                    None => self.unchecked.push((member, answer)),
                }
            }
            Ok(Answer { response: Response::Witness, body }) if kind == QuestionKind::Witness => {
                self.traffic.witness_bytes += body.len() as u64;
                self.check_witness(member, body);
            }
            Ok(_) => self.blame(member, FaultKind::Unfitting),
        }
        self.advance();
    }

    /// The result, once there is one. Ends the machine.
    pub fn poll_outcome(&mut self) -> Option<Result<RepairedPart, RepairError>> {
        if self.outcome.is_none() && self.asked.is_empty() && self.candidates.len() == 0 {
            self.advance();
        }
        self.outcome.take()
    }

    fn descriptions_asked(&self) -> usize {
        let describing =
            |question: &&Question| question.kind == QuestionKind::SymbolsAndDescription;
        self.asked.values().filter(describing).count()
    }

    fn count_symbols(
        &mut self,
        key_symbol: &ProvenSymbol,
        object: Option<&VouchedDescriptor>,
        body: &Bytes,
    ) {
        let key_bytes = canonical::encode(key_symbol).len() as u64;
        let described = object.map_or(0, |object| canonical::encode(object).len() as u64);
        self.traffic.key_bytes += key_bytes;
        self.traffic.header_bytes += described + crate::signature::Signature::LEN as u64;
        self.traffic.symbol_bytes += body.len() as u64;
    }

    fn take_description(&mut self, member: Member, object: Option<VouchedDescriptor>) {
        let Some(vouched) = object.filter(|_| self.known.is_none()) else {
            return;
        };
        let known = match vouched.verify(&self.network) {
            Some((object, descriptor)) if object == self.object => {
                descriptor.code.build().ok().map(|code| {
                    let layout = code.layout(descriptor.coded_len);
                    Known { vouched, descriptor, code, layout }
                })
            }
            _ => None,
        };
        let Some(known) = known else {
            return self.blame(member, FaultKind::Descriptor);
        };
        for (member, answer) in std::mem::take(&mut self.unchecked) {
            self.check_symbols(&known, member, answer);
        }
        self.known = Some(known);
    }

    fn check_symbols(&mut self, known: &Known, member: Member, answer: SymbolsAnswer) {
        let SymbolsAnswer { key_symbol, signature, body } = answer;
        let statement = SymbolStatement {
            network: &self.network,
            part: &part_of(self.group, member, self.object),
            lost: self.lost,
            key_symbol: &key_symbol,
            fragment_symbols: &body,
        };
        if !statement.verify(&member.node, &signature) {
            return self.blame(member, FaultKind::Signature);
        }
        let row = known.descriptor.rows.get(member.slot.index());
        let proven = row.is_some_and(|row| {
            key_symbol.helper() == member.slot
                && key_symbol.verify(&known.descriptor.binding(), self.lost, row).is_ok()
        });
        if !proven {
            return self.blame(member, FaultKind::KeySymbol);
        }
        if body.len() as u64 != known.layout.symbols_len() {
            return self.blame(member, FaultKind::FragmentSymbols);
        }
        self.good.insert(member.slot, Helper { member, key_symbol, symbols: body });
    }

    /// Does what the answers so far allow.
    fn advance(&mut self) {
        if self.outcome.is_some() {
            return;
        }
        if self.witnessing.is_some() {
            return self.conclude_from_witnesses();
        }
        let exhausted = self.asked.is_empty() && self.candidates.len() == 0;
        if self.good.len() < self.helpers_wanted && !exhausted {
            return;
        }
        let Some(known) = self.known.take() else {
            if exhausted {
                self.outcome = Some(Err(match self.unanswered {
                    0 => RepairError::Unproven,
                    _ => self.too_few_helpers(self.helpers_wanted),
                }));
            }
            return;
        };
        match self.rebuild_share(&known) {
            Err(error) => self.outcome = Some(Err(error)),
            Ok(share) => {
                self.share = Some(share);
                match self.rebuild_fragment(&known) {
                    Some(fragment) => self.finish(&known, fragment),
                    None => self.start_witnessing(),
                }
            }
        }
        self.known = Some(known);
    }

    fn rebuild_share(&self, known: &Known) -> Result<Share, RepairError> {
        let needed = usize::from(known.descriptor.key.d());
        if self.good.len() < needed {
            return Err(self.too_few_helpers(needed));
        }
        let symbols: Vec<ProvenSymbol> =
            self.good.values().take(needed).map(|helper| helper.key_symbol.clone()).collect();
        let descriptor = &known.descriptor;
        keyshare::repair(&descriptor.binding(), self.lost, &descriptor.rows, &symbols)
            .map(|(share, _)| share)
            .map_err(|_| RepairError::IllFormed)
    }

    fn too_few_helpers(&self, needed: usize) -> RepairError {
        let reasons = self.missing.iter().map(|(slot, why)| format!("slot {slot}: {why}"));
        RepairError::TooFewHelpers { good: self.good.len(), needed, reasons: reasons.collect() }
    }

    /// `None` when there are too few helpers or what they sent does not give the fragment.
    fn rebuild_fragment(&self, known: &Known) -> Option<Vec<u8>> {
        let symbols: Vec<(Slot, &[u8])> = self
            .good
            .iter()
            .take(usize::from(known.descriptor.code.d))
            .map(|(slot, helper)| (*slot, helper.symbols.as_ref()))
            .collect();
        let fragment = known.code.repair(&known.layout, self.lost, &symbols).ok()?;
        self.is_lost_fragment(known, &fragment).then_some(fragment)
    }

    fn is_lost_fragment(&self, known: &Known, fragment: &[u8]) -> bool {
        let root = known.descriptor.fragment_roots.get(self.lost.index());
        root == Some(&FragmentRoot::of(fragment))
    }

    fn start_witnessing(&mut self) {
        let helpers = self.good.values().map(|helper| helper.member);
        let to_ask = self.candidates.by_ref().collect::<Vec<_>>().into_iter().chain(helpers);
        self.witnessing = Some(Witnessing { to_ask: to_ask.collect(), ..Witnessing::default() });
    }

    fn check_witness(&mut self, member: Member, fragment: Bytes) {
        let Some(known) = &self.known else {
            return;
        };
        let root = known.descriptor.fragment_roots.get(member.slot.index());
        if fragment.len() as u64 != known.layout.fragment_len()
            || root != Some(&FragmentRoot::of(&fragment))
        {
            return self.blame(member, FaultKind::Fragment);
        }
        let lied = self.good.get(&member.slot).is_some_and(|helper| {
            let symbols = known.code.helper_symbols(&known.layout, self.lost, &fragment);
            symbols.is_ok_and(|symbols| symbols != helper.symbols)
        });
        if lied {
            self.blame(member, FaultKind::FragmentSymbols);
        }
        if let Some(witnessing) = &mut self.witnessing {
            witnessing.fragments.insert(member.slot, fragment);
        }
    }

    /// Waits for every witness asked, so that every liar is named, then decodes.
    fn conclude_from_witnesses(&mut self) {
        let (Some(witnessing), Some(known)) = (&self.witnessing, &self.known) else {
            return;
        };
        if !witnessing.to_ask.is_empty() || !self.asked.is_empty() {
            return;
        }
        let needed = usize::from(known.descriptor.code.k);
        let fragments: Vec<(Slot, &[u8])> = witnessing
            .fragments
            .iter()
            .take(needed)
            .map(|(slot, fragment)| (*slot, fragment.as_ref()))
            .collect();
        if fragments.len() < needed {
            let good = fragments.len();
            self.outcome = Some(Err(RepairError::TooFewFragments { good, needed }));
            return;
        }
        let fragment = known
            .code
            .decode(&known.layout, &fragments)
            .and_then(|coded| known.code.encode_slot(&known.layout, &coded, self.lost));
        match fragment {
            Ok(fragment) if self.is_lost_fragment(known, &fragment) => {
                let Some(known) = self.known.take() else { return };
                self.finish(&known, fragment);
                self.known = Some(known);
            }
            _ => self.outcome = Some(Err(RepairError::IllFormed)),
        }
    }

    fn finish(&mut self, known: &Known, fragment: Vec<u8>) {
        let Some(share) = self.share.take() else {
            return;
        };
        let helpers = u64::from(known.descriptor.code.d);
        self.outcome = Some(Ok(RepairedPart {
            part: PartReference { group: self.group, slot: self.lost, object: self.object },
            object: known.vouched.clone(),
            share,
            fragment: fragment.into(),
            symbol_bytes_theory: helpers * known.layout.symbols_len(),
            reed_solomon_bytes: known.descriptor.coded_len,
        }));
    }

    fn blame(&mut self, member: Member, kind: FaultKind) {
        self.faults.push(Fault { member, kind });
        self.missing.insert(member.slot, kind.to_string());
    }
}

fn part_of(group: GroupId, member: Member, object: ObjectId) -> PartReference {
    PartReference { group, slot: member.slot, object }
}
