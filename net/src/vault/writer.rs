//! Writes edits: packs files, gives the objects to their holders, posts the pointer of the next
//! head, and begins again behind the other where another machine's pointer came first.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use kakera_engine::catalogue::{
    Content, Draft, NextHead, OrderError, Piece, SegmentPlace, Version,
};
use kakera_engine::ledger::{Body, NUMBERED_POINTERS_VERSION_MIN, Pointer};
use kakera_engine::object::{ObjectReference, PlacedExtent, PointerBody, PointerVersion};
use kakera_engine::seal::{POINTERS_PER_SPAN, VaultRoot};
use kakera_engine::wire::Authorisation;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep};

use super::edit::{Edit, Planner};
use super::load::{State, tag_of};
use super::packer::{OBJECTS_AT_ONCE, Packed, Packer};
use super::{Progress, PutSummary};
use crate::blocking::blocking;
use crate::client::{Client, ClientError, ErrorKind, GroupPlace};
use crate::clock::unix_milliseconds;
use crate::random::system_random;

/// Edits that become final together; so much is done again after an interruption.
const EDITS_AT_ONCE: usize = 1024;
/// Bytes after which no further file joins them.
const BYTES_AT_ONCE: u64 = 256 << 20;
/// How often another machine may come first before the put gives up.
pub(super) const RACES_MAX: usize = 64;
/// The version of the rules from which on all machines know dates of retention.
const RETENTION_VERSION: u32 = 4;
/// How long a pointer that was refused waits until that of another machine, which came first, is final.
const RIVAL_PATIENCE: Duration = Duration::from_secs(5);
/// How often it looks.
const RIVAL_PAUSE: Duration = Duration::from_millis(100);
/// How long a durable put waits for the holders beyond its quorum.
const STRAGGLER_PATIENCE: Duration = Duration::from_secs(1);

/// Makes all edits final, some at a time. After an error those before it are, and `state` tells.
pub(super) async fn write(
    client: &Arc<Client>,
    root: &Arc<VaultRoot>,
    state: &mut Arc<State>,
    edits: Vec<Edit>,
    progress: Arc<dyn Progress>,
) -> Result<PutSummary, ClientError> {
    let mut summary = PutSummary::default();
    if edits.is_empty() {
        return Ok(summary);
    }
    require_retention_known(client, &edits).await?;
    let before = client.transfers().delivered();
    let mut writer = Writer::new(client, root, state, Arc::clone(&progress)).await?;
    let mut edits = VecDeque::from(edits);
    while !edits.is_empty() {
        let some: VecDeque<Edit> = edits.drain(..edits.len().min(EDITS_AT_ONCE)).collect();
        let (again, before) = (some.clone(), summary.clone());
        let mut rest = match writer.write_some(some, &mut summary).await {
            Err(error) if error.kind() == ErrorKind::BelowThreshold => {
                if !writer.turn_to_other_groups(Arc::clone(&progress)).await? {
                    return Err(error);
                }
                summary = before;
                again
            }
            written => written?,
        };
        rest.append(&mut edits);
        edits = rest;
    }
    client.transfers().settle(STRAGGLER_PATIENCE).await;
    let after = client.transfers().delivered();
    summary.objects_complete = after.objects_complete - before.objects_complete;
    summary.stored_bytes = after.bytes - before.bytes;
    Ok(summary)
}

/// A date of retention means something to holders only where all of them know it.
async fn require_retention_known(client: &Client, edits: &[Edit]) -> Result<(), ClientError> {
    let is_retained =
        |edit: &Edit| matches!(edit, Edit::Store(source) if source.retain_until.is_some());
    if !edits.iter().any(is_retained) {
        return Ok(());
    }
    match client.rules_version().await? {
        version if version < RETENTION_VERSION => Err(ClientError::no_retention(version)),
        _ => Ok(()),
    }
}

/// Writes heads behind the newest.
pub(super) struct Writer<'a> {
    client: &'a Arc<Client>,
    root: &'a Arc<VaultRoot>,
    pub(super) state: &'a mut Arc<State>,
    groups: Arc<[GroupPlace]>,
    packed: mpsc::Receiver<Packed>,
    /// Absent while it packs.
    packer: Option<Packer>,
}

/// Edits that have been packed and wait for their place in the ledger's order.
#[derive(Default)]
pub(super) struct Batch {
    drafts: Vec<Draft>,
    labels: BTreeMap<u32, String>,
    bytes: u64,
}

