//! The identifiers that every module shares.

use std::fmt;

use minicbor::{Decode, Encode};

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
        #[cbor(transparent)]
        pub struct $name(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; $length]);

        impl $name {
            /// Bytes.
            pub const LEN: usize = $length;

            /// The bytes, for hashing and signing.
            pub fn as_bytes(&self) -> &[u8] {
                &self.0
            }

            /// Reads the hexadecimal form that `Display` writes; `None` if it is not one.
            pub fn from_hex(text: &str) -> Option<Self> {
                let digits = text.as_bytes();
                if digits.len() != 2 * $length {
                    return None;
                }
                let value = |digit: u8| char::from(digit).to_digit(16);
                let mut bytes = [0; $length];
                for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
                    *byte = (value(pair[0])? << 4 | value(pair[1])?) as u8;
                }
                Some(Self(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            /// The first four bytes, enough to tell two apart in a log.
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0[..4].iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
            }
        }
    };
}

identifier!(
    /// A machine's Ed25519 public key: its name on the ledger and in TLS.
    NodeId,
    32
);
identifier!(
    /// The hash of an object's descriptor.
    ObjectId,
    32
);
identifier!(
    /// The hash of the genesis file.
    NetworkId,
    32
);
identifier!(
    /// A record's random name inside its vault; never leaves the manifest.
    RecordId,
    16
);
identifier!(
    /// The blinded name under which a pointer stands on the ledger.
    Tag,
    16
);

/// A placement group: n slots held by n distinct nodes, registered on the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct GroupId(#[n(0)] pub u32);

impl fmt::Display for GroupId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// The time between two proactive refreshes of a group's key shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Epoch(#[n(0)] pub u64);

/// A position in a placement group, 1 to 255.
///
/// It is also the evaluation point of the codes; zero would be the secret itself, so it cannot be
/// constructed or decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u8);

impl Slot {
    /// `None` for zero.
    pub const fn new(point: u8) -> Option<Self> {
        if point == 0 { None } else { Some(Self(point)) }
    }

    /// The slots 1..=n.
    pub fn all(n: u8) -> impl DoubleEndedIterator<Item = Self> + ExactSizeIterator + Clone {
        (0..n).map(|index| Self(index + 1))
    }

    /// The evaluation point, never zero.
    pub const fn point(self) -> u8 {
        self.0
    }

    /// The zero-based place in arrays over the slots.
    pub const fn index(self) -> usize {
        self.0 as usize - 1
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

impl<C> Encode<C> for Slot {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        encoder.u8(self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Slot {
    fn decode(
        decoder: &mut minicbor::Decoder<'b>,
        _: &mut C,
    ) -> Result<Self, minicbor::decode::Error> {
        Self::new(decoder.u8()?).ok_or_else(|| minicbor::decode::Error::message("slot 0"))
    }
}
