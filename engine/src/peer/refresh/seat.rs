//! One holder's side of a refresh.

use std::collections::BTreeMap;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};
use rand_core::CryptoRng;

use super::{Attempt, after, before, invalid, later};
use crate::keyshare::renewal::{
    Answer, AnswerRound, CheckRound, CheckValues, Complaint, ComplaintRound, Dealer, DealerFault,
    DealerPost, DealingRound, DealtRows, Disputes, Leaves, ReceiverFault, Renewed, Terms,
    VouchRound,
};
use crate::keyshare::{KeyParameters, RenewedRows, Share};
use crate::ledger::{Group, RefreshStatement};
use crate::names::{NetworkId, ObjectId, Slot};
use crate::peer::Member;
use crate::policy::refresh::{leaves_out_too_many, objects_max};
use crate::wire::{
    BODY_LEN_MAX, LISTED_SHARE_LEN_MAX, ListedShare, RefreshPlace, RefreshStage, RefreshWord,
    Refusal, SignedPost, canonical, list_digest,
};

/// Who takes part in what.
#[derive(Clone, Debug)]
pub(super) struct SeatSettings {
    /// The network.
    pub(super) network: NetworkId,
    /// The attempt and the own slot.
    pub(super) place: RefreshPlace,
    /// The group as the ledger has it.
    pub(super) group: Group,
    /// What a dispute leaves uncovered, by the rules of the time.
    pub(super) disputes: Disputes,
}

/// The share of one object of the batch, as it is kept here.
#[derive(Debug)]
pub struct OldShare {
    /// The object.
    pub object: ObjectId,
    /// Its salt.
    pub salt: [u8; 32],
    /// The share.
    pub share: Share,
}

/// The new shares of a batch.
#[derive(Debug)]
pub struct RenewedBatch {
    /// What the ledger will have of them.
    pub root: [u8; 32],
    /// For every object of the batch that is not left out its share and rows, ascending by object.
    pub shares: Vec<(ObjectId, Share, RenewedRows)>,
}

/// What follows from a request.
#[derive(Debug)]
pub(super) enum SeatStep {
    /// Reply with this body.
    Reply(Bytes),
    /// Make the new shares durable beside the old ones, then reply with what [`Seat::sign`] gives.
    Keep(Box<RenewedBatch>),
}

/// A holder's part in one attempt.
pub struct Seat {
    attempt: Attempt,
    key: KeyParameters,
    disputes: Disputes,
    objects: Vec<(ObjectId, [u8; 32])>,
    old: Vec<Share>,
    dealer: Option<Dealer>,
    round: Round,
    /// The last request and the reply to it: it may come again.
    answered: Option<(RefreshStage, [u8; 32], Bytes)>,
    root: Option<[u8; 32]>,
    dealers_excluded: BTreeMap<Slot, DealerFault>,
    receivers_faulty: BTreeMap<Slot, ReceiverFault>,
    left_out: Vec<ObjectId>,
}

enum Round {
    Dealing(DealingRound),
    Complaining(ComplaintRound),
    Answering(AnswerRound),
    Checking(CheckRound),
    Vouching(VouchRound),
    Over,
}

impl Seat {
    /// Checks the list of a batch against the ledger and against what is held here: `eligible` are
    /// all objects of the slot whose shares this cycle is to refresh. Gives the objects whose shares
    /// [`Seat::begin`] wants, in this order.
    pub(super) fn check_list(
        settings: &SeatSettings,
        list: &[u8],
        eligible: &[ListedShare],
    ) -> Result<Vec<ListedShare>, Refusal> {
        let SeatSettings { place, group, .. } = settings;
        let running = group.refreshes.as_ref().and_then(|refreshes| refreshes.running);
        let running = running.filter(|running| running.attempt == place.attempt);
        let Some(running) = running.filter(|_| place.epoch.0 == group.epoch.0 + 1) else {
            return Err(later("the ledger does not have this refresh yet"));
        };
        let most = objects_max(group.code.n);
        let listed: Vec<ListedShare> = canonical::decode(list, LISTED_SHARE_LEN_MAX * (most + 1))
            .map_err(|_| invalid("the list is malformed"))?;
        let agreed = list_digest(list) == running.list
            && listed.len() == running.objects as usize
            && listed.is_sorted_by(|one, other| one.object < other.object);
        if !agreed {
            return Err(invalid("this is not the list that the ledger has"));
        }
        if !listed.iter().all(|share| eligible.binary_search(share).is_ok()) {
            return Err(invalid("the list has shares that are not kept here or not due"));
        }
        if listed.len() < most && leaves_out_too_many(listed.len(), eligible.len()) {
            return Err(invalid("the list leaves out too many of the objects kept here"));
        }
        Ok(listed)
    }

