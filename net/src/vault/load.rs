//! Finds the newest head of a vault's catalogue and reads what it leads to.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use kakera_engine::catalogue::{Catalogue, Filed, Head, Log, Segment, SegmentPlace, Version};
use kakera_engine::ledger::{Pointer, PostedPointer};
use kakera_engine::names::Tag;
use kakera_engine::object::{Manifest, ObjectReference, PointerBody, PointerVersion};
use kakera_engine::seal::{VaultRoot, pointer_tag};

use super::reader::Reader;
use crate::client::{Client, ClientError};

/// Pointers asked for at once when their numbers are searched.
const PROBES: u64 = 64;
/// Powers of two that are probed first: no vault has more pointers.
const POINTERS_LOG_MAX: u32 = 40;
/// Segments read at once.
const SEGMENTS_AT_ONCE: usize = 8;

/// What a vault holds, as of its newest pointer.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) catalogue: Catalogue,
    pub(super) log: Log,
    /// Where the next pointer goes.
    pub(super) next_pointer: u64,
}

impl State {
    /// Reads the newest state; of `known`, an earlier one, it takes the segments that are still in
    /// use.
    pub(super) async fn load(
        client: &Client,
        root: &VaultRoot,
        known: &Self,
    ) -> Result<Self, ClientError> {
        let loader = Loader { client, root, known };
        let Some(newest) = loader.newest().await? else {
            return Ok(Self::default());
        };
        let (body, _) = loader.first_pointer(newest).await?;
        match body.version {
            PointerVersion::Head => loader.read_head(newest, &body).await,
            PointerVersion::Manifest => loader.read_manifests(newest).await,
        }
    }

    /// The versions of a segment that the known log lists too.
    fn segment(&self, place: &SegmentPlace) -> Option<Segment> {
        let filed = self.log.segments().iter().find(|filed| filed.place == *place)?;
        let find = |key| self.catalogue.version(key).cloned();
        let versions: Option<Vec<Version>> = filed.versions.iter().copied().map(find).collect();
        Some(Segment::new(versions?, self.catalogue.labels()))
    }
}

/// The tag of a vault's pointer.
pub(super) fn tag_of(root: &VaultRoot, number: u64) -> Tag {
    pointer_tag(&root.pointer_signing_key(number).verifying_key())
}

struct Loader<'a> {
    client: &'a Client,
    root: &'a VaultRoot,
    known: &'a State,
}

