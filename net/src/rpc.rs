//! Requests and replies on QUIC streams.

use bytes::Bytes;

/// The longest header, in bytes.
pub const HEADER_LEN_MAX: usize = 64 * 1024;
/// The longest body, in bytes.
pub const BODY_LEN_MAX: usize = 8 * 1024 * 1024;

/// A request or reply as received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Canonical CBOR, at most [`HEADER_LEN_MAX`] bytes.
    pub header: Bytes,
    /// Raw bytes, at most [`BODY_LEN_MAX`].
    pub body: Bytes,
}

/// A request or reply to send; the slices of the body are sent one after the other, uncopied.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// Canonical CBOR, at most [`HEADER_LEN_MAX`] bytes.
    pub header: Bytes,
    /// Raw bytes, together at most [`BODY_LEN_MAX`].
    pub body: Vec<Bytes>,
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
