//! Rebuilding one slot's part of one object from helpers.
//!
//! The newcomer asks as many helpers as the codes need, one round trip. Every pair symbol is checked
//! against its commitment before use, the rebuilt share against its row and the rebuilt fragment
//! against its root. When the fragment does not match, some helper sent wrong symbols: k helpers then
//! *witness* with their whole fragments, which prove themselves; they give the lost fragment and, by
//! the ciphertext, what every helper should have sent, which names the liar. The same path serves
//! when fewer than d, but at least k, helpers are left. The key share takes d helpers too, or in need
//! k of them in a second round ([`Degrading`]); where the slot was absent from the last refresh, so that
//! no commitment covers it, all helpers, whose symbols correct each other.
//!
//! A holder that has the fragment still and missed a refresh rebuilds the share alone.
//!
//! Neither V nor anything that determines it ever exists here: this module has no access to the
//! types of `keyshare` that hold it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;

use super::degraded::Degrading;
use super::helped_symbol::{Helped, HelpedSymbol, NoSymbol};
use super::rebuilt::{Rebuilt, RenewedPart, RepairError, RepairTraffic, RepairedPart};
use super::{Answer, Ask, AskFailure, Fault, FaultKind, Member};
use crate::code::{Code, CodeParameters, HelperAnswer, Layout};
use crate::keyshare::{
    self, Binding, KeyParameters, ProvenSymbol, RenewedRows, RowHash, Share, Symbol,
};
use crate::ledger::{GroupEpochs, WrongSymbol};
use crate::names::{Epoch, GroupId, NetworkId, ObjectId, Slot};
use crate::object::Descriptor;
use crate::policy::durability;
use crate::signature::Signature;
use crate::wire::{
    Degraded, MisfitProof, Operation, PartReference, RefusalKind, Response, Symbols,
    VouchedDescriptor, canonical,
};

const SYMBOLS_TIMEOUT: Duration = Duration::from_secs(20);
/// How many questions under way ask for the descriptor as well: the second is for the case that the
/// first is not answered.
const DESCRIPTIONS: usize = 2;
const OTHER_EPOCH: &str = "its key share is of another epoch than the others'";

/// The repair of one slot of one object.
pub struct RepairObject {
    network: NetworkId,
    group: GroupId,
    object: ObjectId,
    lost: Slot,
    codes: (CodeParameters, KeyParameters),
    epochs: GroupEpochs,
    filling: BTreeSet<Slot>,
    candidates: VecDeque<Member>,
    asked: BTreeMap<u64, Question>,
    next_id: u64,
    known: Option<Known>,
    /// The epoch of the share that is here, if only a newer share is wanted.
    own_epoch: Option<Epoch>,
    /// Answers that came before any description.
    unchecked: Vec<(Member, HelpedSymbol, Option<Bytes>)>,
    /// Helpers with a checked key symbol and fragment symbols of the right length.
    good: BTreeMap<Slot, Helper>,
    share: Option<Share>,
    /// The committed symbols of d helpers give no share with the committed row: those of all others are
    /// asked for.
    contradicted: bool,
    /// What shows it to others, or that fragments do not fit.
    misfit: Option<MisfitProof>,
    degrading: Option<Degrading>,
    witnessing: Option<Witnessing>,
    traffic: RepairTraffic,
    faults: Vec<Fault>,
    evidence: Vec<WrongSymbol>,
    missing: BTreeMap<Slot, String>,
    /// Some helper has not said whether it has the object.
    undecided: bool,
    outcome: Option<Result<Rebuilt, RepairError>>,
}

