//! `kakera put`: files and folders become records.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use globset::{Glob, GlobSet};
use indicatif::ProgressBar;
use kakera_engine::catalogue::RecordName;
use kakera_net::vault::{Progress, PutSummary, Source, Vault, is_unchanged};
use serde::Serialize;

use crate::arguments::PutOptions;
use crate::failure::{Failure, Kind};
use crate::output::Report;
use crate::progress;
use crate::quantity::{show_rate, show_size};
use crate::session::Session;

/// Stores every file below the paths.
pub(crate) async fn run(session: &Session, options: &PutOptions) -> Result<(), Failure> {
    let found = collect(&options.paths, &Choice::new(&options.include, &options.exclude)?)?;
    let mut connection = session.connect()?;
    let mut vault = session.open_vault(&mut connection, &options.passphrase).await?;
    let begun = Instant::now();
    let all = found.len() as u64;
    let sources = changed(&vault, found, options.thorough)?;
    let unchanged = all - sources.len() as u64;
    let bar = progress::bytes(session.output, "put");
    bar.set_length(sources.iter().map(|found| found.bytes).sum());
    let source = |found: Found| Source {
        retain_until: options.retain_until,
        ..Source::new(found.name, found.path)
    };
    let sources = sources.into_iter().map(source).collect();
    let summary = vault.put(sources, Arc::new(Bar(bar.clone()))).await?;
    let seconds = begun.elapsed().as_secs_f64();
    bar.finish_and_clear();
    connection.close().await?;
    session.output.report(&PutReport::new(&summary, unchanged, seconds))
}

/// A progress bar that is told of bytes.
pub(crate) struct Bar(pub(crate) ProgressBar);

impl Progress for Bar {
    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

/// A file, and the record that it becomes.
pub(crate) struct Found {
    pub(crate) name: RecordName,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

/// Those that the vault does not hold yet.
fn changed(vault: &Vault, found: Vec<Found>, thorough: bool) -> Result<Vec<Found>, Failure> {
    let mut changed = Vec::new();
    for file in found {
        let held = vault.catalogue().named(&file.name);
        let held = held.and_then(|record| record.stored(record.newest()));
        let unchanged = held.map_or(Ok(false), |stored| is_unchanged(&file.path, stored, thorough));
        if !unchanged.map_err(|error| Failure::file(&file.path, &error))? {
            changed.push(file);
        }
    }
    Ok(changed)
}

/// Which files are wanted, by the names of their records.
pub(crate) struct Choice {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Choice {
    /// Every file.
    pub(crate) fn all() -> Result<Self, Failure> {
        Self::new(&[], &[])
    }

    fn new(include: &[String], exclude: &[String]) -> Result<Self, Failure> {
        let include = (!include.is_empty()).then(|| globs(include)).transpose()?;
        Ok(Self { include, exclude: globs(exclude)? })
    }

