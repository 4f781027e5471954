//! The side of the holder whose turn it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::{Attempt, Turn, after, before, cycle};
use crate::ledger::{Body, Group, RefreshBegin, RefreshEnd, RefreshSeal, RefreshStatement};
use crate::names::{NetworkId, Slot};
use crate::peer::{Answer, Ask, AskFailure, Member};
use crate::policy::refresh::{RefreshTimes, objects_max};
use crate::wire::{
    BODY_LEN_MAX, ListedShare, Operation, RefreshPlace, RefreshStage, RefreshStep, RefreshWord,
    RefusalKind, Response, SignedPost, canonical, list_digest,
};

/// Between two questions to a holder that could not answer yet.
const RETRY_PAUSE: Duration = Duration::from_millis(300);

/// Leads one attempt to refresh a group.
pub struct Lead {
    times: RefreshTimes,
    group: Group,
    members: Vec<Member>,
    place: RefreshPlace,
    network: NetworkId,
    attempt: Option<Attempt>,
    list: Vec<u8>,
    objects: u32,
    /// How many slots may be absent.
    absent_max: usize,
    absent: BTreeSet<Slot>,
    phase: Phase,
    /// When the phase must be over.
    until: Duration,
    /// The body of this stage's request.
    body: Bytes,
    seats: BTreeMap<Slot, Asked>,
    next_id: u64,
    asked: BTreeMap<u64, Slot>,
    entry: Option<Body>,
    outcome: Option<Result<u32, LeadError>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Listing,
    /// The ledger is to say that the attempt is under way.
    Announcing,
    Stage(RefreshStage),
    /// The ledger is to give the beacon.
    Sealing,
    /// The ledger is to advance the epoch.
    Ending,
}

enum Asked {
    Waiting { until: Duration, reason: String },
    Under { since: Duration },
    Answered(Bytes),
}

/// Why an attempt led to nothing. The old shares are as good as before.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum LeadError {
    /// A holder does not take part, and no other may be missing.
    #[error("slot {slot} does not take part: {reason}")]
    Absent {
        /// Its slot.
        slot: Slot,
        /// Why.
        reason: String,
    },
    /// The ledger did not take what it was told, or not in time.
    #[error("the ledger did not go on in time")]
    Ledger,
}

impl Lead {
    /// Begins: asks all holders what they have.
    pub fn new(network: NetworkId, turn: Turn, times: RefreshTimes, now: Duration) -> Self {
        let Turn { place, group, absent_max } = turn;
        let slots = Slot::all(group.code.n).zip(&group.holders);
        let members = slots.map(|(slot, holder)| Member { slot, node: holder.node }).collect();
        let mut lead = Self {
            times,
            group,
            members,
            place,
            network,
            attempt: None,
            list: Vec::new(),
            objects: 0,
            absent_max,
            absent: BTreeSet::new(),
            phase: Phase::Listing,
            until: now,
            body: Bytes::new(),
            seats: BTreeMap::new(),
            next_id: 0,
            asked: BTreeMap::new(),
            entry: None,
            outcome: None,
        };
        lead.enter(now, Phase::Listing, Bytes::new());
        lead
    }

    /// Which attempt this is.
    pub fn place(&self) -> RefreshPlace {
        self.place
    }

    /// The next question, if one should be asked now.
    pub fn poll_ask(&mut self, now: Duration) -> Option<Ask> {
        if self.outcome.is_some() {
            return None;
        }
        // A question that is lost is asked again: the answer to it is the same.
        let timeout = (self.times.round / 4).max(RETRY_PAUSE);
        let due = |asked: &Asked| matches!(asked, Asked::Waiting { until, .. } if *until <= now);
        let (&slot, asked) = self.seats.iter_mut().find(|(_, asked)| due(asked))?;
        *asked = Asked::Under { since: now };
        let id = self.next_id;
        self.next_id += 1;
        self.asked.insert(id, slot);
        let operation = match self.phase {
            Phase::Stage(stage) => {
                let place = RefreshPlace { slot, ..self.place };
                Operation::Refresh(RefreshStep { place, stage })
            }
            _ => Operation::ListShares { group: self.place.group, slot },
        };
        let to = *self.members.get(slot.index())?;
        Some(Ask { id, to, operation, body: self.body.clone(), timeout })
    }

