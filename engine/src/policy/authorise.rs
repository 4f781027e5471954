//! Who may ask what (`crypto.md` §8). No request is answered without it.

use super::refresh::leader;
use crate::code::CodeParameters;
use crate::keyshare::KeyParameters;
use crate::ledger::{Group, State, StateKey, Validator};
use crate::names::{Epoch, GroupId, NodeId, Slot};
use crate::object::Descriptor;
use crate::wire::{Operation, RefreshPlace, RefreshStep, Refusal, RefusalKind, VerifiedRequest};

/// A view of the ledger older than this proves nothing about who holds a slot.
pub const VIEW_AGE_MAX_MS: u64 = 10 * 60 * 1000;

/// What the decision needs to know of the ledger.
pub trait LedgerView {
    /// Its state.
    fn state(&self) -> &State;
    /// When a validator last attested this view, in Unix milliseconds.
    fn attested_at(&self) -> u64;

    /// The current holder of a slot.
    fn holder(&self, group: GroupId, slot: Slot) -> Option<NodeId> {
        self.state().group(group)?.holder(slot).map(|holder| holder.node)
    }

    /// Whether the machine holds the slot, or left it in this epoch with a share that is still good.
    fn knows_share(&self, group: GroupId, slot: Slot, node: &NodeId) -> bool {
        let left = |group: &Group| {
            group.vacated.iter().any(|left| (left.slot, &left.node) == (slot, node))
        };
        self.holder(group, slot) == Some(*node) || self.state().group(group).is_some_and(left)
    }

    /// The epoch of a group's key shares.
    fn epoch(&self, group: GroupId) -> Option<Epoch> {
        self.state().group(group).map(|group| group.epoch)
    }

    /// The codes registered for a group.
    fn group_codes(&self, group: GroupId) -> Option<(CodeParameters, KeyParameters)> {
        self.state().group(group).map(|group| (group.code, group.key))
    }

    /// Whether the machine is of the validator set.
    fn is_validator(&self, node: &NodeId) -> bool {
        self.state().validators().contains(node)
    }

    /// Whether the machine is or was of the validator set.
    fn was_validator(&self, node: &NodeId) -> bool {
        self.is_validator(node) || self.state().validator(node) != Validator::default()
    }

    /// Whether the machine is enrolled at all.
    fn is_enrolled(&self, node: &NodeId) -> bool {
        self.state().is_enrolled(node)
    }

    /// How many bytes of parts one holder keeps for this submitter; `None` if it may not submit.
    fn submitter_quota(&self, node: &NodeId) -> Option<u64> {
        self.state().submitter_quota(node)
    }
}

