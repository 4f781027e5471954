//! Writes records: packs them into objects, gives the objects to their holders, posts the pointer.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use kakera_engine::code::Code;
use kakera_engine::ledger::{Body, Pointer};
use kakera_engine::names::RecordId;
use kakera_engine::object::{
    Extent, FormatVersion, Manifest, ObjectBuilder, ObjectReference, PlacedExtent, Placement,
    PointerBody, RecordEntry, SealedObject,
};
use kakera_engine::seal::{Compartment, RecordSecret, Suite, VaultRoot};
use kakera_engine::wire::Authorisation;
use rand_core::Rng;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{JoinError, JoinSet};

use super::catalogue::{Catalogue, resolve};
use super::{Progress, PutSummary, Source, StoredRecord};
use crate::client::{Client, ClientError, GroupPlace};
use crate::random::{SystemRandom, system_random};

/// Objects being packed or sent at once; each takes 4 MiB and its fragments.
const OBJECTS_AT_ONCE: usize = 3;
/// A record up to this size is not cut to fill an object.
const UNCUT_LEN_MAX: u64 = 64 * 1024;

/// How long a durable put waits for the holders beyond its quorum.
const STRAGGLER_PATIENCE: Duration = Duration::from_secs(1);

/// What was written.
pub(super) struct Written {
    pub(super) records: Vec<StoredRecord>,
    pub(super) summary: PutSummary,
}

/// Writes the sources and makes them final.
pub(super) async fn write(
    client: &Arc<Client>,
    root: &Arc<VaultRoot>,
    catalogue: &Catalogue,
    sources: Vec<Source>,
    progress: Arc<dyn Progress>,
) -> Result<Written, ClientError> {
    let groups = client.open_groups().await?;
    let versions = sources.iter().map(|source| next_version(catalogue, &source.name)).collect();
    let counter = catalogue.next_pointer();
    let (sender, mut packed) = mpsc::channel(1);
    let permits = Arc::new(Semaphore::new(OBJECTS_AT_ONCE));
    let packer = Packer::new(Arc::clone(root), groups.clone(), sender, permits, progress)?;
    let packing = tokio::task::spawn_blocking(move || packer.pack(sources, versions, counter));

    let before = client.transfers().delivered();
    let mut summary = PutSummary::default();
    let mut sending = JoinSet::new();
    while let Some((object, permit)) = packed.recv().await {
        summary.objects += 1;
        sending.spawn(send(Arc::clone(client), groups.clone(), object, permit));
        while let Some(sent) = sending.try_join_next() {
            joined(sent)?;
        }
    }
    let (manifest, pointer) = joined(packing.await)?;
    while let Some(sent) = sending.join_next().await {
        joined(sent)?;
    }
    summary.records = manifest.records.len() as u64;
    summary.bytes = manifest.records.iter().map(|record| record.len).sum();
    let sealed = pointer
        .seal(&root.pointer_key(counter), &mut system_random())
        .map_err(|error| ClientError::usage(format!("too much for one put: {error}")))?;
    let signed = Pointer::sign(client.network(), &root.pointer_signing_key(counter), sealed);
    summary.height = client.submit(Body::Pointer(signed)).await?.height;
    client.transfers().settle(STRAGGLER_PATIENCE).await;
    let after = client.transfers().delivered();
    summary.objects_complete = after.objects_complete - before.objects_complete;
    summary.stored_bytes = after.bytes - before.bytes;
    Ok(Written { records: resolve(manifest, &pointer.objects)?, summary })
}

/// The id, compartment and version of the record that a put of `name` writes.
fn next_version(catalogue: &Catalogue, name: &str) -> (RecordId, Compartment, u64) {
    match catalogue.record(name) {
        Some(known) => (known.entry.record_id, known.entry.compartment, known.entry.version + 1),
        None => {
            let mut id = [0; 16];
            system_random().fill_bytes(&mut id);
            (RecordId(id), Compartment { number: 0, generation: 0 }, 1)
        }
    }
}

async fn send(
    client: Arc<Client>,
    groups: Arc<[GroupPlace]>,
    object: SealedObject,
    permit: OwnedSemaphorePermit,
) -> Result<(), ClientError> {
    let group = groups
        .iter()
        .find(|group| group.id == object.descriptor.group)
        .ok_or_else(|| ClientError::integrity("an object was packed for an unknown group"))?;
    let authorisation =
        Authorisation::sign(client.network(), &object.object_id, client.signing_key());
    client.transfers().put(object, authorisation, &group.members).await?;
    drop(permit);
    Ok(())
}

