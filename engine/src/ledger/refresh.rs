//! What the ledger says of refreshes: which batch is under way, that all dealt for it is fixed, and
//! that all holders have their new shares (`engine/spec/refresh.md`).

use ed25519_dalek::SigningKey;
use minicbor::{Decode, Encode};

use super::entry_error::EntryError;
use super::optional_digest;
use super::registry::{EPOCH_ROOTS_MAX, EpochRoot, Group, Refreshes, RunningRefresh, StateKey};
use super::rules::allow;
use super::state::{ABSENCE, REFRESH, State};
use crate::names::{Epoch, GroupId, NetworkId, NodeId, Slot};
use crate::policy::refresh::{absent_max, leader, objects_max};
use crate::signature::Signature;

/// An attempt at a group's next epoch begins. By the holder whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RefreshBegin {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// One more than the group's.
    #[n(1)]
    pub epoch: Epoch,
    /// Above those of this epoch that began.
    #[n(2)]
    pub attempt: u32,
    /// Objects of the batch; as many as fit, or all that are left.
    #[n(3)]
    pub objects: u32,
    /// What their list hashes to.
    #[cbor(n(4), with = "minicbor::bytes")]
    pub list: [u8; 32],
}

/// All posts up to the dealers' answers are fixed. By the holder that began the attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RefreshSeal {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// The epoch.
    #[n(1)]
    pub epoch: Epoch,
    /// The attempt.
    #[n(2)]
    pub attempt: u32,
    /// What the posts hash to.
    #[cbor(n(3), with = "minicbor::bytes")]
    pub transcript: [u8; 32],
}

/// The holders of the group have their new shares on disk, all or all but few. By the holder that began
/// the attempt.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RefreshEnd {
    /// The group.
    #[n(0)]
    pub group: GroupId,
    /// The epoch.
    #[n(1)]
    pub epoch: Epoch,
    /// The attempt.
    #[n(2)]
    pub attempt: u32,
    /// Commits to the new shares of all objects of the batch; none if it has no objects.
    #[cbor(n(3), with = "optional_digest", has_nil)]
    pub root: Option<[u8; 32]>,
    /// Of the [`RefreshStatement`], by the holders of all slots but the absent ones, in their order.
    #[n(4)]
    pub signatures: Vec<Signature>,
    /// Slots whose holders did not take part to the end, ascending, if there are any: their shares are
    /// good no more, and they rebuild them. Rules version 6.
    #[n(5)]
    pub absent: Option<Vec<Slot>>,
}

impl RefreshEnd {
    fn is_absent(&self, slot: Slot) -> bool {
        self.absent.iter().flatten().any(|absent| *absent == slot)
    }
}

/// What every holder signs once its new shares are durable.
pub struct RefreshStatement<'a> {
    /// The network.
    pub network: &'a NetworkId,
    /// The group.
    pub group: GroupId,
    /// The epoch.
    pub epoch: Epoch,
    /// The attempt.
    pub attempt: u32,
    /// The root of the new shares.
    pub root: Option<[u8; 32]>,
}

const STATEMENT_LABEL: &str = "refreshed";

impl RefreshStatement<'_> {
    /// Signed by a holder.
    pub fn sign(&self, holder: &SigningKey) -> Signature {
        let (place, root) = self.parts();
        Signature::sign(holder, STATEMENT_LABEL, &[self.network.as_bytes(), &place, root])
    }

    /// Whether `holder` signed it.
    pub fn verify(&self, holder: &NodeId, signature: &Signature) -> bool {
        let (place, root) = self.parts();
        signature.verifies(&holder.0, STATEMENT_LABEL, &[self.network.as_bytes(), &place, root])
    }

    fn parts(&self) -> ([u8; 16], &[u8]) {
        let mut place = [0; 16];
        place[..4].copy_from_slice(&self.group.0.to_be_bytes());
        place[4..12].copy_from_slice(&self.epoch.0.to_be_bytes());
        place[12..].copy_from_slice(&self.attempt.to_be_bytes());
        (place, self.root.as_ref().map_or(&[], |root| root))
    }
}

impl State {
    /// Before version 4 a kind unknown to all: skipped, and so are the next two.
    pub(super) fn begin_refresh(
        &mut self,
        author: &NodeId,
        begin: &RefreshBegin,
    ) -> Result<(), EntryError> {
        if self.version() < REFRESH {
            return Ok(());
        }
        let (mut group, mut refreshes) = self.refreshed(begin.group, begin.epoch)?;
        let turn = leader(begin.epoch, begin.attempt, group.code.n);
        let turn = turn.and_then(|slot| group.holder(slot));
        allow(turn.is_some_and(|holder| holder.node == *author), author)?;
        let (n, most) = (u32::from(group.code.n), objects_max(group.code.n));
        let first = refreshes.running.map_or(0, |running| running.attempt + 1);
        // A round of turns ahead at most: else one holder could use up all numbers.
        if begin.attempt.checked_sub(first).is_none_or(|ahead| ahead >= n)
            || begin.objects as usize > most
            || most == 0
        {
            return Err(EntryError::NoRefresh { group: begin.group, attempt: begin.attempt });
        }
        let RefreshBegin { attempt, objects, list, .. } = *begin;
        let (transcript, beacon) = (None, None);
        refreshes.running = Some(RunningRefresh { attempt, objects, list, transcript, beacon });
        group.refreshes = Some(refreshes);
        self.write_group(begin.group, group);
        Ok(())
    }

