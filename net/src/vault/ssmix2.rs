//! An SS-MIX2 standardised storage as records: what of it the vault does not hold yet, and which
//! files a record stands for.
//!
//! The files of one order that replaced one another are the versions of one record: a run of files,
//! in the order of their times, that ends with the file in force, or with the last of those that
//! were deleted. A renaming is a version that repeats bytes; a run that ends deleted ends with a
//! deletion. One compartment a patient.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use kakera_engine::catalogue::{Catalogue, Record, RecordName, Stored, Version};
use kakera_engine::clinical::ssmix2::{FileName, Flag};

use super::{Edit, NextOf, Source, is_unchanged, new_record_id};

/// A file of the storage.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it is called in the vault.
    pub name: RecordName,
    /// Where it is.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
}

/// What an import has to do, and what it has not.
#[derive(Debug, Default)]
pub struct Plan {
    /// The edits, files of one record in their order.
    pub edits: Vec<Edit>,
    /// Files to be stored.
    pub stored: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that got another flag and are stored already.
    pub renamed: u64,
    /// Records that were deleted.
    pub deleted: u64,
    /// Files that the vault holds as they are.
    pub unchanged: u64,
    /// Files whose names are not those of a storage; they are kept as records of their own.
    pub other: u64,
}

/// A file that the vault holds: its last name, and the version that brought its bytes.
#[derive(Clone, Copy)]
pub struct Held<'a> {
    /// The record.
    pub record: Record<'a>,
    /// The newest version that holds its bytes: the file's last name.
    pub last: &'a Version,
    /// The version that brought the bytes.
    pub source: &'a Version,
}

/// Every file that a record of a storage stands for, under its last name.
pub fn files<'a>(record: Record<'a>) -> impl Iterator<Item = Held<'a>> {
    let mut last: BTreeMap<u64, &Version> = BTreeMap::new();
    for version in record.versions() {
        if let Some(source) = record.source(version) {
            last.insert(source.number, version);
        }
    }
    last.into_iter().filter_map(move |(source, last)| {
        Some(Held { record, last, source: record.version(source)? })
    })
}

/// What of these files is not in the vault yet.
pub fn plan(catalogue: &Catalogue, found: Vec<Found>) -> io::Result<Plan> {
    let mut planner = Planner { held: held(catalogue), plan: Plan::default() };
    let mut orders: BTreeMap<(Vec<u8>, String, String), Vec<Found>> = BTreeMap::new();
    for file in found {
        match FileName::parse(file.name.as_bytes()) {
            Some(name) => {
                let (folder, order, department) = name.group();
                let key = (folder.to_vec(), order.to_owned(), department.to_owned());
                orders.entry(key).or_default().push(file);
            }
            None => planner.take_other(catalogue, file)?,
        }
    }
    for mut files in orders.into_values() {
        // The names of one order differ in time and flag only.
        files.sort_by(|left, right| left.name.cmp(&right.name));
        for run in runs(files) {
            planner.take_run(run)?;
        }
    }
    Ok(planner.plan)
}

struct Planner<'a> {
    /// By the name without the flag.
    held: BTreeMap<Vec<u8>, Held<'a>>,
    plan: Plan,
}

fn held(catalogue: &Catalogue) -> BTreeMap<Vec<u8>, Held<'_>> {
    let of_storage = |record: &Record<'_>| is_of_storage(*record);
    let file = |held: Held<'_>| FileName::parse(held.last.name.as_bytes()).map(|n| n.stem.to_vec());
    catalogue
        .records()
        .filter(of_storage)
        .flat_map(files)
        .filter_map(|held| Some((file(held)?, held)))
        .collect()
}

/// Whether the record's name is that of a file of a storage.
pub fn is_of_storage(record: Record<'_>) -> bool {
    FileName::parse(record.newest().name.as_bytes()).is_some()
}

/// Cuts files of one order where one ends in force, or a deleted one is followed by another.
fn runs(files: Vec<Found>) -> Vec<Vec<Found>> {
    let mut runs: Vec<Vec<Found>> = Vec::new();
    let mut before = None;
    for file in files {
        let flag = FileName::parse(file.name.as_bytes()).map(|name| name.flag);
        let goes_on = match before {
            None | Some(Flag::Current) => false,
            Some(Flag::Deleted) => flag == Some(Flag::Deleted),
            Some(Flag::Replaced) => true,
        };
        before = flag;
        match runs.last_mut() {
            Some(run) if goes_on => run.push(file),
            _ => runs.push(vec![file]),
        }
    }
    runs
}

