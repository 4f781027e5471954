//! The refresh of a group's key shares by its holders, over the network.
//!
//! [`Lead`] is the holder whose turn it is: it agrees with the others on the batch, carries what all
//! post from one stage to the next, and tells the ledger. [`Seat`] is what every holder runs, the
//! lead among them: it deals, checks and computes its new shares with [`keyshare::renewal`], and
//! believes the lead nothing. Every post is signed over all that went before, so that a lead who
//! tells two holders two things gets no further; what it leaves out counts as not posted.
//!
//! A batch is done when all have signed that their new shares are durable; then only the ledger moves
//! the group on, and nobody is left behind with shares of the epoch before. When that did not come
//! about for a round of turns, it goes on without few who are absent. The ledger names them, and they
//! rebuild their shares from those of the others (`engine/spec/refresh.md`).
//!
//! [`keyshare::renewal`]: crate::keyshare::renewal

mod lead;
mod seat;
mod seats;
mod turns;

pub use lead::{Lead, LeadError};
pub use seat::{OldShare, RenewedBatch, Seat};
pub use seats::{Fate, Seats, Shares};
pub use turns::{Turn, Turns};

use std::collections::BTreeMap;

use crate::hash::hash;
use crate::ledger::Group;
use crate::names::{Epoch, NetworkId, ObjectId, Slot};
use crate::peer::Member;
use crate::wire::{
    BODY_LEN_MAX, ListedShare, RefreshPlace, RefreshStage, RefreshStep, Refusal, RefusalKind,
    SignedPost, canonical,
};

/// What both sides know of an attempt.
#[derive(Clone, Debug)]
struct Attempt {
    network: NetworkId,
    /// The slot in it is the own one.
    place: RefreshPlace,
    /// The holders of all slots, in their order.
    members: Vec<Member>,
    /// Hashes all that was posted so far.
    transcript: [u8; 32],
}

impl Attempt {
    fn new(network: NetworkId, place: RefreshPlace, members: Vec<Member>, list: &[u8]) -> Self {
        let parts = [network.as_bytes(), list];
        Self { network, place, members, transcript: hash("refresh terms", &parts) }
    }

    /// The step of one slot.
    fn step(&self, slot: Slot, stage: RefreshStage) -> RefreshStep {
        RefreshStep { place: RefreshPlace { slot, ..self.place }, stage }
    }

    /// Whether the post is of this stage and of who it says.
    fn verifies(&self, stage: RefreshStage, post: &SignedPost) -> bool {
        let holder = self.members.get(post.slot.index());
        holder.is_some_and(|holder| {
            let step = self.step(post.slot, stage);
            post.verify(&self.network, &step, &self.transcript, &holder.node)
        })
    }

    /// All posts of a stage are known: the next stage goes on from here.
    fn absorb(&mut self, stage: RefreshStage, bundle: &[u8]) {
        self.transcript = hash("refresh round", &[&self.transcript, &[stage as u8], bundle]);
    }

    /// Reads what all posted in a stage: ascending by slot, each signed for this stage.
    fn read_bundle(&self, stage: RefreshStage, bundle: &[u8]) -> Option<Vec<SignedPost>> {
        let posts: Vec<SignedPost> = canonical::decode(bundle, BODY_LEN_MAX).ok()?;
        let sound = posts.is_sorted_by(|one, other| one.slot < other.slot)
            && posts.iter().all(|post| self.verifies(stage, post));
        sound.then_some(posts)
    }
}

/// The stage whose posts a request for this one carries.
fn before(stage: RefreshStage) -> Option<RefreshStage> {
    match stage {
        RefreshStage::Begin | RefreshStage::Deal => None,
        RefreshStage::Complain => Some(RefreshStage::Deal),
        RefreshStage::Answer => Some(RefreshStage::Complain),
        RefreshStage::Check => Some(RefreshStage::Answer),
        RefreshStage::Vouch => Some(RefreshStage::Check),
        RefreshStage::Sign => Some(RefreshStage::Vouch),
    }
}

fn after(stage: RefreshStage) -> Option<RefreshStage> {
    match stage {
        RefreshStage::Begin => Some(RefreshStage::Deal),
        RefreshStage::Deal => Some(RefreshStage::Complain),
        RefreshStage::Complain => Some(RefreshStage::Answer),
        RefreshStage::Answer => Some(RefreshStage::Check),
        RefreshStage::Check => Some(RefreshStage::Vouch),
        RefreshStage::Vouch => Some(RefreshStage::Sign),
        RefreshStage::Sign => None,
    }
}

/// Which of the shares that `list` gives of a slot may be out of date, with their epochs: those of
/// before the group's epoch, where the ledger says that the holder has to rebuild what belongs there.
/// Nothing is listed where none can be.
pub fn stale(
    group: &Group,
    slot: Slot,
    list: impl FnOnce() -> Vec<ListedShare>,
) -> BTreeMap<ObjectId, Epoch> {
    let rebuilds = group.holder(slot).is_some_and(|holder| holder.is_filling());
    if !rebuilds || group.epoch == Epoch(0) {
        return BTreeMap::new();
    }
    let older = list().into_iter().filter(|share| share.epoch < group.epoch);
    older.map(|share| (share.object, share.epoch)).collect()
}

/// The first epoch of the cycle that is under way or comes: shares of earlier epochs are due.
pub fn cycle(group: &Group) -> Epoch {
    let refreshes = group.refreshes.as_ref();
    refreshes.map_or(Epoch(group.epoch.0 + 1), |refreshes| refreshes.cycle)
}

fn invalid(message: &str) -> Refusal {
    Refusal::new(RefusalKind::Invalid, message)
}

fn later(message: &str) -> Refusal {
    Refusal::new(RefusalKind::Unavailable, message)
}