fn joined<T>(outcome: Result<T, JoinError>) -> T {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Packs sources into objects, one after the other; blocks on files and on the sending.
struct Packer {
    root: Arc<VaultRoot>,
    groups: Arc<[GroupPlace]>,
    codes: Vec<Code>,
    sender: mpsc::Sender<(SealedObject, OwnedSemaphorePermit)>,
    permits: Arc<Semaphore>,
    progress: Arc<dyn Progress>,
    random: SystemRandom,
    builder: ObjectBuilder,
    /// Held while the builder holds an object, then sent with it.
    permit: Option<OwnedSemaphorePermit>,
    objects: Vec<ObjectReference>,
}

impl Packer {
    fn new(
        root: Arc<VaultRoot>,
        groups: Arc<[GroupPlace]>,
        sender: mpsc::Sender<(SealedObject, OwnedSemaphorePermit)>,
        permits: Arc<Semaphore>,
        progress: Arc<dyn Progress>,
    ) -> Result<Self, ClientError> {
        let codes: Result<Vec<Code>, _> = groups.iter().map(|group| group.code.build()).collect();
        let mut random = system_random();
        Ok(Self {
            builder: ObjectBuilder::new(Suite::preferred(), &mut random),
            permit: None,
            root,
            codes: codes.map_err(|error| ClientError::integrity(error.to_string()))?,
            groups,
            sender,
            permits,
            progress,
            random,
            objects: Vec::new(),
        })
    }

    /// Packs the sources, then their manifest behind them in the last objects.
    fn pack(
        mut self,
        sources: Vec<Source>,
        versions: Vec<(RecordId, Compartment, u64)>,
        counter: u64,
    ) -> Result<(Manifest, PointerBody), ClientError> {
        let mut records = Vec::with_capacity(sources.len());
        for (source, version) in sources.into_iter().zip(versions) {
            records.push(self.pack_record(source, version)?);
        }
        // The objects finished so far; the one still open will hold the manifest's first bytes.
        let before = self.objects.len();
        let manifest = Manifest::new(self.objects.clone(), records)
            .map_err(|error| ClientError::usage(error.to_string()))?;
        let bytes = manifest.encode();
        let mut extents = Vec::new();
        let catalogue = self.root.catalogue();
        self.push(&catalogue, counter, &bytes, &mut extents)?;
        self.finish_object()?;
        for placed in &mut extents {
            placed.object -= before as u32;
        }
        let code = self.groups.first().map(|group| group.code);
        let body = PointerBody {
            version: FormatVersion::V1,
            code: code.ok_or_else(ClientError::no_groups)?,
            objects: self.objects.split_off(before),
            manifest: extents,
        };
        Ok((manifest, body))
    }

    fn pack_record(
        &mut self,
        source: Source,
        (record_id, compartment, version): (RecordId, Compartment, u64),
    ) -> Result<RecordEntry, ClientError> {
        let read_error = |error| ClientError::source_file(&source.path, error);
        let mut file = File::open(&source.path).map_err(read_error)?;
        let metadata = file.metadata().map_err(read_error)?;
        let modified = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |elapsed| elapsed.as_secs());
        if metadata.len() <= UNCUT_LEN_MAX && metadata.len() > self.builder.remaining() {
            self.finish_object()?;
        }
        let secret = self.root.compartment(compartment).record(record_id);
        let mut hasher = blake3::Hasher::new();
        let mut extents = Vec::new();
        let mut len = 0;
        let mut piece = Vec::new();
        loop {
            let room = self.room()?;
            piece.clear();
            (&mut file).take(room).read_to_end(&mut piece).map_err(read_error)?;
            if piece.is_empty() {
                break;
            }
            hasher.update(&piece);
            len += piece.len() as u64;
            self.push(&secret, version, &piece, &mut extents)?;
            self.progress.advance(piece.len() as u64);
        }
        Ok(RecordEntry {
            name: source.name,
            compartment,
            record_id,
            version,
            len,
            modified,
            content_hash: *hasher.finalize().as_bytes(),
            extents,
        })
    }

    /// Seals `bytes` into the open object and as many more as they need.
    fn push(
        &mut self,
        secret: &RecordSecret,
        version: u64,
        mut bytes: &[u8],
        extents: &mut Vec<PlacedExtent>,
    ) -> Result<(), ClientError> {
        while !bytes.is_empty() {
            let room = usize::try_from(self.room()?).unwrap_or(usize::MAX).min(bytes.len());
            let (piece, rest) = bytes.split_at(room);
            let object = self.objects.len() as u32;
            self.take_permit()?;
            let extent: Extent = self
                .builder
                .push(secret, version, piece)
                .map_err(|error| ClientError::integrity(error.to_string()))?;
            extents.push(PlacedExtent { object, extent });
            bytes = rest;
        }
        Ok(())
    }

    /// How much the open object still takes, at least one byte: a full one is finished first.
    fn room(&mut self) -> Result<u64, ClientError> {
        if self.builder.remaining() == 0 {
            self.finish_object()?;
        }
        Ok(self.builder.remaining())
    }

    /// Waits until another object may be begun, if none is.
    fn take_permit(&mut self) -> Result<(), ClientError> {
        if self.permit.is_none() {
            let permits = Arc::clone(&self.permits);
            let permit = tokio::runtime::Handle::current().block_on(permits.acquire_owned());
            self.permit = Some(permit.map_err(|_| ClientError::cancelled())?);
        }
        Ok(())
    }

    fn finish_object(&mut self) -> Result<(), ClientError> {
        let Some(permit) = self.permit.take() else {
            return Ok(());
        };
        let choice = self.random.next_u32() as usize % self.groups.len();
        let group = &self.groups[choice];
        let placement = Placement {
            group: group.id,
            epoch: group.epoch,
            code: &self.codes[choice],
            key: group.key,
        };
        let object = self
            .builder
            .finish(&placement, &self.root, &mut self.random)
            .map_err(|error| ClientError::integrity(error.to_string()))?;
        self.objects.push(object.reference());
        self.sender.blocking_send((object, permit)).map_err(|_| ClientError::cancelled())
    }
}
