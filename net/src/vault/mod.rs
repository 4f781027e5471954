//! A vault: named, versioned records over sealed objects, found through pointers on the ledger.
//!
//! One `put` writes its records and a manifest of them into objects and posts one pointer to the
//! manifest. Opening a vault reads all its manifests, so it costs one small read for each earlier
//! `put`; listing reads nothing more. Memory: the catalogue (about 300 bytes a record) and a few
//! objects under way, whatever the size of a record.

mod catalogue;
mod reader;
mod writer;

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use kakera_engine::seal::VaultRoot;

use catalogue::Catalogue;
pub use catalogue::StoredRecord;
pub use reader::Reader;

use crate::client::{Client, ClientError};

/// An opened vault.
pub struct Vault {
    client: Arc<Client>,
    root: Arc<VaultRoot>,
    catalogue: Catalogue,
}

/// A file to put.
#[derive(Clone, Debug)]
pub struct Source {
    /// The record's name in the vault.
    pub name: String,
    /// Where its bytes are.
    pub path: PathBuf,
}

/// What a put did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutSummary {
    /// Records written.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects they were packed into.
    pub objects: u64,
    /// Bytes of fragments that holders made durable.
    pub stored_bytes: u64,
    /// Objects of which every slot has its part; the others reached their quorum.
    pub objects_complete: u64,
    /// The block that made the pointer final.
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
    /// Opens the vault of `root`: finds its pointers and reads their manifests.
    pub async fn open(client: Arc<Client>, root: VaultRoot) -> Result<Self, ClientError> {
        let root = Arc::new(root);
        let catalogue = Catalogue::load(&client, &root).await?;
        Ok(Self { client, root, catalogue })
    }

    /// The newest version of every record whose name starts with `prefix`, by name.
    pub fn list<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a StoredRecord> {
        self.catalogue.records(prefix)
    }

    /// The newest version of a record.
    pub fn record(&self, name: &str) -> Result<&StoredRecord, ClientError> {
        self.catalogue.record(name).ok_or_else(ClientError::no_record)
    }

    /// Stores the sources as new records, or as new versions of records of the same name.
    ///
    /// Success means: every object is durable on its quorum of holders and the pointer is final on
    /// the ledger. On an error no pointer was posted and no record changed.
    pub async fn put(
        &mut self,
        sources: Vec<Source>,
        progress: Arc<dyn Progress>,
    ) -> Result<PutSummary, ClientError> {
        let written =
            writer::write(&self.client, &self.root, &self.catalogue, sources, progress).await?;
        self.catalogue.add(written.records);
        Ok(written.summary)
    }

    /// Writes a record, or the bytes `range` of it, to `output`. Every byte was authenticated; after
    /// a whole record its hash was compared too.
    pub async fn get(
        &self,
        name: &str,
        range: Option<Range<u64>>,
        output: &mut (dyn Write + Send),
        progress: &dyn Progress,
    ) -> Result<u64, ClientError> {
        Reader::new(&self.client, &self.root, false)
            .read(self.record(name)?, range, output, progress)
            .await
    }

    /// A reader for many records in the order of [`Vault::list`]: records packed together are
    /// fetched once.
    pub fn reader(&self) -> Reader<'_> {
        Reader::new(&self.client, &self.root, true)
    }
}
