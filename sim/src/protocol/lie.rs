//! What a lying node does to its answers.

use bytes::Bytes;
use ed25519_dalek::SigningKey;
use kakera_engine::keyshare::ProvenSymbol;
use kakera_engine::names::{NetworkId, ObjectId, Slot};
use kakera_engine::object::{Descriptor, GroupHashes};
use kakera_engine::peer::{Answer, StoredPart};
use kakera_engine::signature::Signature;
use kakera_engine::wire::{
    InventoryPage, MisfitProof, Operation, PartReference, Response, SymbolStatement, canonical,
};
use minicbor::{Decode, Encode};

use super::Disk;

/// One way to lie: to a reader, to a newcomer that repairs, or to a writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// To a reader: another salt.
    Descriptor,
    /// To a reader: no descriptor where one was asked for.
    NoDescriptor,
    /// To a reader: a wrong key part.
    KeyPart,
    /// To a reader: a wrong path from the key part to its commitment.
    Path,
    /// To a reader: a wrong byte.
    Fragment,
    /// To a reader: hashes of another fragment.
    Hashes,
    /// To a reader: a byte too few.
    Length,
    /// To a reader: what is kept of another object.
    OtherObject(ObjectId),
    /// To anyone: the answer to another question.
    Unfitting,
    /// To a newcomer: a wrong pair symbol, signed.
    KeySymbol,
    /// To a newcomer: wrong symbols of the fragment, signed.
    FragmentSymbols,
    /// To a newcomer: a byte too few, signed.
    SymbolsLength,
    /// To a newcomer: a signature of something else.
    Unsigned,
    /// To a newcomer with few helpers: a wrong padded part.
    DegradedPart,
    /// To a newcomer: no descriptor.
    NoDescription,
    /// To a newcomer: objects that nobody has.
    InventedIds,
    /// To a newcomer: the list backwards.
    UnsortedIds,
    /// To a newcomer: a list without end.
    EndlessIds,
    /// To a newcomer: an empty list.
    MissingIds,
    /// To a writer: a receipt for another epoch.
    Receipt,
    /// To a newcomer: a symbol of the share that the last refresh replaced, signed for the new epoch.
    OldShare,
    /// As a dealer in a refresh: other rows than were dealt.
    Rows,
    /// To an auditor: that what it lacks is the writer's fault.
    Excuse,
}

impl Lie {
    /// Falsifies an answer, if this lie is about such answers; whether it did.
    pub fn tell(
        self,
        network: &NetworkId,
        liar: &SigningKey,
        disk: &Disk,
        operation: &Operation,
        answer: &mut Answer,
    ) -> bool {
        match operation {
            Operation::Store(_) => self == Self::Receipt && forge_receipt(answer),
            Operation::Read(_) if matches!(answer.response, Response::Read { .. }) => {
                self.tell_reader(disk, operation, answer)
            }
            Operation::Symbols(_) | Operation::RenewedSymbols(_) | Operation::PairSymbols(_) => {
                self.tell_newcomer(network, liar, disk, operation, answer)
            }
            Operation::Degraded(_) => self == Self::DegradedPart && falsify_part(answer),
            Operation::Inventory(inventory) => self.list(inventory.after, answer),
            Operation::Misfit { part, .. } => self == Self::Excuse && accuse_writer(part, answer),
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
                let Ok(mut other) = Descriptor::decode(bytes) else { return false };
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
                let Some(kept) = disk.parts.get(&part) else { return false };
                let Ok(other) = Descriptor::decode(&kept.object.descriptor) else { return false };
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
        disk: &Disk,
        operation: &Operation,
        answer: &mut Answer,
    ) -> bool {
        let (Operation::Symbols(request)
        | Operation::RenewedSymbols(request)
        | Operation::PairSymbols(request)) = operation
        else {
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
            Self::OldShare => match disk.replaced.get(&request.part) {
                Some(old) => replace_symbol(key_symbol, old, request.lost),
                None => return false,
            },
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
            fragment_symbols: *blake3::hash(&answer.body).as_bytes(),
            epoch,
        };
        *signature = statement.sign(liar);
        true
    }

    fn list(self, after: Option<ObjectId>, answer: &mut Answer) -> bool {
        let Response::Inventory = answer.response else { return false };
        let Ok(mut page) = canonical::decode::<InventoryPage>(&answer.body, usize::MAX) else {
            return false;
        };
        match self {
            Self::InventedIds => {
                page.objects.extend((1..=5).map(|byte| ObjectId([byte; 32])));
                page.objects.sort();
            }
            Self::UnsortedIds => page.objects.reverse(),
            Self::EndlessIds => {
                let number =
                    |id: ObjectId| id.0.first_chunk().map_or(0, |id| u64::from_be_bytes(*id));
                let first = after.map_or(0, number);
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

/// What the share of an earlier epoch gives for the lost slot, as it was proved then.
fn replace_symbol(said: &mut ProvenSymbol, old: &StoredPart, lost: Slot) {
    let Ok(descriptor) = Descriptor::decode(&old.object.descriptor) else { return };
    let (binding, _) = old.commitments(&descriptor);
    let proven = old.share.prove_symbol(&binding, lost);
    if let Some(symbol) = proven.or_else(|| old.share.unproven_symbol(descriptor.key, lost)) {
        *said = symbol;
    }
}

/// The padded part comes last, and nothing commits to it.
fn falsify_part(answer: &mut Answer) -> bool {
    let Response::Degraded(help) = &mut answer.response else { return false };
    let mut bytes = canonical::encode(help);
    let place = bytes.len() - 1;
    bytes[place] ^= 1;
    replace(help, &bytes)
}

/// The fragments of all others do not fit, it says.
fn accuse_writer(part: &PartReference, answer: &mut Answer) -> bool {
    let others = Slot::all(u8::MAX).filter(|slot| *slot != part.slot);
    let body = canonical::encode(&MisfitProof::Fragment(others.collect())).into();
    *answer = Answer { response: Response::Misfit, body };
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
    let value = bytes.windows(2).position(|head| head == [0x58, 32]);
    let place = match place {
        Place::Value => value.map(|value| value + 2),
        Place::Path => bytes.len().checked_sub(1),
    };
    let Some(byte) = place.and_then(|place| bytes.get_mut(place)) else { return false };
    *byte ^= 1;
    replace(proven, &bytes)
}

/// Puts what the bytes say in the place of what was said, if they say anything.
fn replace<T: Encode<()> + for<'b> Decode<'b, ()>>(said: &mut T, bytes: &[u8]) -> bool {
    let decoded = canonical::decode(bytes, usize::MAX);
    decoded.is_ok_and(|other| {
        *said = other;
        true
    })
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
