//! Destroys a record: what shares its objects is sealed again elsewhere, then the holders erase the
//! objects and say so.
//!
//! The order of things is what makes it safe to stop anywhere and to begin again: first one pointer,
//! with which the catalogue leads to the new places of the neighbours and says of the record only in
//! which objects it lay; then the orders to the holders, again and again until enough have signed.

use std::collections::BTreeSet;
use std::sync::Arc;

use kakera_engine::catalogue::{Content, Draft, Piece, Record, Stored, VersionKey};
use kakera_engine::names::{Epoch, RecordId};
use kakera_engine::object::ObjectReference;
use kakera_engine::peer::{Condemned, ShredReport};
use kakera_engine::seal::VaultRoot;
use kakera_engine::wire::Authorisation;
use tokio::runtime::Handle;

use super::load::State;
use super::packer::Packer;
use super::reader::Reader;
use super::writer::{Batch, RACES_MAX, Writer, close};
use super::{Progress, PutSummary, Vault};
use crate::client::{Client, ClientError};
use crate::clock::unix_milliseconds;

/// What became of a record that was to be destroyed.
#[derive(Clone, Debug, Default)]
pub struct Destruction {
    /// The block that made the catalogue without it final; none if an earlier call did that.
    pub height: Option<u64>,
    /// Versions of other records that lay in the same objects and lie elsewhere now.
    pub moved: u64,
    /// Every object that the record lay in.
    pub objects: Vec<DestroyedObject>,
}

/// An object, and who has attested its destruction.
#[derive(Clone, Debug)]
pub struct DestroyedObject {
    /// The object.
    pub object: ObjectReference,
    /// The epoch of its group, as the ledger says now.
    pub epoch: Epoch,
    /// The receipts.
    pub report: ShredReport,
}

impl Destruction {
    /// Whether nothing of the record can be read unless somebody lied.
    pub fn is_enough(&self) -> bool {
        self.objects.iter().all(|object| object.report.is_enough())
    }
}

impl Vault {
    /// Deletes a record with all its versions and has the holders destroy the objects it lay in.
    /// Called again, it goes on where it stopped, and asks all holders again.
    pub async fn shred(
        &mut self,
        record: RecordId,
        progress: Arc<dyn Progress>,
    ) -> Result<Destruction, ClientError> {
        let known = self.catalogue().record(record).ok_or_else(ClientError::no_record)?;
        require_not_retained(known)?;
        let mut destruction = Destruction::default();
        if !is_forgotten(&self.state, record) {
            self.forget(record, progress, &mut destruction).await?;
        }
        for object in objects_of(&self.state, record) {
            destruction.objects.push(destroy(&self.client, &self.root, &object).await?);
        }
        Ok(destruction)
    }

    /// Takes the record's bytes out of the catalogue, and its neighbours out of its objects.
    async fn forget(
        &mut self,
        record: RecordId,
        progress: Arc<dyn Progress>,
        destruction: &mut Destruction,
    ) -> Result<(), ClientError> {
        let mut writer = Writer::new(&self.client, &self.root, &mut self.state, progress).await?;
        for _ in 0..RACES_MAX {
            let (client, root) = (Arc::clone(&self.client), Arc::clone(&self.root));
            let (next, closed, moved, made) = writer
                .pack(&mut PutSummary::default(), move |packer, state| {
                    let before = packer.objects();
                    let mut next = state.clone();
                    let draft = deletion(state, record)?;
                    let mut rewriting = Rewriting { client: &client, root: &root, packer };
                    let moved = rewriting.run(&mut next, record)?;
                    let mut batch = Batch::of(draft.into_iter().collect());
                    let closed = close(packer, &next, &mut batch)?;
                    Ok((next, closed, moved, packer.finished_after(before).to_vec()))
                })
                .await?;
            if let Some(height) = writer.post(&closed.pointer).await? {
                *writer.state = Arc::new(next);
                writer.advance(Default::default(), closed);
                (destruction.height, destruction.moved) = (Some(height), moved);
                return Ok(());
            }
            // The other machine may have moved the same, or had it destroyed: no copy stays.
            for object in &made {
                destroy(&self.client, &self.root, object).await?;
            }
            writer.reload().await?;
            require_not_retained(
                writer.state.catalogue.record(record).ok_or_else(ClientError::no_record)?,
            )?;
        }
        Err(ClientError::overtaken("other machines of this vault write all the time"))
    }
}

async fn destroy(
    client: &Client,
    root: &VaultRoot,
    object: &ObjectReference,
) -> Result<DestroyedObject, ClientError> {
    let group = client.group(object.group).await?;
    let (network, key) = (*client.network(), client.signing_key());
    let condemned = Condemned {
        network,
        group: object.group,
        object: object.object_id,
        key: group.key,
        write_key: root.write_key(&object.salt),
        authorisation: Authorisation::sign(&network, &object.object_id, key),
    };
    let read_key = Arc::new(root.read_key(&object.salt));
    let report = client.transfers().shred(condemned, read_key, &group.members, &group.left).await;
    Ok(DestroyedObject { object: *object, epoch: group.epochs.epoch, report })
}

