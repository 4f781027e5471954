//! The holder: what a storage node answers.
//!
//! A request is served in steps: decide, ask the disk, answer. Nothing is kept between requests, so
//! a driver may serve as many at once as it likes; memory grows with the requests in service, one
//! fragment each.

use bytes::Bytes;
use ed25519_dalek::SigningKey;

use super::Answer;
use crate::code::GROUP_LEN;
use crate::keyshare::{Binding, RenewedRows, RowHash, Share};
use crate::names::{Epoch, GroupId, NetworkId, NodeId, ObjectId, Slot};
use crate::object::{Descriptor, FragmentRoot, GroupHashes};
use crate::policy::{LedgerView, authorise};
use crate::wire::{
    AUDIT_GROUPS_MAX, Audit, Degraded, DestructionReceipt, GroupRange, Inventory, InventoryPage,
    InventorySummary, ORDERS_LIMIT_MAX, Operation, Orders, OrdersPage, PartReference, Read,
    Receipt, RefreshPlace, RefreshStep, Refusal, RefusalKind, RenewedShare, Response, Shred,
    ShredOrder, SymbolStatement, Symbols, VerifiedRequest, VouchedDescriptor, canonical,
};

/// The most objects a page of an inventory lists.
pub const INVENTORY_LIMIT_MAX: u16 = 1000;

/// A storage node's identity in a network.
pub struct Holder {
    network: NetworkId,
    key: SigningKey,
    id: NodeId,
}

/// What is kept of a part beside its fragment.
#[derive(Debug)]
pub struct StoredPart {
    /// The descriptor and who vouched for it.
    pub object: VouchedDescriptor,
    /// The key share.
    pub share: Share,
    /// What the share is checked against, if it was refreshed since it was dealt.
    pub renewed: Option<RenewedRows>,
}

impl StoredPart {
    /// What the share is checked against: what its rows bind, and the rows in slot order.
    pub fn commitments<'a>(&'a self, descriptor: &'a Descriptor) -> (Binding<'a>, &'a [RowHash]) {
        descriptor.commitments(self.renewed.as_ref())
    }

    /// The epoch of the share.
    pub fn epoch(&self, descriptor: &Descriptor) -> Epoch {
        self.renewed.as_ref().map_or(descriptor.epoch, |renewed| renewed.epoch)
    }

    /// Whether the share is the one that its row stands for. One that was rebuilt because its slot was
    /// absent from the last refresh has no row to be compared with, and counts as true.
    pub fn has_true_share(&self, descriptor: &Descriptor) -> bool {
        let (binding, rows) = self.commitments(descriptor);
        let row = rows.get(self.share.slot().index());
        let matches = |row| !self.is_committed(descriptor) || self.share.matches(&binding, row);
        row.is_some_and(matches)
    }

    /// Whether its commitments tell the share from any other, so that others can check what comes
    /// from it.
    fn is_committed(&self, descriptor: &Descriptor) -> bool {
        self.commitments(descriptor).0.commits_to(self.share.slot())
    }
}

/// What the holder wants of its disk.
#[derive(Debug)]
pub enum DiskRequest {
    /// Make a part durable.
    Write {
        /// Its name.
        part: PartReference,
        /// Descriptor, its submitter's word and share.
        stored: Box<StoredPart>,
        /// The fragment.
        fragment: Bytes,
        /// The most bytes to keep for the part's submitter.
        submitter_quota: u64,
    },
    /// Read descriptor, its submitter's word and share of a part.
    Describe(PartReference),
    /// Read the whole fragment of a part.
    Fragment(PartReference),
    /// Move a part out of the way whose fragment does not match its root; answered by
    /// [`DiskError::Damaged`].
    SetAside(PartReference),
    /// List the objects kept for a slot, ascending.
    List {
        /// The group.
        group: GroupId,
        /// The slot.
        slot: Slot,
        /// After this object.
        after: Option<ObjectId>,
        /// At most this many.
        limit: usize,
    },
    /// Make an order durable, then erase every part of its object.
    Shred {
        /// The group.
        group: GroupId,
        /// The object.
        object: ObjectId,
        /// The order.
        order: Box<ShredOrder>,
        /// The most bytes to keep for the order's submitter, where nothing is erased for it.
        submitter_quota: u64,
    },
    /// Read the order by which an object was destroyed.
    Order(GroupId, ObjectId),
    /// List the objects of a group that were destroyed, ascending.
    Shredded(GroupId),
    /// Read the orders of these objects.
    Orders(GroupId, Vec<ObjectId>),
}