/// A head that only has to be posted.
pub(super) struct Closed {
    versions: Vec<Version>,
    next: NextHead,
    segment: Option<SegmentPlace>,
    pub(super) pointer: PointerBody,
}

impl Batch {
    /// Of drafts that store nothing.
    pub(super) fn of(drafts: Vec<Draft>) -> Self {
        Self { drafts, ..Self::default() }
    }
}

impl<'a> Writer<'a> {
    pub(super) async fn new(
        client: &'a Arc<Client>,
        root: &'a Arc<VaultRoot>,
        state: &'a mut Arc<State>,
        progress: Arc<dyn Progress>,
    ) -> Result<Self, ClientError> {
        let groups = client.open_groups().await?;
        let (sender, packed) = mpsc::channel(OBJECTS_AT_ONCE);
        let packer = Packer::new(Arc::clone(root), groups.clone(), sender, progress)?;
        Ok(Self { client, root, state, groups, packed, packer: Some(packer) })
    }

    /// Packs from here on for those groups that have not just failed; false if there are no fewer.
    ///
    /// What was packed is dropped: no object is dealt to two groups.
    async fn turn_to_other_groups(
        &mut self,
        progress: Arc<dyn Progress>,
    ) -> Result<bool, ClientError> {
        let groups = self.client.open_groups().await?;
        if groups.len() >= self.groups.len() {
            return Ok(false);
        }
        let (sender, packed) = mpsc::channel(OBJECTS_AT_ONCE);
        let packer = Packer::new(Arc::clone(self.root), groups.clone(), sender, progress)?;
        (self.groups, self.packed, self.packer) = (groups, packed, Some(packer));
        Ok(true)
    }

    /// Makes the first edits final and gives back the rest.
    async fn write_some(
        &mut self,
        edits: VecDeque<Edit>,
        summary: &mut PutSummary,
    ) -> Result<VecDeque<Edit>, ClientError> {
        let (rest, mut batch, mut closed) = self
            .pack(summary, move |packer, state| {
                let mut edits = edits;
                let mut batch = pack_some(packer, state, &mut edits)?;
                let closed = close(packer, state, &mut batch)?;
                Ok((edits, batch, closed))
            })
            .await?;
        for _ in 0..RACES_MAX {
            if let Some(height) = self.post(&closed.pointer).await? {
                summary.height = height;
                summary.records += batch.drafts.len() as u64;
                summary.bytes += batch.bytes;
                self.advance(batch.labels, closed);
                return Ok(rest);
            }
            self.reload().await?;
            (batch, closed) = self
                .pack(summary, move |packer, state| {
                    let closed = close(packer, state, &mut batch)?;
                    Ok((batch, closed))
                })
                .await?;
        }
        Err(ClientError::overtaken("other machines of this vault write all the time"))
    }

    /// Reads what another machine has posted.
    pub(super) async fn reload(&mut self) -> Result<(), ClientError> {
        let newer = State::load(self.client, self.root, self.state).await?;
        *self.state = Arc::new(newer);
        Ok(())
    }