/// Decides whether `receiver` answers `request` at `now` (Unix milliseconds).
///
/// `stored` is the descriptor of the object: for a store the one offered, for a read the one kept,
/// for its destruction the one of an order that its owner signed; `None` where the operation names no
/// object, it is not kept here or the order does not hold.
pub fn authorise(
    request: &VerifiedRequest,
    view: &impl LedgerView,
    receiver: &NodeId,
    stored: Option<&Descriptor>,
    now: u64,
) -> Result<(), Refusal> {
    if !(view.is_enrolled(&request.author)
        || is_open_to_former_validators(&request.operation) && view.was_validator(&request.author)
        || is_open_to_strangers(&request.operation))
    {
        return denied("this machine is not enrolled; ask the network's operator to enrol it");
    }
    match &request.operation {
        Operation::Store(store) => {
            require_fresh(view, now)?;
            let Some(descriptor) = stored else {
                return invalid("the descriptor is malformed or a signature for it does not hold");
            };
            let submitter = &store.object.authorisation.submitter;
            if *submitter != request.author || view.submitter_quota(submitter).is_none() {
                return denied("only an enrolled submitter may store, under its own signature");
            }
            if view.group_codes(descriptor.group) != Some((descriptor.code, descriptor.key)) {
                return invalid("the group is not registered with the object's codes");
            }
            require_holder(view, descriptor.group, store.share.slot(), receiver, "the receiver")
        }
        Operation::Read(_) => match (stored, request.capability) {
            (None, _) => Err(Refusal::new(RefusalKind::NotFound, "this object is not kept here")),
            (Some(descriptor), Some(key)) if key == descriptor.read_key => Ok(()),
            (Some(_), _) => denied("the object's read key must sign the request"),
        },
        Operation::Inventory(inventory) => {
            require_current_holder(request, view, inventory.group, inventory.lost, now)
        }
        Operation::Shred(shred) => {
            require_fresh(view, now)?;
            let Some(descriptor) = stored else {
                return denied("the object's write key must sign the order to destroy it");
            };
            let submitter = &shred.order.object.authorisation.submitter;
            if *submitter != request.author || view.submitter_quota(submitter).is_none() {
                return denied("only an enrolled submitter may have objects destroyed");
            }
            require_not_retained(descriptor, now)?;
            if view.knows_share(descriptor.group, shred.slot, receiver) {
                return Ok(());
            }
            denied(&format!("the receiver never held this slot of group {}", descriptor.group))
        }
        Operation::Orders(orders) => {
            require_current_holder(request, view, orders.group, orders.slot, now)
        }
        Operation::Symbols(symbols) => {
            require_current_holder(request, view, symbols.part.group, symbols.lost, now)
        }
        Operation::RenewedSymbols(symbols) | Operation::PairSymbols(symbols) => {
            require_current_holder(request, view, symbols.part.group, symbols.lost, now)
        }
        Operation::ListShares { group, slot } => {
            require_fresh(view, now)?;
            require_member(view, *group, &request.author)?;
            require_holder(view, *group, *slot, receiver, "the receiver")
        }
        Operation::Refresh(RefreshStep { place, .. }) => {
            require_fresh(view, now)?;
            require_turn(view, place, &request.author)?;
            require_holder(view, place.group, place.slot, receiver, "the receiver")
        }
        Operation::Deal { place, dealer } => {
            require_holder(view, place.group, place.slot, receiver, "the receiver")?;
            require_current_holder(request, view, place.group, *dealer, now)
        }
        Operation::Summary { group, lost, .. } => {
            require_current_holder(request, view, *group, *lost, now)
        }
        Operation::Audit(audit) => {
            require_current_holder(request, view, audit.part.group, audit.auditor, now)
        }
        Operation::Misfit { part, auditor } => {
            require_current_holder(request, view, part.group, *auditor, now)
        }
        Operation::Degraded(degraded) => {
            require_current_holder(request, view, degraded.part.group, degraded.lost, now)
        }
        Operation::Witness { part, lost } => {
            require_current_holder(request, view, part.group, *lost, now)
        }
        Operation::Repair { group, slot } => {
            require_fresh(view, now)?;
            if view.submitter_quota(&request.author).is_none() {
                return denied("only an enrolled submitter may ask for a repair");
            }
            require_holder(view, *group, *slot, receiver, "the receiver")
        }
        Operation::DealAgain(renewal) => {
            require_fresh(view, now)?;
            let receives = renewal.holders.contains(&request.author);
            if receives && view.is_validator(&request.author) {
                return Ok(());
            }
            denied("only identity nodes of the new set are dealt to")
        }
        Operation::Testify { .. } => {
            if view.is_validator(&request.author) {
                return Ok(());
            }
            denied("only validators ask for testimony")
        }
        Operation::Confer { .. } => {
            if view.is_validator(&request.author) {
                return Ok(());
            }
            denied("only validators confer; this machine is none as far as this validator knows")
        }
        Operation::Status
        | Operation::Submit(_)
        | Operation::Post(_)
        | Operation::Consult { .. }
        | Operation::Head { .. }
        | Operation::Prove(_)
        | Operation::Follow { .. }
        | Operation::SetChanges { .. }
        | Operation::Snapshot
        | Operation::SnapshotChunk { .. }
        // Who may deposit, confirm or recall is proved by the identity's key.
        | Operation::Deposit(_)
        | Operation::Evaluate { .. }
        | Operation::Confirm { .. }
        | Operation::Recall { .. }
        | Operation::Identities { .. } => Ok(()),
    }
}

