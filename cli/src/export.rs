//! `kakera export`: records become the tree of files that they came from.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use kakera_engine::catalogue::{Catalogue, RecordName, Stored};
use kakera_engine::clinical::ssmix2::{FileName, Flag};
use kakera_net::vault::{Reader, ssmix2};
use serde::Serialize;

use crate::arguments::ExportTreeOptions;
use crate::confined::Confined;
use crate::failure::{Failure, Kind};
use crate::output::Report;
use crate::progress;
use crate::put::Bar;
use crate::quantity::{show_rate, show_size};
use crate::session::Session;
use std::os::unix::ffi::OsStrExt;

/// Writes every file below the folder.
pub(crate) async fn run(session: &Session, options: &ExportTreeOptions) -> Result<(), Failure> {
    let mut connection = session.connect()?;
    let vault = session.open_vault(&mut connection, &options.passphrase).await?;
    let mut files = files(vault.catalogue());
    files.retain(|(name, _)| name.as_bytes().starts_with(options.prefix.as_bytes()));
    if files.is_empty() {
        return Err(Failure::new(Kind::NotFound, "there are no such records", "kakera ls"));
    }
    let bar = Bar(progress::bytes(session.output, "export"));
    bar.0.set_length(files.iter().map(|(_, stored)| stored.len).sum());
    let begun = Instant::now();
    let mut export = Export {
        folder: Confined::open(&options.folder)?,
        bar,
        report: ExportReport::new(&options.folder),
    };
    let mut reader = vault.reader();
    for (name, stored) in files {
        export.write(&mut reader, name, stored).await?;
    }
    let Export { bar, mut report, .. } = export;
    bar.0.finish_and_clear();
    report.seconds = begun.elapsed().as_secs_f64();
    connection.close().await?;
    let refused = report.refused.len();
    let failure = (refused > 0).then(|| {
        let message = format!("{refused} records cannot be files of this folder");
        Failure::new(Kind::Denied, message, "kakera get NAME -o FILE, or an empty folder")
    });
    session.output.conclude(&report, failure)
}

/// The files that the records stand for, those together that were stored together.
fn files(catalogue: &Catalogue) -> Vec<(&RecordName, &Stored)> {
    let mut files = Vec::new();
    for record in catalogue.records() {
        let newest = record.newest();
        let flag = FileName::parse(newest.name.as_bytes()).map(|name| name.flag);
        match flag {
            // Of a storage, deleted files stay under another name; not so where the owner deleted.
            Some(flag) if !newest.is_deletion() || flag == Flag::Deleted => {
                let held = ssmix2::files(record);
                files
                    .extend(held.filter_map(|held| Some((&held.last.name, held.source.stored()?))));
            }
            _ => files.extend(record.stored(newest).map(|stored| (&newest.name, stored))),
        }
    }
    files.sort_by_key(|(_, stored)| {
        stored.pieces.first().map(|piece| (piece.object, piece.extent.offset))
    });
    files
}

struct Export {
    folder: Confined,
    bar: Bar,
    report: ExportReport,
}

impl Export {
    async fn write(
        &mut self,
        reader: &mut Reader<'_>,
        name: &RecordName,
        stored: &Stored,
    ) -> Result<(), Failure> {
        match self.try_write(reader, name, stored).await {
            // The name, or what stands under it, is to blame; the others can be written.
            Err(failure) if matches!(failure.kind, Kind::Denied | Kind::Usage) => {
                self.report.refused.push(failure.message);
                Ok(())
            }
            written => written,
        }
    }

    async fn try_write(
        &mut self,
        reader: &mut Reader<'_>,
        name: &RecordName,
        stored: &Stored,
    ) -> Result<(), Failure> {
        if let Some(file) = self.folder.existing(name)? {
            let same = holds(file, stored)
                .map_err(|error| Failure::file(&self.folder.path_of(name), &error))?;
            if same {
                self.report.unchanged += 1;
                return Ok(());
            }
            let message = format!("'{name}': there is another file");
            return Err(Failure::new(Kind::Usage, message, "an empty folder"));
        }
        let mut out = self.folder.create(name)?;
        let read = reader.read(stored, None, &mut out, &self.bar).await;
        self.report.bytes += read.map_err(|error| Failure::from(error).during(name))?;
        out.finish(stored.modified, false)?;
        self.report.files += 1;
        Ok(())
    }
}

fn holds(file: File, stored: &Stored) -> io::Result<bool> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() != stored.len {
        return Ok(false);
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(file)?;
    Ok(*hasher.finalize().as_bytes() == stored.hash)
}

#[derive(Serialize)]
struct ExportReport {
    /// Files written.
    files: u64,
    bytes: u64,
    /// Files that were there already.
    unchanged: u64,
    /// Why records were not written.
    refused: Vec<String>,
    seconds: f64,
    folder: PathBuf,
}

impl ExportReport {
    fn new(folder: &Path) -> Self {
        Self {
            files: 0,
            bytes: 0,
            unchanged: 0,
            refused: Vec::new(),
            seconds: 0.0,
            folder: folder.to_owned(),
        }
    }
}

impl Report for ExportReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "Wrote {} files, {} in {:.1} s ({}), to {}; {} were there already.",
            self.files,
            show_size(self.bytes),
            self.seconds,
            show_rate(self.bytes, self.seconds),
            self.folder.display(),
            self.unchanged,
        )?;
        self.refused.iter().try_for_each(|reason| writeln!(out, "Not written: {reason}."))
    }
}
