//! Which record was last restored in a drill, and when: kept in the data folder for the next drill.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use kakera_engine::names::RecordId;
use kakera_engine::wire::canonical;

use crate::failure::Failure;
use crate::session::{Session, replace_file};

const FILE: &str = "drills";
const FILE_LEN_MAX: usize = 64 << 20;

/// Unix seconds of the last check, by record. Ids are random and tell nobody anything.
pub(crate) struct Checks {
    path: PathBuf,
    times: BTreeMap<RecordId, u64>,
}

impl Checks {
    /// Those of this data folder; none where the file is absent or cannot be read: it is a note, and
    /// the next drill makes it again.
    pub(crate) fn load(session: &Session) -> Self {
        let path = session.data().join(FILE);
        let bytes = fs::read(&path).unwrap_or_default();
        let times = canonical::decode::<Vec<(RecordId, u64)>>(&bytes, FILE_LEN_MAX);
        Self { path, times: times.unwrap_or_default().into_iter().collect() }
    }

    /// When a record was last checked, 0 for never.
    pub(crate) fn last(&self, record: RecordId) -> u64 {
        self.times.get(&record).copied().unwrap_or(0)
    }

    /// The record was restored and found right.
    pub(crate) fn note(&mut self, record: RecordId, now: u64) {
        self.times.insert(record, now);
    }

    /// Keeps the times for the next run.
    pub(crate) fn store(&self) -> Result<(), Failure> {
        let times: Vec<(RecordId, u64)> =
            self.times.iter().map(|(id, time)| (*id, *time)).collect();
        replace_file(&self.path, &canonical::encode(&times))
    }
}