/// What the disk answers.
#[derive(Debug)]
pub enum DiskResult {
    /// To `Write`: durable.
    Written,
    /// To `Describe`.
    Described(Option<Box<StoredPart>>),
    /// To `Fragment`.
    Fragment(Option<Bytes>),
    /// To `List` and `Shredded`: ascending.
    Listed(Vec<ObjectId>),
    /// To `Shred`: nothing of the object is here, and nothing of it will be.
    Erased,
    /// To `Order`.
    Order(Option<Box<ShredOrder>>),
    /// To `Orders`: those that can be read.
    Orders(Vec<ShredOrder>),
    /// To any.
    Failed(DiskError),
}

/// Why the disk did not do it. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// Disk full, or the node's or the submitter's quota used up.
    Full(String),
    /// What is kept does not match its checksum.
    Damaged,
    /// Another part is kept under this name.
    Conflict,
    /// The object was destroyed at its owner's order.
    Shredded,
    /// Any other failure, for the log and for people.
    Failed(String),
}

/// What happens next to a request.
pub enum Step {
    /// Ask the disk and come back.
    Disk(DiskRequest, Pending),
    /// Done.
    Reply(Answer),
    /// Start or look at the repair of a slot, and reply with its progress.
    Repair(GroupId, Slot),
    /// Reply with the node's figures.
    Status,
    /// Ask another machine for a sign of life, and reply with whether there was one.
    Testify(NodeId),
    /// Reply to this from the chain kept here.
    Ledger(Operation),
    /// Go on with a refresh: the step and its body.
    Refresh(RefreshStep, Bytes),
    /// Take the rows that the holder of a slot dealt this node for a refresh.
    Deal(RefreshPlace, Slot, Bytes),
    /// List the key shares of a slot.
    ListShares(GroupId, Slot),
    /// Reply with what shows that a missing part is its writer's fault
    /// ([`IllFormed::answer`](super::IllFormed::answer)).
    Misfit(PartReference),
}

/// A request that waits for the disk.
pub struct Pending(Waiting);

/// What the disk was asked for, and why.
enum Waiting {
    Write { part: PartReference, epoch: Epoch },
    List { limit: usize },
    Summary,
    Describe { request: VerifiedRequest, part: PartReference },
    Fragment { request: VerifiedRequest, stored: Box<StoredPart>, descriptor: Descriptor },
    SetAside,
    Shred { part: PartReference, epoch: Epoch },
    Order { request: VerifiedRequest },
    Shredded { orders: Orders },
    Orders { more_after: Option<ObjectId> },
}

impl Holder {
    /// A holder with the node's key.
    pub fn new(network: NetworkId, key: SigningKey) -> Self {
        let id = NodeId(key.verifying_key().to_bytes());
        Self { network, key, id }
    }