/// Whether the catalogue says nothing of the record's bytes any more, and nothing else lies in its
/// objects.
fn is_forgotten(state: &State, record: RecordId) -> bool {
    let versions = state.catalogue.record(record).map_or(&[][..], |record| record.versions());
    let deleted = versions.last().is_some_and(|newest| newest.is_deletion());
    deleted && versions.iter().all(|version| version.stored().is_none())
}

/// The objects that the record's versions lie or lay in.
fn objects_of(state: &State, record: RecordId) -> BTreeSet<ObjectReference> {
    let record = state.catalogue.record(record);
    let versions = record.map_or(&[][..], |record| record.versions());
    versions.iter().flat_map(|version| version.objects()).copied().collect()
}

fn require_not_retained(record: Record<'_>) -> Result<(), ClientError> {
    match record.retained_until().filter(|until| *until > unix_milliseconds() / 1000) {
        Some(until) => Err(ClientError::retained(until)),
        None => Ok(()),
    }
}

/// The deletion of the record, unless it is deleted already.
fn deletion(state: &State, record: RecordId) -> Result<Option<Draft>, ClientError> {
    let known = state.catalogue.record(record).ok_or_else(ClientError::no_record)?;
    let newest = known.newest();
    let draft = || Draft {
        record,
        based_on: Some(newest.number),
        name: newest.name.clone(),
        content: Content::Deleted,
    };
    Ok((!newest.is_deletion()).then(draft))
}

struct Rewriting<'a> {
    client: &'a Client,
    root: &'a VaultRoot,
    packer: &'a mut Packer,
}

impl Rewriting<'_> {
    /// Seals again, in new objects, what other records have in the record's objects, and takes the
    /// record's own bytes out of the catalogue. How many versions lie elsewhere now.
    fn run(&mut self, state: &mut State, record: RecordId) -> Result<u64, ClientError> {
        let condemned = objects_of(state, record);
        let lies = |piece: &Piece| condemned.contains(&piece.object);
        let mut told: Vec<(VersionKey, Content)> = Vec::new();
        let mut neighbours: Vec<(VersionKey, Stored)> = Vec::new();
        for version in state.catalogue.records().flat_map(|record| record.versions()) {
            match version.stored() {
                Some(_) if version.record == record => {
                    let objects: BTreeSet<ObjectReference> = version.objects().copied().collect();
                    let objects = objects.into_iter().collect();
                    told.push((version.key(), Content::Shredded(objects)));
                }
                Some(stored) if stored.pieces.iter().any(lies) => {
                    neighbours.push((version.key(), stored.clone()));
                }
                _ => {}
            }
        }
        // Objects are read and written one after the other.
        neighbours.sort_by_key(|(_, stored)| {
            let first = stored.pieces.iter().find(|piece| lies(piece));
            (stored.retain_until, first.map(|piece| (piece.object, piece.extent.offset)))
        });
        let moved = neighbours.len() as u64;
        let mut reader = Reader::new(self.client, self.root, true);
        for (_, stored) in &mut neighbours {
            self.move_pieces(&mut reader, stored, &lies)?;
        }
        // The catalogue lies in other objects, so that all of these have their names now.
        self.packer.retain_until(None)?;
        self.packer.finish_object()?;
        for (key, mut stored) in neighbours {
            self.packer.settle(&mut stored.pieces);
            told.push((key, Content::Stored(Box::new(stored))));
        }
        let keys: BTreeSet<VersionKey> = told.iter().map(|(key, _)| *key).collect();
        for (key, content) in told {
            state.catalogue.retell(key, content);
        }
        state.log.take_back(&condemned, &keys);
        Ok(moved)
    }

    fn move_pieces(
        &mut self,
        reader: &mut Reader<'_>,
        stored: &mut Stored,
        lies: &impl Fn(&Piece) -> bool,
    ) -> Result<(), ClientError> {
        let secret = self.root.compartment(stored.compartment).record(stored.sealed.record);
        let mut pieces = Vec::with_capacity(stored.pieces.len());
        for piece in &stored.pieces {
            if !lies(piece) {
                pieces.push(piece.clone());
                continue;
            }
            let read =
                reader.read_stream(&secret, stored.sealed.number, std::slice::from_ref(piece));
            let bytes = Handle::current().block_on(read)?;
            pieces.extend(self.packer.pack_again(stored, &bytes)?);
        }
        stored.pieces = pieces;
        Ok(())
    }
}
