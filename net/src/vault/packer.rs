//! Packs files and parts of the catalogue into objects, one after the other; blocks on files and on
//! the sending.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use kakera_engine::catalogue::{Piece, SealedAs, Stored};
use kakera_engine::clinical::classify;
use kakera_engine::code::{Code, CodeParameters};
use kakera_engine::names::{GroupId, ObjectId};
use kakera_engine::object::{ObjectBuilder, ObjectReference, Placement, SealedObject};
use kakera_engine::seal::{RecordSecret, Suite, VaultRoot};
use rand_core::Rng;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Progress;
use super::edit::{Source, Target};
use crate::client::{ClientError, GroupPlace};
use crate::random::{SystemRandom, system_random};

/// Objects being packed or sent at once; each takes 4 MiB and its fragments.
pub(super) const OBJECTS_AT_ONCE: usize = 3;
/// A record up to this size is not cut to fill an object.
const UNCUT_LEN_MAX: u64 = 64 * 1024;

/// An object on its way, and the right to be.
pub(super) type Packed = (SealedObject, OwnedSemaphorePermit);

/// Packs into the open object, and into as many more as are needed.
///
/// An object has a name only once it is finished. Until then its pieces name it provisionally;
/// [`Packer::settle`] puts the names in.
pub(super) struct Packer {
    root: Arc<VaultRoot>,
    groups: Arc<[GroupPlace]>,
    codes: Vec<Code>,
    sender: mpsc::Sender<Packed>,
    permits: Arc<Semaphore>,
    progress: Arc<dyn Progress>,
    random: SystemRandom,
    builder: ObjectBuilder,
    /// Held while the builder holds an object, then sent with it.
    permit: Option<OwnedSemaphorePermit>,
    objects: Vec<ObjectReference>,
    /// Of the open object.
    retain_until: Option<u64>,
}

