//! `kakera put`: files and folders become records.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use indicatif::ProgressBar;
use kakera_net::vault::{Progress, PutSummary, Source};
use serde::Serialize;

use crate::arguments::PutOptions;
use crate::failure::{Failure, Kind};
use crate::output::Report;
use crate::progress;
use crate::quantity::{show_rate, show_size};
use crate::session::Session;

/// Stores every file below the paths.
pub(crate) async fn run(session: &Session, options: &PutOptions) -> Result<(), Failure> {
    let (sources, bytes) = collect(&options.paths)?;
    let mut connection = session.connect()?;
    let mut vault = session.open_vault(&mut connection, &options.passphrase).await?;
    let bar = progress::bytes(session.output, "put");
    bar.set_length(bytes);
    let begun = Instant::now();
    let summary = vault.put(sources, Arc::new(Bar(bar.clone()))).await?;
    let seconds = begun.elapsed().as_secs_f64();
    bar.finish_and_clear();
    connection.close().await?;
    session.output.report(&PutReport::new(&summary, seconds))
}

/// A progress bar that is told of bytes.
pub(crate) struct Bar(pub(crate) ProgressBar);

impl Progress for Bar {
    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }
}

/// The files below the paths, named by their path from the folder that holds the path; and their
/// bytes.
fn collect(paths: &[PathBuf]) -> Result<(Vec<Source>, u64), Failure> {
    let mut found = BTreeMap::new();
    let mut bytes = 0;
    for path in paths {
        let whole = fs::canonicalize(path).map_err(|error| Failure::file(path, &error))?;
        // `.` and `..` stand for what is in them.
        let prefix = match path.file_name() {
            Some(name) => text(Path::new(name))?,
            None => String::new(),
        };
        walk(&whole, prefix, &mut found, &mut bytes)?;
    }
    if found.is_empty() {
        return Err(Failure::new(Kind::Usage, "there is no file below these paths", "other paths"));
    }
    let sources = found.into_iter().map(|(name, path)| Source { name, path }).collect();
    Ok((sources, bytes))
}

fn walk(
    path: &Path,
    name: String,
    found: &mut BTreeMap<String, PathBuf>,
    bytes: &mut u64,
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
            let part = text(Path::new(&entry.file_name()))?;
            let below = if name.is_empty() { part } else { format!("{name}/{part}") };
            walk(&entry.path(), below, found, bytes)?;
        }
    } else if metadata.is_file() {
        *bytes += metadata.len();
        if let Some(other) = found.insert(name.clone(), path.to_owned()) {
            return Err(Failure::new(
                Kind::Usage,
                format!("{} and {} would both be '{name}'", other.display(), path.display()),
                "store them one after the other, or from the folder above",
            ));
        }
    }
    Ok(())
}

fn text(name: &Path) -> Result<String, Failure> {
    name.to_str().map(str::to_owned).ok_or_else(|| {
        let message = format!("the name {} is not UTF-8", name.display());
        Failure::new(Kind::Usage, message, "rename the file")
    })
}

#[derive(Serialize)]
struct PutReport {
    records: u64,
    bytes: u64,
    objects: u64,
    objects_complete: u64,
    stored_bytes: u64,
    height: u64,
    seconds: f64,
}

impl PutReport {
    fn new(summary: &PutSummary, seconds: f64) -> Self {
        let PutSummary { records, bytes, objects, stored_bytes, objects_complete, height } =
            *summary;
        Self { records, bytes, objects, objects_complete, stored_bytes, height, seconds }
    }
}

impl Report for PutReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
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

    fn names(paths: &[PathBuf]) -> Vec<String> {
        collect(paths).unwrap().0.into_iter().map(|source| source.name).collect()
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
        assert_eq!(collect(std::slice::from_ref(&charts)).unwrap().1, 5);
        let twice = collect(&[charts.join("2"), charts.join("2")]).unwrap_err();
        assert_eq!(twice.kind, Kind::Usage);
        assert_eq!(collect(&[charts.join("none")]).unwrap_err().kind, Kind::NotFound);
    }
}
