//! From drafts to versions: what is written on one machine is put behind what others wrote.

use std::collections::BTreeMap;

use thiserror::Error;

use super::{Catalogue, Content, RecordName, Version};
use crate::names::RecordId;

/// A version before the ledger has given it its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The record, as far as its writer knows; a new one has an id of its own.
    pub record: RecordId,
    /// The newest version that its writer has seen, 0 for none; `None` for the draft before it in
    /// the same put.
    pub based_on: Option<u64>,
    /// The record's name from here on.
    pub name: RecordName,
    /// What the record holds from here on.
    pub content: Content,
}

/// The edit no longer means what it meant when it was made. Nothing was changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OrderError {
    /// New contents are kept beside those of others; a rename, deletion or restoration is not.
    #[error("'{0}' was changed on another machine meanwhile")]
    Changed(RecordName),
    /// Two records cannot have one name.
    #[error("there is another record with the name '{0}'")]
    NameTaken(RecordName),
}

impl Catalogue {
    /// The versions that the drafts become as put number `put` at `recorded`, Unix seconds, behind
    /// everything that is in this catalogue.
    ///
    /// Contents that another machine's version has overtaken become a version behind it that says
    /// what it was based on; so do those of two new records that took one name.
    pub fn order(
        &self,
        drafts: &[Draft],
        put: u64,
        recorded: u64,
    ) -> Result<Vec<Version>, OrderError> {
        let mut ordering = Ordering { catalogue: self, newest: BTreeMap::new() };
        drafts
            .iter()
            .map(|draft| {
                let mut version = ordering.place(draft)?;
                (version.put, version.recorded) = (put, recorded);
                ordering.newest.insert(version.record, (version.number, version.name.clone()));
                Ok(version)
            })
            .collect()
    }
}

struct Ordering<'a> {
    catalogue: &'a Catalogue,
    /// Number and name of the newest version of the records that this put changes.
    newest: BTreeMap<RecordId, (u64, RecordName)>,
}

impl Ordering<'_> {
    fn place(&self, draft: &Draft) -> Result<Version, OrderError> {
        let mut record = draft.record;
        let mut newest = self.newest(record);
        let holder = self.holder(&draft.name);
        if newest.is_none()
            && let Some(other) = holder
        {
            (record, newest) = (other, self.newest(other));
        }
        let last = newest.as_ref().map_or(0, |(number, _)| *number);
        let stale = draft.based_on.is_some_and(|seen| seen != last);
        if stale && !matches!(draft.content, Content::Stored(_)) {
            return Err(OrderError::Changed(draft.name.clone()));
        }
        let name = self.name_of(draft, record, newest);
        if let Some(other) = holder.filter(|other| *other != record && name == draft.name)
            && self.is_live(other)
        {
            return Err(OrderError::NameTaken(name));
        }
        Ok(Version {
            record,
            number: last + 1,
            based_on: draft.based_on.unwrap_or(last),
            name,
            put: 0,
            recorded: 0,
            content: draft.content.clone(),
        })
    }

    /// New contents do not undo a rename that their writer had not seen.
    fn name_of(
        &self,
        draft: &Draft,
        record: RecordId,
        newest: Option<(u64, RecordName)>,
    ) -> RecordName {
        let seen = draft.based_on.and_then(|number| {
            let version = self.catalogue.record(record)?.version(number)?;
            Some(&version.name)
        });
        match newest {
            Some((_, name)) if seen == Some(&draft.name) => name,
            _ => draft.name.clone(),
        }
    }

    fn newest(&self, record: RecordId) -> Option<(u64, RecordName)> {
        self.newest.get(&record).cloned().or_else(|| {
            let newest = self.catalogue.record(record)?.newest();
            Some((newest.number, newest.name.clone()))
        })
    }

    /// Who has the name, this put's changes included.
    fn holder(&self, name: &RecordName) -> Option<RecordId> {
        let changed = self.newest.iter().find(|(_, (_, of))| of == name).map(|(id, _)| *id);
        changed.or_else(|| {
            let record = self.catalogue.named(name)?.id();
            // This put has given it another name.
            (!self.newest.contains_key(&record)).then_some(record)
        })
    }

    fn is_live(&self, record: RecordId) -> bool {
        self.catalogue.record(record).is_none_or(|record| !record.newest().is_deletion())
    }
}
