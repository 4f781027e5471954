//! What validators tell each other: the body of a `Confer`.

use minicbor::encode::{Error, Write};
use minicbor::{Decode, Encode, Encoder};

use super::BODY_LEN_MAX;
use super::canonical::{self, CanonicalError};
use crate::ledger::Entry;
use crate::ledger::agreement::Message;

/// One thing that a validator tells another.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Remark {
    /// To agree on a block.
    #[n(0)]
    Message(#[n(0)] Box<Message>),
    /// An entry that a submitter brought to the sender.
    #[n(1)]
    Entry(#[n(0)] Box<Entry>),
}

impl Remark {
    /// The canonical bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        canonical::encode(self)
    }

    /// The canonical list of remarks whose canonical bytes are given.
    pub fn list<B: AsRef<[u8]>>(remarks: &[B]) -> Vec<u8> {
        canonical::encode(&remarks.iter().map(Encoded).collect::<Vec<_>>())
    }

    /// Reads a list of at most [`BODY_LEN_MAX`] bytes.
    pub fn read_list(body: &[u8]) -> Result<Vec<Self>, CanonicalError> {
        canonical::decode(body, BODY_LEN_MAX)
    }
}

/// Canonical bytes that are written as they are.
struct Encoded<'a, B>(&'a B);

impl<C, B: AsRef<[u8]>> Encode<C> for Encoded<'_, B> {
    fn encode<W: Write>(&self, encoder: &mut Encoder<W>, _: &mut C) -> Result<(), Error<W::Error>> {
        encoder.writer_mut().write_all(self.0.as_ref()).map_err(Error::write)
    }
}
