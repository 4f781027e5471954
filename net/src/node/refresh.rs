//! Takes part in refreshes of key shares, leads those whose turn it is, and makes the new shares the
//! ones that are read once the ledger has decided (`engine/spec/refresh.md`).

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::{Group, State};
use kakera_engine::names::{Epoch, GroupId, ObjectId, Slot};
use kakera_engine::object::Descriptor;
use kakera_engine::peer::refresh::{
    Fate, Lead, LeadError, OldShare, RenewedBatch, Seat, Shares, Turn, Turns, stale,
};
use kakera_engine::peer::{Answer, Ask, AskFailure, Member, RenewedPart, StoredPart};
use kakera_engine::policy::refresh::RefreshTimes;
use kakera_engine::wire::{
    ListedShare, Operation, PartReference, RefreshPlace, RefreshStage, RefreshStep, Refusal,
    Request, Response, Session, canonical,
};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use super::{Node, disk};
use crate::blocking::blocking;
use crate::clock::unix_milliseconds;
use crate::fabric::Incoming;
use crate::random::system_random;
use crate::store::disk::OsDisk;
use crate::store::parts::{BatchName, PartStore, ShareRecord};

/// The ledger is looked at no less often than this for refreshes that are due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Names the batch of shares that were rebuilt, not dealt: no attempt has this number.
const REBUILT: u32 = u32::MAX;
/// How often a receiver is tried to be given its rows, and the part of a round that this may take: less
/// than the lead waits for an answer (a quarter), though one of the receivers is gone.
const ROWS_TRIES: u32 = 2;
const ROWS_SHARE: u32 = 6;