    /// Takes part with these shares, which match their rows, one an object of the list. A batch of no
    /// objects has nothing to deal.
    pub(super) fn begin(
        settings: SeatSettings,
        list: &[u8],
        old: Vec<OldShare>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, Refusal> {
        let SeatSettings { network, place, group, disputes } = settings;
        let slots = Slot::all(group.code.n).zip(&group.holders);
        let members = slots.map(|(slot, holder)| Member { slot, node: holder.node }).collect();
        let attempt = Attempt::new(network, place, members, list);
        let objects = old.iter().map(|old| (old.object, old.salt)).collect();
        let salts: Vec<[u8; 32]> = old.iter().map(|old| old.salt).collect();
        let old: Vec<Share> = old.into_iter().map(|old| old.share).collect();
        let mut seat = Self {
            attempt,
            key: group.key,
            disputes,
            objects,
            old,
            dealer: None,
            round: Round::Over,
            answered: None,
            root: None,
            dealers_excluded: BTreeMap::new(),
            receivers_faulty: BTreeMap::new(),
            left_out: Vec::new(),
        };
        if salts.is_empty() {
            return Ok(seat);
        }
        let live = group.key.slots().collect();
        let terms = Terms::refresh(group.key, place.epoch, live, salts)
            .map_err(|error| invalid(&error.to_string()))?;
        let round = DealingRound::new(terms.clone(), place.slot);
        let mut round = round.ok_or_else(|| invalid("no such slot"))?;
        if terms.dealers().contains(&place.slot) {
            let dealer = Dealer::of_zero(&terms, place.slot, rng)
                .map_err(|error| invalid(&error.to_string()))?;
            let own = dealer.rows().find(|(slot, _)| *slot == place.slot);
            own.into_iter().for_each(|(slot, rows)| round.handle_rows(slot, rows.clone()));
            seat.dealer = Some(dealer);
        }
        seat.round = Round::Dealing(round);
        Ok(seat)
    }

    /// Which attempt this is.
    pub fn place(&self) -> RefreshPlace {
        self.attempt.place
    }

    /// What this dealer has to send to each other holder, over a connection that ends there.
    pub(super) fn rows(&self) -> Vec<(Member, Bytes)> {
        let own = self.attempt.place.slot;
        let rows = self.dealer.iter().flat_map(|dealer| dealer.rows());
        rows.filter(|(slot, _)| *slot != own)
            .filter_map(|(slot, rows)| {
                let member = *self.attempt.members.get(slot.index())?;
                Some((member, canonical::encode(rows).into()))
            })
            .collect()
    }

    /// Takes the rows that the holder of `dealer` sent.
    pub(super) fn handle_rows(&mut self, dealer: Slot, rows: &[u8]) -> Result<(), Refusal> {
        let rows: DealtRows = canonical::decode(rows, BODY_LEN_MAX)
            .map_err(|_| invalid("these are not the rows of a dealer"))?;
        match &mut self.round {
            Round::Dealing(round) => {
                round.handle_rows(dealer, rows);
                Ok(())
            }
            _ => Err(invalid("nothing is dealt here now")),
        }
    }

    /// Takes a request of the lead. The ledger's `group` tells what was fixed, and the beacon.
    pub(super) fn handle_step(
        &mut self,
        stage: RefreshStage,
        body: &[u8],
        group: &Group,
        key: &SigningKey,
    ) -> Result<SeatStep, Refusal> {
        let digest = *blake3::hash(body).as_bytes();
        if let Some((answered, to, reply)) = &self.answered
            && (*answered, *to) == (stage, digest)
        {
            if stage == RefreshStage::Sign && reply.is_empty() {
                return Err(later("the new shares are being made durable"));
            }
            return Ok(SeatStep::Reply(reply.clone()));
        }
        if let Some(batch) = self.advance(stage, body, group)? {
            let step = match batch {
                Advanced::Posted(post) => {
                    let step = self.attempt.step(self.attempt.place.slot, stage);
                    let Attempt { network, transcript, .. } = &self.attempt;
                    let post = SignedPost::sign(network, &step, transcript, post, key);
                    self.remember((stage, digest), canonical::encode(&post).into())
                }
                Advanced::Renewed(batch) => {
                    self.root = Some(batch.root);
                    self.answered = Some((stage, digest, Bytes::new()));
                    SeatStep::Keep(batch)
                }
            };
            return Ok(step);
        }
        // Begin: an empty batch is done with everybody's word that nothing is due.
        let reply = if self.objects.is_empty() { self.statement(key) } else { Bytes::new() };
        Ok(self.remember((stage, digest), reply))
    }

    /// The word that the new shares are durable; call it only when they are.
    pub(super) fn sign(&mut self, key: &SigningKey) -> Bytes {
        let signature = self.statement(key);
        if let Some((RefreshStage::Sign, _, reply)) = &mut self.answered {
            *reply = signature.clone();
        }
        signature
    }

    /// Dealers whose sharings were not used, and receivers that contradict the others, once the new shares are there.
    pub fn faults(&self) -> (&BTreeMap<Slot, DealerFault>, &BTreeMap<Slot, ReceiverFault>) {
        (&self.dealers_excluded, &self.receivers_faulty)
    }

    /// Objects that keep their old shares, which do not fit together: their writer lied.
    pub fn left_out(&self) -> &[ObjectId] {
        &self.left_out
    }

    fn statement(&self, key: &SigningKey) -> Bytes {
        let RefreshPlace { group, epoch, attempt, .. } = self.attempt.place;
        let (network, root) = (&self.attempt.network, self.root);
        let signature = RefreshStatement { network, group, epoch, attempt, root }.sign(key);
        canonical::encode(&RefreshWord { root, signature }).into()
    }

    fn remember(&mut self, (stage, digest): (RefreshStage, [u8; 32]), reply: Bytes) -> SeatStep {
        self.answered = Some((stage, digest, reply.clone()));
        SeatStep::Reply(reply)
    }

    /// Does what a stage asks for, from the posts of the one before; nothing changes on an error.
    fn advance(
        &mut self,
        stage: RefreshStage,
        body: &[u8],
        group: &Group,
    ) -> Result<Option<Advanced>, Refusal> {
        let posts = match before(stage) {
            Some(before) => {
                let posts = self.attempt.read_bundle(before, body);
                posts
                    .ok_or_else(|| invalid("these are not the posts of all in the stage before"))?
            }
            None => Vec::new(),
        };
        self.check_order(stage)?;
        if stage == RefreshStage::Check {
            return self.check(&posts, body, group).map(Some);
        }
        if let Some(before) = before(stage) {
            self.attempt.absorb(before, body);
        }
        match (stage, std::mem::replace(&mut self.round, Round::Over)) {
            (RefreshStage::Deal, round) => {
                self.round = round;
                let post = self.dealer.as_ref().map(|dealer| canonical::encode(dealer.post()));
                Ok(Some(Advanced::Posted(post.unwrap_or_default())))
            }
            (RefreshStage::Complain, Round::Dealing(mut round)) => {
                each(&posts, |slot, post: DealerPost| round.handle_post(slot, post));
                let (complaint, next) = round.close();
                self.round = Round::Complaining(next);
                Ok(Some(Advanced::Posted(canonical::encode(&complaint))))
            }
            (RefreshStage::Answer, Round::Complaining(mut round)) => {
                each(&posts, |slot, complaint: Complaint| {
                    if let Some(dealer) = &mut self.dealer {
                        dealer.handle_complaint(slot, &complaint);
                    }
                    round.handle_complaint(slot, complaint);
                });
                self.round = Round::Answering(round.close());
                // Whoever dealt holds the rows of all until here.
                let answer = self.dealer.take().map(|dealer| canonical::encode(&dealer.answer()));
                Ok(Some(Advanced::Posted(answer.unwrap_or_default())))
            }
            (RefreshStage::Vouch, Round::Checking(mut round)) => {
                each(&posts, |slot, values: CheckValues| round.handle_values(slot, values));
                let closed = round.close(&self.old);
                let (leaves, next) = closed.map_err(|error| invalid(&error.to_string()))?;
                self.round = Round::Vouching(next);
                Ok(Some(Advanced::Posted(canonical::encode(&leaves))))
            }
            (RefreshStage::Sign, Round::Vouching(mut round)) => {
                each(&posts, |slot, leaves: Leaves| round.handle_leaves(slot, leaves));
                let batch = self.renewed(round.close(self.disputes))?;
                Ok(Some(Advanced::Renewed(Box::new(batch))))
            }
            (_, round) => {
                self.round = round;
                Ok(None)
            }
        }
    }

    /// Whether the stage is the one that comes.
    fn check_order(&self, stage: RefreshStage) -> Result<(), Refusal> {
        let last = self.answered.as_ref().map(|(stage, ..)| *stage);
        let in_order = match stage {
            RefreshStage::Begin => last.is_none(),
            _ => last.and_then(after) == Some(stage),
        };
        if in_order { Ok(()) } else { Err(invalid("another stage of this refresh comes next")) }
    }

    /// The beacon must have come after all that was dealt was fixed.
    fn check(
        &mut self,
        posts: &[SignedPost],
        body: &[u8],
        group: &Group,
    ) -> Result<Advanced, Refusal> {
        let mut attempt = self.attempt.clone();
        attempt.absorb(RefreshStage::Answer, body);
        let running = group.refreshes.as_ref().and_then(|refreshes| refreshes.running);
        let running = running.filter(|running| running.attempt == attempt.place.attempt);
        let Some(beacon) = running.and_then(|running| running.beacon) else {
            return Err(later("the ledger has no beacon for this refresh yet"));
        };
        if running.and_then(|running| running.transcript) != Some(attempt.transcript) {
            return Err(invalid("these are not the posts that the ledger has fixed"));
        }
        let Round::Answering(mut round) = std::mem::replace(&mut self.round, Round::Over) else {
            return Err(invalid("nothing was dealt here"));
        };
        self.attempt = attempt;
        each(posts, |slot, answer: Answer| round.handle_answer(slot, answer));
        let (values, next) = round.close(&beacon);
        self.round = Round::Checking(next);
        Ok(Advanced::Posted(canonical::encode(&values)))
    }

    fn renewed(&mut self, renewed: Renewed) -> Result<RenewedBatch, Refusal> {
        let Renewed { objects, liars_borne, dealers_excluded, receivers_faulty } = renewed;
        (self.dealers_excluded, self.receivers_faulty) = (dealers_excluded, receivers_faulty);
        let listed = self.objects.iter().map(|(object, _)| *object);
        let (mut kept, mut rows) = (Vec::new(), Vec::new());
        for (object, renewed) in listed.zip(objects) {
            match &renewed {
                Some(renewed) => kept.push((object, renewed.share.clone())),
                None => self.left_out.push(object),
            }
            rows.push(renewed.map(|renewed| (renewed.rows, renewed.coverage)));
        }
        // Where no liar is borne one could have all objects left out, and call that refreshed.
        if liars_borne == 0 && leaves_out_too_many(kept.len(), self.objects.len()) {
            return Err(invalid("the shares of too many objects do not fit together"));
        }
        let of = (self.key, self.attempt.place.epoch);
        let (root, rows) = RenewedRows::batch(of, &self.objects, rows);
        let shares = kept.into_iter().zip(rows.into_iter().flatten());
        let shares = shares.map(|((object, share), rows)| (object, share, rows)).collect();
        Ok(RenewedBatch { root, shares })
    }
}

enum Advanced {
    Posted(Vec<u8>),
    Renewed(Box<RenewedBatch>),
}

/// Hands on every post that is one; others count as not posted.
fn each<T>(posts: &[SignedPost], mut take: impl FnMut(Slot, T))
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    for post in posts {
        if let Ok(read) = canonical::decode(&post.post, BODY_LEN_MAX) {
            take(post.slot, read);
        }
    }
}
