//! Which shares an identity node wants and which it can forget: a pure function of what the others
//! list. `engine/spec/identity.md` §7.

use std::collections::{BTreeMap, BTreeSet};

use super::deposit::{Sharing, SharingId};
use super::renewal::Renewal;
use super::sharing::{IDENTITY_NODES_MAX, identity_threshold};
use crate::ledger::ValidatorSet;
use crate::names::NodeId;

/// Keys are shared again after this many blocks.
pub const EPOCH_HEIGHTS: u64 = 100_000;

/// The epoch at a height.
pub fn identity_epoch(height: u64) -> u64 {
    height / EPOCH_HEIGHTS
}

/// The identity nodes among the validators: all of them, or the first by their names.
pub fn identity_nodes(validators: &ValidatorSet) -> Vec<NodeId> {
    validators.0.keys().take(IDENTITY_NODES_MAX).copied().collect()
}

/// What the identity nodes are to hold.
#[derive(Clone, Debug)]
pub struct RenewalTarget {
    /// The handle's hash.
    pub handle: [u8; 32],
    /// The identity's version on the ledger.
    pub version: u64,
    /// The epoch.
    pub epoch: u64,
    /// The identity nodes, ascending.
    pub holders: Vec<NodeId>,
}

/// What one node is to do for one handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalPlan {
    /// Sharings on the target of which so many hold a share that older ones are not needed.
    pub settled: BTreeSet<SharingId>,
    /// What to ask for, in this order, until one is dealt. Empty if the node has what it wants.
    pub wanted: Vec<Renewal>,
}

impl RenewalTarget {
    /// What `own` is to do, given what each node lists, itself among them.
    ///
    /// Nobody decides who deals: every node tries the same dealers in the same order, and first what
    /// another has got already. Where they still differ, several sharings of the key live side by
    /// side, each good by itself, until one is held by all but a third.
    pub fn plan(&self, own: &NodeId, listed: &BTreeMap<NodeId, Vec<Sharing>>) -> RenewalPlan {
        let mut held: BTreeMap<&Sharing, Vec<NodeId>> = BTreeMap::new();
        for (node, sharings) in listed {
            let of_node = sharings.iter().filter(|sharing| self.is_possible(sharing, node));
            of_node.for_each(|sharing| held.entry(sharing).or_default().push(*node));
        }
        let has = |holders: &Vec<NodeId>| holders.contains(own);
        let (fresh, old): (Vec<_>, Vec<_>) =
            held.iter().partition(|(sharing, _)| self.is_fresh(sharing));
        let quorum = self.holders.len() - (self.holders.len() - 1) / 3;
        let settled: BTreeSet<SharingId> = fresh
            .iter()
            .filter(|(_, holders)| holders.len() >= quorum)
            .map(|(sharing, _)| sharing.id)
            .collect();
        let satisfied = fresh.iter().any(|(sharing, holders)| {
            has(holders) && (settled.is_empty() || settled.contains(&sharing.id))
        });
        let elsewhere = fresh.iter().any(|(_, holders)| !has(holders));
        let done = satisfied && (!settled.is_empty() || !elsewhere);
        if !self.holders.contains(own) || done {
            let wanted = if done { catching_up(own, &fresh, &settled) } else { Vec::new() };
            return RenewalPlan { settled, wanted };
        }
        let mut of_others: Vec<_> = fresh
            .iter()
            .filter(|(sharing, holders)| !has(holders) && !sharing.terms.dealers.is_empty())
            .collect();
        of_others.sort_by_key(|(_, holders)| std::cmp::Reverse(holders.len()));
        let mut wanted: Vec<Renewal> =
            of_others.into_iter().map(|(sharing, _)| sharing.terms.clone()).collect();
        if !satisfied {
            let mut sources = old;
            if !fresh.iter().any(|(_, holders)| has(holders)) {
                // It missed what the owner dealt; the others deal that again.
                sources.extend(fresh);
            }
            sources.sort_by_key(|(sharing, holders)| {
                std::cmp::Reverse((sharing.terms.epoch, holders.len(), sharing.id))
            });
            wanted
                .extend(sources.into_iter().flat_map(|(from, holders)| self.deals(from, holders)));
        }
        RenewalPlan { settled, wanted }
    }