    pub(super) fn seal_refresh(
        &mut self,
        author: &NodeId,
        seal: &RefreshSeal,
    ) -> Result<(), EntryError> {
        if self.version() < REFRESH {
            return Ok(());
        }
        let (mut group, mut refreshes, mut running) =
            self.running(author, seal.group, seal.epoch, seal.attempt)?;
        if running.transcript.is_some() || running.objects == 0 {
            return Err(EntryError::NoRefresh { group: seal.group, attempt: seal.attempt });
        }
        running.transcript = Some(seal.transcript);
        refreshes.running = Some(running);
        group.refreshes = Some(refreshes);
        let mut sealed = self.sealed();
        if !sealed.contains(&seal.group) {
            sealed.push(seal.group);
        }
        self.write_group(seal.group, group);
        self.write(&StateKey::Sealed, &sealed);
        Ok(())
    }

    pub(super) fn end_refresh(
        &mut self,
        author: &NodeId,
        end: &RefreshEnd,
    ) -> Result<(), EntryError> {
        if self.version() < REFRESH {
            return Ok(());
        }
        let (mut group, mut refreshes, running) =
            self.running(author, end.group, end.epoch, end.attempt)?;
        let statement = RefreshStatement {
            network: &self.network,
            group: end.group,
            epoch: end.epoch,
            attempt: end.attempt,
            root: end.root,
        };
        let absent = end.absent.as_deref().unwrap_or(&[]);
        let few = absent.len() <= self.absent_max(&group)
            && end.absent.as_ref().is_none_or(|absent| !absent.is_empty())
            && absent.is_sorted_by(|one, other| one < other)
            && absent.iter().all(|slot| group.holder(*slot).is_some());
        let slots = Slot::all(group.code.n).zip(&group.holders);
        let signers: Vec<NodeId> = slots
            .filter(|(slot, _)| !end.is_absent(*slot))
            .map(|(_, holder)| holder.node)
            .collect();
        let signed = end.signatures.len() == signers.len()
            && (signers.iter().zip(&end.signatures))
                .all(|(holder, signature)| statement.verify(holder, signature));
        if !few
            || !signed
            || end.root.is_some() != (running.objects > 0)
            || end.root.is_some() && running.beacon.is_none()
        {
            return Err(EntryError::NoRefresh { group: end.group, attempt: end.attempt });
        }
        group.epoch = end.epoch;
        for slot in absent.iter().filter(|_| end.root.is_some()) {
            if let Some(holder) = group.holders.get_mut(slot.index()) {
                holder.filling = Some(true);
            }
        }
        if let Some(root) = end.root {
            group.root = root;
            refreshes.roots.push(EpochRoot { epoch: end.epoch, root });
            let surplus = refreshes.roots.len().saturating_sub(EPOCH_ROOTS_MAX);
            refreshes.roots.drain(..surplus);
        }
        refreshes.running = None;
        // A full batch has left some out, as far as anybody knows.
        if (running.objects as usize) < objects_max(group.code.n) {
            (refreshes.since, refreshes.cycle) = (self.time, Epoch(end.epoch.0 + 1));
            group.vacated.clear();
        }
        group.refreshes = Some(refreshes);
        self.write_group(end.group, group);
        Ok(())
    }

    /// How many holders a refresh may go on without.
    fn absent_max(&self, group: &Group) -> usize {
        if self.version() < ABSENCE { 0 } else { absent_max(group.key) }
    }

    /// The group's epochs are counted from here on.
    pub(super) fn begin_epochs(&self, group: &mut Group) {
        if self.version() >= REFRESH {
            group.refreshes = Some(Refreshes::new(group.epoch, self.time));
        }
    }

    /// Gives sealed refreshes the beacon that none of their dealers could foresee.
    pub(super) fn give_beacon(&mut self, beacon: &[u8; 32]) {
        let sealed = self.sealed();
        if sealed.is_empty() {
            return;
        }
        for id in sealed {
            if let Some(mut group) = self.group(id).cloned()
                && let Some(refreshes) = &mut group.refreshes
                && let Some(running) = &mut refreshes.running
                && running.transcript.is_some()
                && running.beacon.is_none()
            {
                running.beacon = Some(*beacon);
                self.write_group(id, group);
            }
        }
        self.write(&StateKey::Sealed, &Vec::<GroupId>::new());
    }

    pub(super) fn sealed(&self) -> Vec<GroupId> {
        self.read(&StateKey::Sealed).unwrap_or_default()
    }

    /// A group with holders whose next epoch is this one, and its refreshes.
    fn refreshed(&self, id: GroupId, epoch: Epoch) -> Result<(Group, Refreshes), EntryError> {
        let group = self.group(id).cloned().ok_or(EntryError::UnknownGroup(id))?;
        let expected = Epoch(group.epoch.0 + 1);
        if epoch != expected {
            return Err(EntryError::Epoch { expected, found: epoch });
        }
        let refreshes = group.refreshes.clone();
        // A group that was drawn under earlier rules: how old its shares are, nobody wrote down.
        let refreshes = refreshes.unwrap_or_else(|| Refreshes::new(group.epoch, 0));
        Ok((group, refreshes))
    }

    /// The attempt, if it is the one under way and the author began it.
    fn running(
        &self,
        author: &NodeId,
        id: GroupId,
        epoch: Epoch,
        attempt: u32,
    ) -> Result<(Group, Refreshes, RunningRefresh), EntryError> {
        let (group, refreshes) = self.refreshed(id, epoch)?;
        let running = refreshes.running.filter(|running| running.attempt == attempt);
        let running = running.ok_or(EntryError::NoRefresh { group: id, attempt })?;
        let turn = leader(epoch, attempt, group.code.n).and_then(|slot| group.holder(slot));
        allow(turn.is_some_and(|holder| holder.node == *author), author)?;
        Ok((group, refreshes, running))
    }
}
