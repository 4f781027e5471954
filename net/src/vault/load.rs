//! Finds the newest head of a vault's catalogue and reads what it leads to.

use ed25519_dalek::SigningKey;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use kakera_engine::catalogue::{Catalogue, Filed, Head, Log, Segment, SegmentPlace, Version};
use kakera_engine::ledger::{NUMBERED_POINTERS_VERSION_MIN, Pointer, PostedPointer};
use kakera_engine::names::Tag;
use kakera_engine::object::{Manifest, ObjectReference, PointerBody, PointerVersion};
use kakera_engine::seal::{POINTERS_PER_SPAN, VaultRoot, pointer_tag};

use super::reader::Reader;
use crate::client::{Client, ClientError};

/// Tags asked for at once when the newest is searched.
const PROBES: u64 = 64;
/// Powers of two that are probed first: no vault has more tags.
const TAGS_LOG_MAX: u32 = 40;
/// Segments read at once.
const SEGMENTS_AT_ONCE: usize = 8;

/// What a vault holds, as of its newest pointer.
#[derive(Clone, Default)]
pub(super) struct State {
    pub(super) catalogue: Catalogue,
    pub(super) log: Log,
    /// Where the next pointer goes.
    pub(super) next_pointer: u64,
    /// The ledger's rules had pointers take each other's place when this was read: none is posted any
    /// more under a tag of its own.
    pub(super) spans: bool,
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
        // Asked first: what other machines post under the older rules after this, they refuse.
        let spans = known.spans || client.rules_version().await? >= NUMBERED_POINTERS_VERSION_MIN;
        let singles = if known.spans { known.next_pointer } else { loader.singles().await? };
        let newest = if spans { loader.newest_in_spans(singles).await? } else { None };
        let state = match newest {
            Some((number, body)) => loader.read_head(number, &body).await?,
            None if singles == 0 => Self::default(),
            None => loader.read_single(singles - 1).await?,
        };
        Ok(Self { spans, ..state })
    }

    /// The versions of a segment that the known log lists too.
    fn segment(&self, place: &SegmentPlace) -> Option<Segment> {
        let filed = self.log.segments().iter().find(|filed| filed.place == *place)?;
        let find = |key| self.catalogue.version(key).cloned();
        let versions: Option<Vec<Version>> = filed.versions.iter().copied().map(find).collect();
        Some(Segment::new(versions?, self.catalogue.labels()))
    }
}

/// The tag of what a key signs.
pub(super) fn tag_of(key: &SigningKey) -> Tag {
    pointer_tag(&key.verifying_key())
}

struct Loader<'a> {
    client: &'a Client,
    root: &'a VaultRoot,
    known: &'a State,
}

impl Loader<'_> {
    /// How many pointers have tags of their own: those from before version 9 of the ledger's rules.
    async fn singles(&self) -> Result<u64, ClientError> {
        let first = self.known.next_pointer;
        let newest = self.newest(first, |number| self.root.pointer_signing_key(number)).await?;
        Ok(newest.map_or(first, |(number, _)| number + 1))
    }

    /// The newest pointer of the newest span, pointers below `next` being known.
    async fn newest_in_spans(&self, next: u64) -> Result<Option<(u64, PointerBody)>, ClientError> {
        let first = next.saturating_sub(1) / POINTERS_PER_SPAN;
        let newest = self.newest(first, |span| self.root.span_signing_key(span)).await?;
        let Some((span, posted)) = newest else { return Ok(None) };
        let posted = posted.into_iter().next();
        let place = posted.as_ref().and_then(|posted| posted.number);
        let Some(place) = place.filter(|place| *place < POINTERS_PER_SPAN) else {
            return Err(ClientError::integrity(format!(
                "span {span} of this vault has no such place"
            )));
        };
        let number = span * POINTERS_PER_SPAN + place;
        Ok(Some((number, self.open(number, posted.and_then(|posted| posted.pointer))?)))
    }

    /// The highest number from `first` on under whose key something is posted, none having been left
    /// out but perhaps the first, and what: one question up to two numbers, two up to 128, three up to
    /// 8192.
    async fn newest(
        &self,
        first: u64,
        key: impl Fn(u64) -> SigningKey,
    ) -> Result<Option<(u64, Vec<PostedPointer>)>, ClientError> {
        let steps: Vec<u64> = (0..TAGS_LOG_MAX).map(|log| first + (1 << log) - 1).collect();
        let mut above = first + (1 << TAGS_LOG_MAX) - 1;
        let mut newest = self.last_of(&steps, &key, &mut above).await?;
        while let Some((low, _)) = newest
            && above - low > 1
        {
            let step = (above - low).div_ceil(PROBES + 1);
            let probes: Vec<u64> =
                (1..).map(|place| low + place * step).take_while(|probe| *probe < above).collect();
            newest = self.last_of(&probes, &key, &mut above).await?.or(newest);
        }
        Ok(newest)
    }

    /// The last of the ascending `numbers` under whose key something is posted; the one after it is
    /// the new bound `above`.
    async fn last_of(
        &self,
        numbers: &[u64],
        key: impl Fn(u64) -> SigningKey,
        above: &mut u64,
    ) -> Result<Option<(u64, Vec<PostedPointer>)>, ClientError> {
        let tags: Vec<Tag> = numbers.iter().map(|number| tag_of(&key(*number))).collect();
        let mut posted = self.client.posted_pointers(&tags).await?;
        let last = posted.iter().rposition(|posted| !posted.is_empty());
        if let Some(next) = numbers.get(last.map_or(0, |last| last + 1)) {
            *above = *next;
        }
        Ok(last.map(|last| (numbers[last], posted.swap_remove(last))))
    }

    /// The body of the pointer that counts among those of one number with tags of their own, and the
    /// others.
    async fn first_single(
        &self,
        number: u64,
    ) -> Result<(PointerBody, Vec<PostedPointer>), ClientError> {
        let tag = tag_of(&self.root.pointer_signing_key(number));
        let posted = self.client.posted_pointers(&[tag]).await?;
        let mut posted = posted.into_iter().flatten();
        let first = posted.next().and_then(|posted| posted.pointer);
        Ok((self.open(number, first)?, posted.collect()))
    }

    fn open(&self, number: u64, pointer: Option<Pointer>) -> Result<PointerBody, ClientError> {
        let pointer = pointer.ok_or_else(|| {
            ClientError::integrity(format!("pointer {number} of this vault was retired"))
        })?;
        PointerBody::open(&self.root.pointer_key(number), &pointer.sealed)
            .map_err(|error| ClientError::integrity(format!("pointer {number}: {error}")))
    }

    async fn read_single(&self, newest: u64) -> Result<State, ClientError> {
        let (body, _) = self.first_single(newest).await?;
        match body.version {
            PointerVersion::Head => self.read_head(newest, &body).await,
            PointerVersion::Manifest => self.read_manifests(newest).await,
        }
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
        Ok(State { catalogue, log, next_pointer: number + 1, ..State::default() })
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
            let (body, others) = self.first_single(number).await?;
            if body.version == PointerVersion::Head {
                state = self.read_head(number, &body).await?;
                continue;
            }
            self.fold(&mut state, number, &body).await?;
            for other in others.into_iter().filter(|posted| posted.pointer.is_some()) {
                let body = self.open(number, other.pointer)?;
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
