//! `kakera import`: a clinical storage becomes records.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kakera_net::vault::{Edit, PutSummary, Vault, ssmix2};
use serde::Serialize;

use crate::arguments::ImportOptions;
use crate::failure::{Failure, Kind};
use crate::output::Report;
use crate::progress;
use crate::put::{Bar, Choice, collect};
use crate::quantity::{show_rate, show_size};
use crate::session::Session;

/// Imports an SS-MIX2 standardised storage, again and again where it is watched.
pub(crate) async fn ssmix2(session: &Session, options: &ImportOptions) -> Result<(), Failure> {
    let mut connection = session.connect()?;
    let mut vault = session.open_vault(&mut connection, &options.passphrase).await?;
    let mut report = import_once(session, &mut vault, options).await?;
    let mut watching = options.watch;
    while watching {
        session.output.narrate(&report.line());
        watching = tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(options.every)) => true,
            _ = tokio::signal::ctrl_c() => false,
        };
        if watching {
            // What another machine imported meanwhile is not imported again.
            vault.refresh().await?;
            report.add(&import_once(session, &mut vault, options).await?);
        }
    }
    connection.close().await?;
    session.output.report(&report)
}

async fn import_once(
    session: &Session,
    vault: &mut Vault,
    options: &ImportOptions,
) -> Result<ImportReport, Failure> {
    let begun = Instant::now();
    let found = collect(std::slice::from_ref(&options.root), &Choice::all()?)?;
    let found = found.into_iter().map(|file| ssmix2::Found {
        name: file.name,
        path: file.path,
        len: file.bytes,
    });
    let mut plan = ssmix2::plan(vault.catalogue(), found.collect()).map_err(|error| {
        let advice = "check that the storage is there, then import again";
        Failure::new(Kind::Failure, format!("the storage: {error}"), advice)
    })?;
    for edit in &mut plan.edits {
        if let Edit::Store(source) = edit {
            source.retain_until = options.retain_until;
        }
    }
    let ssmix2::Plan { edits, stored, bytes, renamed, deleted, unchanged, other } = plan;
    let bar = progress::bytes(session.output, "import");
    bar.set_length(bytes);
    let summary = vault.edit(edits, Arc::new(Bar(bar.clone()))).await?;
    bar.finish_and_clear();
    let PutSummary { objects, stored_bytes, height, .. } = summary;
    Ok(ImportReport {
        stored,
        bytes,
        renamed,
        deleted,
        unchanged,
        other,
        objects,
        stored_bytes,
        height,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

#[derive(Serialize)]
struct ImportReport {
    /// Files stored, and their bytes.
    stored: u64,
    bytes: u64,
    /// Files that only got another flag.
    renamed: u64,
    /// Records of which every file got flag 0.
    deleted: u64,
    unchanged: u64,
    /// Files that are none of a storage, kept under their paths.
    other: u64,
    objects: u64,
    stored_bytes: u64,
    /// The block of the last change, if there was one.
    height: u64,
    seconds: f64,
}

impl ImportReport {
    fn add(&mut self, later: &Self) {
        self.stored += later.stored;
        self.bytes += later.bytes;
        self.renamed += later.renamed;
        self.deleted += later.deleted;
        self.unchanged = later.unchanged;
        self.other = later.other;
        self.objects += later.objects;
        self.stored_bytes += later.stored_bytes;
        self.height = self.height.max(later.height);
        self.seconds += later.seconds;
    }

    fn line(&self) -> String {
        format!(
            "{} files stored, {} in {:.1} s ({}); {} renamed, {} records deleted, {} files unchanged, \
             {} not of the storage.",
            self.stored,
            show_size(self.bytes),
            self.seconds,
            show_rate(self.bytes, self.seconds),
            self.renamed,
            self.deleted,
            self.unchanged,
            self.other,
        )
    }
}

impl Report for ImportReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}", self.line())
    }
}
