//! `kakera get`: records become files.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use kakera_net::vault::{Progress, StoredRecord, Vault};
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::arguments::GetOptions;
use crate::failure::{Failure, Kind};
use crate::output::Report;
use crate::progress;
use crate::put::Bar;
use crate::quantity::{ByteRange, show_rate, show_size};
use crate::session::Session;

/// Reads one record, or all of them.
pub(crate) async fn run(session: &Session, options: &GetOptions) -> Result<(), Failure> {
    if options.output.is_none() && session.output.is_json() {
        let message = "standard output cannot carry both the record and a JSON object";
        return Err(Failure::new(Kind::Usage, message, "--output FILE"));
    }
    let mut connection = session.connect()?;
    let vault = session.open_vault(&mut connection, &options.passphrase).await?;
    let bar = Bar(progress::bytes(session.output, "get"));
    let begun = Instant::now();
    let name = options.name.as_deref().unwrap_or_default();
    let (records, bytes) = match &options.output {
        Some(folder) if options.all => read_all(&vault, name, folder, &bar).await?,
        Some(path) => (1, read_to_file(&vault, name, options.range, path, &bar).await?),
        None => (1, read_to_standard_output(&vault, name, options.range, &bar).await?),
    };
    let seconds = begun.elapsed().as_secs_f64();
    bar.0.finish_and_clear();
    connection.close().await?;
    match &options.output {
        Some(output) => {
            session.output.report(&GetReport { records, bytes, seconds, output: output.clone() })
        }
        None => Ok(()),
    }
}

async fn read_all(
    vault: &Vault,
    prefix: &str,
    folder: &Path,
    bar: &Bar,
) -> Result<(u64, u64), Failure> {
    let records: Vec<&StoredRecord> = vault.list(prefix).collect();
    if records.is_empty() {
        return Err(Failure::new(Kind::NotFound, "there are no such records", "kakera ls"));
    }
    bar.0.set_length(records.iter().map(|record| record.entry.len).sum());
    let mut reader = vault.reader();
    let mut bytes = 0;
    for record in &records {
        let path = inside(folder, &record.entry.name)?;
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(|error| Failure::file(parent, &error))?;
        let mut out = new_file(&path)?;
        let read = reader.read(record, None, &mut out, bar).await;
        bytes += read.map_err(|error| Failure::from(error).during(&record.entry.name))?;
        put_in_place(out, &path)?;
    }
    Ok((records.len() as u64, bytes))
}

/// Writes the whole of what was asked, or nothing.
async fn read_to_file(
    vault: &Vault,
    name: &str,
    range: Option<ByteRange>,
    path: &Path,
    bar: &Bar,
) -> Result<u64, Failure> {
    let mut out = new_file(path)?;
    let bytes = read(vault, name, range, &mut out, bar).await?;
    put_in_place(out, path)?;
    Ok(bytes)
}

async fn read_to_standard_output(
    vault: &Vault,
    name: &str,
    range: Option<ByteRange>,
    bar: &Bar,
) -> Result<u64, Failure> {
    let mut out = Watched { out: io::stdout(), failure: None };
    let result = read(vault, name, range, &mut out, bar).await;
    match out.failure {
        Some(error) => Err(Failure::standard_output(&error)),
        None => result,
    }
}

async fn read(
    vault: &Vault,
    name: &str,
    range: Option<ByteRange>,
    out: &mut (dyn Write + Send),
    bar: &Bar,
) -> Result<u64, Failure> {
    let record = vault.record(name);
    let len = record.map_err(|error| Failure::from(error).during(name.escape_debug()))?.entry.len;
    let range = range.map(|range| range.within(len)).transpose()?;
    bar.0.set_length(range.as_ref().map_or(len, |range| range.end - range.start));
    let bytes = vault.get(name, range, out, bar as &dyn Progress).await?;
    out.flush().map_err(|error| Failure::standard_output(&error))?;
    Ok(bytes)
}

/// Keeps the error that the writer met: a reader that went away is told from a full disk by it.
struct Watched<W> {
    out: W,
    failure: Option<io::Error>,
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).inspect_err(|error| self.failure = Some(error.kind().into()))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush().inspect_err(|error| self.failure = Some(error.kind().into()))
    }
}

/// The place of a record below a folder. Whoever may write to the vault chose its name, so a name
/// that leads out of the folder is refused.
fn inside(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let plain = |component| matches!(component, Component::Normal(_));
    if name.is_empty() || name.contains('\0') || !Path::new(name).components().all(plain) {
        return Err(Failure::new(
            Kind::Denied,
            format!("the record '{}' would be written outside the folder", name.escape_debug()),
            "kakera get NAME -o FILE",
        ));
    }
    Ok(folder.join(name))
}

fn new_file(path: &Path) -> Result<BufWriter<NamedTempFile>, Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))
        .map(|file| BufWriter::with_capacity(1 << 16, file))
        .map_err(|error| Failure::file(path, &error))
}

fn put_in_place(out: BufWriter<NamedTempFile>, path: &Path) -> Result<(), Failure> {
    out.into_inner()
        .map_err(io::IntoInnerError::into_error)
        .and_then(|file| file.persist(path).map_err(|error| error.error))
        .map(drop)
        .map_err(|error| Failure::file(path, &error))
}

#[derive(Serialize)]
struct GetReport {
    records: u64,
    bytes: u64,
    seconds: f64,
    output: PathBuf,
}

impl Report for GetReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "Read {} records, {} in {:.1} s ({}), to {}.",
            self.records,
            show_size(self.bytes),
            self.seconds,
            show_rate(self.bytes, self.seconds),
            self.output.display(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_out_of_the_folder_are_refused() {
        let folder = Path::new("/restored");
        assert_eq!(inside(folder, "a/b").unwrap(), Path::new("/restored/a/b"));
        for name in ["", "/etc/passwd", "../x", "a/../../x", "a\0b", ".."] {
            assert_eq!(inside(folder, name).unwrap_err().kind, Kind::Denied, "{name:?}");
        }
    }

    #[test]
    fn a_file_appears_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record");
        let mut out = new_file(&path).unwrap();
        out.write_all(b"half").unwrap();
        drop(out);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut out = new_file(&path).unwrap();
        out.write_all(b"whole").unwrap();
        put_in_place(out, &path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }
}