    /// The node.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Takes a request with its body. `now` in Unix milliseconds.
    pub fn handle_request(
        &self,
        view: &impl LedgerView,
        now: u64,
        request: VerifiedRequest,
        body: Bytes,
    ) -> Step {
        match &request.operation {
            Operation::Store(_) => return self.store(view, now, request, body),
            Operation::Shred(shred) => return self.shred(view, now, &request, shred),
            _ => {}
        }
        // A read's capability key stands in the descriptor, so it is decided once that is loaded.
        if !matches!(request.operation, Operation::Read(_))
            && let Err(refusal) = authorise(&request, view, &self.id, None, now)
        {
            return refuse(refusal);
        }
        match &request.operation {
            Operation::Inventory(inventory) => list(inventory),
            Operation::Orders(orders) => {
                let orders = orders.clone();
                let disk = DiskRequest::Shredded(orders.group);
                Step::Disk(disk, Pending(Waiting::Shredded { orders }))
            }
            Operation::Summary { group, slot, .. } => {
                let disk = DiskRequest::List {
                    group: *group,
                    slot: *slot,
                    after: None,
                    limit: usize::MAX,
                };
                Step::Disk(disk, Pending(Waiting::Summary))
            }
            Operation::Read(Read { part, .. })
            | Operation::Symbols(Symbols { part, .. })
            | Operation::RenewedSymbols(Symbols { part, .. })
            | Operation::PairSymbols(Symbols { part, .. })
            | Operation::Degraded(Degraded { part, .. })
            | Operation::Audit(Audit { part, .. })
            | Operation::Witness { part, .. } => {
                let part = *part;
                let waiting = Waiting::Describe { request, part };
                Step::Disk(DiskRequest::Describe(part), Pending(waiting))
            }
            Operation::Repair { group, slot } => Step::Repair(*group, *slot),
            Operation::Status => Step::Status,
            Operation::Testify { suspect } => Step::Testify(*suspect),
            Operation::Refresh(step) => Step::Refresh(*step, body),
            Operation::Deal { place, dealer } => Step::Deal(*place, *dealer, body),
            Operation::ListShares { group, slot } => Step::ListShares(*group, *slot),
            Operation::Misfit { part, .. } => Step::Misfit(*part),
            Operation::Head { .. }
            | Operation::Follow { .. }
            | Operation::SetChanges { .. }
            | Operation::Snapshot
            | Operation::SnapshotChunk { .. } => Step::Ledger(request.operation),
            _ => refuse(Refusal::new(
                RefusalKind::Invalid,
                "this is a storage node; ask a validator",
            )),
        }
    }

    /// Takes the disk's answer for a pending request.
    pub fn handle_disk(
        &self,
        view: &impl LedgerView,
        now: u64,
        pending: Pending,
        result: DiskResult,
    ) -> Step {
        match (pending.0, result) {
            (_, DiskResult::Failed(error)) => refuse(disk_refusal(error)),
            (Waiting::Write { part, epoch }, DiskResult::Written) => {
                let receipt = Receipt::sign(&self.network, part, epoch, &self.key);
                Step::Reply(Answer::bare(Response::Stored(receipt)))
            }
            (Waiting::List { limit }, DiskResult::Listed(objects)) => page(limit, objects),
            (Waiting::Summary, DiskResult::Listed(objects)) => {
                let summary = InventorySummary::of(&objects);
                Step::Reply(Answer::bare(Response::Summary(summary)))
            }
            (Waiting::Describe { request, part }, DiskResult::Described(None)) => {
                let disk = DiskRequest::Order(part.group, part.object);
                Step::Disk(disk, Pending(Waiting::Order { request }))
            }
            (Waiting::Order { .. }, DiskResult::Order(None))
            | (Waiting::Fragment { .. }, DiskResult::Fragment(None)) => refuse(not_found()),
            (Waiting::Order { request }, DiskResult::Order(Some(order))) => {
                self.destroyed(view, now, &request, &order)
            }
            (Waiting::Shred { part, epoch }, DiskResult::Erased) => {
                let receipt = DestructionReceipt::sign(&self.network, part, epoch, &self.key);
                Step::Reply(Answer::bare(Response::Shredded(receipt)))
            }
            (Waiting::Shredded { orders }, DiskResult::Listed(objects)) => {
                select_orders(&orders, &objects)
            }
            (Waiting::Orders { more_after }, DiskResult::Orders(orders)) => {
                let page = OrdersPage { orders, more_after };
                Step::Reply(Answer {
                    response: Response::Orders,
                    body: canonical::encode(&page).into(),
                })
            }
            (Waiting::Describe { request, part }, DiskResult::Described(Some(stored))) => {
                self.described(view, now, request, part, stored)
            }
            (
                Waiting::Fragment { request, stored, descriptor },
                DiskResult::Fragment(Some(fragment)),
            ) => self.fragment(&request, &stored, &descriptor, fragment),
            _ => {
                refuse(Refusal::new(RefusalKind::Unavailable, "the disk answered another question"))
            }
        }
    }

