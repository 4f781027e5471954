//! Reads extents: gathers the object or the range of it, checks, opens.

use std::collections::VecDeque;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use kakera_engine::catalogue::{Piece, Stored};
use kakera_engine::code::{CodeParameters, GROUP_LEN};
use kakera_engine::names::ObjectId;
use kakera_engine::object::{Extent, ExtentReader, OBJECT_LEN_MAX, ObjectReference};
use kakera_engine::peer::{Gathered, GetError, Wanted};
use kakera_engine::seal::{RecordSecret, VaultRoot};
use kakera_engine::wire::GroupRange;
use tokio::task::JoinHandle;

use super::Progress;
use crate::client::{Client, ClientError, GroupPlace};

/// Whole objects kept or under way: the one being read, the one before, and two ahead. Each takes
/// 4 MiB, and about three times that while it is gathered.
const OBJECTS_KEPT: usize = 4;
const OBJECTS_AHEAD: usize = 2;
/// How often a read waits for holders that are between two epochs of their key shares.
const REFRESH_TRIES: u32 = 20;
const REFRESH_PAUSE: Duration = Duration::from_millis(250);
/// A read that needs more than one part in this many of an object takes the whole of it.
const WHOLE_OBJECT_SHARE: u64 = 4;

/// Reads records of one vault.
pub struct Reader<'a> {
    client: &'a Client,
    root: &'a VaultRoot,
    /// Whether many records are read in a row: then objects are read whole, and kept.
    many: bool,
    kept: VecDeque<(ObjectId, Fetch)>,
}

/// Gathered bytes and where they begin in the object.
struct Fetched {
    gathered: Gathered,
    start: u64,
}

enum Fetch {
    UnderWay(JoinHandle<Result<Gathered, GetError>>),
    Done(Arc<Fetched>),
}

/// A part of a piece to read.
struct Part<'p> {
    object: &'p ObjectReference,
    extent: &'p Extent,
    /// Plaintext bytes of the extent.
    inside: Range<u64>,
}

impl Part<'_> {
    fn coded(&self) -> Result<Range<u64>, ClientError> {
        self.extent
            .coded_range_of(self.inside.clone())
            .map_err(|error| ClientError::integrity(error.to_string()))
    }
}

impl<'a> Reader<'a> {
    pub(super) fn new(client: &'a Client, root: &'a VaultRoot, many: bool) -> Self {
        Self { client, root, many, kept: VecDeque::new() }
    }

    /// Writes what a version of a record holds, or the bytes `range` of it, to `output`, and tells
    /// how many bytes.
    pub async fn read(
        &mut self,
        stored: &Stored,
        range: Option<Range<u64>>,
        output: &mut (dyn Write + Send),
        progress: &dyn Progress,
    ) -> Result<u64, ClientError> {
        let whole = range.is_none();
        let range = range.unwrap_or(0..stored.len);
        if range.start > range.end || range.end > stored.len {
            return Err(ClientError::usage(format!(
                "bytes {}-{} of a record of {} bytes",
                range.start, range.end, stored.len
            )));
        }
        let secret = self.root.compartment(stored.compartment).record(stored.sealed.record);
        let parts = parts_of(&stored.pieces, &range);
        let mut hasher = blake3::Hasher::new();
        for (index, part) in parts.iter().enumerate() {
            for ahead in parts.iter().skip(index + 1).take(OBJECTS_AHEAD) {
                self.fetch_ahead(ahead).await?;
            }
            let bytes = self.read_part(part, &secret, stored.sealed.number).await?;
            hasher.update(&bytes);
            output.write_all(&bytes).map_err(ClientError::output)?;
            progress.advance(bytes.len() as u64);
        }
        if whole && *hasher.finalize().as_bytes() != stored.hash {
            return Err(ClientError::integrity("a record does not match its own hash"));
        }
        Ok(range.end - range.start)
    }

    /// A whole stream that was sealed as `version` of the record of `secret`.
    pub(super) async fn read_stream(
        &mut self,
        secret: &RecordSecret,
        version: u64,
        pieces: &[Piece],
    ) -> Result<Vec<u8>, ClientError> {
        let mut bytes = Vec::new();
        for part in parts_of(pieces, &(0..u64::MAX)) {
            bytes.extend(self.read_part(&part, secret, version).await?);
        }
        Ok(bytes)
    }

    async fn read_part(
        &mut self,
        part: &Part<'_>,
        secret: &RecordSecret,
        version: u64,
    ) -> Result<Vec<u8>, ClientError> {
        let coded = part.coded()?;
        let fetched = self.fetch(part.object, &coded).await?;
        let Gathered { descriptor, secret: object_secret, coded: bytes } = &fetched.gathered;
        let inside = (coded.start - fetched.start) as usize..(coded.end - fetched.start) as usize;
        let Some(sealed) = bytes.get(inside) else {
            return Err(ClientError::integrity("an extent ends outside its object"));
        };
        ExtentReader::new(descriptor, object_secret, secret, version, part.extent)
            .and_then(|reader| reader.read(part.inside.clone(), sealed))
            .map_err(|error| ClientError::integrity(error.to_string()))
    }