    fn takes(&self, name: &RecordName) -> bool {
        let name = OsStr::from_bytes(name.as_bytes());
        let included = self.include.as_ref().is_none_or(|include| include.is_match(name));
        included && !self.exclude.is_match(name)
    }
}

fn globs(patterns: &[String]) -> Result<GlobSet, Failure> {
    let refused = |error: globset::Error| {
        Failure::new(Kind::Usage, error.to_string(), "a pattern such as '*.dcm' or 'charts/2026*'")
    };
    let mut set = GlobSet::builder();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(refused)?);
    }
    set.build().map_err(refused)
}

/// The chosen files below the paths, named by their path from the folder that holds the path.
pub(crate) fn collect(paths: &[PathBuf], choice: &Choice) -> Result<Vec<Found>, Failure> {
    let mut found = BTreeMap::new();
    for path in paths {
        let whole = fs::canonicalize(path).map_err(|error| Failure::file(path, &error))?;
        // `.` and `..` stand for what is in them.
        let prefix = path.file_name().map_or(Vec::new(), |name| name.as_bytes().to_vec());
        walk(&whole, prefix, choice, &mut found)?;
    }
    if found.is_empty() {
        return Err(Failure::new(Kind::Usage, "there is no file below these paths", "other paths"));
    }
    Ok(found.into_values().collect())
}

fn walk(
    path: &Path,
    name: Vec<u8>,
    choice: &Choice,
    found: &mut BTreeMap<RecordName, Found>,
) -> Result<(), Failure> {
    let file = |error| Failure::file(path, &error);
    let metadata = fs::metadata(path).map_err(file)?;
    if metadata.is_dir() {
        for entry in fs::read_dir(path).map_err(file)? {
            let entry = entry.map_err(file)?;
            // A link inside a folder could lead out of it, or round in a circle.
            if entry.file_type().map_err(file)?.is_symlink() {
                continue;
            }
            let mut below = name.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend(entry.file_name().as_bytes());
            walk(&entry.path(), below, choice, found)?;
        }
    } else if metadata.is_file() {
        let name = RecordName::new(name).ok_or_else(|| {
            let message = format!("the path of {} is too long for a name", path.display());
            Failure::new(Kind::Usage, message, "store it from a folder further down")
        })?;
        if !choice.takes(&name) {
            return Ok(());
        }
        let other = Found { name: name.clone(), path: path.to_owned(), bytes: metadata.len() };
        if let Some(other) = found.insert(name.clone(), other) {
            return Err(Failure::new(
                Kind::Usage,
                format!("{} and {} would both be '{name}'", other.path.display(), path.display()),
                "store them one after the other, or from the folder above",
            ));
        }
    }
    Ok(())
}

#[derive(Serialize)]
struct PutReport {
    records: u64,
    /// Files that the vault held already.
    unchanged: u64,
    bytes: u64,
    objects: u64,
    objects_complete: u64,
    stored_bytes: u64,
    height: u64,
    seconds: f64,
}

impl PutReport {
    fn new(summary: &PutSummary, unchanged: u64, seconds: f64) -> Self {
        let PutSummary { records, bytes, objects, stored_bytes, objects_complete, height } =
            *summary;
        Self { records, unchanged, bytes, objects, objects_complete, stored_bytes, height, seconds }
    }
}

impl Report for PutReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.unchanged > 0 {
            writeln!(out, "{} files are in the vault already.", self.unchanged)?;
        }
        if self.records == 0 {
            return Ok(());
        }
        writeln!(
            out,
            "Stored {} records, {} in {:.1} s ({}), final in block {}.",
            self.records,
            show_size(self.bytes),
            self.seconds,
            show_rate(self.bytes, self.seconds),
            self.height,
        )?;
        let incomplete = self.objects - self.objects_complete;
        if incomplete > 0 {
            writeln!(
                out,
                "{incomplete} of {} objects are durable but not on every holder yet; kakera repair \
                 completes them.",
                self.objects
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(paths: &[PathBuf], include: &[&str], exclude: &[&str]) -> Vec<String> {
        let owned = |globs: &[&str]| globs.iter().map(|&glob| glob.to_owned()).collect::<Vec<_>>();
        let choice = Choice::new(&owned(include), &owned(exclude)).unwrap();
        let found = collect(paths, &choice).unwrap();
        found.iter().map(|file| file.name.to_string()).collect()
    }

    fn names(paths: &[PathBuf]) -> Vec<String> {
        chosen(paths, &[], &[])
    }

    #[test]
    fn records_are_named_from_the_folder_that_holds_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let charts = folder.path().join("charts");
        fs::create_dir_all(charts.join("a")).unwrap();
        fs::write(charts.join("a/1"), "12").unwrap();
        fs::write(charts.join("2"), "345").unwrap();
        std::os::unix::fs::symlink("/etc", charts.join("link")).unwrap();
        assert_eq!(names(std::slice::from_ref(&charts)), ["charts/2", "charts/a/1"]);
        assert_eq!(names(&[charts.join("a/1")]), ["1"]);
        assert_eq!(names(&[charts.join("a/..")]), ["2", "a/1"]);
        let all = Choice::all().unwrap();
        let refused = |paths: &[PathBuf]| collect(paths, &all).err().unwrap().kind;
        assert_eq!(refused(&[charts.join("2"), charts.join("2")]), Kind::Usage);
        assert_eq!(refused(&[charts.join("none")]), Kind::NotFound);
    }

    #[test]
    fn patterns_choose_among_names_and_names_are_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a").join(OsStr::from_bytes(b"\xff\n.dcm"));
        fs::create_dir(folder.path().join("a")).unwrap();
        for path in [&odd, &folder.path().join("a/b.hl7"), &folder.path().join("a/B.hl7")] {
            fs::write(path, "").unwrap();
        }
        let a = [folder.path().join("a")];
        assert_eq!(names(&a), ["a/B.hl7", "a/b.hl7", "a/\\xff\\n.dcm"]);
        assert_eq!(chosen(&a, &["*.dcm"], &[]), ["a/\\xff\\n.dcm"]);
        assert_eq!(chosen(&a, &["a/*"], &["*.dcm", "*/b*"]), ["a/B.hl7"]);
        assert!(Choice::new(&["[".to_owned()], &[]).is_err());
    }
}