    /// Checks everything that the receipt will promise, then writes.
    fn store(
        &self,
        view: &impl LedgerView,
        now: u64,
        request: VerifiedRequest,
        body: Bytes,
    ) -> Step {
        let Operation::Store(store) = &request.operation else {
            unreachable!("called for a store only");
        };
        let verified = store.object.verify(&self.network);
        let descriptor = verified.as_ref().map(|(_, descriptor)| descriptor);
        if let Err(refusal) = authorise(&request, view, &self.id, descriptor, now) {
            return refuse(refusal);
        }
        let Some((object, descriptor)) = verified else {
            return refuse(Refusal::new(RefusalKind::Invalid, "the descriptor is malformed"));
        };
        let slot = store.share.slot();
        if let Err(message) = check_share(&descriptor, &store.share)
            .and_then(|()| check_fragment(&descriptor, slot, &body))
        {
            return refuse(Refusal::new(RefusalKind::Invalid, message));
        }
        let part = PartReference { group: descriptor.group, slot, object };
        let (object, share) = (store.object.clone(), store.share.clone());
        let stored = Box::new(StoredPart { object, share, renewed: None });
        let submitter_quota = view.submitter_quota(&request.author).unwrap_or(0);
        let waiting = Waiting::Write { part, epoch: descriptor.epoch };
        let write = DiskRequest::Write { part, stored, fragment: body, submitter_quota };
        Step::Disk(write, Pending(waiting))
    }

    /// Follows the order of an object's owner, whether or not anything of it is here: what comes
    /// later must find the tombstone.
    fn shred(
        &self,
        view: &impl LedgerView,
        now: u64,
        request: &VerifiedRequest,
        shred: &Shred,
    ) -> Step {
        let verified = shred.order.verify(&self.network);
        let descriptor = verified.as_ref().map(|(_, descriptor)| descriptor);
        if let Err(refusal) = authorise(request, view, &self.id, descriptor, now) {
            return refuse(refusal);
        }
        let Some((object, descriptor)) = verified else {
            return refuse(not_found());
        };
        let group = descriptor.group;
        let part = PartReference { group, slot: shred.slot, object };
        let epoch = view.epoch(group).unwrap_or(descriptor.epoch);
        let order = Box::new(shred.order.clone());
        let submitter_quota = view.submitter_quota(&request.author).unwrap_or(0);
        let disk = DiskRequest::Shred { group, object, order, submitter_quota };
        Step::Disk(disk, Pending(Waiting::Shred { part, epoch }))
    }

    /// Of a destroyed object the descriptor is left, for whoever has the read key: it is what the
    /// order to other holders is made of.
    fn destroyed(
        &self,
        view: &impl LedgerView,
        now: u64,
        request: &VerifiedRequest,
        order: &ShredOrder,
    ) -> Step {
        let Operation::Read(read) = &request.operation else {
            return refuse(destroyed());
        };
        let verified = order.verify(&self.network);
        let descriptor = verified.as_ref().map(|(_, descriptor)| descriptor);
        if let Err(refusal) = authorise(request, view, &self.id, descriptor, now) {
            return refuse(refusal);
        }
        if !read.describes_only() {
            return refuse(destroyed());
        }
        let descriptor = Some(order.object.descriptor.clone());
        Step::Reply(Answer::bare(Response::Read {
            descriptor,
            key_part: None,
            hashes: None,
            renewed: None,
        }))
    }

