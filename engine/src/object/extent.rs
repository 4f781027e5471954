//! One piece of one record inside an object: where it is and how to read it.

use std::ops::Range;

use minicbor::{Decode, Encode};

use super::{Descriptor, FormatError, OBJECT_LEN_MAX, require};
use crate::keyshare::Secret;
use crate::seal::{
    CHUNK_LEN, KeyCommitment, OpenError, RecordSecret, StreamContext, StreamKey, TAG_LEN,
    chunks_covering, sealed_len,
};

/// A record stream inside an object's coded bytes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Extent {
    /// First coded byte of the stream.
    #[n(0)]
    pub offset: u32,
    /// Plaintext bytes in it.
    #[n(1)]
    pub plain_len: u32,
    /// The commitment to its key.
    #[n(2)]
    pub commitment: KeyCommitment,
}

impl Extent {
    /// The coded bytes that hold the whole extent.
    pub fn coded_range(&self) -> Range<u64> {
        let start = u64::from(self.offset);
        start..start + sealed_len(self.plain_len.into())
    }

    /// The coded bytes needed to read the plaintext bytes `range` of the extent.
    pub fn coded_range_of(&self, range: Range<u64>) -> Result<Range<u64>, OpenError> {
        let plain_len = u64::from(self.plain_len);
        if range.start > range.end || range.end > plain_len {
            return Err(OpenError::Range { start: range.start, end: range.end, plain_len });
        }
        let whole = self.coded_range();
        let chunks = chunks_covering(range);
        let place =
            |chunk: u64| (whole.start + chunk * (CHUNK_LEN + TAG_LEN) as u64).min(whole.end);
        Ok(place(chunks.start)..place(chunks.end))
    }

    pub(crate) fn check(&self) -> Result<(), FormatError> {
        require(self.coded_range().end <= OBJECT_LEN_MAX, "an extent ends outside its object")
    }
}

/// Reads one extent of an object whose `V` has been gathered.
#[derive(Debug)]
pub struct ExtentReader<'a> {
    extent: &'a Extent,
    key: StreamKey,
}

impl<'a> ExtentReader<'a> {
    /// Derives the key of `extent`, a piece of `version` of the record of `record`, and checks it
    /// against the commitment.
    pub fn new(
        descriptor: &Descriptor,
        object_secret: &Secret,
        record: &RecordSecret,
        version: u64,
        extent: &'a Extent,
    ) -> Result<Self, OpenError> {
        let context = StreamContext {
            salt: &descriptor.salt,
            suite: descriptor.suite,
            offset: extent.offset.into(),
            plain_len: extent.plain_len.into(),
        };
        let key =
            record.committed_stream_key(object_secret, version, &context, &extent.commitment)?;
        Ok(Self { extent, key })
    }

    /// The plaintext bytes `range` of the extent, from the coded bytes `coded` that
    /// [`Extent::coded_range_of`] tells for it. Every byte of them is authenticated.
    pub fn read(&self, range: Range<u64>, coded: &[u8]) -> Result<Vec<u8>, OpenError> {
        let needed = self.extent.coded_range_of(range.clone())?;
        let (actual, expected) = (coded.len() as u64, needed.end - needed.start);
        if actual != expected {
            return Err(OpenError::Length { actual, expected });
        }
        let first = range.start / CHUNK_LEN as u64;
        let ends_stream = needed.end == self.extent.coded_range().end;
        let mut plaintext = self.key.open_chunks(first as u32, ends_stream, coded)?;
        let skipped = (range.start - first * CHUNK_LEN as u64) as usize;
        plaintext.truncate(skipped + (range.end - range.start) as usize);
        plaintext.drain(..skipped.min(plaintext.len()));
        Ok(plaintext)
    }

    /// The whole extent, from the coded bytes that [`Extent::coded_range`] tells.
    pub fn read_all(&self, coded: &[u8]) -> Result<Vec<u8>, OpenError> {
        self.read(0..self.extent.plain_len.into(), coded)
    }
}
