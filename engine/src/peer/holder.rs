//! The holder: what a storage node answers.
//!
//! A request is served in steps: decide, ask the disk, answer. Nothing is kept between requests, so
//! a driver may serve as many at once as it likes; memory grows with the requests in service, one
//! fragment each.

use bytes::Bytes;
use ed25519_dalek::SigningKey;

use super::Answer;
use crate::code::GROUP_LEN;
use crate::keyshare::Share;
use crate::names::{GroupId, NetworkId, NodeId, ObjectId, Slot};
use crate::object::{Descriptor, FragmentRoot, GroupHashes};
use crate::policy::{LedgerView, authorise};
use crate::wire::{
    GroupRange, Inventory, InventoryPage, Operation, PartReference, Read, Receipt, Refusal,
    RefusalKind, Response, Store, SymbolStatement, Symbols, VerifiedRequest, VouchedDescriptor,
    canonical,
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
}

/// What the holder wants of its disk.
#[derive(Debug)]
pub enum DiskRequest {
    /// Make a part durable.
    Write {
        /// Its name.
        part: PartReference,
        /// Descriptor, vouchers and share.
        stored: Box<StoredPart>,
        /// The fragment.
        fragment: Bytes,
    },
    /// Read descriptor, vouchers and share of a part.
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
    /// To `List`: ascending.
    Listed(Vec<ObjectId>),
    /// To any.
    Failed(DiskError),
}

/// Why the disk did not do it. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// Disk full or quota used up.
    Full(String),
    /// What is kept does not match its checksum.
    Damaged,
    /// Another part is kept under this name.
    Conflict,
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
    /// Reply with the blocks kept here, from this height on.
    Follow(u64),
}

/// A request that waits for the disk.
pub struct Pending {
    request: VerifiedRequest,
    stored: Option<(Box<StoredPart>, Descriptor)>,
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
        if matches!(request.operation, Operation::Store(_)) {
            return self.store(view, now, request, body);
        }
        // A read's capability key stands in the descriptor, so it is decided once that is loaded.
        if let Operation::Read(read) = &request.operation {
            return Step::Disk(DiskRequest::Describe(read.part), Pending::new(request));
        }
        if let Err(refusal) = authorise(&request, view, &self.id, None, now) {
            return refuse(refusal);
        }
        let disk = match &request.operation {
            Operation::Inventory(inventory) => DiskRequest::List {
                group: inventory.group,
                slot: inventory.slot,
                after: inventory.after,
                limit: page_len(inventory) + 1,
            },
            Operation::Symbols(Symbols { part, .. }) | Operation::Witness { part, .. } => {
                DiskRequest::Describe(*part)
            }
            Operation::Repair { group, slot } => return Step::Repair(*group, *slot),
            Operation::Status => return Step::Status,
            Operation::Follow { from, .. } => return Step::Follow(*from),
            _ => {
                return refuse(Refusal::new(
                    RefusalKind::Invalid,
                    "this is a storage node; ask a validator",
                ));
            }
        };
        Step::Disk(disk, Pending::new(request))
    }

    /// Takes the disk's answer for a pending request.
    pub fn handle_disk(
        &self,
        view: &impl LedgerView,
        now: u64,
        pending: Pending,
        result: DiskResult,
    ) -> Step {
        match result {
            DiskResult::Failed(error) => refuse(disk_refusal(error)),
            DiskResult::Written => self.receipt(&pending.request),
            DiskResult::Listed(objects) => page(&pending.request, objects),
            DiskResult::Described(found) => self.described(view, now, pending.request, found),
            DiskResult::Fragment(None) => refuse(not_found()),
            DiskResult::Fragment(Some(fragment)) => self.fragment(pending, fragment),
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
        if let Err(message) = check_part(&descriptor, &store.share, &body) {
            return refuse(Refusal::new(RefusalKind::Invalid, message));
        }
        let part = PartReference { group: descriptor.group, slot, object };
        let stored =
            Box::new(StoredPart { object: store.object.clone(), share: store.share.clone() });
        Step::Disk(DiskRequest::Write { part, stored, fragment: body }, Pending::new(request))
    }

    fn receipt(&self, request: &VerifiedRequest) -> Step {
        let Operation::Store(store) = &request.operation else {
            return refuse(internal());
        };
        let Store { object, share } = &**store;
        let Some((object, descriptor)) = object.verify(&self.network) else {
            return refuse(internal());
        };
        let part = PartReference { group: descriptor.group, slot: share.slot(), object };
        let receipt = Receipt::sign(&self.network, part, descriptor.epoch, &self.key);
        Step::Reply(Answer::bare(Response::Stored(receipt)))
    }

    fn described(
        &self,
        view: &impl LedgerView,
        now: u64,
        request: VerifiedRequest,
        found: Option<Box<StoredPart>>,
    ) -> Step {
        let Some(stored) = found else {
            return refuse(not_found());
        };
        let Ok(descriptor) = Descriptor::decode(&stored.object.descriptor) else {
            return refuse(disk_refusal(DiskError::Damaged));
        };
        if let Err(refusal) = authorise(&request, view, &self.id, Some(&descriptor), now) {
            return refuse(refusal);
        }
        let part = match &request.operation {
            Operation::Read(read) if read.groups.is_some_and(|range| range.count == 0) => {
                return read_reply(read, &stored, &descriptor, None, Bytes::new());
            }
            Operation::Read(Read { part, .. })
            | Operation::Symbols(Symbols { part, .. })
            | Operation::Witness { part, .. } => *part,
            _ => return refuse(internal()),
        };
        let pending = Pending { request, stored: Some((stored, descriptor)) };
        Step::Disk(DiskRequest::Fragment(part), pending)
    }

    /// Answers from a fragment, after checking that the disk gave back what was stored: a helper
    /// with a rotten disk must not pass for a liar.
    fn fragment(&self, pending: Pending, fragment: Bytes) -> Step {
        let Pending { request, stored: Some((stored, descriptor)) } = pending else {
            return refuse(internal());
        };
        let root = descriptor.fragment_roots.get(stored.share.slot().index());
        if root != Some(&FragmentRoot::of(&fragment)) {
            let part = PartReference {
                group: descriptor.group,
                slot: stored.share.slot(),
                object: descriptor.object_id(),
            };
            return Step::Disk(DiskRequest::SetAside(part), Pending::new(request));
        }
        match &request.operation {
            Operation::Read(read) => match read.groups {
                None => read_reply(read, &stored, &descriptor, None, fragment),
                Some(range) => match groups_of(&fragment, range) {
                    Some(groups) => {
                        let hashes = Some(GroupHashes::of(&fragment));
                        read_reply(read, &stored, &descriptor, hashes, groups)
                    }
                    None => refuse(Refusal::new(
                        RefusalKind::Invalid,
                        "the fragment has no such groups",
                    )),
                },
            },
            Operation::Symbols(symbols) => self.symbols(symbols, &stored, &descriptor, &fragment),
            Operation::Witness { .. } => {
                Step::Reply(Answer { response: Response::Witness, body: fragment })
            }
            _ => refuse(internal()),
        }
    }

    fn symbols(
        &self,
        request: &Symbols,
        stored: &StoredPart,
        descriptor: &Descriptor,
        fragment: &[u8],
    ) -> Step {
        let lost = request.lost;
        let body = descriptor.code.build().ok().and_then(|code| {
            code.helper_symbols(&code.layout(descriptor.coded_len), lost, fragment).ok()
        });
        let key_symbol = stored.share.prove_symbol(&descriptor.binding(), lost);
        let (Some(body), Some(key_symbol)) = (body, key_symbol) else {
            return refuse(Refusal::new(RefusalKind::Invalid, "no such slot to repair from here"));
        };
        let signature = SymbolStatement {
            network: &self.network,
            part: &request.part,
            lost,
            key_symbol: &key_symbol,
            fragment_symbols: &body,
        }
        .sign(&self.key);
        let object = request.describe.then(|| stored.object.clone());
        Step::Reply(Answer {
            response: Response::Symbols { key_symbol, signature, object },
            body: body.into(),
        })
    }
}