struct Question {
    member: Member,
    kind: QuestionKind,
    /// Of symbols: whether those of the fragment are to come along.
    with_fragment: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum QuestionKind {
    Symbols,
    SymbolsAndDescription,
    Degraded,
    Witness,
}

/// What the descriptor tells, and the rows of its epoch if the shares were refreshed.
struct Known {
    vouched: VouchedDescriptor,
    descriptor: Descriptor,
    renewed: Option<RenewedRows>,
    code: Code,
    layout: Layout,
}

struct Helper {
    member: Member,
    key_symbol: ProvenSymbol,
    /// Of the fragment, if they were asked for.
    symbols: Option<Bytes>,
}

/// The second phase: whole fragments, which prove themselves.
struct Witnessing {
    to_ask: VecDeque<Member>,
    fragments: BTreeMap<Slot, Bytes>,
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
            codes,
            epochs: GroupEpochs::default(),
            filling: BTreeSet::new(),
            candidates: helpers.into(),
            asked: BTreeMap::new(),
            next_id: 0,
            known: None,
            own_epoch: None,
            unchecked: Vec::new(),
            good: BTreeMap::new(),
            share: None,
            contradicted: false,
            misfit: None,
            degrading: None,
            witnessing: None,
            traffic: RepairTraffic::default(),
            faults: Vec::new(),
            evidence: Vec::new(),
            missing: BTreeMap::new(),
            undecided: false,
            outcome: None,
        }
    }

    /// The same in a group whose shares were refreshed.
    pub fn in_epochs(self, epochs: GroupEpochs) -> Self {
        Self { epochs, ..self }
    }

    /// The same where the holders of these slots rebuild what belongs there: that they lack the object
    /// means nothing.
    pub fn beside(self, filling: BTreeSet<Slot>) -> Self {
        Self { filling, ..self }
    }

    /// Of the share alone, where one of epoch `own` is kept that may be out of date.
    pub fn newer_than(self, own: Epoch) -> Self {
        Self { own_epoch: Some(own), ..self }
    }

    /// Bytes received so far.
    pub fn traffic(&self) -> RepairTraffic {
        self.traffic
    }

    /// Helpers whose answers proved wrong.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// What convicts helpers of wrong symbols before everybody.
    pub fn evidence(&self) -> &[WrongSymbol] {
        &self.evidence
    }

    /// What shows others that the writer is to blame, if the outcome is [`RepairError::IllFormed`].
    pub fn misfit(&self) -> Option<&MisfitProof> {
        self.misfit.as_ref()
    }

    /// The next question, if one should be asked now.
    pub fn poll_ask(&mut self) -> Option<Ask> {
        if self.outcome.is_some() {
            return None;
        }
        let mut with_fragment = false;
        let (member, operation, kind) = if let Some(witnessing) = &mut self.witnessing {
            let in_hand = witnessing.fragments.len() + self.asked.len();
            if in_hand >= usize::from(self.codes.0.k) {
                return None;
            }
            let member = witnessing.to_ask.pop_front()?;
            let part = part_of(self.group, member, self.object);
            (member, Operation::Witness { part, lost: self.lost }, QuestionKind::Witness)
        } else if let Some(degrading) = &mut self.degrading {
            let member = degrading.poll_member()?;
            let part = part_of(self.group, member, self.object);
            let helpers = degrading.slots().into_iter().collect();
            let operation = Operation::Degraded(Degraded { part, lost: self.lost, helpers });
            (member, operation, QuestionKind::Degraded)
        } else {
            let in_hand = self.good.len() + self.unchecked.len() + self.asked.len();
            if in_hand >= self.helpers_wanted() {
                return None;
            }
            let member = self.candidates.pop_front()?;
            let describe = self.known.is_none() && self.descriptions_asked() < DESCRIPTIONS;
            let part = part_of(self.group, member, self.object);
            let symbols = Symbols { part, lost: self.lost, describe };
            with_fragment = self.fragments_in_hand() < self.fragments_wanted();
            let operation = match with_fragment {
                true => Operation::symbols(symbols, self.epochs.epoch),
                false => Operation::PairSymbols(symbols),
            };
            let kind =
                if describe { QuestionKind::SymbolsAndDescription } else { QuestionKind::Symbols };
            (member, operation, kind)
        };
        let id = self.next_id;
        self.next_id += 1;
        self.asked.insert(id, Question { member, kind, with_fragment });
        Some(Ask { id, to: member, operation, body: Bytes::new(), timeout: SYMBOLS_TIMEOUT })
    }

    /// Takes the answer to a question.
    pub fn handle_answer(&mut self, id: u64, answer: Result<Answer, AskFailure>) {
        let Some(Question { member, kind, with_fragment }) = self.asked.remove(&id) else {
            return;
        };
        let checked = match answer {
            Ok(Answer { response: Response::Degraded(help), .. })
                if kind == QuestionKind::Degraded =>
            {
                self.traffic.key_bytes += canonical::encode(&help).len() as u64;
                if let Some(degrading) = &mut self.degrading {
                    degrading.handle_help(member, help);
                }
                Ok(())
            }
            failed if kind == QuestionKind::Degraded => {
                self.degrade_without(member.slot);
                match failed {
                    Ok(Answer { response: Response::Refused(_), .. }) | Err(_) => Ok(()),
                    Ok(_) => Err(FaultKind::Unfitting),
                }
            }
            Err(failure) => {
                self.undecided = true;
                self.missing.insert(member.slot, failure.to_string());
                Ok(())
            }
            Ok(Answer { response: Response::Refused(refusal), .. }) => {
                self.undecided |= refusal.kind != RefusalKind::NotFound;
                self.missing.insert(member.slot, refusal.message);
                Ok(())
            }
            Ok(Answer { response: Response::Symbols { key_symbol, signature, object }, body })
                if kind != QuestionKind::Witness =>
            {
                self.count_symbols(&key_symbol, object.as_ref(), None, &body);
                let symbol = HelpedSymbol { key_symbol, epoch: None, signature };
                self.take_description(kind, object, None)
                    .and_then(|()| self.take_symbols(member, symbol, Some(body)))
            }
            Ok(Answer {
                response: Response::RenewedSymbols { key_symbol, epoch, signature, object, rows },
                body,
            }) if kind != QuestionKind::Witness => {
                self.count_symbols(&key_symbol, object.as_ref(), rows.as_deref(), &body);
                if epoch > self.epochs.epoch {
                    self.skip(member, "it is of an epoch that is not known here yet");
                    Ok(())
                } else {
                    let symbol = HelpedSymbol { key_symbol, epoch: Some(epoch), signature };
                    let symbols = with_fragment.then_some(body);
                    self.take_description(kind, object, rows.map(|rows| *rows))
                        .and_then(|()| self.take_symbols(member, symbol, symbols))
                }
            }
            Ok(Answer { response: Response::Witness, body }) if kind == QuestionKind::Witness => {
                self.traffic.witness_bytes += body.len() as u64;
                self.take_witness(member, body)
            }
            Ok(_) => Err(FaultKind::Unfitting),
        };
        if let Err(kind) = checked {
            self.blame(member, kind);
        }
        self.advance();
    }

    /// The result, once there is one. Ends the machine.
    pub fn poll_outcome(&mut self) -> Option<Result<Rebuilt, RepairError>> {
        if self.outcome.is_none() && self.asked.is_empty() && self.candidates.is_empty() {
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
        rows: Option<&RenewedRows>,
        body: &Bytes,
    ) {
        let key_bytes = canonical::encode(key_symbol).len() as u64;
        let rows = rows.map_or(0, |rows| canonical::encode(rows).len() as u64);
        let described = object.map_or(0, |object| canonical::encode(object).len() as u64);
        self.traffic.key_bytes += key_bytes;
        self.traffic.header_bytes += described + rows + Signature::LEN as u64;
        self.traffic.symbol_bytes += body.len() as u64;
    }

    /// An answer that was asked to describe and does not prove the object is worth nothing.
    fn take_description(
        &mut self,
        kind: QuestionKind,
        object: Option<VouchedDescriptor>,
        rows: Option<RenewedRows>,
    ) -> Result<(), FaultKind> {
        let same = self.known.as_ref().is_some_and(|known| object.as_ref() == Some(&known.vouched));
        if kind != QuestionKind::SymbolsAndDescription || same {
            return Ok(());
        }
        let known =
            object.and_then(|vouched| self.prove(vouched, rows)).ok_or(FaultKind::Descriptor)?;
        self.known.get_or_insert(known);
        for (member, symbol, body) in std::mem::take(&mut self.unchecked) {
            if let Err(kind) = self.take_symbols(member, symbol, body) {
                self.blame(member, kind);
            }
        }
        Ok(())
    }

    fn prove(&self, vouched: VouchedDescriptor, renewed: Option<RenewedRows>) -> Option<Known> {
        let (object, descriptor) = vouched.verify(&self.network)?;
        let expected = object == self.object
            && descriptor.group == self.group
            && (descriptor.code, descriptor.key) == self.codes;
        let code = descriptor.code.build().ok().filter(|_| expected)?;
        let layout = code.layout(descriptor.coded_len);
        if let Some(rows) = &renewed {
            let root = self.epochs.root(rows.epoch)?;
            if !rows.stand_under(root, &object, descriptor.key, &descriptor.salt) {
                return None;
            }
        }
        Some(Known { vouched, descriptor, renewed, code, layout })
    }

    fn take_symbols(
        &mut self,
        member: Member,
        symbol: HelpedSymbol,
        symbols: Option<Bytes>,
    ) -> Result<(), FaultKind> {
        let Some(known) = &self.known else {
            self.unchecked.push((member, symbol, symbols));
            return Ok(());
        };
        let asked = Helped {
            network: &self.network,
            helper: &member.node,
            part: part_of(self.group, member, self.object),
            lost: self.lost,
        };
        let sent = symbols.as_deref().unwrap_or(&[]);
        match symbol.check(&asked, &known.descriptor, known.renewed.as_ref(), sent) {
            Ok(()) => {}
            Err(NoSymbol::Signature) => return Err(FaultKind::Signature),
            Err(NoSymbol::Useless) if symbol.epoch > Some(known.commitments().0.epoch) => {
                self.begin_again(member);
                return Ok(());
            }
            Err(NoSymbol::Useless) => {
                self.skip(member, OTHER_EPOCH);
                return Ok(());
            }
            Err(NoSymbol::Wrong(proof)) => {
                self.evidence.push(*proof);
                return Err(FaultKind::KeySymbol);
            }
        }
        if symbols.as_ref().is_some_and(|sent| sent.len() as u64 != known.layout.symbols_len()) {
            return Err(FaultKind::FragmentSymbols);
        }
        let key_symbol = symbol.key_symbol;
        self.good.insert(member.slot, Helper { member, key_symbol, symbols });
        Ok(())
    }

    /// A helper is of a newer epoch than those before: they missed a refresh, and what they gave is of
    /// no use beside what is to come.
    fn begin_again(&mut self, newer: Member) {
        self.known = None;
        for (_, helper) in std::mem::take(&mut self.good) {
            self.skip(helper.member, OTHER_EPOCH);
        }
        self.candidates.push_front(newer);
    }

    /// Does what the answers so far allow.
    fn advance(&mut self) {
        if self.outcome.is_some() {
            return;
        }
        if self.witnessing.is_some() {
            return self.conclude_from_witnesses();
        }
        if self.degrading.is_some() {
            return self.conclude_degraded();
        }
        let exhausted = self.asked.is_empty() && self.candidates.is_empty();
        if self.good.len() < self.helpers_wanted() && !exhausted {
            return;
        }
        let Some(known) = self.known.take() else {
            return self.ask_again_or_give_up();
        };
        let mut rebuilt = self.rebuild_share(&known);
        if matches!(rebuilt, Err(RepairError::IllFormed)) && !self.contradicted {
            self.contradicted = true;
            let symbols = self.first_symbols(known.descriptor.key);
            self.misfit = known.renewed.is_none().then_some(MisfitProof::Share(symbols));
            if !exhausted {
                self.known = Some(known);
                return;
            }
            rebuilt = self.rebuild_share(&known);
        }
        match rebuilt {
            Err(RepairError::TooFewHelpers { .. } | RepairError::Incomplete { .. })
                if self.is_worth_degrading(&known) && self.degrade() => {}
            Err(error) => self.outcome = Some(Err(error)),
            Ok(share) => self.go_on_with(share, &known),
        }
        self.known = Some(known);
    }

    fn go_on_with(&mut self, share: Share, known: &Known) {
        if let Some(own) = self.own_epoch {
            let newer = known.renewed.clone().filter(|rows| rows.epoch > own);
            let renewed = newer.map(|rows| RenewedPart { object: self.object, share, rows });
            self.outcome = Some(renewed.map(Rebuilt::Share).ok_or(RepairError::Current));
            return;
        }
        self.share = Some(share);
        match self.rebuild_fragment(known) {
            Some(fragment) => {
                let symbols = self.good.values().filter_map(|helper| helper.symbols.as_ref());
                let symbol_bytes = symbols.map(|symbols| symbols.len() as u64).sum();
                self.finish(known, fragment, symbol_bytes);
            }
            None => self.start_witnessing(),
        }
    }

    /// Not where nobody could check the share, or too few have the fragment.
    fn is_worth_degrading(&self, known: &Known) -> bool {
        let read = durability::read_threshold(&self.codes.0, &self.codes.1);
        known.commitments().0.commits_to(self.lost)
            && (self.own_epoch.is_some() || self.good.len() >= read)
    }

    /// Begins a second round with k survivors, if there are so many and the code has it.
    fn degrade(&mut self) -> bool {
        let survivors = self.good.values().map(|helper| helper.member);
        self.degrading = Degrading::new(self.codes.1, survivors);
        self.degrading.is_some()
    }

    /// A survivor fell out: whoever is left tries again, if they are enough.
    fn degrade_without(&mut self, slot: Slot) {
        self.good.remove(&slot);
        // Answers to the questions of this attempt fit no other.
        self.asked.retain(|_, question| question.kind != QuestionKind::Degraded);
        if !self.degrade() {
            let needed = usize::from(self.codes.1.d());
            self.outcome = Some(Err(self.too_few_helpers(needed)));
        }
    }

    fn conclude_degraded(&mut self) {
        let complete = self.degrading.as_ref().is_some_and(Degrading::is_complete);
        let Some(degrading) = self.degrading.take_if(|_| complete) else { return };
        let Some(known) = self.known.take() else { return };
        let (binding, rows) = known.commitments();
        match degrading.restore(&binding, self.lost, rows) {
            Ok(share) => self.go_on_with(share, &known),
            // A survivor lied in a way that names nobody, or the writer did: with one more it can be
            // done without trust.
            Err(_) => self.outcome = Some(Err(self.contradicted_by(self.codes.1.d().into()))),
        }
        self.known = Some(known);
    }

    /// All helpers have answered and none has proved the object. One that was not asked to is asked
    /// again; it is asked to describe now, so it is not asked a third time.
    fn ask_again_or_give_up(&mut self) {
        if let Some((member, ..)) = self.unchecked.pop() {
            self.candidates.push_back(member);
        } else if self.undecided {
            self.outcome = Some(Err(self.too_few_helpers(self.helpers_wanted())));
        } else {
            self.outcome = Some(Err(RepairError::Unproven));
        }
    }

    fn helpers_wanted(&self) -> usize {
        let committed = |known: &Known| known.commitments().0.commits_to(self.lost);
        match &self.known {
            Some(known) if self.contradicted || !committed(known) => usize::MAX,
            _ if self.own_epoch.is_some() => self.codes.1.d().into(),
            _ => durability::repair_helpers(&self.codes.0, &self.codes.1),
        }
    }

    fn fragments_wanted(&self) -> usize {
        match self.own_epoch {
            Some(_) => 0,
            None => durability::repair_helpers(&self.codes.0, &self.codes.1),
        }
    }

    fn fragments_in_hand(&self) -> usize {
        let good = self.good.values().filter(|helper| helper.symbols.is_some());
        let unchecked = self.unchecked.iter().filter(|(.., symbols)| symbols.is_some());
        let asked = self.asked.values().filter(|question| question.with_fragment);
        good.count() + unchecked.count() + asked.count()
    }

    fn rebuild_share(&mut self, known: &Known) -> Result<Share, RepairError> {
        if !known.commitments().0.commits_to(self.lost) {
            return self.rebuild_unproven(known.descriptor.key);
        }
        let needed = usize::from(known.descriptor.key.d());
        if self.good.len() < needed {
            return Err(self.too_few_helpers(needed));
        }
        let (binding, rows) = known.commitments();
        if self.contradicted {
            let symbols = self.pair_symbols();
            let rebuilt = keyshare::repair_robust(known.descriptor.key, self.lost, &symbols).ok();
            let row = rows.get(self.lost.index());
            let share = rebuilt.map(|(share, _)| share);
            let share = share.filter(|share| row.is_some_and(|row| share.matches(&binding, row)));
            return share.ok_or(RepairError::IllFormed);
        }
        let symbols = self.first_symbols(known.descriptor.key);
        keyshare::repair(&binding, self.lost, rows, &symbols)
            .map(|(share, _)| share)
            .map_err(|_| RepairError::IllFormed)
    }

    /// Of d helpers.
    fn first_symbols(&self, key: KeyParameters) -> Vec<ProvenSymbol> {
        let helpers = self.good.values().take(key.d().into());
        helpers.map(|helper| helper.key_symbol.clone()).collect()
    }

    fn pair_symbols(&self) -> Vec<(Slot, &Symbol)> {
        self.good.iter().map(|(slot, helper)| (*slot, helper.key_symbol.symbol())).collect()
    }

    /// From symbols that nothing was committed to: one more than d, so that a lie is noticed, and with
    /// every two more one is corrected.
    fn rebuild_unproven(&mut self, key: KeyParameters) -> Result<Share, RepairError> {
        let needed = usize::from(key.d()) + 1;
        if self.good.len() < needed {
            return Err(self.too_few_helpers(needed));
        }
        let rebuilt = keyshare::repair_robust(key, self.lost, &self.pair_symbols());
        let Ok((share, wrong)) = rebuilt else { return Err(self.contradicted_by(needed)) };
        let liars = wrong.iter().filter_map(|slot| Some(self.good.get(slot)?.member));
        for liar in liars.collect::<Vec<Member>>() {
            self.blame(liar, FaultKind::KeySymbol);
        }
        Ok(share)
    }

    /// Those that have the object contradict each other. When nobody else will ever have it, no other
    /// repair can tell more.
    fn contradicted_by(&self, needed: usize) -> RepairError {
        match self.too_few_helpers(needed) {
            RepairError::Incomplete { .. } => RepairError::IllFormed,
            error => error,
        }
    }

    fn too_few_helpers(&self, needed: usize) -> RepairError {
        let (good, read) =
            (self.good.len(), durability::read_threshold(&self.codes.0, &self.codes.1));
        let said = !self.undecided && self.faults.is_empty();
        // A holder that is whole and lacks it will not get it from anybody else.
        let whole = !self.missing.keys().any(|slot| self.filling.contains(slot));
        if said && (good < read || whole) {
            return RepairError::Incomplete {
                good,
                needed: if good < read { read } else { needed },
            };
        }
        let reasons = self.missing.iter().map(|(slot, why)| format!("slot {slot}: {why}"));
        RepairError::TooFewHelpers { good, needed, reasons: reasons.collect() }
    }

    /// `None` when there are too few helpers or what they sent does not give the fragment.
    fn rebuild_fragment(&self, known: &Known) -> Option<Vec<u8>> {
        let with_symbols = self.good.iter().filter(|(_, helper)| helper.symbols.is_some());
        let survivors: Vec<Slot> = with_symbols.map(|(slot, _)| *slot).collect();
        let plan = known.code.plan_repair(self.lost, &survivors).ok()?;
        if plan.answer() != HelperAnswer::Symbols {
            return None;
        }
        let symbols: Vec<(Slot, &[u8])> = plan
            .helpers()
            .iter()
            .filter_map(|slot| Some((*slot, self.good.get(slot)?.symbols.as_deref()?)))
            .collect();
        let fragment = known.code.repair(&known.layout, self.lost, &symbols).ok()?;
        known.is_fragment(self.lost, &fragment).then_some(fragment)
    }

    fn start_witnessing(&mut self) {
        let helpers = self.good.values().map(|helper| helper.member);
        let to_ask = helpers.chain(std::mem::take(&mut self.candidates)).collect();
        self.witnessing = Some(Witnessing { to_ask, fragments: BTreeMap::new() });
    }

    fn take_witness(&mut self, member: Member, fragment: Bytes) -> Result<(), FaultKind> {
        let (Some(known), Some(witnessing)) = (&self.known, &mut self.witnessing) else {
            return Ok(());
        };
        if !known.is_fragment(member.slot, &fragment) {
            return Err(FaultKind::Fragment);
        }
        witnessing.fragments.insert(member.slot, fragment);
        Ok(())
    }

    fn conclude_from_witnesses(&mut self) {
        let (Some(witnessing), Some(known)) = (&self.witnessing, &self.known) else {
            return;
        };
        let (good, needed) = (witnessing.fragments.len(), usize::from(self.codes.0.k));
        if good < needed {
            if witnessing.to_ask.is_empty() && self.asked.is_empty() {
                self.outcome = Some(Err(RepairError::TooFewFragments { good, needed }));
            }
            return;
        }
        let fragments: Vec<(Slot, &[u8])> =
            witnessing.fragments.iter().map(|(slot, bytes)| (*slot, bytes.as_ref())).collect();
        let fragment = known.code.repair(&known.layout, self.lost, &fragments);
        let coded = known.code.decode(&known.layout, &fragments);
        let Some(known) = self.known.take() else { return };
        match (fragment, coded) {
            (Ok(fragment), Ok(coded)) if known.is_fragment(self.lost, &fragment) => {
                self.name_liars(&known, &coded);
                self.finish(&known, fragment, 0);
            }
            _ => {
                let slots = fragments.iter().map(|(slot, _)| *slot).collect();
                self.misfit = Some(MisfitProof::Fragment(slots));
                self.outcome = Some(Err(RepairError::IllFormed));
            }
        }
        self.known = Some(known);
    }

    /// Compares what the helpers sent with what the object's bytes say they should have sent. Who was
    /// given another fragment by the writer than these bytes make is not to blame.
    fn name_liars(&mut self, known: &Known, coded: &[u8]) {
        let Known { code, layout, .. } = known;
        let lied = |helper: &&Helper| {
            let (slot, Some(sent)) = (helper.member.slot, &helper.symbols) else { return false };
            let Ok(fragment) = code.encode_slot(layout, coded, slot) else { return false };
            known.is_fragment(slot, &fragment)
                && code
                    .helper_symbols(layout, self.lost, &fragment)
                    .is_ok_and(|symbols| symbols != *sent)
        };
        let liars: Vec<Member> = self.good.values().filter(lied).map(|h| h.member).collect();
        for liar in liars {
            self.blame(liar, FaultKind::FragmentSymbols);
        }
    }

    fn finish(&mut self, known: &Known, fragment: Vec<u8>, symbol_bytes: u64) {
        let Some(share) = self.share.take() else {
            return;
        };
        let helpers = u64::from(known.descriptor.code.d);
        self.outcome = Some(Ok(Rebuilt::Part(RepairedPart {
            part: PartReference { group: self.group, slot: self.lost, object: self.object },
            object: known.vouched.clone(),
            share,
            renewed: known.renewed.clone(),
            fragment: fragment.into(),
            symbol_bytes,
            symbol_bytes_theory: helpers * known.layout.symbols_len(),
            reed_solomon_bytes: known.descriptor.coded_len,
        })));
    }

    /// Its answer is of no use now, and no lie.
    fn skip(&mut self, member: Member, why: &str) {
        self.undecided = true;
        self.missing.insert(member.slot, why.to_owned());
    }

    fn blame(&mut self, member: Member, kind: FaultKind) {
        self.faults.push(Fault { member, kind });
        self.missing.insert(member.slot, kind.to_string());
    }
}

impl Known {
    /// What key shares are checked against.
    fn commitments(&self) -> (Binding<'_>, &[RowHash]) {
        self.descriptor.commitments(self.renewed.as_ref())
    }

    fn is_fragment(&self, slot: Slot, bytes: &[u8]) -> bool {
        bytes.len() as u64 == self.layout.fragment_len() && self.descriptor.is_fragment(slot, bytes)
    }
}

fn part_of(group: GroupId, member: Member, object: ObjectId) -> PartReference {
    PartReference { group, slot: member.slot, object }
}