    /// Takes the answer to a question.
    pub fn handle_answer(&mut self, now: Duration, id: u64, answer: Result<Answer, AskFailure>) {
        let Some(slot) = self.asked.remove(&id) else { return };
        let Some(Asked::Under { .. }) = self.seats.get(&slot) else { return };
        let again = |reason: String| Asked::Waiting { until: now + RETRY_PAUSE, reason };
        let asked = match answer {
            Ok(Answer { response: Response::Shares, body }) if self.phase == Phase::Listing => {
                Asked::Answered(body)
            }
            Ok(Answer { response: Response::Refreshed, body })
                if matches!(self.phase, Phase::Stage(_)) =>
            {
                Asked::Answered(body)
            }
            Ok(Answer { response: Response::Refused(refusal), .. })
                if refusal.kind == RefusalKind::Unavailable =>
            {
                again(refusal.message)
            }
            Ok(Answer { response: Response::Refused(refusal), .. }) => {
                return self.go_on_without(now, slot, refusal.message);
            }
            Ok(_) => {
                return self.go_on_without(now, slot, "it answered another question".into());
            }
            Err(failure) => again(failure.to_string()),
        };
        self.seats.insert(slot, asked);
        self.advance(now);
    }

    /// What to put on the ledger; tell with [`Lead::handle_told`] what came of it.
    pub fn poll_entry(&mut self) -> Option<Body> {
        self.entry.take()
    }

    /// The ledger has taken the last entry, or not.
    pub fn handle_told(&mut self, heard: bool) {
        match (self.phase, heard) {
            (_, false) => self.fail(LeadError::Ledger),
            (Phase::Ending, true) => self.outcome = Some(Ok(self.objects)),
            _ => {}
        }
    }

    /// Takes the group as the newest block has it, and the passing of time.
    pub fn handle_state(&mut self, now: Duration, group: &Group) {
        let running = group.refreshes.as_ref().and_then(|refreshes| refreshes.running);
        let running = running.filter(|running| running.attempt == self.place.attempt);
        match (self.phase, running) {
            (Phase::Announcing, Some(_)) => {
                let list = Bytes::from(self.list.clone());
                self.enter(now, Phase::Stage(RefreshStage::Begin), list);
            }
            (Phase::Sealing, Some(running)) if running.beacon.is_some() => {
                let body = self.body.clone();
                self.enter(now, Phase::Stage(RefreshStage::Check), body);
            }
            (Phase::Stage(_) | Phase::Sealing, None) => self.fail(LeadError::Ledger),
            _ => {}
        }
        if now >= self.until && self.outcome.is_none() {
            let late = self.seats.iter().filter_map(|(slot, asked)| match asked {
                Asked::Waiting { reason, .. } => Some((*slot, reason.clone())),
                Asked::Under { since } => {
                    let waited = now.saturating_sub(*since).as_secs();
                    Some((*slot, format!("no answer for {waited} s")))
                }
                Asked::Answered(_) => None,
            });
            let late: Vec<(Slot, String)> = late.collect();
            if late.is_empty() {
                self.fail(LeadError::Ledger);
            }
            for (slot, reason) in late {
                self.go_on_without(now, slot, reason);
            }
        }
    }

    /// A holder does not take part any more: the others go on, if they are enough.
    fn go_on_without(&mut self, now: Duration, slot: Slot, reason: String) {
        if self.outcome.is_some() {
            return;
        }
        if slot == self.place.slot || self.absent.len() >= self.absent_max {
            return self.fail(LeadError::Absent { slot, reason });
        }
        self.absent.insert(slot);
        self.seats.remove(&slot);
        self.advance(now);
    }

    /// When to poll again, if nothing happens before.
    pub fn poll_timeout(&self) -> Duration {
        let waits = self.seats.values().filter_map(|asked| match asked {
            Asked::Waiting { until, .. } => Some(*until),
            _ => None,
        });
        waits.chain([self.until]).min().unwrap_or(self.until)
    }

    /// How many objects were refreshed, or why none were, once it is known. Ends the machine.
    pub fn poll_outcome(&mut self) -> Option<Result<u32, LeadError>> {
        self.outcome.take()
    }

    fn enter(&mut self, now: Duration, phase: Phase, body: Bytes) {
        let patience = match phase {
            // Whoever is absent is waited for here, and the next turn must not begin before the end.
            Phase::Listing => self.times.round.min(self.times.pause / 4),
            _ => self.times.round,
        };
        (self.phase, self.body, self.until) = (phase, body, now + patience);
        self.asked.clear();
        let asks = matches!(phase, Phase::Listing | Phase::Stage(_));
        let waiting = || Asked::Waiting { until: now, reason: String::new() };
        let members = self.members.iter();
        let members = members.filter(|member| asks && !self.absent.contains(&member.slot));
        self.seats = members.map(|member| (member.slot, waiting())).collect();
    }

    fn tell(&mut self, now: Duration, phase: Phase, entry: Body, body: Bytes) {
        self.enter(now, phase, body);
        self.entry = Some(entry);
    }

    fn fail(&mut self, error: LeadError) {
        self.outcome.get_or_insert(Err(error));
    }

