//! Reads of the ledger's state with proofs, and submission of entries.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use kakera_engine::ledger::{
    Ballot, Body, CertifiedBlock, Counts, EXCLUSIONS_VERSION_MIN, Entry, Group, Node, Pointer,
    PostedPointer, SignedHeader, StateKey, ValidatorSet, VerifiedHead,
};
use kakera_engine::names::{GroupId, NodeId, Slot, Tag};
use kakera_engine::peer::{Answer, Member};
use kakera_engine::wire::{BODY_LEN_MAX, Operation, Response, canonical};
use minicbor::{Decode, Encode};
use rand_core::Rng;
use tokio::time::Instant;

use super::validators::{Consulted, verified_values};
use super::{Client, ClientError, ErrorKind, GroupPlace};
use crate::chain_store::split_blocks;
use crate::clock::unix_milliseconds;
use crate::random::system_random;

/// How long to wait for a validator or for a node's figures.
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);
/// Keys proven by one request.
const KEYS_AT_ONCE: usize = 256;
/// Groups a put chooses from. A client of a large network does not read the whole registry.
const GROUPS_CHOSEN: usize = 8;
/// How long a put may rely on the members of a group as read before. A holder that was replaced
/// refuses, which counts as one loss.
const OPEN_GROUPS_AGE_MAX: Duration = Duration::from_secs(60);
/// The head moves between two requests only while others write.
const HEAD_ATTEMPTS: usize = 8;

/// Where a final entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The block.
    pub height: u64,
    /// The place in the log of all entries.
    pub index: u64,
}

impl Client {
    /// The newest final header, certified and attested now.
    pub async fn head(&self) -> Result<VerifiedHead, ClientError> {
        self.head_and_certificate().await.map(|(head, _)| head)
    }

    /// How far a validator's clock is ahead of this machine's, in milliseconds; off by at most half
    /// the time that its answer takes.
    pub async fn clock_offset(&self, validator: NodeId) -> Result<i64, ClientError> {
        let mut nonce = [0; 32];
        system_random().fill_bytes(&mut nonce);
        let asked = unix_milliseconds();
        match self.ask_node(validator, Operation::Head { nonce }).await? {
            Response::Head { attestation, .. } => {
                let middle = asked.midpoint(unix_milliseconds());
                Ok(attestation.time.wrapping_sub(middle).cast_signed())
            }
            _ => Err(ClientError::unfitting(&validator)),
        }
    }

    /// Puts an entry on the ledger and returns when it is final.
    pub async fn submit(&self, body: Body) -> Result<Submitted, ClientError> {
        // One entry of this author at a time: their sequence numbers have no gaps.
        let mut next = self.next_sequence.lock().await;
        if let Some(sequence) = next.take() {
            match self.submit_as(sequence, body.clone()).await {
                // Refused: another program of this author may have submitted meanwhile.
                Err(error) if error.kind() == ErrorKind::Other => {}
                Err(error) => return Err(error),
                Ok(submitted) => {
                    *next = Some(sequence + 1);
                    return Ok(submitted);
                }
            }
        }
        let sequence = self.next_sequence_on_ledger().await?;
        let submitted = self.submit_as(sequence, body).await?;
        *next = Some(sequence + 1);
        Ok(submitted)
    }

    async fn submit_as(&self, sequence: u64, body: Body) -> Result<Submitted, ClientError> {
        let entry = Entry::sign(self.network(), self.signing_key(), sequence, body);
        if self.agrees() {
            return self.post(entry).await;
        }
        match self.ask_validator(&Operation::Submit(Box::new(entry))).await?.response {
            Response::Submitted { height, index } => Ok(Submitted { height, index }),
            _ => Err(self.unfitting()),
        }
    }

    /// Some blocks in their order, from a height that exists on. They are not checked here, and
    /// those above the head need not be final yet.
    pub async fn blocks(&self, from: u64) -> Result<Vec<CertifiedBlock>, ClientError> {
        let operation = Operation::Follow { from, acknowledged: None, form: None };
        let Answer { response, body } = self.ask_validator(&operation).await?;
        match (response, split_blocks(&body)) {
            (Response::Blocks { .. }, Some(blocks)) => Ok(blocks),
            _ => Err(self.unfitting()),
        }
    }

