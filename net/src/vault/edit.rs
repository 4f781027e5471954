//! What an owner does to records, and the drafts of versions that it becomes.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kakera_engine::catalogue::{Catalogue, Content, Draft, Record, RecordName};
use kakera_engine::names::RecordId;
use kakera_engine::seal::Compartment;
use rand_core::Rng;

use crate::client::ClientError;
use crate::random::system_random;

/// A change of one record.
#[derive(Clone, Debug)]
pub enum Edit {
    /// A file becomes a record, or the newest version of one.
    Store(Source),
    /// The record holds from here on what its version `number` holds, under this name: a rename,
    /// or a restoration.
    Repeat {
        /// The record.
        record: RecordId,
        /// The version.
        number: u64,
        /// Its name from here on.
        name: RecordName,
    },
    /// The record is deleted; its versions stay.
    Delete {
        /// The record.
        record: RecordId,
    },
}

/// A file to store.
#[derive(Clone, Debug)]
pub struct Source {
    /// The record's name in the vault.
    pub name: RecordName,
    /// Where its bytes are.
    pub path: PathBuf,
    /// The record of which it is the next version; where absent, that of its name, or a new one.
    pub record: Option<NextOf>,
    /// The label of the compartment that a new record goes into.
    pub compartment: Option<String>,
    /// Whether to look what the file is about; not where its name says so.
    pub classify: bool,
}

/// Which record a file is the next version of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextOf {
    /// One that is in the vault.
    Known(RecordId),
    /// One that an edit before this one makes, with this id.
    Made(RecordId),
}

impl Source {
    /// A file that is called `name` in the vault.
    pub fn new(name: RecordName, path: PathBuf) -> Self {
        Self { name, path, record: None, compartment: None, classify: true }
    }
}

/// A fresh id, for a record that several edits of one call make.
pub fn new_record_id() -> RecordId {
    let mut id = [0; RecordId::LEN];
    system_random().fill_bytes(&mut id);
    RecordId(id)
}

/// Where the streams of a file are sealed for.
pub(super) struct Target {
    pub(super) record: RecordId,
    pub(super) based_on: Option<u64>,
    /// The number that its version has unless another machine comes first.
    pub(super) number: u64,
    pub(super) compartment: Compartment,
}

/// Turns the edits of one put into drafts, as of the catalogue that its writer knows.
pub(super) struct Planner<'a> {
    catalogue: &'a Catalogue,
    /// The record and version number of every name that this put has written.
    written: BTreeMap<RecordName, RecordId>,
    numbers: BTreeMap<RecordId, (u64, Compartment)>,
    compartments: BTreeMap<String, u32>,
    /// Compartments that this put makes.
    pub(super) new_labels: BTreeMap<u32, String>,
}

impl<'a> Planner<'a> {
    pub(super) fn new(catalogue: &'a Catalogue) -> Self {
        Self {
            catalogue,
            written: BTreeMap::new(),
            numbers: BTreeMap::new(),
            compartments: catalogue
                .labels()
                .iter()
                .map(|(number, label)| (label.clone(), *number))
                .collect(),
            new_labels: BTreeMap::new(),
        }
    }

    /// The record and version that a file becomes.
    pub(super) fn target(&mut self, source: &Source) -> Target {
        let record = match source.record {
            Some(NextOf::Known(record) | NextOf::Made(record)) => Some(record),
            None => self
                .written
                .get(&source.name)
                .copied()
                .or_else(|| self.catalogue.named(&source.name).map(|record| record.id())),
        };
        let record = record.unwrap_or_else(new_record_id);
        let known = self.catalogue.record(record);
        let (last, based_on, compartment) = match (self.numbers.get(&record), known) {
            (Some((number, compartment)), _) => (*number, None, *compartment),
            (None, Some(known)) => {
                let last = known.newest().number;
                (last, Some(last), compartment_of(known))
            }
            (None, None) => (0, Some(0), self.compartment(source.compartment.as_deref())),
        };
        self.written.insert(source.name.clone(), record);
        self.numbers.insert(record, (last + 1, compartment));
        Target { record, based_on, number: last + 1, compartment }
    }

    /// The draft of an edit that stores nothing.
    pub(super) fn repeat(
        &mut self,
        record: RecordId,
        number: u64,
        name: RecordName,
    ) -> Result<Draft, ClientError> {
        let known = self.catalogue.record(record).ok_or_else(ClientError::no_record)?;
        let source = known.version(number).and_then(|version| known.source(version));
        let source = source.ok_or_else(|| {
            ClientError::usage(format!("version {number} of this record holds nothing"))
        })?;
        Ok(self.draft(known, name, Content::SameAs(source.number)))
    }

    /// The draft of a deletion.
    pub(super) fn delete(&mut self, record: RecordId) -> Result<Draft, ClientError> {
        match self.catalogue.record(record) {
            Some(known) => {
                let name = self.name_of(record).unwrap_or_else(|| known.newest().name.clone());
                Ok(self.draft(known, name, Content::Deleted))
            }
            None => {
                let name = self.name_of(record).ok_or_else(ClientError::no_record)?;
                Ok(Draft { record, based_on: None, name, content: Content::Deleted })
            }
        }
    }

    fn draft(&mut self, known: Record<'_>, name: RecordName, content: Content) -> Draft {
        let record = known.id();
        let newest = known.newest().number;
        let before = self.numbers.get(&record).map(|(number, _)| *number);
        let number = before.unwrap_or(newest) + 1;
        self.numbers.insert(record, (number, compartment_of(known)));
        self.written.insert(name.clone(), record);
        Draft { record, based_on: before.is_none().then_some(newest), name, content }
    }

    /// The name that this put has given a record.
    fn name_of(&self, record: RecordId) -> Option<RecordName> {
        let of_record = |(_, id): &(&RecordName, &RecordId)| **id == record;
        self.written.iter().find(of_record).map(|(name, _)| name.clone())
    }

    /// The compartment with this label, a new one if there is none. Numbers are drawn, so that two
    /// machines that meet a patient at the same time do not give one number to two patients.
    fn compartment(&mut self, label: Option<&str>) -> Compartment {
        let Some(label) = label else {
            return Compartment { number: 0, generation: 0 };
        };
        if let Some(number) = self.compartments.get(label) {
            return Compartment { number: *number, generation: 0 };
        }
        let mut random = system_random();
        let number = loop {
            let drawn = random.next_u32();
            let taken = [self.catalogue.labels(), &self.new_labels];
            if drawn != 0 && taken.iter().all(|labels| !labels.contains_key(&drawn)) {
                break drawn;
            }
        };
        self.compartments.insert(label.to_owned(), number);
        self.new_labels.insert(number, label.to_owned());
        Compartment { number, generation: 0 }
    }
}

/// The compartment of a record is that of its newest bytes.
fn compartment_of(record: Record<'_>) -> Compartment {
    let stored = record.versions().iter().rev().find_map(|version| version.stored());
    stored.map_or(Compartment { number: 0, generation: 0 }, |stored| stored.compartment)
}