    /// Whether the sharing can be one of this version, listed by one of its holders.
    fn is_possible(&self, sharing: &Sharing, node: &NodeId) -> bool {
        let terms = &sharing.terms;
        (terms.handle, terms.version) == (self.handle, self.version)
            && terms.is_well_formed()
            && terms.holders.contains(node)
    }

    /// Whether it is what the nodes are to hold.
    pub fn is_fresh(&self, sharing: &Sharing) -> bool {
        sharing.terms.epoch == self.epoch && sharing.terms.holders == self.holders
    }

    /// Every run of as many holders as it takes, in the order of their names.
    fn deals<'a>(
        &'a self,
        from: &'a Sharing,
        holders: &'a [NodeId],
    ) -> impl Iterator<Item = Renewal> + 'a {
        let takes = usize::from(from.terms.threshold);
        let starts = if holders.len() > takes { holders.len() } else { 1 };
        let starts = if holders.len() < takes { 0 } else { starts };
        (0..starts).map(move |start| {
            let mut dealers: Vec<NodeId> =
                holders.iter().cycle().skip(start).take(takes).copied().collect();
            dealers.sort_unstable();
            self.renewal(from.id, dealers)
        })
    }

    /// The renewal by these dealers.
    pub fn renewal(&self, from: SharingId, dealers: Vec<NodeId>) -> Renewal {
        let Self { handle, version, epoch, holders } = self.clone();
        let threshold = identity_threshold(holders.len());
        Renewal { handle, version, from, dealers, epoch, holders, threshold }
    }
}