    /// Starts to fetch the object of a part that will be read soon, if it will be read whole.
    async fn fetch_ahead(&mut self, part: &Part<'_>) -> Result<(), ClientError> {
        if self.reads_whole(&part.coded()?) {
            self.start(part.object).await?;
        }
        Ok(())
    }

    async fn fetch(
        &mut self,
        object: &ObjectReference,
        coded: &Range<u64>,
    ) -> Result<Arc<Fetched>, ClientError> {
        let kept = self.kept.iter().any(|(id, _)| *id == object.object_id);
        if !kept && !self.reads_whole(coded) {
            let group = self.client.group(object.group).await?;
            let (groups, start) = groups_of(group.code, coded)?;
            let gathered = self.gather(object, Some(groups)).await?;
            return Ok(Arc::new(Fetched { gathered, start }));
        }
        let mut fetch = self.start(object).await?;
        if let Fetch::UnderWay(task) = fetch {
            let gathered = match task.await {
                Ok(Err(GetError::StaleEpochs)) => {
                    return self.fetch_again(object).await;
                }
                Ok(gathered) => gathered?,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            };
            *fetch = Fetch::Done(Arc::new(Fetched { gathered, start: 0 }));
        }
        match &mut fetch {
            Fetch::Done(fetched) => Ok(Arc::clone(fetched)),
            Fetch::UnderWay(_) => unreachable!("waited for above"),
        }
    }

    /// Gathers groups of an object, or all of it; once more if its key shares are refreshed just now.
    async fn gather(
        &self,
        object: &ObjectReference,
        groups: Option<GroupRange>,
    ) -> Result<Gathered, ClientError> {
        let read_key = Arc::new(self.root.read_key(&object.salt));
        let mut tries = 0;
        loop {
            let group = self.client.group(object.group).await?;
            let wanted = wanted(object, &group, groups);
            let read_key = Arc::clone(&read_key);
            match self.client.transfers().get(wanted, read_key, &group.members).await {
                Err(GetError::StaleEpochs) if tries < REFRESH_TRIES => {
                    tries += 1;
                    tokio::time::sleep(REFRESH_PAUSE).await;
                    self.client.forget_groups();
                }
                gathered => return Ok(gathered?),
            }
        }
    }

    /// The whole object, of which the first attempt met a refresh.
    async fn fetch_again(&mut self, object: &ObjectReference) -> Result<Arc<Fetched>, ClientError> {
        self.kept.retain(|(id, _)| *id != object.object_id);
        self.client.forget_groups();
        let fetched = Arc::new(Fetched { gathered: self.gather(object, None).await?, start: 0 });
        self.kept.push_back((object.object_id, Fetch::Done(Arc::clone(&fetched))));
        Ok(fetched)
    }

    /// The fetch of a whole object, started unless it is kept.
    async fn start(&mut self, object: &ObjectReference) -> Result<&mut Fetch, ClientError> {
        let place = self.kept.iter().position(|(id, _)| *id == object.object_id);
        if place.is_none() {
            let group = self.client.group(object.group).await?;
            let wanted = wanted(object, &group, None);
            let read_key = Arc::new(self.root.read_key(&object.salt));
            let transfers = Arc::clone(self.client.transfers());
            let task =
                tokio::spawn(async move { transfers.get(wanted, read_key, &group.members).await });
            if self.kept.len() == OBJECTS_KEPT {
                self.kept.pop_front();
            }
            self.kept.push_back((object.object_id, Fetch::UnderWay(task)));
        }
        let place = place.unwrap_or(self.kept.len() - 1);
        Ok(&mut self.kept[place].1)
    }

    fn reads_whole(&self, coded: &Range<u64>) -> bool {
        self.many || (coded.end - coded.start) * WHOLE_OBJECT_SHARE > OBJECT_LEN_MAX
    }
}

/// The parts of the pieces that hold the bytes `range` of all of them.
fn parts_of<'p>(pieces: &'p [Piece], range: &Range<u64>) -> Vec<Part<'p>> {
    let mut parts = Vec::new();
    let mut start = 0;
    for Piece { object, extent } in pieces {
        let end = start + u64::from(extent.plain_len);
        let inside = range.start.max(start)..range.end.min(end);
        if inside.start < inside.end {
            parts.push(Part { object, extent, inside: inside.start - start..inside.end - start });
        }
        start = end;
    }
    parts
}

pub(super) fn wanted(
    object: &ObjectReference,
    group: &GroupPlace,
    groups: Option<GroupRange>,
) -> Wanted {
    let groups_len = groups.map_or(u64::MAX, |range| u64::from(range.count) * GROUP_LEN);
    Wanted {
        group: object.group,
        object: object.object_id,
        code: group.code,
        key: group.key,
        groups,
        epochs: group.epochs.clone(),
        answer_len: groups_len,
    }
}

/// The groups that hold the coded bytes, and the object's byte with which they begin. The length
/// of the object does not matter: only its last group is shorter.
fn groups_of(code: CodeParameters, coded: &Range<u64>) -> Result<(GroupRange, u64), ClientError> {
    let code = code.build().map_err(|error| ClientError::integrity(error.to_string()))?;
    let layout = code.layout(OBJECT_LEN_MAX);
    let groups = layout.groups_covering(coded.clone());
    let range = GroupRange { first: groups.start, count: groups.end - groups.start };
    Ok((range, layout.message_range(groups.start).start))
}
