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
    /// Unix seconds until which the holders keep the bytes, whatever the owner says.
    pub retain_until: Option<u64>,
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
        Self { name, path, record: None, compartment: None, classify: true, retain_until: None }
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
    /// The record of every name that this put has written.
    written: BTreeMap<RecordName, RecordId>,
    /// The newest version of every record that this put has written.
    newest: BTreeMap<RecordId, Newest>,
    compartments: BTreeMap<String, u32>,
    /// Compartments that this put makes.
    pub(super) new_labels: BTreeMap<u32, String>,
}

struct Newest {
    number: u64,
    name: RecordName,
    compartment: Compartment,
}

impl<'a> Planner<'a> {
    pub(super) fn new(catalogue: &'a Catalogue) -> Self {
        Self {
            catalogue,
            written: BTreeMap::new(),
            newest: BTreeMap::new(),
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
        let (last, based_on, compartment) = match (self.newest.get(&record), known) {
            (Some(newest), _) => (newest.number, None, newest.compartment),
            (None, Some(known)) => {
                let last = known.newest().number;
                (last, Some(last), compartment_of(known))
            }
            (None, None) => (0, Some(0), self.compartment(source.compartment.as_deref())),
        };
        self.write(record, last + 1, &source.name, compartment);
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
                let written = self.newest.get(&record).map(|newest| newest.name.clone());
                let name = written.unwrap_or_else(|| known.newest().name.clone());
                Ok(self.draft(known, name, Content::Deleted))
            }
            None => {
                let written = self.newest.get(&record).map(|newest| newest.name.clone());
                let name = written.ok_or_else(ClientError::no_record)?;
                Ok(Draft { record, based_on: None, name, content: Content::Deleted })
            }
        }
    }

    fn draft(&mut self, known: Record<'_>, name: RecordName, content: Content) -> Draft {
        let record = known.id();
        let newest = known.newest().number;
        let before = self.newest.get(&record).map(|newest| newest.number);
        let number = before.unwrap_or(newest) + 1;
        self.write(record, number, &name, compartment_of(known));
        Draft { record, based_on: before.is_none().then_some(newest), name, content }
    }

    fn write(&mut self, id: RecordId, number: u64, name: &RecordName, compartment: Compartment) {
        self.written.insert(name.clone(), id);
        self.newest.insert(id, Newest { number, name: name.clone(), compartment });
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As a file that replaced another and was then deleted is imported.
    #[test]
    fn a_deletion_has_the_last_name_that_its_put_wrote() {
        let catalogue = Catalogue::default();
        let mut planner = Planner::new(&catalogue);
        let id = new_record_id();
        for name in ["1_2", "2_0", "0_9"] {
            let name = RecordName::new(name).unwrap();
            let mut source = Source::new(name, PathBuf::new());
            source.record = Some(NextOf::Made(id));
            planner.target(&source);
        }
        assert_eq!(planner.delete(id).unwrap().name.as_bytes(), b"0_9");
    }
}