    /// Decides a request on a part that is kept here. What the disk gave back is checked before it
    /// is said: a helper with a rotten disk must not pass for a liar.
    fn described(
        &self,
        view: &impl LedgerView,
        now: u64,
        request: VerifiedRequest,
        part: PartReference,
        stored: Box<StoredPart>,
    ) -> Step {
        let kept = |descriptor: &Descriptor| {
            descriptor.group == part.group
                && descriptor.object_id() == part.object
                && stored.share.slot() == part.slot
                && stored.has_true_share(descriptor)
        };
        let descriptor = Descriptor::decode(&stored.object.descriptor).ok().filter(kept);
        let Some(descriptor) = descriptor else {
            return set_aside(part);
        };
        if let Err(refusal) = authorise(&request, view, &self.id, Some(&descriptor), now) {
            return refuse(refusal);
        }
        let is_committed = stored.is_committed(&descriptor);
        match &request.operation {
            Operation::Read(Read { key_part: true, .. })
            | Operation::Symbols(_)
            | Operation::RenewedSymbols(_)
            | Operation::PairSymbols(_)
            | Operation::Degraded(_)
                if !is_committed =>
            {
                refuse(Refusal::new(
                    RefusalKind::Unavailable,
                    "its key share cannot be checked by others before the next refresh",
                ))
            }
            Operation::Read(read) if read.groups.is_some_and(|range| range.count == 0) => {
                read_reply(read, &stored, &descriptor, None, Bytes::new())
            }
            Operation::Degraded(request) => degraded(request, &stored, &descriptor),
            Operation::PairSymbols(symbols) => {
                self.symbols(symbols, &stored, &descriptor, None, true)
            }
            _ => {
                let waiting = Waiting::Fragment { request, stored, descriptor };
                Step::Disk(DiskRequest::Fragment(part), Pending(waiting))
            }
        }
    }

    fn fragment(
        &self,
        request: &VerifiedRequest,
        stored: &StoredPart,
        descriptor: &Descriptor,
        fragment: Bytes,
    ) -> Step {
        let slot = stored.share.slot();
        if check_fragment(descriptor, slot, &fragment).is_err() {
            let (group, object) = (descriptor.group, descriptor.object_id());
            return set_aside(PartReference { group, slot, object });
        }
        match &request.operation {
            Operation::Read(read) => match read.groups {
                None => read_reply(read, stored, descriptor, None, fragment),
                Some(range) => match groups_of(&fragment, range) {
                    Some(groups) => {
                        let hashes = Some(GroupHashes::of(&fragment));
                        read_reply(read, stored, descriptor, hashes, groups)
                    }
                    None => refuse(Refusal::new(
                        RefusalKind::Invalid,
                        "the fragment has no such groups",
                    )),
                },
            },
            Operation::Symbols(symbols) if stored.renewed.is_none() => {
                self.symbols(symbols, stored, descriptor, Some(&fragment), false)
            }
            Operation::Symbols(_) => refuse(Refusal::new(
                RefusalKind::Unavailable,
                "the key share was refreshed; the asker has not heard of it yet",
            )),
            Operation::RenewedSymbols(symbols) => {
                self.symbols(symbols, stored, descriptor, Some(&fragment), true)
            }
            Operation::Audit(audit) => audited(audit, stored, descriptor, &fragment),
            Operation::Witness { .. } => {
                Step::Reply(Answer { response: Response::Witness, body: fragment })
            }
            _ => unreachable!("no other operation loads a fragment"),
        }
    }

