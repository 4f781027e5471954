//! The ledger at one height, as requests are judged by it. Never changes; a newer one replaces it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use kakera_engine::code::CodeParameters;
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{Chain, Node, SignedHeader, Snapshot, State};
use kakera_engine::names::{GroupId, NodeId, Slot};
use kakera_engine::peer::Member;
use kakera_engine::policy::LedgerView;

/// The state after a block. Copies are cheap.
#[derive(Clone)]
pub struct ChainView {
    snapshot: Snapshot,
    earlier: Option<Snapshot>,
    milestones: Vec<Snapshot>,
    state: State,
    validators: Arc<BTreeMap<NodeId, SocketAddr>>,
    attested_at: u64,
}

impl ChainView {
    /// The view at the head of `chain`; `validators` is where they listen, `attested_at` when one
    /// of them last said that this is the head, in Unix milliseconds.
    pub fn new(
        chain: &Chain,
        validators: Arc<BTreeMap<NodeId, SocketAddr>>,
        attested_at: u64,
    ) -> Self {
        let (snapshot, state) = (Snapshot::of(chain), chain.state().clone());
        let milestones = chain.milestones().to_vec();
        Self { snapshot, earlier: None, milestones, state, validators, attested_at }
    }

    /// The view at the head of a longer chain, attested as before.
    pub fn at(&self, chain: &Chain) -> Self {
        let earlier = Some(self.snapshot.clone());
        Self { earlier, ..Self::new(chain, Arc::clone(&self.validators), self.attested_at) }
    }

    /// The same, attested at another time.
    pub fn attested(&self, attested_at: u64) -> Self {
        Self { attested_at, ..self.clone() }
    }

    /// The newest header and its certificate.
    pub fn head(&self) -> &SignedHeader {
        self.snapshot.base().head()
    }

    /// The chain after it, to be kept or given away.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The chain as the view before this one showed it, if there was one.
    pub fn earlier(&self) -> Option<&Snapshot> {
        self.earlier.as_ref()
    }

    /// The chain as it was at some heights before, as [`Chain::milestones`].
    pub fn milestones(&self) -> &[Snapshot] {
        &self.milestones
    }

    /// The state after it.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The height.
    pub fn height(&self) -> u64 {
        self.snapshot.height()
    }

    /// The holders of a group, in the order of its slots; none before they are drawn.
    pub fn members(&self, group: GroupId) -> Vec<Member> {
        self.state.group(group).map_or_else(Vec::new, |group| {
            let seats = Slot::all(group.code.n).zip(&group.holders);
            seats.map(|(slot, holder)| Member { slot, node: holder.node }).collect()
        })
    }

    /// The codes of a group.
    pub fn codes(&self, group: GroupId) -> Option<(CodeParameters, KeyParameters)> {
        self.state.group(group).map(|group| (group.code, group.key))
    }

    /// Where a validator or a live machine listens: what the network file says, else what it had
    /// registered, if that is an IP address and a port.
    pub fn address(&self, node: &NodeId) -> Option<SocketAddr> {
        let written = self.validators.get(node).copied();
        written
            .or_else(|| self.state.validator(node).address.parse().ok())
            .or_else(|| self.live(node)?.join.address.parse().ok())
    }

    /// As [`ChainView::address`], of machines that are gone as well: they may come back.
    pub fn last_address(&self, node: &NodeId) -> Option<SocketAddr> {
        self.address(node).or_else(|| self.state.node(node)?.join.address.parse().ok())
    }

    fn live(&self, node: &NodeId) -> Option<Node> {
        self.state.node(node).filter(|node| !node.retired)
    }
}

impl LedgerView for ChainView {
    fn state(&self) -> &State {
        &self.state
    }

    fn attested_at(&self) -> u64 {
        self.attested_at
    }
}