impl Packer {
    pub(super) fn new(
        root: Arc<VaultRoot>,
        groups: Arc<[GroupPlace]>,
        sender: mpsc::Sender<Packed>,
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
            permits: Arc::new(Semaphore::new(OBJECTS_AT_ONCE)),
            progress,
            random,
            objects: Vec::new(),
            retain_until: None,
        })
    }

    /// The code of the objects of the first group: all groups of a network have one.
    pub(super) fn code(&self) -> Result<CodeParameters, ClientError> {
        self.groups.first().map(|group| group.code).ok_or_else(ClientError::no_groups)
    }

    /// Objects finished so far.
    pub(super) fn objects(&self) -> usize {
        self.objects.len()
    }

    /// The objects finished so far but for the first `count`.
    pub(super) fn finished_after(&self, count: usize) -> &[ObjectReference] {
        self.objects.get(count..).unwrap_or_default()
    }

    /// Seals a file as the version that it becomes.
    pub(super) fn pack_file(
        &mut self,
        source: &Source,
        target: &Target,
    ) -> Result<Stored, ClientError> {
        let read_error = |error| ClientError::source_file(&source.path, error);
        let mut file = File::open(&source.path).map_err(read_error)?;
        let metadata = file.metadata().map_err(read_error)?;
        self.retain_until(source.retain_until)?;
        if metadata.len() <= UNCUT_LEN_MAX && metadata.len() > self.builder.remaining() {
            self.finish_object()?;
        }
        let secret = self.root.compartment(target.compartment).record(target.record);
        let mut hasher = blake3::Hasher::new();
        let (mut pieces, mut piece, mut len, mut about) = (Vec::new(), Vec::new(), 0, None);
        loop {
            let room = self.room()?;
            piece.clear();
            (&mut file).take(room).read_to_end(&mut piece).map_err(read_error)?;
            if piece.is_empty() {
                break;
            }
            if len == 0 && source.classify {
                about = classify(&piece);
            }
            hasher.update(&piece);
            len += piece.len() as u64;
            pieces.extend(self.push(&secret, target.number, &piece)?);
            self.progress.advance(piece.len() as u64);
        }
        Ok(Stored {
            compartment: target.compartment,
            sealed: SealedAs { record: target.record, number: target.number },
            len,
            modified: modified(&metadata),
            hash: *hasher.finalize().as_bytes(),
            pieces,
            about,
            retain_until: source.retain_until,
        })
    }

    /// What is pushed from here on is kept until this date, and nothing of another date lies in the
    /// same object.
    pub(super) fn retain_until(&mut self, date: Option<u64>) -> Result<(), ClientError> {
        if date != self.retain_until {
            self.finish_object()?;
            self.retain_until = date;
        }
        Ok(())
    }

    /// Seals a piece of a version again, where its object is to be destroyed for another's sake.
    pub(super) fn pack_again(
        &mut self,
        stored: &Stored,
        bytes: &[u8],
    ) -> Result<Vec<Piece>, ClientError> {
        self.retain_until(stored.retain_until)?;
        let secret = self.root.compartment(stored.compartment).record(stored.sealed.record);
        if bytes.len() as u64 <= UNCUT_LEN_MAX {
            self.make_room(bytes.len() as u64)?;
        }
        self.push(&secret, stored.sealed.number, bytes)
    }

    /// Seals a part of the catalogue that belongs to pointer number `put`.
    pub(super) fn pack_catalogue(
        &mut self,
        put: u64,
        bytes: &[u8],
    ) -> Result<Vec<Piece>, ClientError> {
        let secret = self.root.catalogue();
        self.push(&secret, put, bytes)
    }

    /// Makes sure that `len` bytes still fit into the open object, or that it is empty.
    pub(super) fn make_room(&mut self, len: u64) -> Result<(), ClientError> {
        if self.builder.remaining() < len { self.finish_object() } else { Ok(()) }
    }

    /// The provisional name of the open object.
    pub(super) fn here(&self) -> ObjectReference {
        provisional(self.objects.len())
    }

    /// Puts the names of finished objects in.
    pub(super) fn settle<'p>(&self, pieces: impl IntoIterator<Item = &'p mut Piece>) {
        for piece in pieces {
            let number = number_of(&piece.object);
            if let Some(object) = number.and_then(|number| self.objects.get(number)) {
                piece.object = *object;
            }
        }
    }

    /// Pads and sends the open object, if anything is in it.
    pub(super) fn finish_object(&mut self) -> Result<(), ClientError> {
        let Some(permit) = self.permit.take() else {
            return Ok(());
        };
        let choice = self.random.next_u32() as usize % self.groups.len();
        let group = &self.groups[choice];
        let placement = Placement {
            group: group.id,
            epoch: group.epochs.epoch,
            code: &self.codes[choice],
            key: group.key,
        };
        self.builder.retain_until(self.retain_until);
        let object = self
            .builder
            .finish(&placement, &self.root, &mut self.random)
            .map_err(|error| ClientError::integrity(error.to_string()))?;
        self.objects.push(object.reference());
        // There is room for all who have a permit.
        self.sender.try_send((object, permit)).map_err(|_| ClientError::cancelled())
    }

    fn push(
        &mut self,
        secret: &RecordSecret,
        version: u64,
        mut bytes: &[u8],
    ) -> Result<Vec<Piece>, ClientError> {
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            let room = usize::try_from(self.room()?).unwrap_or(usize::MAX).min(bytes.len());
            let (piece, rest) = bytes.split_at(room);
            self.take_permit()?;
            let object = self.here();
            let extent = self
                .builder
                .push(secret, version, piece)
                .map_err(|error| ClientError::integrity(error.to_string()))?;
            pieces.push(Piece { object, extent });
            bytes = rest;
        }
        Ok(pieces)
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
            let permit = match Arc::clone(&permits).try_acquire_owned() {
                Ok(permit) => permit,
                Err(_) => tokio::runtime::Handle::current()
                    .block_on(permits.acquire_owned())
                    .map_err(|_| ClientError::cancelled())?,
            };
            self.permit = Some(permit);
        }
        Ok(())
    }
}

/// When a file was modified, Unix nanoseconds; 0 where that is not known or before 1970.
pub(super) fn modified(metadata: &std::fs::Metadata) -> u64 {
    let elapsed = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    elapsed.map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

/// No finished object has an id of zeros: it is a hash.
const UNNAMED: ObjectId = ObjectId([0; 32]);

fn provisional(number: usize) -> ObjectReference {
    let mut salt = [0; 32];
    salt[..8].copy_from_slice(&(number as u64).to_be_bytes());
    ObjectReference { group: GroupId(0), object_id: UNNAMED, salt }
}

fn number_of(object: &ObjectReference) -> Option<usize> {
    let mut number = [0; 8];
    number.copy_from_slice(&object.salt[..8]);
    (object.object_id == UNNAMED).then(|| u64::from_be_bytes(number) as usize)
}
