//! `kakera get`: records become files.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use kakera_engine::catalogue::{RecordName, Stored};
use kakera_net::vault::{Progress, Vault};
use serde::Serialize;
use tempfile::NamedTempFile;

use crate::arguments::GetOptions;
use crate::confined::Confined;
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
    let prefix = options.name.as_ref().map_or(&[][..], RecordName::as_bytes);
    let (records, bytes) = match (&options.output, &options.name) {
        (Some(folder), _) if options.all => read_all(&vault, prefix, folder, &bar).await?,
        (Some(path), Some(name)) => {
            let stored = find(&vault, name, options.at)?;
            (1, read_to_file(&vault, stored, options.range, path, &bar).await?)
        }
        (None, Some(name)) => {
            let stored = find(&vault, name, options.at)?;
            (1, read_to_standard_output(&vault, stored, options.range, &bar).await?)
        }
        (_, None) => unreachable!("the command line asks for a name or for all"),
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

/// What the newest or a named version of a record holds. Tells on standard error that another
/// machine changed it at the same time.
fn find<'a>(vault: &'a Vault, name: &RecordName, at: Option<u64>) -> Result<&'a Stored, Failure> {
    let failed = |error| Failure::from(error).during(name);
    let Some(number) = at else {
        let record = vault.record(name).map_err(failed)?;
        if let [.., unseen] = record.unseen()[..] {
            eprintln!(
                "two machines changed this record at once: kakera get --at {unseen} has the other version"
            );
        }
        let stored = record.stored(record.newest());
        return Ok(stored.unwrap_or_else(|| unreachable!("it is not deleted")));
    };
    let stored = vault
        .catalogue()
        .named(name)
        .and_then(|record| record.version(number).and_then(|version| record.stored(version)));
    stored.ok_or_else(|| {
        let message = format!("{name}: version {number} holds nothing");
        Failure::new(Kind::NotFound, message, "kakera history NAME")
    })
}

async fn read_all(
    vault: &Vault,
    prefix: &[u8],
    folder: &Path,
    bar: &Bar,
) -> Result<(u64, u64), Failure> {
    let mut records: Vec<(&RecordName, &Stored)> = vault
        .catalogue()
        .list(prefix)
        .filter_map(|record| Some((&record.newest().name, record.stored(record.newest())?)))
        .collect();
    if records.is_empty() {
        return Err(Failure::new(Kind::NotFound, "there are no such records", "kakera ls"));
    }
    // Those that were packed together one after the other.
    records.sort_by_key(|(_, stored)| {
        stored.pieces.first().map(|piece| (piece.object, piece.extent.offset))
    });
    bar.0.set_length(records.iter().map(|(_, stored)| stored.len).sum());
    let folder = Confined::open(folder)?;
    let mut reader = vault.reader();
    let mut bytes = 0;
    for (name, stored) in &records {
        let mut out = folder.create(name)?;
        let read = reader.read(stored, None, &mut out, bar).await;
        bytes += read.map_err(|error| Failure::from(error).during(name))?;
        out.finish(0, true)?;
    }
    Ok((records.len() as u64, bytes))
}

/// Writes the whole of what was asked, or nothing.
async fn read_to_file(
    vault: &Vault,
    stored: &Stored,
    range: Option<ByteRange>,
    path: &Path,
    bar: &Bar,
) -> Result<u64, Failure> {
    let mut out = new_file(path)?;
    let bytes = read(vault, stored, range, &mut out, bar).await?;
    put_in_place(out, path)?;
    Ok(bytes)
}

async fn read_to_standard_output(
    vault: &Vault,
    stored: &Stored,
    range: Option<ByteRange>,
    bar: &Bar,
) -> Result<u64, Failure> {
    let mut out = Watched { out: io::stdout(), failure: None };
    let result = read(vault, stored, range, &mut out, bar).await;
    match out.failure {
        Some(error) => Err(Failure::standard_output(&error)),
        None => result,
    }
}

async fn read(
    vault: &Vault,
    stored: &Stored,
    range: Option<ByteRange>,
    out: &mut (dyn Write + Send),
    bar: &Bar,
) -> Result<u64, Failure> {
    let range = range.map(|range| range.within(stored.len)).transpose()?;
    bar.0.set_length(range.as_ref().map_or(stored.len, |range| range.end - range.start));
    let bytes = vault.get(stored, range, out, bar as &dyn Progress).await?;
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
    use std::fs;

    use super::*;

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