    /// Without the fragment the pair symbol alone; `with_epoch` for an asker that knows of refreshes.
    fn symbols(
        &self,
        request: &Symbols,
        stored: &StoredPart,
        descriptor: &Descriptor,
        fragment: Option<&[u8]>,
        with_epoch: bool,
    ) -> Step {
        let lost = request.lost;
        let body = match fragment {
            Some(fragment) => descriptor.code.build().ok().and_then(|code| {
                code.helper_symbols(&code.layout(descriptor.coded_len), lost, fragment).ok()
            }),
            None => Some(Vec::new()),
        };
        let (binding, _) = stored.commitments(descriptor);
        let key_symbol = match binding.commits_to(lost) {
            true if !binding.covers(stored.share.slot(), lost) => {
                return refuse(Refusal::new(
                    RefusalKind::Unavailable,
                    "the last refresh left this pair of slots uncommitted",
                ));
            }
            true => stored.share.prove_symbol(&binding, lost),
            false => stored.share.unproven_symbol(descriptor.key, lost),
        };
        let (Some(body), Some(key_symbol)) = (body, key_symbol) else {
            return refuse(Refusal::new(RefusalKind::Invalid, "no such slot to repair from here"));
        };
        let signature = SymbolStatement {
            network: &self.network,
            part: &request.part,
            lost,
            key_symbol: &key_symbol,
            fragment_symbols: *blake3::hash(&body).as_bytes(),
            epoch: with_epoch.then_some(binding.epoch),
        }
        .sign(&self.key);
        let object = request.describe.then(|| stored.object.clone());
        let response = if with_epoch {
            let rows = stored.renewed.clone().filter(|_| request.describe).map(Box::new);
            let epoch = binding.epoch;
            Response::RenewedSymbols { key_symbol, epoch, signature, object, rows }
        } else {
            Response::Symbols { key_symbol, signature, object }
        };
        Step::Reply(Answer { response, body: body.into() })
    }
}

/// Whether what is kept of `part` is what its holder promised: a scrub looks for parts that are not.
pub fn is_sound(part: &PartReference, stored: &StoredPart, fragment: &[u8]) -> bool {
    let Ok(descriptor) = Descriptor::decode(&stored.object.descriptor) else { return false };
    descriptor.group == part.group
        && descriptor.object_id() == part.object
        && stored.share.slot() == part.slot
        && stored.has_true_share(&descriptor)
        && check_fragment(&descriptor, part.slot, fragment).is_ok()
}

/// Checks the share against its row, as the receipt promises it.
fn check_share(descriptor: &Descriptor, share: &Share) -> Result<(), &'static str> {
    match descriptor.rows.get(share.slot().index()) {
        Some(row) if share.row(&descriptor.binding()) == *row => Ok(()),
        Some(_) => Err("the key share does not match its commitment"),
        None => Err("the object has no such slot"),
    }
}

/// Checks the fragment against its root, as the receipt promises it.
fn check_fragment(
    descriptor: &Descriptor,
    slot: Slot,
    fragment: &[u8],
) -> Result<(), &'static str> {
    match descriptor.fragment_roots.get(slot.index()) {
        Some(root) if FragmentRoot::of(fragment) == *root => Ok(()),
        Some(_) => Err("the fragment does not match its root"),
        None => Err("the object has no such slot"),
    }
}

fn read_reply(
    read: &Read,
    stored: &StoredPart,
    descriptor: &Descriptor,
    hashes: Option<GroupHashes>,
    body: Bytes,
) -> Step {
    let (mut key_part, mut renewed) = (None, None);
    match &stored.renewed {
        _ if !read.key_part => {}
        None => key_part = Some(stored.share.prove_part(&descriptor.binding())),
        Some(rows) => {
            let (share, rows) = (stored.share.clone(), rows.clone());
            renewed = Some(Box::new(RenewedShare { share, rows }));
        }
    }
    let descriptor = read.descriptor.then(|| stored.object.descriptor.clone());
    let response = Response::Read { descriptor, key_part, hashes, renewed };
    Step::Reply(Answer { response, body })
}

fn groups_of(fragment: &Bytes, range: GroupRange) -> Option<Bytes> {
    let start = u64::from(range.first) * GROUP_LEN;
    let end = (start + u64::from(range.count) * GROUP_LEN).min(fragment.len() as u64);
    (start < end).then(|| fragment.slice(start as usize..end as usize))
}