impl Node {
    /// Looks after the key shares' epochs until dropped.
    pub(super) async fn keep_epochs(self: Arc<Self>, times: RefreshTimes) {
        let start = Instant::now();
        let mut turns = Turns::new(self.holder.id(), times);
        let mut views = self.ledger.views();
        let mut leading = JoinSet::new();
        loop {
            let view = views.take_newest();
            let (node, newest) = (Arc::clone(&self), Arc::clone(&view));
            blocking(move || {
                let mut seats = node.seats.lock().unwrap_or_else(PoisonError::into_inner);
                seats.handle_state(newest.state());
                drop(seats);
                decide_shares(&node.store, newest.state());
            })
            .await;
            // One at a time: each takes memory for all that its holders post.
            if leading.is_empty() {
                let (now, unix) = (start.elapsed(), unix_milliseconds());
                for turn in turns.handle_state(now, unix, view.state()) {
                    leading.spawn(Arc::clone(&self).lead(turn, times));
                }
            }
            tokio::select! {
                biased;
                Some(ended) = leading.join_next() => if let Err(panic) = ended {
                    std::panic::resume_unwind(panic.into_panic());
                },
                Ok(()) = views.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Does what a lead asks for; a dealer sends its rows before it says that it dealt.
    pub(super) async fn go_on(self: &Arc<Self>, step: RefreshStep, body: Bytes) -> Answer {
        if step.stage == RefreshStage::Deal {
            self.deal(step.place).await;
        }
        let node = Arc::clone(self);
        let reply = blocking(move || {
            let view = node.ledger.view();
            let mut seats = node.seats.lock().unwrap_or_else(PoisonError::into_inner);
            let reply = seats.handle_step(
                view.state(),
                &step,
                &body,
                &NodeShares(&node),
                &mut system_random(),
            );
            if step.stage == RefreshStage::Sign
                && let Some(seat) = seats.get(&step.place)
            {
                warn_of(seat);
            }
            reply
        })
        .await;
        answer(reply.map(|body| Answer { response: Response::Refreshed, body }))
    }

    /// Takes what a dealer sent.
    pub(super) fn take_rows(&self, place: &RefreshPlace, dealer: Slot, rows: &[u8]) -> Answer {
        let mut seats = self.seats.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = seats.handle_rows(place, dealer, rows);
        answer(taken.map(|()| Answer::bare(Response::RowsTaken)))
    }

    /// The objects of a slot with the epochs of their shares.
    pub(super) fn list_shares(&self, group: GroupId, slot: Slot) -> Answer {
        let list = NodeShares(self).list(group, slot);
        Answer { response: Response::Shares, body: canonical::encode(&list).into() }
    }

    async fn deal(self: &Arc<Self>, place: RefreshPlace) {
        let rows = self.seats.lock().unwrap_or_else(PoisonError::into_inner).rows(&place);
        let mut sent = JoinSet::new();
        for (to, rows) in rows {
            let node = Arc::clone(self);
            sent.spawn(async move { node.send_rows(place, to, rows).await });
        }
        sent.join_all().await;
    }

    /// Whoever does not get its rows complains, so nothing is lost if this fails.
    async fn send_rows(&self, place: RefreshPlace, to: Member, rows: Bytes) {
        let (dealer, place) = (place.slot, RefreshPlace { slot: to.slot, ..place });
        let operation = Operation::Deal { place, dealer };
        for _ in 0..ROWS_TRIES {
            let timeout = self.refresh_round / (ROWS_SHARE * ROWS_TRIES);
            let asked = self.exchange.ask(to.node, &operation, rows.clone(), timeout, None);
            match asked.await {
                Ok(Answer { response: Response::RowsTaken, .. }) => return,
                Ok(_) => break,
                Err(_) => {}
            }
        }
        warn!(node = %to.node, group = %place.group, "it did not take its rows of a refresh");
    }

    async fn lead(self: Arc<Self>, turn: Turn, times: RefreshTimes) {
        let (group, epoch) = (turn.place.group, turn.place.epoch.0);
        match self.run_lead(turn, times).await {
            Ok(objects) => info!(%group, epoch, objects, "key shares refreshed"),
            Err(error) => warn!(%group, epoch, "key shares were not refreshed: {error}"),
        }
    }

    async fn run_lead(self: &Arc<Self>, turn: Turn, times: RefreshTimes) -> Result<u32, LeadError> {
        let start = Instant::now();
        let group = turn.place.group;
        let mut lead = Lead::new(self.network, turn, times, start.elapsed());
        let mut views = self.ledger.views();
        let mut asked = JoinSet::new();
        loop {
            let view = views.take_newest();
            if let Some(group) = view.state().group(group) {
                lead.handle_state(start.elapsed(), group);
            }
            if let Some(entry) = lead.poll_entry() {
                let heard = self.tell(entry).await;
                lead.handle_told(heard);
                continue;
            }
            if let Some(outcome) = lead.poll_outcome() {
                return outcome;
            }
            while let Some(ask) = lead.poll_ask(start.elapsed()) {
                let node = Arc::clone(self);
                asked.spawn(async move { (ask.id, node.ask_member(ask).await) });
            }
            let wake = lead.poll_timeout().saturating_sub(start.elapsed());
            tokio::select! {
                biased;
                Some(answered) = asked.join_next() => match answered {
                    Ok((id, answer)) => lead.handle_answer(start.elapsed(), id, answer),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                Ok(()) = views.changed() => {}
                () = tokio::time::sleep(wake.max(Duration::from_millis(1))) => {}
            }
        }
    }

    /// Asks another holder, or this node itself, which takes part like all others.
    async fn ask_member(self: &Arc<Self>, ask: Ask) -> Result<Answer, AskFailure> {
        let Ask { to, operation, body, timeout, .. } = ask;
        let own = self.holder.id();
        if to.node != own {
            return self.exchange.ask(to.node, &operation, body, timeout, None).await;
        }
        let exporter = [0; 32];
        let session = Session { network: self.network, author: own, receiver: own, exporter };
        let deadline = unix_milliseconds() + timeout.as_millis() as u64;
        let header = Request::encode(&operation, &session, deadline, None).into();
        Ok(self.answer(Incoming { peer: own, exporter, header, body }).await)
    }

    /// The shares of a slot that missed a refresh, as far as can be told here. Reads the header of every
    /// part, if any can have.
    pub(super) fn stale_shares(
        &self,
        seats: &Group,
        group: GroupId,
        slot: Slot,
    ) -> BTreeMap<ObjectId, Epoch> {
        stale(seats, slot, || NodeShares(self).list(group, slot))
    }

    /// Makes shares that were rebuilt the ones that are read; durable on return. An error is for people.
    pub(super) fn renew_shares(
        &self,
        (group, slot): (GroupId, Slot),
        parts: Vec<RenewedPart>,
    ) -> Result<(), String> {
        let state = self.ledger.view();
        let epochs = state.state().group(group).map(|group| group.epochs()).unwrap_or_default();
        let mut batches: BTreeMap<Epoch, BTreeMap<ObjectId, ShareRecord>> = BTreeMap::new();
        for RenewedPart { object, share, rows } in parts {
            let batch = batches.entry(rows.epoch).or_default();
            let share = disk::encode_share(share, Some(rows));
            batch.insert(object, ShareRecord { object, share });
        }
        let kept = NodeShares(self);
        for (epoch, mut batch) in batches {
            let root = *epochs.root(epoch).ok_or("the ledger has no root of their epoch")?;
            // One file has all shares of an epoch, those that were rebuilt before as well.
            for listed in kept.list(group, slot).iter().filter(|listed| listed.epoch == epoch) {
                let object = listed.object;
                let stored = kept.describe(&PartReference { group, slot, object });
                if let Some((_, StoredPart { share, renewed, .. })) = stored {
                    let share = disk::encode_share(share, renewed);
                    batch.entry(object).or_insert(ShareRecord { object, share });
                }
            }
            let name = BatchName { group, slot, epoch: epoch.0, attempt: REBUILT };
            let records: Vec<ShareRecord> = batch.into_values().collect();
            let kept = self.store.keep_shares(&name, &root, &records);
            kept.and_then(|()| self.store.use_shares(&name))
                .map_err(|error| format!("the rebuilt key shares cannot be kept: {error}"))?;
        }
        Ok(())
    }
}

/// Acts on what the ledger has decided of new shares that are kept here.
pub(super) fn decide_shares(store: &PartStore<OsDisk>, state: &State) {
    for (name, root) in store.undecided_shares() {
        let Some(group) = state.group(name.group) else { continue };
        let decided = match Fate::of(&place_of(&name), &root, group) {
            Fate::Open => continue,
            Fate::Used => store.use_shares(&name),
            Fate::Void => store.drop_shares(&name),
        };
        if let Err(error) = decided {
            warn!(?name, %error, "refreshed key shares cannot be put in place");
        }
    }
}

/// The key shares in the node's store.
struct NodeShares<'a>(&'a Node);

impl NodeShares<'_> {
    fn describe(&self, part: &PartReference) -> Option<(Descriptor, StoredPart)> {
        let stored = disk::describe(&self.0.store, part).ok().flatten()?;
        let descriptor = Descriptor::decode(&stored.object.descriptor).ok()?;
        Some((descriptor, stored))
    }
}

impl Shares for NodeShares<'_> {
    fn list(&self, group: GroupId, slot: Slot) -> Vec<ListedShare> {
        let listed = |object: ObjectId| {
            let (descriptor, stored) = self.describe(&PartReference { group, slot, object })?;
            Some(ListedShare { object, epoch: stored.epoch(&descriptor) })
        };
        let objects = self.0.store.objects(group, slot, None, usize::MAX);
        objects.into_iter().filter_map(listed).collect()
    }

    fn load(&self, part: &PartReference) -> Option<OldShare> {
        let (descriptor, stored) = self.describe(part)?;
        let (object, salt) = (part.object, descriptor.salt);
        stored.has_true_share(&descriptor).then_some(OldShare { object, salt, share: stored.share })
    }

    fn keep(&self, place: &RefreshPlace, batch: &RenewedBatch) -> Result<(), String> {
        let record = |(object, share, rows): &(ObjectId, _, _)| ShareRecord {
            object: *object,
            share: disk::encode_share(Clone::clone(share), Some(Clone::clone(rows))),
        };
        let records: Vec<ShareRecord> = batch.shares.iter().map(record).collect();
        let kept = self.0.store.keep_shares(&name_of(place), &batch.root, &records);
        kept.map_err(|error| format!("the new key shares cannot be kept: {error}"))
    }
}

fn name_of(place: &RefreshPlace) -> BatchName {
    let RefreshPlace { group, epoch, attempt, slot } = *place;
    BatchName { group, slot, epoch: epoch.0, attempt }
}

fn place_of(name: &BatchName) -> RefreshPlace {
    let BatchName { group, slot, epoch, attempt } = *name;
    RefreshPlace { group, epoch: Epoch(epoch), attempt, slot }
}

fn answer(outcome: Result<Answer, Refusal>) -> Answer {
    outcome.unwrap_or_else(|refusal| Answer::bare(Response::Refused(refusal)))
}

fn warn_of(seat: &Seat) {
    let (dealers, receivers) = seat.faults();
    for (slot, fault) in dealers {
        warn!(%slot, "a dealer of a refresh was left out: it {fault}");
    }
    for (slot, fault) in receivers {
        warn!(%slot, "a holder is at odds with the others of a refresh: it {fault}");
    }
    for object in seat.left_out() {
        warn!(%object, "not refreshed: its writer stored key shares that do not fit together");
    }
}
