//! What a lying node does to its answers.

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use kakera_engine::names::{NetworkId, ObjectId};
use kakera_engine::object::{Descriptor, GroupHashes};
use kakera_engine::peer::Answer;
use kakera_engine::signature::Signature;
use kakera_engine::wire::{InventoryPage, Operation, Response, SymbolStatement, canonical};
use minicbor::{Decode, Encode};

use super::Disk;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    // of a reader's holder
    Descriptor,
    NoDescriptor,
    KeyPart,
    Path,
    Fragment,
    Hashes,
    Length,
    OtherObject(ObjectId),
    Unfitting,
    // of a newcomer's helper
    KeySymbol,
    FragmentSymbols,
    SymbolsLength,
    Unsigned,
    DegradedPart,
    NoDescription,
    InventedIds,
    UnsortedIds,
    EndlessIds,
    MissingIds,
    // of a writer's holder
    Receipt,
    // of a dealer in a refresh
    Rows,
}

impl Lie {
    /// Falsifies an answer, if this lie is about such answers; whether it did.
    pub(crate) fn tell(
        &mut self,
        network: &NetworkId,
        liar: &SigningKey,
        disk: &Disk,
        operation: &Operation,
        answer: &mut Answer,
    ) -> bool {
        match operation {
            Operation::Store(_) => *self == Self::Receipt && forge_receipt(answer),
            Operation::Read(_) if matches!(answer.response, Response::Read { .. }) => {
                self.tell_reader(disk, operation, answer)
            }
            Operation::Symbols(_) | Operation::RenewedSymbols(_) => {
                self.tell_newcomer(network, liar, operation, answer)
            }
            Operation::Degraded(_) => *self == Self::DegradedPart && falsify_part(answer),
            Operation::Inventory(inventory) => self.list(inventory.after, answer),
            _ => false,
        }
    }

    fn tell_reader(self, disk: &Disk, operation: &Operation, answer: &mut Answer) -> bool {
        let Operation::Read(read) = operation else { return false };
        let Response::Read { descriptor, key_part, hashes, .. } = &mut answer.response else {
            return false;
        };
        match self {
            Self::Descriptor => descriptor.as_mut().is_some_and(|bytes| {
                let mut other = Descriptor::decode(bytes).unwrap();
                other.salt[0] ^= 1;
                *bytes = other.encode();
                true
            }),
            Self::NoDescriptor => descriptor.take().is_some(),
            Self::KeyPart => key_part.as_mut().is_some_and(|part| flip(part, Place::Value)),
            Self::Path => key_part.as_mut().is_some_and(|part| flip(part, Place::Path)),
            Self::Fragment => flip_last(&mut answer.body),
            Self::Length => shorten(&mut answer.body),
            Self::Hashes => hashes.as_mut().is_some_and(|hashes| {
                *hashes = GroupHashes::of(b"another fragment");
                true
            }),
            Self::OtherObject(object) => {
                let mut part = read.part;
                part.object = object;
                let kept = &disk.parts[&part];
                let other = Descriptor::decode(&kept.object.descriptor).unwrap();
                *descriptor = Some(kept.object.descriptor.clone());
                *key_part = Some(kept.share.prove_part(&other.binding()));
                answer.body = kept.fragment.clone();
                true
            }
            Self::Unfitting => {
                answer.response = Response::Witness;
                true
            }
            _ => false,
        }
    }

    /// The liar signs what it says, unless that is the lie.
    fn tell_newcomer(
        self,
        network: &NetworkId,
        liar: &SigningKey,
        operation: &Operation,
        answer: &mut Answer,
    ) -> bool {
        let (Operation::Symbols(request) | Operation::RenewedSymbols(request)) = operation else {
            return false;
        };
        let (key_symbol, signature, object, epoch) = match &mut answer.response {
            Response::Symbols { key_symbol, signature, object } => {
                (key_symbol, signature, object, None)
            }
            Response::RenewedSymbols { key_symbol, signature, object, epoch, .. } => {
                (key_symbol, signature, object, Some(*epoch))
            }
            _ => return false,
        };
        match self {
            Self::KeySymbol => drop(flip(key_symbol, Place::Value)),
            Self::FragmentSymbols => drop(flip_last(&mut answer.body)),
            Self::SymbolsLength => drop(shorten(&mut answer.body)),
            Self::Unsigned => {
                *signature = Signature::sign(liar, "nothing", &[]);
                return true;
            }
            Self::NoDescription => return object.take().is_some(),
            Self::Unfitting => {
                answer.response = Response::Witness;
                return true;
            }
            _ => return false,
        }
        let statement = SymbolStatement {
            network,
            part: &request.part,
            lost: request.lost,
            key_symbol,
            fragment_symbols: &answer.body,
            epoch,
        };
        *signature = statement.sign(liar);
        true
    }

    fn list(self, after: Option<ObjectId>, answer: &mut Answer) -> bool {
        let Response::Inventory = answer.response else { return false };
        let mut page: InventoryPage = canonical::decode(&answer.body, usize::MAX).unwrap();
        match self {
            Self::InventedIds => {
                page.objects.extend((1..=5).map(|byte| ObjectId([byte; 32])));
                page.objects.sort();
            }
            Self::UnsortedIds => page.objects.reverse(),
            Self::EndlessIds => {
                let first = after.map_or(0, |id| u64::from_be_bytes(id.0[..8].try_into().unwrap()));
                page.objects = (first + 1..=first + 1000)
                    .map(|number| {
                        let mut id = [0; 32];
                        id[..8].copy_from_slice(&number.to_be_bytes());
                        ObjectId(id)
                    })
                    .collect();
                page.more = true;
            }
            Self::MissingIds => page.objects.clear(),
            _ => return false,
        }
        answer.body = canonical::encode(&page).into();
        true
    }
}

/// The padded part comes last, and nothing commits to it.
fn falsify_part(answer: &mut Answer) -> bool {
    let Response::Degraded(help) = &mut answer.response else { return false };
    let mut bytes = canonical::encode(help);
    *bytes.last_mut().unwrap() ^= 1;
    *help = canonical::decode(&bytes, usize::MAX).unwrap();
    true
}

fn forge_receipt(answer: &mut Answer) -> bool {
    let Response::Stored(receipt) = &mut answer.response else { return false };
    receipt.epoch.0 += 1;
    true
}

enum Place {
    Value,
    Path,
}

/// Changes a byte of `[slot, value, path]`, the form of proven parts and symbols.
fn flip<T: Encode<()> + for<'b> Decode<'b, ()>>(proven: &mut T, place: Place) -> bool {
    let mut bytes = canonical::encode(proven);
    let value = bytes.windows(2).position(|head| head == [0x58, 32]).unwrap() + 2;
    let place = match place {
        Place::Value => value,
        Place::Path => bytes.len() - 1,
    };
    bytes[place] ^= 1;
    *proven = canonical::decode(&bytes, usize::MAX).unwrap();
    true
}

fn flip_last(body: &mut Bytes) -> bool {
    let mut bytes = body.to_vec();
    let Some(last) = bytes.last_mut() else { return false };
    *last ^= 1;
    *body = bytes.into();
    true
}

fn shorten(body: &mut Bytes) -> bool {
    let shorter = body.len().saturating_sub(1);
    let longer = !body.is_empty();
    body.truncate(shorter);
    longer
}