    /// Goes on when all have answered.
    fn advance(&mut self, now: Duration) {
        let answer = |(slot, asked): (&Slot, &Asked)| match asked {
            Asked::Answered(body) => Some((*slot, body.clone())),
            _ => None,
        };
        let answers: Option<BTreeMap<Slot, Bytes>> = self.seats.iter().map(answer).collect();
        let Some(answers) = answers else { return };
        match self.phase {
            Phase::Listing => self.choose(now, &answers),
            Phase::Stage(RefreshStage::Begin) if self.objects == 0 => self.end(now, &answers),
            Phase::Stage(RefreshStage::Sign) => self.end(now, &answers),
            Phase::Stage(stage) => self.next_stage(now, stage, &answers),
            Phase::Announcing | Phase::Sealing | Phase::Ending => {}
        }
    }

    /// The batch: what all have of the same epoch, the oldest first, as much as fits.
    fn choose(&mut self, now: Duration, answers: &BTreeMap<Slot, Bytes>) {
        let mut common: Option<BTreeSet<ListedShare>> = None;
        for (&slot, body) in answers {
            let Ok(listed) = canonical::decode::<Vec<ListedShare>>(body, BODY_LEN_MAX) else {
                return self.go_on_without(now, slot, "its list is malformed".into());
            };
            let listed: BTreeSet<ListedShare> = listed.into_iter().collect();
            common = Some(match common {
                None => listed,
                Some(common) => common.intersection(&listed).copied().collect(),
            });
        }
        let cycle = cycle(&self.group);
        let due = common.into_iter().flatten().filter(|share| share.epoch < cycle);
        let mut batch: Vec<ListedShare> = due.collect();
        batch.sort_unstable_by_key(|share| (share.epoch, share.object));
        batch.truncate(objects_max(self.group.code.n));
        batch.sort_unstable();
        self.list = canonical::encode(&batch);
        self.objects = batch.len() as u32;
        let members = self.members.clone();
        self.attempt = Some(Attempt::new(self.network, self.place, members, &self.list));
        let RefreshPlace { group, epoch, attempt, .. } = self.place;
        let (objects, list) = (self.objects, list_digest(&self.list));
        let begin = RefreshBegin { group, epoch, attempt, objects, list };
        self.tell(now, Phase::Announcing, Body::RefreshBegin(begin), Bytes::new());
    }

    /// Carries what all posted to the next stage; before the check the ledger fixes it.
    fn next_stage(&mut self, now: Duration, stage: RefreshStage, answers: &BTreeMap<Slot, Bytes>) {
        let (Some(attempt), Some(next)) = (&mut self.attempt, after(stage)) else { return };
        if before(next).is_none() {
            return self.enter(now, Phase::Stage(next), Bytes::new());
        }
        let mut posts = Vec::with_capacity(answers.len());
        for (&slot, body) in answers {
            let post = canonical::decode::<SignedPost>(body, BODY_LEN_MAX).ok();
            let Some(post) = post.filter(|p| p.slot == slot && attempt.verifies(stage, p)) else {
                return self.go_on_without(
                    now,
                    slot,
                    "what it posted is not signed for this".into(),
                );
            };
            posts.push(post);
        }
        let bundle = canonical::encode(&posts);
        attempt.absorb(stage, &bundle);
        if next != RefreshStage::Check {
            return self.enter(now, Phase::Stage(next), bundle.into());
        }
        let transcript = attempt.transcript;
        let RefreshPlace { group, epoch, attempt, .. } = self.place;
        let seal = RefreshSeal { group, epoch, attempt, transcript };
        self.tell(now, Phase::Sealing, Body::RefreshSeal(seal), bundle.into());
    }

    /// Everybody's word goes to the ledger, if all speak of the same shares.
    fn end(&mut self, now: Duration, answers: &BTreeMap<Slot, Bytes>) {
        let RefreshPlace { group, epoch, attempt, slot: own } = self.place;
        let words: BTreeMap<Slot, Option<RefreshWord>> = answers
            .iter()
            .map(|(slot, body)| (*slot, canonical::decode(body, BODY_LEN_MAX).ok()))
            .collect();
        let Some(Some(RefreshWord { root, .. })) = words.get(&own) else {
            return self.fail(LeadError::Ledger);
        };
        let (network, root) = (&self.network, *root);
        let statement = RefreshStatement { network, group, epoch, attempt, root };
        let mut signatures = Vec::with_capacity(words.len());
        for (slot, word) in words {
            let holder = self.members.get(slot.index());
            match (word, holder) {
                (Some(word), Some(holder))
                    if word.root == root && statement.verify(&holder.node, &word.signature) =>
                {
                    signatures.push(word.signature);
                }
                _ => {
                    let reason = "it did not sign for the same new shares".into();
                    return self.go_on_without(now, slot, reason);
                }
            }
        }
        let absent: Vec<Slot> = self.absent.iter().copied().collect();
        let absent = (!absent.is_empty()).then_some(absent);
        let end = RefreshEnd { group, epoch, attempt, root, signatures, absent };
        self.tell(now, Phase::Ending, Body::RefreshEnd(end), Bytes::new());
    }
}
