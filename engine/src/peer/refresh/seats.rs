//! All refreshes that one node takes part in.

use std::collections::BTreeMap;

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use rand_core::CryptoRng;

use super::seat::{OldShare, RenewedBatch, Seat, SeatSettings, SeatStep};
use super::{cycle, invalid, later};
use crate::keyshare::renewal::Disputes;
use crate::ledger::{Group, State};
use crate::names::{GroupId, NetworkId, Slot};
use crate::peer::Member;
use crate::wire::{ListedShare, PartReference, RefreshPlace, RefreshStage, RefreshStep, Refusal};

/// The key shares that a node keeps.
pub trait Shares {
    /// The objects of a slot with the epochs of their shares, ascending by object.
    fn list(&self, group: GroupId, slot: Slot) -> Vec<ListedShare>;

    /// A share, if it is here and matches its row.
    fn load(&self, part: &PartReference) -> Option<OldShare>;

    /// Makes a batch durable beside the old shares; they stay what readers and helpers get until the
    /// ledger has the batch's root. An error is for people.
    fn keep(&self, place: &RefreshPlace, batch: &RenewedBatch) -> Result<(), String>;
}

/// What becomes of a batch that is kept beside the old shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The ledger has not decided.
    Open,
    /// It takes the place of the old shares.
    Used,
    /// It never will: it is erased.
    Void,
}

impl Fate {
    /// Of a batch of this attempt with this root, in a group as the ledger has it.
    pub fn of(place: &RefreshPlace, root: &[u8; 32], group: &Group) -> Self {
        if group.epochs().root(place.epoch) == Some(root) {
            return Self::Used;
        }
        let running = group.refreshes.as_ref().and_then(|refreshes| refreshes.running);
        let replaced = running.is_some_and(|running| running.attempt > place.attempt);
        if group.epoch >= place.epoch || replaced { Self::Void } else { Self::Open }
    }
}

/// The refreshes that a node takes part in, one a group.
pub struct Seats {
    network: NetworkId,
    key: SigningKey,
    seats: BTreeMap<GroupId, Seat>,
}

impl Seats {
    /// None.
    pub fn new(network: NetworkId, key: SigningKey) -> Self {
        Self { network, key, seats: BTreeMap::new() }
    }

    /// Takes the state of the newest block: forgets refreshes that it has decided, and with them shares
    /// that were replaced. What an undecided one has in memory grows with the objects of its batch.
    pub fn handle_state(&mut self, state: &State) {
        self.seats.retain(|id, seat| {
            state.group(*id).is_some_and(|group| group.epoch < seat.place().epoch)
        });
    }

    /// Takes an authorised request of a lead; gives the body of the reply. Before it passes on a
    /// request to deal, the caller sends [`Seats::rows`].
    pub fn handle_step(
        &mut self,
        state: &State,
        step: &RefreshStep,
        body: &[u8],
        shares: &impl Shares,
        rng: &mut impl CryptoRng,
    ) -> Result<Bytes, Refusal> {
        let RefreshStep { place, stage } = *step;
        let group = state.group(place.group).ok_or_else(|| later("there is no such group yet"))?;
        let known = self.seats.get(&place.group).is_some_and(|seat| seat.place() == place);
        if stage == RefreshStage::Begin && !known {
            let disputes = match state.version() >= OBJECT_DISPUTES_VERSION_MIN {
                true => Disputes::OfObject,
                false => Disputes::OfBatch,
            };
            let group = group.clone();
            let settings = SeatSettings { network: self.network, place, group, disputes };
            let seat = begin(settings, body, shares, rng)?;
            self.seats.insert(place.group, seat);
        }
        let key = self.key.clone();
        let seat = self.seat(&place)?;
        match seat.handle_step(stage, body, group, &key)? {
            SeatStep::Reply(reply) => Ok(reply),
            SeatStep::Keep(batch) => {
                shares.keep(&place, &batch).map_err(|error| invalid(&error))?;
                Ok(seat.sign(&key))
            }
        }
    }

    /// What a dealer has to send to each other holder.
    pub fn rows(&self, place: &RefreshPlace) -> Vec<(Member, Bytes)> {
        let seat = self.seats.get(&place.group).filter(|seat| seat.place() == *place);
        seat.map_or_else(Vec::new, Seat::rows)
    }

    /// Takes the rows that the holder of `dealer` sent.
    pub fn handle_rows(
        &mut self,
        place: &RefreshPlace,
        dealer: Slot,
        rows: &[u8],
    ) -> Result<(), Refusal> {
        self.seat(place)?.handle_rows(dealer, rows)
    }

    /// The seat of an attempt, for what it found out.
    pub fn get(&self, place: &RefreshPlace) -> Option<&Seat> {
        self.seats.get(&place.group).filter(|seat| seat.place() == *place)
    }

    fn seat(&mut self, place: &RefreshPlace) -> Result<&mut Seat, Refusal> {
        let seat = self.seats.get_mut(&place.group).filter(|seat| seat.place() == *place);
        seat.ok_or_else(|| invalid("this refresh did not begin here"))
    }
}

fn begin(
    settings: SeatSettings,
    list: &[u8],
    shares: &impl Shares,
    rng: &mut impl CryptoRng,
) -> Result<Seat, Refusal> {
    let RefreshPlace { group, slot, .. } = settings.place;
    let mut eligible = shares.list(group, slot);
    eligible.retain(|share| share.epoch < cycle(&settings.group));
    let listed = Seat::check_list(&settings, list, &eligible)?;
    let load =
        |share: &ListedShare| shares.load(&PartReference { group, slot, object: share.object });
    let old: Option<Vec<OldShare>> = listed.iter().map(load).collect();
    let old = old.ok_or_else(|| later("a key share kept here is damaged"))?;
    Seat::begin(settings, list, old, rng)
}

/// The version of the rules under which a dispute about one object leaves the others alone.
const OBJECT_DISPUTES_VERSION_MIN: u32 = 10;