    /// The live pointers of each tag, in ledger order.
    pub async fn pointers(&self, tags: &[Tag]) -> Result<Vec<Vec<Pointer>>, ClientError> {
        let live = |posted: Vec<PostedPointer>| {
            posted.into_iter().filter_map(|posted| posted.pointer).collect()
        };
        Ok(self.posted_pointers(tags).await?.into_iter().map(live).collect())
    }

    /// What was ever posted under each tag, in ledger order, retired pointers included.
    pub async fn posted_pointers(
        &self,
        tags: &[Tag],
    ) -> Result<Vec<Vec<PostedPointer>>, ClientError> {
        let keys = tags.iter().map(|tag| StateKey::PointersOf(*tag)).collect();
        let posted: Vec<Option<Vec<PostedPointer>>> = self.values(keys).await?;
        Ok(posted.into_iter().map(Option::unwrap_or_default).collect())
    }

    /// How many machines and groups there are.
    pub async fn counts(&self) -> Result<Counts, ClientError> {
        let counts: Vec<Option<Counts>> = self.values(vec![StateKey::Counts]).await?;
        Ok(counts.into_iter().flatten().next().unwrap_or_default())
    }

    /// The version of the rules that the next block follows.
    pub async fn rules_version(&self) -> Result<u32, ClientError> {
        let version: Vec<Option<u32>> = self.values(vec![StateKey::Version]).await?;
        let of_genesis = self.network.genesis.rules_version();
        Ok(version.into_iter().flatten().next().unwrap_or(of_genesis))
    }

    /// Who certifies the next block; [`Client::validators`] certified the newest.
    pub async fn next_validators(&self) -> Result<ValidatorSet, ClientError> {
        let set: Vec<Option<ValidatorSet>> = self.values(vec![StateKey::Validators]).await?;
        let of_genesis = || self.network.genesis.validators.clone();
        Ok(set.into_iter().flatten().next().unwrap_or_else(of_genesis))
    }

    /// The height below which bodies of blocks need no longer be kept.
    pub async fn retention_floor(&self) -> Result<u64, ClientError> {
        let floor: Vec<Option<u64>> = self.values(vec![StateKey::RetentionFloor]).await?;
        Ok(floor.into_iter().flatten().next().unwrap_or(0))
    }

    /// How many times machines were excluded, as a vote that one is lost has to say; none before
    /// version 8 of the rules.
    pub async fn exclusions(&self) -> Result<Option<u64>, ClientError> {
        let count: Vec<Option<u64>> = self.values(vec![StateKey::Exclusions]).await?;
        let counted = self.rules_version().await? >= EXCLUSIONS_VERSION_MIN;
        Ok(counted.then(|| count.into_iter().flatten().next().unwrap_or(0)))
    }

    /// The validators of the next block whose votes for the same as this entry's wait for others'.
    pub async fn voters(&self, body: &Body) -> Result<BTreeSet<NodeId>, ClientError> {
        let Some(ballot) = Ballot::of(body) else { return Ok(BTreeSet::new()) };
        let validators: Vec<NodeId> = self.next_validators().await?.0.into_keys().collect();
        let keys = validators.iter().map(|validator| StateKey::OpenVotes(*validator)).collect();
        let open: Vec<Option<Vec<Ballot>>> = self.values(keys).await?;
        let votes = validators.into_iter().zip(open);
        let same = votes.filter(|(_, open)| open.iter().flatten().any(|other| *other == ballot));
        Ok(same.map(|(voter, _)| voter).collect())
    }

    /// Every machine ever enrolled.
    pub async fn nodes(&self) -> Result<Vec<Node>, ClientError> {
        let count = self.counts().await?.nodes;
        let ids: Vec<Option<NodeId>> =
            self.values((0..count).map(StateKey::NodeAt).collect()).await?;
        let keys = ids.into_iter().flatten().map(StateKey::Node).collect();
        let nodes: Vec<Option<Node>> = self.values(keys).await?;
        Ok(nodes.into_iter().flatten().collect())
    }

