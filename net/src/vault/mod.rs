//! A vault: named, versioned records over sealed objects, found through pointers on the ledger.
//!
//! A `put` writes its records and the next head of the catalogue into objects and posts one pointer
//! to the head. Opening a vault reads the newest head and the segments that it lists, in a few round
//! trips whatever the number of puts; listing reads nothing more. What grows with what, the engine's
//! `catalogue` says. Memory: the catalogue (1 to 2 KB a version at the peak of opening and listing) and
//! a few objects under way, whatever the size of a record.

mod edit;
mod health;
mod load;
mod packer;
mod reader;
mod shred;
pub mod ssmix2;
mod unchanged;
mod writer;

use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

use kakera_engine::catalogue::{Catalogue, Record, RecordName, Stored};
use kakera_engine::seal::VaultRoot;

pub use edit::{Edit, NextOf, Source, new_record_id};
pub use health::ObjectHealth;
use load::State;
pub use reader::Reader;
pub use shred::{DestroyedObject, Destruction};
pub use unchanged::is_unchanged;

use crate::client::{Client, ClientError};

/// An opened vault.
pub struct Vault {
    client: Arc<Client>,
    root: Arc<VaultRoot>,
    state: Arc<State>,
}

/// What a put did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutSummary {
    /// Versions of records written.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that they and the catalogue were packed into.
    pub objects: u64,
    /// Bytes of fragments that holders made durable.
    pub stored_bytes: u64,
    /// Objects of which every slot has its part; the others reached their quorum.
    pub objects_complete: u64,
    /// The block that made the last pointer final.
    pub height: u64,
}

/// Told of bytes done, for a progress bar.
pub trait Progress: Send + Sync {
    /// `bytes` more are done.
    fn advance(&self, bytes: u64);
}

/// Tells nobody.
pub struct NoProgress;

impl Progress for NoProgress {
    fn advance(&self, _: u64) {}
}

impl Vault {
    /// Opens the vault of `root`: finds its newest pointer and reads the catalogue.
    pub async fn open(client: Arc<Client>, root: VaultRoot) -> Result<Self, ClientError> {
        let root = Arc::new(root);
        let state = Arc::new(State::load(&client, &root, &State::default()).await?);
        Ok(Self { client, root, state })
    }

    /// Reads what other machines have written since.
    pub async fn refresh(&mut self) -> Result<(), ClientError> {
        self.state = Arc::new(State::load(&self.client, &self.root, &self.state).await?);
        Ok(())
    }

    /// Every version of every record.
    pub fn catalogue(&self) -> &Catalogue {
        &self.state.catalogue
    }

    /// How many pointers lead or led to heads of this vault.
    pub fn pointers(&self) -> u64 {
        self.state.next_pointer
    }

    /// The record that has this name and is not deleted.
    pub fn record(&self, name: &RecordName) -> Result<Record<'_>, ClientError> {
        self.catalogue()
            .named(name)
            .filter(|record| !record.newest().is_deletion())
            .ok_or_else(ClientError::no_record)
    }

    /// Makes the edits, in their order; many of them in several steps.
    ///
    /// Success means: every object is durable on its quorum of holders, the pointers are final on
    /// the ledger, and nothing that another machine wrote meanwhile was lost: its versions come
    /// before, and contents that both changed have a version of each. On an error the steps before
    /// it are done and the one it met changed nothing.
    pub async fn edit(
        &mut self,
        edits: Vec<Edit>,
        progress: Arc<dyn Progress>,
    ) -> Result<PutSummary, ClientError> {
        writer::write(&self.client, &self.root, &mut self.state, edits, progress).await
    }

    /// Stores files as new records, or as new versions of the records of their names.
    pub async fn put(
        &mut self,
        sources: Vec<Source>,
        progress: Arc<dyn Progress>,
    ) -> Result<PutSummary, ClientError> {
        self.edit(sources.into_iter().map(Edit::Store).collect(), progress).await
    }

    /// Writes what a version of a record holds, or the bytes `range` of it, to `output`. Every byte
    /// was authenticated; after a whole record its hash was compared too.
    pub async fn get(
        &self,
        stored: &Stored,
        range: Option<Range<u64>>,
        output: &mut (dyn Write + Send),
        progress: &dyn Progress,
    ) -> Result<u64, ClientError> {
        Reader::new(&self.client, &self.root, false).read(stored, range, output, progress).await
    }

    /// A reader for many records in the order in which they were put: records packed together are
    /// fetched once.
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.client, &self.root, true)
    }
}