impl Pending {
    fn new(request: VerifiedRequest) -> Self {
        Self { request, stored: None }
    }
}

/// Checks a part as its receipt will promise it: the share against its row, the fragment against
/// its root.
fn check_part(descriptor: &Descriptor, share: &Share, fragment: &[u8]) -> Result<(), &'static str> {
    let index = share.slot().index();
    let (Some(row), Some(root)) =
        (descriptor.rows.get(index), descriptor.fragment_roots.get(index))
    else {
        return Err("the object has no such slot");
    };
    if share.row(&descriptor.binding()) != *row {
        return Err("the key share does not match its commitment");
    }
    if FragmentRoot::of(fragment) != *root {
        return Err("the fragment does not match its root");
    }
    Ok(())
}

fn read_reply(
    read: &Read,
    stored: &StoredPart,
    descriptor: &Descriptor,
    hashes: Option<GroupHashes>,
    body: Bytes,
) -> Step {
    let response = Response::Read {
        descriptor: read.descriptor.then(|| stored.object.descriptor.clone()),
        key_part: read.key_part.then(|| stored.share.prove_part(&descriptor.binding())),
        hashes,
    };
    Step::Reply(Answer { response, body })
}

fn groups_of(fragment: &Bytes, range: GroupRange) -> Option<Bytes> {
    let start = u64::from(range.first) * GROUP_LEN;
    let end = (start + u64::from(range.count) * GROUP_LEN).min(fragment.len() as u64);
    (start < end).then(|| fragment.slice(start as usize..end as usize))
}

fn page_len(inventory: &Inventory) -> usize {
    usize::from(inventory.limit.clamp(1, INVENTORY_LIMIT_MAX))
}

fn page(request: &VerifiedRequest, mut objects: Vec<ObjectId>) -> Step {
    let Operation::Inventory(inventory) = &request.operation else {
        return refuse(internal());
    };
    let more = objects.len() > page_len(inventory);
    objects.truncate(page_len(inventory));
    let body = canonical::encode(&InventoryPage { objects, more });
    Step::Reply(Answer { response: Response::Inventory, body: body.into() })
}

fn refuse(refusal: Refusal) -> Step {
    Step::Reply(Answer::bare(Response::Refused(refusal)))
}

fn not_found() -> Refusal {
    Refusal::new(RefusalKind::NotFound, "this object is not kept here")
}

fn internal() -> Refusal {
    Refusal::new(RefusalKind::Unavailable, "the disk answered another question")
}

fn disk_refusal(error: DiskError) -> Refusal {
    match error {
        DiskError::Full(message) => Refusal::new(RefusalKind::Full, message),
        DiskError::Damaged => {
            Refusal::new(RefusalKind::Damaged, "what is kept here is damaged and must be repaired")
        }
        DiskError::Conflict => {
            Refusal::new(RefusalKind::Invalid, "another part is kept under this name")
        }
        DiskError::Failed(message) => Refusal::new(RefusalKind::Unavailable, message),
    }
}