    /// Packs on a thread of its own, and sends what is packed, until all of it is durable.
    pub(super) async fn pack<T: Send + 'static>(
        &mut self,
        summary: &mut PutSummary,
        work: impl FnOnce(&mut Packer, &State) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let mut packer = self.packer.take().ok_or_else(ClientError::cancelled)?;
        let state = Arc::clone(self.state);
        let packing = blocking(move || {
            let result = work(&mut packer, &state);
            (packer, result)
        });
        tokio::pin!(packing);
        let mut sending = JoinSet::new();
        let (packer, result) = loop {
            tokio::select! {
                biased;
                Some((object, permit)) = self.packed.recv() => {
                    summary.objects += 1;
                    let (client, groups) = (Arc::clone(self.client), Arc::clone(&self.groups));
                    sending.spawn(async move {
                        send(&client, &groups, object).await?;
                        drop(permit);
                        Ok::<(), ClientError>(())
                    });
                }
                Some(sent) = sending.join_next() => joined(sent)?,
                packed = &mut packing => break packed,
            }
        };
        // What the thread sent last may still be in the channel.
        while let Ok((object, _permit)) = self.packed.try_recv() {
            summary.objects += 1;
            send(self.client, &self.groups, object).await?;
        }
        while let Some(sent) = sending.join_next().await {
            joined(sent)?;
        }
        self.packer = Some(packer);
        result
    }

    /// Posts the pointer of the next head; the block of it, or `None` if another came first.
    pub(super) async fn post(&self, pointer: &PointerBody) -> Result<Option<u64>, ClientError> {
        let number = self.state.next_pointer;
        let sealed = pointer
            .seal(&self.root.pointer_key(number), &mut system_random())
            .map_err(|error| ClientError::usage(format!("too much for one put: {error}")))?;
        if self.state.spans {
            self.post_in_span(number, sealed).await
        } else {
            self.post_single(number, sealed).await
        }
    }

    /// Of pointers with one place in a span the ledger takes the first and refuses the others.
    async fn post_in_span(&self, number: u64, sealed: Vec<u8>) -> Result<Option<u64>, ClientError> {
        let key = self.root.span_signing_key(number / POINTERS_PER_SPAN);
        let place = number % POINTERS_PER_SPAN;
        let signed = Pointer::sign_numbered(self.client.network(), &key, place, sealed);
        let content = signed.content();
        let refused = match self.client.submit(Body::Pointer(signed)).await {
            Err(error) if matches!(error.kind(), ErrorKind::Other | ErrorKind::Unavailable) => {
                error
            }
            submitted => return submitted.map(|submitted| Some(submitted.height)),
        };
        let begin = Instant::now();
        loop {
            let posted = self.client.posted_pointers(&[tag_of(&key)]).await?;
            match posted.into_iter().flatten().next() {
                Some(newest) if newest.content == content => return Ok(Some(newest.height)),
                Some(newest) if newest.number >= Some(place) => return Ok(None),
                _ if refused.kind() == ErrorKind::Other || begin.elapsed() > RIVAL_PATIENCE => {
                    return Err(refused);
                }
                _ => sleep(RIVAL_PAUSE).await,
            }
        }
    }

    /// Before version 9 of the ledger's rules: of pointers under one tag the first counts.
    async fn post_single(&self, number: u64, sealed: Vec<u8>) -> Result<Option<u64>, ClientError> {
        let key = self.root.pointer_signing_key(number);
        let signed = Pointer::sign(self.client.network(), &key, sealed);
        let content = signed.content();
        let submitted = self.client.submit(Body::Pointer(signed)).await;
        if let Err(error) = &submitted
            && error.kind() != ErrorKind::Other
        {
            return submitted.map(|submitted| Some(submitted.height));
        }
        let posted = self.client.posted_pointers(&[tag_of(&key)]).await?;
        match (posted.first().and_then(|posted| posted.first()), submitted) {
            (Some(first), _) if first.content == content => Ok(Some(first.height)),
            // Refused, perhaps because so many others were there before it.
            (Some(_), _) => Ok(None),
            (None, Err(_))
                if self.client.rules_version().await? >= NUMBERED_POINTERS_VERSION_MIN =>
            {
                Ok(None)
            }
            (None, Err(error)) => Err(error),
            (None, Ok(_)) => Err(ClientError::integrity("a final pointer is not on the ledger")),
        }
    }

    pub(super) fn advance(&mut self, labels: BTreeMap<u32, String>, closed: Closed) {
        let state = Arc::make_mut(self.state);
        for (compartment, label) in labels {
            state.catalogue.label(compartment, label);
        }
        state.catalogue.extend(closed.versions);
        state.log = closed.next.log(closed.segment);
        state.next_pointer += 1;
    }
}

/// Packs files until there are no more edits or enough for one put.
fn pack_some(
    packer: &mut Packer,
    state: &State,
    edits: &mut VecDeque<Edit>,
) -> Result<Batch, ClientError> {
    let mut planner = Planner::new(&state.catalogue);
    let mut batch = Batch::default();
    while batch.drafts.len() < EDITS_AT_ONCE
        && batch.bytes < BYTES_AT_ONCE
        && let Some(edit) = edits.pop_front()
    {
        batch.drafts.push(match edit {
            Edit::Store(source) => {
                let target = planner.target(&source);
                let stored = packer.pack_file(&source, &target)?;
                batch.bytes += stored.len;
                Draft {
                    record: target.record,
                    based_on: target.based_on,
                    name: source.name,
                    content: Content::Stored(Box::new(stored)),
                }
            }
            Edit::Repeat { record, number, name } => planner.repeat(record, number, name)?,
            Edit::Delete { record } => planner.delete(record)?,
        });
    }
    batch.labels = mem::take(&mut planner.new_labels);
    Ok(batch)
}

