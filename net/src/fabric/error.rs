//! Why a request has no reply, sorted by blame.

use std::net::SocketAddr;
use std::time::Duration;

use kakera_engine::names::NodeId;
use quinn::{ConnectionError, TransportErrorCode, VarInt};
use rustls::AlertDescription;
use thiserror::Error;

use crate::rpc::{Abort, Fault};

/// Why a request has no reply.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestError {
    /// No connection came about; the request was not sent. Nobody's fault, or the network's.
    #[error("{address} does not answer: {reason}")]
    Unreachable {
        /// Where the peer should be.
        address: SocketAddr,
        /// What happened instead.
        reason: String,
    },
    /// No reply before the deadline; the request may have been processed.
    #[error("no reply within {0:?}")]
    Timeout(Duration),
    /// One side turned the other away; the request was not processed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The peer broke the protocol; the request may have been processed.
    #[error("the peer broke the protocol: {0}")]
    PeerMisbehaved(String),
    /// The peer gave up on this request; it may have been processed.
    #[error("the peer gave up on the request: {0}")]
    Aborted(Abort),
    /// The connection was lost after the request was sent; it may have been processed.
    #[error("the connection was lost: {0}")]
    Closed(String),
    /// The peer restarted and does not know the connection; its former run may have processed the
    /// request.
    #[error("the peer restarted")]
    Restarted,
    /// The peer had no more use for the connection, and closed it while the request was on its way; it
    /// was hardly processed.
    #[error("the peer had closed the connection")]
    Unused,
    /// Our own bug: the request has more than 64 KiB of header or 8 MiB of body. Nothing was sent.
    #[error("the request is longer than the protocol allows")]
    TooLong,
}

/// Who turned whom away.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// Another node answers at the address.
    #[error("expected node {expected} but found node {found}")]
    WrongKey {
        /// Who should have answered.
        expected: NodeId,
        /// Who answered.
        found: NodeId,
    },
    /// The peer's registry does not know this node.
    #[error("the peer does not admit this node")]
    NotAdmitted,
    /// The peer has too many connections or handshakes at the moment.
    #[error("the peer accepts no further connection at the moment")]
    Crowded,
    /// No common protocol version, key exchange or cipher.
    #[error("incompatible peer: {0}")]
    Incompatible(String),
}

/// Application error codes of CONNECTION_CLOSE.
pub(super) mod close_code {
    use super::VarInt;

    /// The endpoint shuts down.
    pub(in crate::fabric) const SHUTDOWN: VarInt = VarInt::from_u32(0);
    /// The same peer opened further connections.
    pub(in crate::fabric) const SURPLUS: VarInt = VarInt::from_u32(1);
    /// The end that closes the connection has no more use for it, or takes the other for gone.
    pub(in crate::fabric) const UNUSED: VarInt = VarInt::from_u32(2);
}

impl From<Fault> for RequestError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(reason) => Self::PeerMisbehaved(reason),
            Fault::Aborted(reason) => Self::Aborted(reason),
            Fault::Lost(error) => error.into(),
        }
    }
}

impl From<ConnectionError> for RequestError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::ConnectionClosed(close) => closed_by_transport(close),
            ConnectionError::TransportError(error) if is_crypto(error.code) => {
                Refusal::Incompatible(error.reason).into()
            }
            ConnectionError::TransportError(error) => Self::PeerMisbehaved(error.to_string()),
            ConnectionError::VersionMismatch => {
                Refusal::Incompatible("no common version of QUIC".into()).into()
            }
            ConnectionError::ApplicationClosed(close)
                if close.error_code == close_code::SURPLUS =>
            {
                Self::Closed("too many connections to this peer".into())
            }
            ConnectionError::ApplicationClosed(close) if close.error_code == close_code::UNUSED => {
                Self::Unused
            }
            ConnectionError::ApplicationClosed(_) => Self::Closed("the peer shuts down".into()),
            ConnectionError::Reset => Self::Restarted,
            ConnectionError::TimedOut => Self::Closed("the peer fell silent".into()),
            ConnectionError::LocallyClosed => Self::Closed("closed by this node".into()),
            ConnectionError::CidsExhausted => Self::Closed("no connection ids left".into()),
        }
    }
}

/// The peer's QUIC stack ended the connection.
fn closed_by_transport(close: quinn::ConnectionClose) -> RequestError {
    let code = close.error_code;
    // A client has finished its handshake before the server looks at its key, so this may come
    // with the first request.
    if code == TransportErrorCode::crypto(AlertDescription::AccessDenied.into()) {
        Refusal::NotAdmitted.into()
    } else if code == TransportErrorCode::CONNECTION_REFUSED {
        Refusal::Crowded.into()
    } else if is_crypto(code) {
        Refusal::Incompatible(close.to_string()).into()
    } else {
        RequestError::Closed(close.to_string())
    }
}

/// Whether `code` carries a TLS alert (RFC 9001 §4.8).
fn is_crypto(code: TransportErrorCode) -> bool {
    (0x100..0x200).contains(&u64::from(code))
}