impl<'a> Planner<'a> {
    fn take_run(&mut self, run: Vec<Found>) -> io::Result<()> {
        let known = run.iter().find_map(|file| self.held(file)).map(|held| held.record);
        let made = new_record_id();
        let record = known.map_or(NextOf::Made(made), |record| NextOf::Known(record.id()));
        let mut changed = false;
        let mut last_flag = Flag::Current;
        for file in run {
            let Some((flag, patient)) = FileName::parse(file.name.as_bytes())
                .map(|name| (name.flag, name.patient.to_owned()))
            else {
                continue;
            };
            last_flag = flag;
            changed |= self.take_file(file, record, patient)?;
        }
        let (NextOf::Known(id) | NextOf::Made(id)) = record;
        let is_deleted = known.is_some_and(|record| record.newest().is_deletion());
        if last_flag == Flag::Deleted && (changed || !is_deleted) {
            self.plan.deleted += 1;
            self.plan.edits.push(Edit::Delete { record: id });
        }
        Ok(())
    }

    /// Whether the record got a new version.
    fn take_file(&mut self, file: Found, record: NextOf, patient: String) -> io::Result<bool> {
        if let Some(held) = self.held(&file)
            && is_unchanged(&file.path, stored(&held), false)?
        {
            let (id, number) = (held.record.id(), held.source.number);
            if held.last.name == file.name {
                self.plan.unchanged += 1;
                return Ok(false);
            }
            self.plan.renamed += 1;
            self.plan.edits.push(Edit::Repeat { record: id, number, name: file.name });
            return Ok(NextOf::Known(id) == record);
        }
        self.store(file, Some(record), Some(patient), false);
        Ok(true)
    }

    fn take_other(&mut self, catalogue: &Catalogue, file: Found) -> io::Result<()> {
        self.plan.other += 1;
        let known = catalogue.named(&file.name);
        let held = known.and_then(|record| record.stored(record.newest()));
        if let Some(stored) = held
            && is_unchanged(&file.path, stored, false)?
        {
            self.plan.unchanged += 1;
        } else {
            self.store(file, None, None, true);
        }
        Ok(())
    }

    fn store(
        &mut self,
        file: Found,
        record: Option<NextOf>,
        compartment: Option<String>,
        classify: bool,
    ) {
        let Found { name, path, len } = file;
        self.plan.stored += 1;
        self.plan.bytes += len;
        let retain_until = None;
        let source = Source { name, path, record, compartment, classify, retain_until };
        self.plan.edits.push(Edit::Store(source));
    }

    fn held(&self, file: &Found) -> Option<Held<'a>> {
        let name = FileName::parse(file.name.as_bytes())?;
        self.held.get(name.stem).copied()
    }
}