    /// Every group with members.
    pub async fn groups(&self) -> Result<Vec<GroupPlace>, ClientError> {
        let count = self.counts().await?.groups;
        self.load_groups((0..count).map(GroupId).collect()).await
    }

    /// One group.
    pub async fn group(&self, id: GroupId) -> Result<GroupPlace, ClientError> {
        let known = self.known_group(id);
        match known {
            Some(group) => Ok(group),
            None => self
                .load_groups(vec![id])
                .await?
                .pop()
                .ok_or_else(|| ClientError::not_registered(format!("group {id}"))),
        }
    }

    /// Some groups with members, chosen at random: where a put may go. The same ones for a while,
    /// so that a run of puts does not read the registry again each time.
    pub(crate) async fn open_groups(&self) -> Result<Arc<[GroupPlace]>, ClientError> {
        let mut open = self.open_groups.lock().await;
        if let Some((groups, chosen_at)) = &*open
            && chosen_at.elapsed() < OPEN_GROUPS_AGE_MAX
        {
            return Ok(Arc::clone(groups));
        }
        let groups = self.choose_groups().await?;
        *open = Some((Arc::clone(&groups), Instant::now()));
        Ok(groups)
    }

    /// Leaves a group that cannot take an object now out of the open ones, which are remembered from now
    /// on, unless it is the only one.
    pub(crate) async fn leave_out(&self, group: GroupId) {
        let mut open = self.open_groups.lock().await;
        let Some((groups, chosen_at)) = &mut *open else { return };
        let others = groups.iter().filter(|other| other.id != group);
        let others: Vec<GroupPlace> = others.cloned().collect();
        if !others.is_empty() {
            (*groups, *chosen_at) = (others.into(), Instant::now());
        }
    }

    async fn choose_groups(&self) -> Result<Arc<[GroupPlace]>, ClientError> {
        let mut candidates: Vec<u32> = (0..self.counts().await?.groups).collect();
        let mut random = system_random();
        let chosen = GROUPS_CHOSEN.min(candidates.len());
        for place in 0..chosen {
            let other = place + random.next_u64() as usize % (candidates.len() - place);
            candidates.swap(place, other);
        }
        candidates.truncate(chosen);
        let groups = self.load_groups(candidates.into_iter().map(GroupId).collect()).await?;
        if groups.is_empty() { Err(ClientError::no_groups()) } else { Ok(groups.into()) }
    }

    /// Forgets what is known of groups, to see newcomers.
    pub fn forget_groups(&self) {
        self.lock_groups().clear();
    }

    pub(super) async fn learn_nodes(&self, nodes: &[NodeId]) -> Result<(), ClientError> {
        let keys = nodes.iter().map(|node| StateKey::Node(*node)).collect();
        let found: Vec<Option<Node>> = self.values(keys).await?;
        for node in found.into_iter().flatten() {
            // An address that cannot be parsed is one that cannot be reached.
            if let Ok(address) = node.join.address.parse() {
                self.addresses.learn(node.join.node, address);
            }
        }
        Ok(())
    }

    async fn load_groups(&self, ids: Vec<GroupId>) -> Result<Vec<GroupPlace>, ClientError> {
        let keys = ids.iter().map(|id| StateKey::Group(*id)).collect();
        let groups: Vec<Option<Group>> = self.values(keys).await?;
        let drawn: Vec<GroupPlace> = ids
            .into_iter()
            .zip(groups)
            .filter_map(|(id, group)| Some(place_of(id, &group?)))
            .filter(|group| !group.members.is_empty())
            .collect();
        let seats = drawn.iter().flat_map(|group| group.members.iter().chain(&group.left));
        let mut nodes: Vec<NodeId> = seats.map(|member| member.node).collect();
        nodes.sort_unstable();
        nodes.dedup();
        self.learn_nodes(&nodes).await?;
        let mut known = self.lock_groups();
        for group in &drawn {
            known.insert(group.id, group.clone());
        }
        Ok(drawn)
    }

    fn known_group(&self, id: GroupId) -> Option<GroupPlace> {
        self.lock_groups().get(&id).cloned()
    }

