//! One request and one reply on one bidirectional QUIC stream.
//!
//! Both directions carry `u32 header length ‖ header ‖ u32 body length ‖ body ‖ FIN`, lengths big
//! endian (`engine/spec/transport.md` §3). Every length is checked before anything is allocated,
//! and a body is read only against a reservation in the byte budget.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use quinn::{
    ConnectionError, ReadError, ReadExactError, RecvStream, SendStream, VarInt, WriteError,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest header, in bytes.
pub const HEADER_LEN_MAX: usize = 64 << 10;
/// The longest body, in bytes.
pub const BODY_LEN_MAX: usize = 8 << 20;

/// A request or reply as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Canonical CBOR, at most [`HEADER_LEN_MAX`] bytes.
    pub header: Bytes,
    /// Raw bytes, at most [`BODY_LEN_MAX`]; they count against the byte budget until the last
    /// slice of them is dropped.
    pub body: Bytes,
}

/// A request or reply to send; the slices of the body go out one after the other, uncopied.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// Canonical CBOR, at most [`HEADER_LEN_MAX`] bytes.
    pub header: Bytes,
    /// Raw bytes, together at most [`BODY_LEN_MAX`].
    pub body: Vec<Bytes>,
}

impl Outgoing {
    fn body_len(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    /// Whether header and body are within their limits.
    pub(crate) fn fits(&self) -> bool {
        self.header.len() <= HEADER_LEN_MAX && self.body_len() <= BODY_LEN_MAX
    }

    /// Bytes on the stream.
    pub(crate) fn encoded_len(&self) -> u64 {
        (4 + self.header.len() + 4 + self.body_len()) as u64
    }
}

impl Message {
    /// Bytes on the stream.
    pub(crate) fn encoded_len(&self) -> u64 {
        (4 + self.header.len() + 4 + self.body.len()) as u64
    }
}

impl From<Message> for Outgoing {
    fn from(message: Message) -> Self {
        Self { header: message.header, body: vec![message.body] }
    }
}

impl From<(Vec<u8>, Bytes)> for Outgoing {
    fn from((header, body): (Vec<u8>, Bytes)) -> Self {
        Self { header: header.into(), body: vec![body] }
    }
}

impl From<(Vec<u8>, Vec<Bytes>)> for Outgoing {
    fn from((header, body): (Vec<u8>, Vec<Bytes>)) -> Self {
        Self { header: header.into(), body }
    }
}

/// Why an end gave up on a stream: the error code of RESET_STREAM and STOP_SENDING.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Abort {
    /// The asker no longer wants the reply (also every unknown code).
    #[error("cancelled")]
    Cancelled,
    /// A declared length above the limit, bytes missing or bytes left over.
    #[error("malformed message")]
    Malformed,
    /// The message came slower than the receiver waits.
    #[error("too slow")]
    TooSlow,
    /// No memory for the body became free in time.
    #[error("short of memory")]
    Busy,
    /// The handler gave no reply.
    #[error("no reply from the handler")]
    Failed,
}

impl Abort {
    fn code(self) -> VarInt {
        VarInt::from_u32(match self {
            Self::Cancelled => 0,
            Self::Malformed => 1,
            Self::TooSlow => 2,
            Self::Busy => 3,
            Self::Failed => 4,
        })
    }
}

impl From<VarInt> for Abort {
    fn from(code: VarInt) -> Self {
        [Self::Malformed, Self::TooSlow, Self::Busy, Self::Failed]
            .into_iter()
            .find(|abort| abort.code() == code)
            .unwrap_or(Self::Cancelled)
    }
}

/// Why a message did not pass.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The peer broke the format.
    Malformed(String),
    /// The peer gave up on the stream.
    Aborted(Abort),
    /// The connection is gone.
    Lost(ConnectionError),
}

/// The bytes that received bodies may occupy together. Fair: first come, first served.
#[derive(Clone, Debug)]
pub struct Budget {
    bytes: Arc<Semaphore>,
    whole: Option<Arc<Semaphore>>,
}

impl Budget {
    /// A budget of `limit` bytes, at least one longest body.
    pub(crate) fn new(limit: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(limit.max(BODY_LEN_MAX))), whole: None }
    }

    /// A part of this budget of which at most `limit` bytes can be taken.
    pub(crate) fn part(&self, limit: usize) -> Self {
        Self { whole: Some(self.bytes.clone()), ..Self::new(limit) }
    }

    /// Waits until `length` bytes, at most [`BODY_LEN_MAX`], are free and takes them.
    ///
    /// A handler that is about to read a long reply from disk reserves it first.
    pub async fn reserve(&self, length: usize) -> Reservation {
        let length = length.min(BODY_LEN_MAX) as u32;
        let mut permits = Vec::with_capacity(2);
        for bytes in [Some(&self.bytes), self.whole.as_ref()].into_iter().flatten() {
            match bytes.clone().acquire_many_owned(length).await {
                Ok(permit) => permits.push(permit),
                Err(_) => unreachable!("a budget is never closed"),
            }
        }
        Reservation { _permits: permits }
    }
}

/// Bytes taken from a [`Budget`]; dropping it gives them back.
#[derive(Debug)]
pub struct Reservation {
    _permits: Vec<OwnedSemaphorePermit>,
}