fn stored<'a>(held: &Held<'a>) -> &'a Stored {
    held.source.stored().unwrap_or_else(|| unreachable!("a source brought bytes"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use kakera_engine::catalogue::{Content, Draft, SealedAs};
    use kakera_engine::seal::Compartment;

    use super::*;

    const FOLDER: &str = "root/123/456/1234567890/20260401/OML-11/";

    fn name(time: u64, flag: u8) -> RecordName {
        let file = format!("1234567890_20260401_OML-11_7_{time:017}_01_{flag}");
        RecordName::new(format!("{FOLDER}{file}")).unwrap()
    }

    /// The files of one order, each with its time and flag, as they lie in `folder`.
    fn found(folder: &Path, files: &[(u64, u8)]) -> Vec<Found> {
        files
            .iter()
            .map(|(time, flag)| {
                let path = folder.join(time.to_string());
                if !path.exists() {
                    std::fs::write(&path, vec![b'x'; *time as usize]).unwrap();
                }
                Found { name: name(*time, *flag), path, len: *time }
            })
            .collect()
    }

    /// Applies a plan as a vault would.
    fn apply(catalogue: &mut Catalogue, plan: Plan) {
        let put = catalogue.records().map(|record| record.newest().put + 1).max().unwrap_or(0);
        for edit in plan.edits {
            let draft = match edit {
                Edit::Store(source) => {
                    let Some(NextOf::Known(record) | NextOf::Made(record)) = source.record else {
                        panic!("a file of an order belongs to a record");
                    };
                    let content = std::fs::read(&source.path).unwrap();
                    let stored = Stored {
                        compartment: Compartment { number: 1, generation: 0 },
                        sealed: SealedAs { record, number: 1 },
                        len: content.len() as u64,
                        modified: 0,
                        hash: *blake3::hash(&content).as_bytes(),
                        pieces: Vec::new(),
                        about: None,
                        retain_until: None,
                    };
                    let content = Content::Stored(Box::new(stored));
                    Draft { record, based_on: None, name: source.name, content }
                }
                Edit::Repeat { record, number, name } => {
                    Draft { record, based_on: None, name, content: Content::SameAs(number) }
                }
                Edit::Delete { record } => {
                    let name = catalogue.record(record).unwrap().newest().name.clone();
                    Draft { record, based_on: None, name, content: Content::Deleted }
                }
            };
            let versions = catalogue.order(&[draft], put, 0).unwrap();
            catalogue.extend(versions);
        }
    }

    fn import(catalogue: &mut Catalogue, folder: &Path, files: &[(u64, u8)]) -> [u64; 4] {
        let plan = plan(catalogue, found(folder, files)).unwrap();
        let counts = [plan.stored, plan.renamed, plan.deleted, plan.unchanged];
        apply(catalogue, plan);
        // The vault stands for the same files, and there is nothing more to do.
        let mut names: Vec<RecordName> =
            catalogue.records().flat_map(super::files).map(|held| held.last.name.clone()).collect();
        names.sort();
        let mut expected: Vec<_> = files.iter().map(|(time, flag)| name(*time, *flag)).collect();
        expected.sort();
        assert_eq!(names, expected);
        let again = super::plan(catalogue, found(folder, files)).unwrap();
        assert_eq!((again.edits.len(), again.unchanged), (0, files.len() as u64));
        counts
    }

    #[test]
    fn an_update_is_a_version_and_a_renaming_stores_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut catalogue = Catalogue::default();
        assert_eq!(import(&mut catalogue, folder.path(), &[(100, 1)]), [1, 0, 0, 0]);
        assert_eq!(import(&mut catalogue, folder.path(), &[(100, 2), (200, 1)]), [1, 1, 0, 0]);
        let record = catalogue.records().next().unwrap();
        assert_eq!((catalogue.len(), record.versions().len()), (1, 3));
        assert_eq!(record.stored(record.newest()).unwrap().len, 200);
        assert_eq!(import(&mut catalogue, folder.path(), &[(100, 0), (200, 0)]), [0, 2, 1, 0]);
        assert!(catalogue.records().next().unwrap().newest().is_deletion());
        // What comes after a deletion is another record.
        let after = [(100, 0), (200, 0), (300, 1)];
        assert_eq!(import(&mut catalogue, folder.path(), &after), [1, 0, 0, 2]);
        assert_eq!(catalogue.list(b"").count(), 1);
    }

    #[test]
    fn a_storage_with_a_past_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut catalogue = Catalogue::default();
        let files = [(100, 2), (200, 2), (300, 1), (400, 1), (500, 0), (600, 0)];
        assert_eq!(import(&mut catalogue, folder.path(), &files), [6, 0, 1, 0]);
        assert_eq!(catalogue.len(), 3);
        assert_eq!(catalogue.list(b"").count(), 2);
        // A file that was changed without a new name is a version.
        std::fs::write(folder.path().join("400"), vec![b'y'; 400]).unwrap();
        let plan = plan(&catalogue, found(folder.path(), &files)).unwrap();
        assert_eq!((plan.stored, plan.unchanged), (1, 5));
    }

    /// As `put` is killed between two of its steps.
    #[test]
    fn an_interrupted_import_goes_on_where_it_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let files = [(100, 2), (200, 2), (300, 1), (500, 0), (600, 0)];
        for stop in 0..6 {
            let mut catalogue = Catalogue::default();
            let mut first = plan(&catalogue, found(folder.path(), &files)).unwrap();
            first.edits.truncate(stop);
            apply(&mut catalogue, first);
            import(&mut catalogue, folder.path(), &files);
            let versions = |record: Record<'_>| record.versions().len();
            let mut versions: Vec<_> = catalogue.records().map(versions).collect();
            versions.sort_unstable();
            assert_eq!(versions, [3, 3], "stopped after {stop}");
        }
    }
}
