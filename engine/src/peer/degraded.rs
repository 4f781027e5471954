//! The key share when fewer than d, but k, helpers are left: all of k survivors send their addends
//! under pads that cancel (`keyshare.md` §8).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::Member;
use crate::keyshare::{
    Binding, DegradedHelp, DegradedRepairError, KeyParameters, RowHash, Share, repair_degraded,
};
use crate::names::Slot;

/// One attempt with one set of survivors, all of whom must answer.
pub(super) struct Degrading {
    survivors: BTreeMap<Slot, Member>,
    to_ask: VecDeque<Member>,
    helps: BTreeMap<Slot, DegradedHelp>,
}

impl Degrading {
    /// With the first k of these; `None` if there are fewer, or the code has no such repair.
    pub(super) fn new(key: KeyParameters, members: impl Iterator<Item = Member>) -> Option<Self> {
        let k = usize::from(key.k());
        let survivors: BTreeMap<Slot, Member> =
            members.take(k).map(|member| (member.slot, member)).collect();
        let to_ask = survivors.values().copied().collect();
        (key.d() > key.k() && survivors.len() == k).then_some(Self {
            survivors,
            to_ask,
            helps: BTreeMap::new(),
        })
    }

    /// The next survivor to ask.
    pub(super) fn poll_member(&mut self) -> Option<Member> {
        self.to_ask.pop_front()
    }

    /// The set that each of them must be told.
    pub(super) fn slots(&self) -> BTreeSet<Slot> {
        self.survivors.keys().copied().collect()
    }

    /// Takes what a survivor sent.
    pub(super) fn handle_help(&mut self, member: Member, help: DegradedHelp) {
        if self.survivors.contains_key(&member.slot) {
            self.helps.insert(member.slot, help);
        }
    }

    /// Whether all have answered.
    pub(super) fn is_complete(&self) -> bool {
        self.helps.len() == self.survivors.len()
    }

    /// The share of `lost`.
    pub(super) fn restore(
        &self,
        binding: &Binding<'_>,
        lost: Slot,
        rows: &[RowHash],
    ) -> Result<Share, DegradedRepairError> {
        let helps: Vec<DegradedHelp> = self.helps.values().cloned().collect();
        repair_degraded(binding, lost, &self.slots(), rows, &helps)
    }
}