impl Reservation {
    /// Ties the reservation to `bytes`: it ends when the last slice of them is dropped.
    pub fn hold(self, bytes: Vec<u8>) -> Bytes {
        Bytes::from_owner(Held { bytes, _reservation: self })
    }
}

struct Held {
    bytes: Vec<u8>,
    _reservation: Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The sending half of a stream; resets it unless a whole message was sent.
pub(crate) struct Sender {
    stream: SendStream,
    /// What to tell the peer when dropped; `None` once it was told.
    unfinished: Option<Abort>,
}

impl Sender {
    /// `unfinished` is what the peer is told if this is dropped before a message was sent.
    pub(crate) fn new(stream: SendStream, unfinished: Abort) -> Self {
        Self { stream, unfinished: Some(unfinished) }
    }

    /// Hands the whole message, which must [fit](Outgoing::fits), to the connection.
    pub(crate) async fn send(&mut self, message: Outgoing) -> Result<(), Fault> {
        let mut head = BytesMut::with_capacity(4 + message.header.len() + 4);
        head.put_u32(message.header.len() as u32);
        head.put_slice(&message.header);
        head.put_u32(message.body_len() as u32);
        let mut chunks = Vec::with_capacity(1 + message.body.len());
        chunks.push(head.freeze());
        chunks.extend(message.body);
        self.stream.write_all_chunks(&mut chunks).await.map_err(write_fault)?;
        // Fails only on a stream that was stopped meanwhile, which reading the reply will tell.
        let _ = self.stream.finish();
        self.unfinished = None;
        Ok(())
    }

    /// Waits until the peer no longer wants the message or is gone.
    pub(crate) fn unwanted(&self) -> impl Future<Output = ()> + Send + use<> {
        let stopped = self.stream.stopped();
        async move {
            let _ = stopped.await;
        }
    }

    /// Resets the stream for a reason.
    pub(crate) fn abort(mut self, reason: Abort) {
        self.unfinished = Some(reason);
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // Without this quinn would finish the stream: the peer would see a complete short message.
        if let Some(reason) = self.unfinished {
            let _ = self.stream.reset(reason.code());
        }
    }
}

/// The receiving half of a stream; stops the peer unless it was read to its end.
pub(crate) struct Receiver {
    stream: RecvStream,
}

impl Receiver {
    pub(crate) fn new(stream: RecvStream) -> Self {
        Self { stream }
    }

    /// Reads the header and the declared length of the body.
    pub(crate) async fn head(&mut self) -> Result<(Bytes, usize), Fault> {
        let header_len = self.length("header", HEADER_LEN_MAX).await?;
        let mut header = Vec::new();
        self.fill(&mut header, header_len).await?;
        let body_len = self.length("body", BODY_LEN_MAX).await?;
        Ok((header.into(), body_len))
    }

    /// Reads a body of `length` bytes, for which `reservation` was taken, and the end of the stream.
    pub(crate) async fn body(
        &mut self,
        length: usize,
        reservation: Reservation,
    ) -> Result<Bytes, Fault> {
        let mut body = Vec::with_capacity(length);
        self.fill(&mut body, length).await?;
        match self.stream.read_chunk(1, true).await.map_err(read_fault)? {
            Some(_) => Err(Fault::Malformed("bytes after the body".into())),
            None if length == 0 => Ok(Bytes::new()),
            None => Ok(reservation.hold(body)),
        }
    }

    /// Asks the peer to stop sending, for a reason.
    pub(crate) fn abort(mut self, reason: Abort) {
        let _ = self.stream.stop(reason.code());
    }

    async fn length(&mut self, part: &str, limit: usize) -> Result<usize, Fault> {
        let mut bytes = [0; 4];
        self.stream.read_exact(&mut bytes).await.map_err(|error| match error {
            ReadExactError::FinishedEarly(_) => too_early(),
            ReadExactError::ReadError(error) => read_fault(error),
        })?;
        let length = u32::from_be_bytes(bytes) as usize;
        if length > limit {
            let reason = format!("a {part} of {length} bytes where at most {limit} are allowed");
            return Err(Fault::Malformed(reason));
        }
        Ok(length)
    }

    /// Appends exactly `length` bytes. They are copied: chunks pin quinn's large receive buffers,
    /// which no budget counts.
    async fn fill(&mut self, buffer: &mut Vec<u8>, length: usize) -> Result<(), Fault> {
        let end = buffer.len() + length;
        while buffer.len() < end {
            match self.stream.read_chunk(end - buffer.len(), true).await.map_err(read_fault)? {
                Some(chunk) => buffer.extend_from_slice(&chunk.bytes),
                None => return Err(too_early()),
            }
        }
        Ok(())
    }
}

fn too_early() -> Fault {
    Fault::Malformed("the message ends too early".into())
}

fn write_fault(error: WriteError) -> Fault {
    match error {
        WriteError::Stopped(code) => Fault::Aborted(code.into()),
        WriteError::ConnectionLost(error) => Fault::Lost(error),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => {
            unreachable!("a message is sent once, and never as early data")
        }
    }
}

fn read_fault(error: ReadError) -> Fault {
    match error {
        ReadError::Reset(code) => Fault::Aborted(code.into()),
        ReadError::ConnectionLost(error) => Fault::Lost(error),
        ReadError::ClosedStream | ReadError::IllegalOrderedRead | ReadError::ZeroRttRejected => {
            unreachable!("a message is read once, in order, and never as early data")
        }
    }
}