/// What was dealt again for a node that has no share of any settled sharing, and is settled once
/// enough others have theirs. One such sharing is enough, and a liar gets no more.
fn catching_up(
    own: &NodeId,
    fresh: &[(&&Sharing, &Vec<NodeId>)],
    settled: &BTreeSet<SharingId>,
) -> Vec<Renewal> {
    let is_settled = |sharing: &Sharing| settled.contains(&sharing.id);
    if fresh.iter().filter(|(_, holders)| holders.contains(own)).count() > 1 {
        return Vec::new();
    }
    let left_out = |node: &NodeId| {
        !fresh.iter().any(|(sharing, holders)| is_settled(sharing) && holders.contains(node))
    };
    let wanted = fresh.iter().filter(|(sharing, holders)| {
        !is_settled(sharing) && !sharing.terms.dealers.is_empty() && holders.iter().any(left_out)
    });
    wanted.map(|(sharing, _)| sharing.terms.clone()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
mod tests {
    use super::*;

    fn nodes(numbers: &[u8]) -> Vec<NodeId> {
        numbers.iter().map(|number| NodeId([*number; 32])).collect()
    }

    fn target(holders: &[u8], epoch: u64) -> RenewalTarget {
        RenewalTarget { handle: [1; 32], version: 2, epoch, holders: nodes(holders) }
    }

    fn by_owner(holders: &[u8], epoch: u64) -> Sharing {
        Sharing::by_owner(Renewal::by_owner([1; 32], 2, epoch, nodes(holders)))
    }

    fn listed(lists: &[(u8, &[Sharing])]) -> BTreeMap<NodeId, Vec<Sharing>> {
        lists.iter().map(|(node, list)| (NodeId([*node; 32]), list.to_vec())).collect()
    }

    fn plan(target: &RenewalTarget, own: u8, lists: &[(u8, &[Sharing])]) -> RenewalPlan {
        target.plan(&NodeId([own; 32]), &listed(lists))
    }

    #[test]
    fn what_the_owner_dealt_is_left_alone() {
        let dealt = [by_owner(&[1, 2, 3, 4], 0)];
        let target = target(&[1, 2, 3, 4], 0);
        let lists: [(u8, &[Sharing]); 3] = [(1, &dealt), (2, &dealt), (3, &dealt)];
        let settled = BTreeSet::from([dealt[0].id]);
        let expected = RenewalPlan { settled, wanted: vec![] };
        assert_eq!(plan(&target, 1, &lists), expected);
        // With fewer nothing is settled, and nothing is wanted by who has it.
        assert_eq!(plan(&target, 1, &lists[..2]).settled.len(), 0);
        assert_eq!(plan(&target, 1, &lists[..2]).wanted, []);
    }

    #[test]
    fn a_new_set_is_dealt_to_by_each_run_of_dealers() {
        let dealt = [by_owner(&[1, 2, 3], 0)];
        let target = target(&[2, 3, 4], 0);
        let lists: [(u8, &[Sharing]); 3] = [(1, &dealt), (2, &dealt), (3, &dealt)];
        let plan = plan(&target, 4, &lists);
        let dealers: Vec<_> = plan.wanted.iter().map(|wanted| wanted.dealers.clone()).collect();
        assert_eq!(dealers, [nodes(&[1, 2]), nodes(&[2, 3]), nodes(&[1, 3])]);
        assert!(plan.wanted.iter().all(|wanted| wanted.is_well_formed() && wanted.threshold == 2));
        assert!(plan.settled.is_empty());
        // Who left wants nothing.
        assert_eq!(super::tests::plan(&target, 1, &lists).wanted, []);
    }

    #[test]
    fn too_few_dealers_deal_nothing() {
        let dealt = [by_owner(&[1, 2, 3], 0)];
        let lists: [(u8, &[Sharing]); 1] = [(1, &dealt)];
        assert_eq!(plan(&target(&[1, 2, 3], 1), 1, &lists).wanted, []);
    }

    #[test]
    fn what_another_has_got_is_asked_for_first() {
        let old = by_owner(&[1, 2, 3], 0);
        let target = target(&[1, 2, 3], 1);
        let terms = target.renewal(old.id, nodes(&[2, 3]));
        let renewed = Sharing { id: SharingId([9; 32]), terms: terms.clone() };
        let both = [old.clone(), renewed.clone()];
        let only_old = [old];
        let lists: [(u8, &[Sharing]); 3] = [(1, &only_old), (2, &both), (3, &both)];
        assert_eq!(plan(&target, 1, &lists).wanted[0], terms);
        // All three hold it: settled, whatever else there is.
        let lists: [(u8, &[Sharing]); 3] = [(1, &both), (2, &both), (3, &both)];
        let plan = plan(&target, 1, &lists);
        assert_eq!(plan, RenewalPlan { settled: BTreeSet::from([renewed.id]), wanted: vec![] });
    }

    #[test]
    fn who_missed_what_the_owner_dealt_gets_its_share_of_another_sharing() {
        let (dealt, nothing) = ([by_owner(&[1, 2, 3, 4], 0)], []);
        let target = target(&[1, 2, 3, 4], 0);
        let lists: [(u8, &[Sharing]); 4] = [(1, &dealt), (2, &dealt), (3, &dealt), (4, &nothing)];
        let wanted = plan(&target, 4, &lists).wanted;
        assert_eq!(wanted, [target.renewal(dealt[0].id, nodes(&[1, 2, 3]))]);
        assert_eq!(plan(&target, 1, &lists).wanted, []);
        // It has got that: the others take theirs, until enough have it, and it waits.
        let again = Sharing { id: SharingId([9; 32]), terms: wanted[0].clone() };
        let (only, both) = ([again.clone()], [dealt[0].clone(), again.clone()]);
        let lists: [(u8, &[Sharing]); 4] = [(1, &both), (2, &dealt), (3, &dealt), (4, &only)];
        assert_eq!(plan(&target, 4, &lists).wanted, []);
        assert_eq!(plan(&target, 2, &lists).wanted, std::slice::from_ref(&again.terms));
        let lists: [(u8, &[Sharing]); 4] = [(1, &both), (2, &both), (3, &dealt), (4, &only)];
        let settled = BTreeSet::from([dealt[0].id, again.id]);
        for own in 1..=4 {
            let expected = RenewalPlan { settled: settled.clone(), wanted: vec![] };
            assert_eq!(plan(&target, own, &lists), expected);
        }
        // Who asks for more and more sharings gets one.
        let third = target.renewal(dealt[0].id, nodes(&[2, 3, 4]));
        let third = [Sharing { id: SharingId([8; 32]), terms: third }];
        let lists: [(u8, &[Sharing]); 4] = [(1, &both), (2, &both), (3, &both), (4, &third)];
        assert_eq!(plan(&target, 1, &lists).wanted, []);
    }

    #[test]
    fn sharings_of_other_versions_and_of_strangers_do_not_count() {
        let mut other = by_owner(&[1, 2, 3], 0);
        other.terms.version = 1;
        let others = [other];
        let stranger = [by_owner(&[2, 3], 0)];
        let lists: [(u8, &[Sharing]); 2] = [(1, &stranger), (2, &others)];
        let plan = plan(&target(&[1, 2, 3], 0), 1, &lists);
        assert_eq!(plan, RenewalPlan { settled: BTreeSet::new(), wanted: vec![] });
    }
}