/// Writes the next head behind `state`, with a segment where it does not hold all new versions.
pub(super) fn close(
    packer: &mut Packer,
    state: &State,
    batch: &mut Batch,
) -> Result<Closed, ClientError> {
    // Heads and segments are replaced sooner than any date.
    packer.retain_until(None)?;
    let put = state.next_pointer;
    let mut labelled = state.catalogue.labels().clone();
    labelled.extend(batch.labels.clone());
    let (mut versions, mut next) = next_head(packer, state, batch, &labelled)?;
    let len = match &next.segment {
        Some(_) => 1,
        None => next.head(None, &packer.here()).encode(&packer.here()).len() as u64,
    };
    let objects = packer.objects();
    packer.make_room(len)?;
    if packer.objects() > objects {
        (versions, next) = next_head(packer, state, batch, &labelled)?;
    }
    let mut segment = match &next.segment {
        None => None,
        Some(segment) => {
            let pieces = packer.pack_catalogue(put, &segment.encode(&packer.here()))?;
            Some(SegmentPlace { put, versions: segment.versions.len() as u64, pieces })
        }
    };
    if segment.is_some() {
        let len = next.head(segment.as_ref(), &packer.here()).encode(&packer.here()).len();
        packer.make_room(len as u64)?;
        packer.settle(segment.iter_mut().flat_map(|place| &mut place.pieces));
    }
    let here = packer.here();
    let mut extents =
        packer.pack_catalogue(put, &next.head(segment.as_ref(), &here).encode(&here))?;
    packer.finish_object()?;
    packer.settle(&mut extents);
    packer.settle(segment.iter_mut().flat_map(|place| &mut place.pieces));
    settle(packer, versions.iter_mut().map(|version| &mut version.content));
    let pointer = pointer_to(packer.code()?, &extents);
    Ok(Closed { versions, next, segment, pointer })
}

fn next_head(
    packer: &Packer,
    state: &State,
    batch: &mut Batch,
    labels: &BTreeMap<u32, String>,
) -> Result<(Vec<Version>, NextHead), ClientError> {
    settle(packer, batch.drafts.iter_mut().map(|draft| &mut draft.content));
    let versions = state
        .catalogue
        .order(&batch.drafts, state.next_pointer, unix_milliseconds() / 1000)
        .map_err(|error| match error {
            OrderError::Changed(_) => ClientError::overtaken(error.to_string()),
            OrderError::NameTaken(_) => ClientError::name_taken(error.to_string()),
        })?;
    let next = state.log.next(&state.catalogue, &versions, labels);
    Ok((versions, next))
}

fn settle<'c>(packer: &Packer, contents: impl Iterator<Item = &'c mut Content>) {
    for content in contents {
        if let Content::Stored(stored) = content {
            packer.settle(&mut stored.pieces);
        }
    }
}

fn pointer_to(code: kakera_engine::code::CodeParameters, pieces: &[Piece]) -> PointerBody {
    let mut objects: Vec<ObjectReference> = Vec::new();
    let mut extents = Vec::new();
    for Piece { object, extent } in pieces {
        if objects.last() != Some(object) {
            objects.push(*object);
        }
        let object = objects.len() as u32 - 1;
        extents.push(PlacedExtent { object, extent: extent.clone() });
    }
    PointerBody { version: PointerVersion::Head, code, objects, extents }
}

async fn send(
    client: &Client,
    groups: &[GroupPlace],
    object: kakera_engine::object::SealedObject,
) -> Result<(), ClientError> {
    let group = groups
        .iter()
        .find(|group| group.id == object.descriptor.group)
        .ok_or_else(|| ClientError::integrity("an object was packed for an unknown group"))?;
    let authorisation =
        Authorisation::sign(client.network(), &object.object_id, client.signing_key());
    let put = client.transfers().put(object, authorisation, &group.members).await;
    let put = put.map_err(ClientError::from);
    if put.as_ref().is_err_and(|error| error.kind() == ErrorKind::BelowThreshold) {
        client.leave_out(group.id).await;
    }
    put
}

fn joined<T>(outcome: Result<T, JoinError>) -> T {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