impl Loader<'_> {
    /// The highest number of a pointer, none having been left out: two questions up to 128
    /// pointers, three up to 8192, four up to half a million.
    async fn newest(&self) -> Result<Option<u64>, ClientError> {
        let first = self.known.next_pointer;
        let steps: Vec<u64> = (0..POINTERS_LOG_MAX).map(|log| first + (1 << log) - 1).collect();
        let there = self.are_there(&steps).await?;
        let Some(last) = there.iter().rposition(|there| *there) else {
            return Ok(first.checked_sub(1));
        };
        // There is `low` and there is no `high`.
        let (mut low, mut high) = (steps[last], first + (1 << (last + 1)) - 1);
        while high - low > 1 {
            let step = (high - low).div_ceil(PROBES + 1);
            let probes: Vec<u64> =
                (1..).map(|place| low + place * step).take_while(|probe| *probe < high).collect();
            let there = self.are_there(&probes).await?;
            let last = there.iter().rposition(|there| *there);
            high = probes.get(last.map_or(0, |last| last + 1)).copied().unwrap_or(high);
            low = last.map_or(low, |last| probes[last]);
        }
        Ok(Some(low))
    }

    async fn are_there(&self, numbers: &[u64]) -> Result<Vec<bool>, ClientError> {
        let tags: Vec<Tag> = numbers.iter().map(|number| tag_of(self.root, *number)).collect();
        let posted = self.client.posted_pointers(&tags).await?;
        Ok(posted.iter().map(|posted| !posted.is_empty()).collect())
    }

    /// The body of the pointer that counts among those of one number, and the others.
    async fn first_pointer(
        &self,
        number: u64,
    ) -> Result<(PointerBody, Vec<PostedPointer>), ClientError> {
        let posted = self.client.posted_pointers(&[tag_of(self.root, number)]).await?;
        let mut posted = posted.into_iter().flatten();
        let first = posted.next().and_then(|posted| posted.pointer);
        let first = first.ok_or_else(|| {
            ClientError::integrity(format!("pointer {number} of this vault was retired"))
        })?;
        Ok((self.open(number, &first)?, posted.collect()))
    }

    fn open(&self, number: u64, pointer: &Pointer) -> Result<PointerBody, ClientError> {
        PointerBody::open(&self.root.pointer_key(number), &pointer.sealed)
            .map_err(|error| ClientError::integrity(format!("pointer {number}: {error}")))
    }

    async fn read_head(&self, number: u64, body: &PointerBody) -> Result<State, ClientError> {
        let failed = |error: &dyn std::fmt::Display| {
            ClientError::integrity(format!("the catalogue at pointer {number}: {error}"))
        };
        let (bytes, here) = self.read_stream(number, body).await?;
        let head = Head::decode(&bytes, &here).map_err(|error| failed(&error))?;
        let recent = Segment::decode(&head.recent, &here).map_err(|error| failed(&error))?;
        let segments: Vec<Segment> = stream::iter(&head.segments)
            .map(|place| self.read_segment(place))
            .buffered(SEGMENTS_AT_ONCE)
            .try_collect()
            .await?;
        let filed = head.segments.into_iter().zip(&segments).map(|(place, segment)| Filed {
            place,
            versions: segment.versions.iter().map(Version::key).collect(),
        });
        let log = Log::new(filed.collect(), &recent);
        let catalogue =
            Catalogue::of(segments.into_iter().chain([recent])).map_err(|error| failed(&error))?;
        Ok(State { catalogue, log, next_pointer: number + 1 })
    }

    async fn read_segment(&self, place: &SegmentPlace) -> Result<Segment, ClientError> {
        if let Some(known) = self.known.segment(place) {
            return Ok(known);
        }
        let mut reader = Reader::new(self.client, self.root, false);
        let bytes = reader.read_stream(&self.root.catalogue(), place.put, &place.pieces).await?;
        let here = place.pieces.first().map(|piece| &piece.object);
        here.and_then(|here| Segment::decode(&bytes, here).ok()).ok_or_else(|| {
            ClientError::integrity(format!("a segment of pointer {} is malformed", place.put))
        })
    }

    /// A vault that was last written by a program that knew no catalogue: one manifest a put, and
    /// every pointer counts.
    async fn read_manifests(&self, newest: u64) -> Result<State, ClientError> {
        let mut state = State::default();
        for number in 0..=newest {
            let (body, others) = self.first_pointer(number).await?;
            if body.version == PointerVersion::Head {
                state = self.read_head(number, &body).await?;
                continue;
            }
            self.fold(&mut state, number, &body).await?;
            for pointer in others.into_iter().filter_map(|posted| posted.pointer) {
                let body = self.open(number, &pointer)?;
                if body.version == PointerVersion::Manifest {
                    self.fold(&mut state, number, &body).await?;
                }
            }
            state.next_pointer = number + 1;
        }
        Ok(state)
    }

    async fn fold(
        &self,
        state: &mut State,
        number: u64,
        body: &PointerBody,
    ) -> Result<(), ClientError> {
        let failed = |error: String| ClientError::integrity(format!("manifest {number}: {error}"));
        let (bytes, _) = self.read_stream(number, body).await?;
        let manifest = Manifest::decode(&bytes).map_err(|error| failed(error.to_string()))?;
        let added = state.catalogue.fold(number, manifest, &body.objects);
        state.log.leave(added.map_err(|error| failed(error.to_string()))?);
        Ok(())
    }

    /// The head or manifest that a pointer leads to, and the object in which it begins.
    async fn read_stream(
        &self,
        number: u64,
        body: &PointerBody,
    ) -> Result<(Vec<u8>, ObjectReference), ClientError> {
        let pieces = body.pieces();
        let here = pieces.first().map(|piece| piece.object);
        let here = here.ok_or_else(|| ClientError::integrity("a pointer leads nowhere"))?;
        let mut reader = Reader::new(self.client, self.root, false);
        let bytes = reader.read_stream(&self.root.catalogue(), number, &pieces).await?;
        Ok((bytes, here))
    }
}