fn audited(audit: &Audit, stored: &StoredPart, descriptor: &Descriptor, fragment: &Bytes) -> Step {
    let answer =
        stored.share.answer_audit(&stored.commitments(descriptor).0, audit.auditor, &audit.nonce);
    let group = |first: &u32| groups_of(fragment, GroupRange { first: *first, count: 1 });
    let groups: Option<Vec<Bytes>> = audit.groups.iter().map(group).collect();
    match (answer, groups) {
        (Some(answer), Some(groups)) if groups.len() <= AUDIT_GROUPS_MAX => {
            let hashes = GroupHashes::of(fragment);
            Step::Reply(Answer {
                response: Response::Audit { answer, hashes },
                body: groups.concat().into(),
            })
        }
        _ => refuse(Refusal::new(RefusalKind::Invalid, "no such slot or groups to audit")),
    }
}

fn degraded(request: &Degraded, stored: &StoredPart, descriptor: &Descriptor) -> Step {
    let helpers = request.helpers.iter().copied().collect();
    match stored.share.help_degraded(&stored.commitments(descriptor).0, request.lost, &helpers) {
        Ok(help) => Step::Reply(Answer::bare(Response::Degraded(help))),
        Err(error) => refuse(Refusal::new(RefusalKind::Invalid, error.to_string())),
    }
}

fn list(inventory: &Inventory) -> Step {
    let limit = usize::from(inventory.limit.clamp(1, INVENTORY_LIMIT_MAX));
    let Inventory { group, slot, after, .. } = *inventory;
    // One more than the page has tells whether another page follows.
    let disk = DiskRequest::List { group, slot, after, limit: limit + 1 };
    Step::Disk(disk, Pending(Waiting::List { limit }))
}

fn page(limit: usize, mut objects: Vec<ObjectId>) -> Step {
    let more = objects.len() > limit;
    objects.truncate(limit);
    let body = canonical::encode(&InventoryPage { objects, more });
    Step::Reply(Answer { response: Response::Inventory, body: body.into() })
}

/// The next orders that the asker has not: none where both have the same.
fn select_orders(request: &Orders, objects: &[ObjectId]) -> Step {
    let after = objects.iter().filter(|object| Some(**object) > request.after);
    let mut next: Vec<ObjectId> = after.take(ORDERS_LIMIT_MAX + 1).copied().collect();
    if InventorySummary::of(objects) == request.known {
        next.clear();
    }
    let more = next.len() > ORDERS_LIMIT_MAX;
    next.truncate(ORDERS_LIMIT_MAX);
    let more_after = next.last().copied().filter(|_| more);
    let disk = DiskRequest::Orders(request.group, next);
    Step::Disk(disk, Pending(Waiting::Orders { more_after }))
}

fn set_aside(part: PartReference) -> Step {
    Step::Disk(DiskRequest::SetAside(part), Pending(Waiting::SetAside))
}

fn refuse(refusal: Refusal) -> Step {
    Step::Reply(Answer::bare(Response::Refused(refusal)))
}

pub(super) fn not_found() -> Refusal {
    Refusal::new(RefusalKind::NotFound, "this object is not kept here")
}

fn destroyed() -> Refusal {
    Refusal::new(RefusalKind::NotFound, "this object was destroyed at its owner's order")
}

/// What the disk did not do, for others and for people.
pub(super) fn disk_refusal(error: DiskError) -> Refusal {
    match error {
        DiskError::Full(message) => Refusal::new(RefusalKind::Full, message),
        DiskError::Damaged => {
            Refusal::new(RefusalKind::Damaged, "what is kept here is damaged and must be repaired")
        }
        DiskError::Conflict => {
            Refusal::new(RefusalKind::Invalid, "another part is kept under this name")
        }
        DiskError::Shredded => destroyed(),
        DiskError::Failed(message) => Refusal::new(RefusalKind::Unavailable, message),
    }
}