    fn lock_groups(
        &self,
    ) -> std::sync::MutexGuard<'_, std::collections::BTreeMap<GroupId, GroupPlace>> {
        self.groups.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn next_sequence_on_ledger(&self) -> Result<u64, ClientError> {
        let author = NodeId(self.signing_key().verifying_key().to_bytes());
        let last: Vec<Option<u64>> = self.values(vec![StateKey::Sequence(author)]).await?;
        Ok(last.into_iter().flatten().next().unwrap_or(0) + 1)
    }

    /// The proven values under the keys, decoded.
    pub(super) async fn values<T>(&self, keys: Vec<StateKey>) -> Result<Vec<Option<T>>, ClientError>
    where
        T: Encode<()> + for<'b> Decode<'b, ()>,
    {
        let mut values = Vec::with_capacity(keys.len());
        for keys in keys.chunks(KEYS_AT_ONCE) {
            for value in self.prove(keys).await? {
                values.push(match value {
                    None => None,
                    Some(bytes) => {
                        Some(canonical::decode(&bytes, BODY_LEN_MAX).map_err(|error| {
                            ClientError::integrity(format!("a value of the ledger: {error}"))
                        })?)
                    }
                });
            }
        }
        Ok(values)
    }

    async fn prove(&self, keys: &[StateKey]) -> Result<Vec<Option<Vec<u8>>>, ClientError> {
        if self.agrees() {
            return Ok(self.consult(keys).await?.values);
        }
        let operation = Operation::Prove(keys.to_vec());
        for _ in 0..HEAD_ATTEMPTS {
            let Answer { response, body } = self.ask_validator(&operation).await?;
            let Response::Proven { height } = response else {
                return Err(self.unfitting());
            };
            let (head, _) = self.head_and_certificate().await?;
            if head.header().height == height {
                return verified_values(&head, keys, &body);
            }
        }
        Err(ClientError::moving())
    }

    async fn head_and_certificate(&self) -> Result<(VerifiedHead, SignedHeader), ClientError> {
        if self.agrees() {
            let Consulted { head, signed, .. } = self.consult(&[]).await?;
            return Ok((head, signed));
        }
        let mut nonce = [0; 32];
        system_random().fill_bytes(&mut nonce);
        let response = self.ask_validator(&Operation::Head { nonce }).await?.response;
        let Response::Head { head, attestation } = response else {
            return Err(self.unfitting());
        };
        let verified = self.accept_head(&head, &[attestation], &nonce)?;
        Ok((verified, *head))
    }

    pub(super) fn agrees(&self) -> bool {
        self.agrees.load(Ordering::Relaxed)
    }

    async fn ask_validator(&self, operation: &Operation) -> Result<Answer, ClientError> {
        let mut last = None;
        for validator in self.order() {
            match self.exchange.ask(validator, operation, Bytes::new(), TIMEOUT, None).await {
                Ok(Answer { response: Response::Refused(refusal), .. }) => {
                    return Err(ClientError::refused(refusal));
                }
                Ok(answer) => return Ok(answer),
                Err(failure) => last = Some(ClientError::peer(&validator, &failure)),
            }
        }
        Err(last.unwrap_or_else(|| ClientError::usage("the network file names no validator")))
    }

    fn unfitting(&self) -> ClientError {
        let validator = self.network.addresses.keys().next().copied();
        ClientError::unfitting(&validator.unwrap_or(NodeId([0; 32])))
    }
}

fn place_of(id: GroupId, group: &Group) -> GroupPlace {
    let members = Slot::all(group.code.n)
        .zip(&group.holders)
        .map(|(slot, holder)| Member { slot, node: holder.node })
        .collect();
    let filling = Slot::all(group.code.n)
        .zip(&group.holders)
        .filter(|(_, holder)| holder.is_filling())
        .map(|(slot, _)| slot)
        .collect();
    let refreshed = group.refreshes.as_ref().map(|refreshes| refreshes.since);
    let left = group.vacated.iter().map(|left| Member { slot: left.slot, node: left.node });
    let (code, key, epochs, left) = (group.code, group.key, group.epochs(), left.collect());
    GroupPlace { id, code, key, epochs, refreshed, members, filling, left }
}