/// What a validator may ask that others voted out and nobody enrolled as a machine: the chain, since
/// it may not know yet, and what it has shares of, to forget them once others hold newer ones.
fn is_open_to_former_validators(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Status
            | Operation::Follow { .. }
            | Operation::Consult { .. }
            | Operation::Prove(_)
            | Operation::Identities { .. }
    )
}

/// What a machine may ask that nobody enrolled: its user has a handle and a passphrase, and nothing
/// else yet. It gets to know an identity's record and the validators, and takes the identity's tries.
fn is_open_to_strangers(operation: &Operation) -> bool {
    let is_public = |key: &StateKey| {
        matches!(key, StateKey::Identity(_) | StateKey::Validator(_) | StateKey::Version)
    };
    match operation {
        Operation::Evaluate { .. }
        | Operation::Confirm { .. }
        | Operation::Recall { .. }
        | Operation::Head { .. }
        | Operation::SetChanges { .. } => true,
        Operation::Consult { keys, .. } | Operation::Prove(keys) => keys.iter().all(is_public),
        _ => false,
    }
}

/// The asker holds some slot of the group.
fn require_member(view: &impl LedgerView, group: GroupId, node: &NodeId) -> Result<(), Refusal> {
    if view.state().group(group).is_some_and(|group| group.slot_of(node).is_some()) {
        return Ok(());
    }
    denied(&format!("the asker holds no slot of group {group}"))
}

/// It is the asker's turn to lead this attempt.
fn require_turn(
    view: &impl LedgerView,
    place: &RefreshPlace,
    node: &NodeId,
) -> Result<(), Refusal> {
    let n = view.state().group(place.group).map_or(0, |group| group.code.n);
    let turn = leader(place.epoch, place.attempt, n);
    if turn.and_then(|slot| view.holder(place.group, slot)) == Some(*node) {
        return Ok(());
    }
    denied("it is not the asker's turn to lead this refresh")
}

fn require_current_holder(
    request: &VerifiedRequest,
    view: &impl LedgerView,
    group: GroupId,
    slot: Slot,
    now: u64,
) -> Result<(), Refusal> {
    require_fresh(view, now)?;
    require_holder(view, group, slot, &request.author, "the asker")
}

fn require_holder(
    view: &impl LedgerView,
    group: GroupId,
    slot: Slot,
    node: &NodeId,
    who: &str,
) -> Result<(), Refusal> {
    if view.holder(group, slot) == Some(*node) {
        return Ok(());
    }
    denied(&format!("{who} is not the current holder of slot {slot} of group {group}"))
}

/// An order that came to be known by whatever way is followed no sooner than this allows, `now` in
/// Unix milliseconds.
pub fn require_not_retained(descriptor: &Descriptor, now: u64) -> Result<(), Refusal> {
    match descriptor.retain_until {
        Some(until) if !descriptor.may_be_destroyed(now / 1000) => {
            denied(&format!("the object must be kept until {until} (Unix seconds)"))
        }
        _ => Ok(()),
    }
}

fn require_fresh(view: &impl LedgerView, now: u64) -> Result<(), Refusal> {
    if now.saturating_sub(view.attested_at()) <= VIEW_AGE_MAX_MS {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalKind::Unavailable,
        "this node has not heard from a validator for ten minutes; try again later",
    ))
}

fn denied(message: &str) -> Result<(), Refusal> {
    Err(Refusal::new(RefusalKind::Denied, message))
}

fn invalid(message: &str) -> Result<(), Refusal> {
    Err(Refusal::new(RefusalKind::Invalid, message))
}
