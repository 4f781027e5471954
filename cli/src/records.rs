//! `kakera history`, `mv`, `rm` and `restore`: the versions of records.

use std::io::{self, Write};
use std::sync::Arc;

use kakera_engine::catalogue::{Content, Record, RecordName, Version};
use kakera_net::vault::{Edit, NoProgress, Vault};
use serde::Serialize;

use crate::arguments::{PassphraseOptions, RecordOptions};
use crate::failure::{Failure, Kind};
use crate::listing::{NANOSECONDS, name_text};
use crate::output::{Align, Report, write_table};
use crate::quantity::{show_size, show_time};
use crate::session::Session;

/// Shows every version of the records that have or had the name.
pub(crate) async fn history(session: &Session, options: &RecordOptions) -> Result<(), Failure> {
    let mut connection = session.connect()?;
    let vault = session.open_vault(&mut connection, &options.passphrase).await?;
    let catalogue = vault.catalogue();
    let mut records: Vec<Record<'_>> = catalogue.ever_named(&options.name).collect();
    records.sort_by_key(|record| record.versions().first().map(|version| version.put));
    let reports: Vec<HistoryReport> = records.into_iter().map(HistoryReport::new).collect();
    connection.close().await?;
    if reports.is_empty() {
        return Err(no_record(&options.name));
    }
    session.output.report(&HistoriesReport { records: reports })
}

/// Gives a record another name.
pub(crate) async fn rename(
    session: &Session,
    name: &RecordName,
    to: &RecordName,
    passphrase: &PassphraseOptions,
) -> Result<(), Failure> {
    change(session, name, passphrase, "is now called", |vault| {
        let record = vault.record(name)?;
        Ok(Edit::Repeat { record: record.id(), number: record.newest().number, name: to.clone() })
    })
    .await
}

/// Deletes a record.
pub(crate) async fn delete(session: &Session, options: &RecordOptions) -> Result<(), Failure> {
    let RecordOptions { name, passphrase } = options;
    change(session, name, passphrase, "is deleted", |vault| {
        Ok(Edit::Delete { record: vault.record(name)?.id() })
    })
    .await
}

/// Makes what an old version holds the newest version.
pub(crate) async fn restore(
    session: &Session,
    options: &RecordOptions,
    number: u64,
) -> Result<(), Failure> {
    let RecordOptions { name, passphrase } = options;
    change(session, name, passphrase, "is restored", |vault| {
        let record = vault.catalogue().named(name).ok_or_else(|| no_record(name))?;
        Ok(Edit::Repeat { record: record.id(), number, name: record.newest().name.clone() })
    })
    .await
}

async fn change(
    session: &Session,
    name: &RecordName,
    passphrase: &PassphraseOptions,
    what: &'static str,
    edit: impl FnOnce(&Vault) -> Result<Edit, Failure>,
) -> Result<(), Failure> {
    let mut connection = session.connect()?;
    let mut vault = session.open_vault(&mut connection, passphrase).await?;
    let edit = edit(&vault).map_err(|failure| failure.during(name))?;
    let (Edit::Repeat { record, .. } | Edit::Delete { record }) = edit else {
        unreachable!("these commands store no file");
    };
    let summary = vault.edit(vec![edit], Arc::new(NoProgress)).await?;
    let newest = vault.catalogue().record(record).map(|record| record.newest().clone());
    connection.close().await?;
    let newest = newest.ok_or_else(|| no_record(name))?;
    session.output.report(&ChangeReport {
        name: name_text(&newest.name),
        version: newest.number,
        height: summary.height,
        before: name.to_string(),
        what,
        shown: newest.name.to_string(),
    })
}

pub(crate) fn no_record(name: &RecordName) -> Failure {
    Failure::new(Kind::NotFound, format!("{name}: there is no such record"), "kakera ls")
}

#[derive(Serialize)]
struct ChangeReport {
    name: String,
    version: u64,
    height: u64,
    #[serde(skip)]
    before: String,
    #[serde(skip)]
    what: &'static str,
    #[serde(skip)]
    shown: String,
}

impl Report for ChangeReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { before, what, version, height, shown, .. } = self;
        let to = if before == shown { String::new() } else { format!(" {shown}") };
        writeln!(out, "{before} {what}{to}: version {version}, final in block {height}.")
    }
}

#[derive(Serialize)]
struct HistoriesReport {
    records: Vec<HistoryReport>,
}

#[derive(Serialize)]
struct HistoryReport {
    name: String,
    versions: Vec<VersionReport>,
    #[serde(skip)]
    shown: String,
}

#[derive(Serialize)]
struct VersionReport {
    version: u64,
    /// The number of the put; puts have the ledger's order.
    put: u64,
    /// By the writer's clock, Unix seconds.
    recorded: u64,
    name: String,
    /// `stored`, `same`, `deleted` or `destroyed`.
    kind: &'static str,
    /// The version that brought the bytes, if it was an earlier one.
    same_as: Option<u64>,
    bytes: Option<u64>,
    /// Unix seconds.
    modified: Option<u64>,
    /// Versions before this one that its writer had not seen.
    unseen: Vec<u64>,
    #[serde(skip)]
    shown: String,
}

impl HistoryReport {
    fn new(record: Record<'_>) -> Self {
        let newest = &record.newest().name;
        let report = |version: &Version| {
            let (kind, same_as) = match version.content {
                Content::Stored(_) => ("stored", None),
                Content::SameAs(number) => ("same", Some(number)),
                Content::Deleted => ("deleted", None),
                Content::Shredded(_) => ("destroyed", None),
            };
            let stored = record.version(version.number).and_then(|version| record.stored(version));
            VersionReport {
                version: version.number,
                put: version.put,
                recorded: version.recorded,
                name: name_text(&version.name),
                kind,
                same_as,
                bytes: stored.map(|stored| stored.len),
                modified: stored.map(|stored| stored.modified / NANOSECONDS),
                unseen: (version.based_on + 1..version.number).collect(),
                shown: version.name.to_string(),
            }
        };
        Self {
            name: name_text(newest),
            versions: record.versions().iter().map(report).collect(),
            shown: newest.to_string(),
        }
    }
}

impl VersionReport {
    fn words(&self) -> String {
        let mut words = match self.same_as {
            Some(number) => format!("as version {number}"),
            None => self.kind.to_owned(),
        };
        if let [first, ..] = self.unseen[..] {
            let last = self.version - 1;
            let which =
                if first == last { format!("{last}") } else { format!("{first} to {last}") };
            words += &format!(", at the same time as {which}");
        }
        words
    }
}

impl Report for HistoriesReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        for record in &self.records {
            writeln!(out, "{}", record.shown)?;
            let row = |version: &VersionReport| {
                [
                    version.version.to_string(),
                    show_time(version.recorded),
                    version.bytes.map_or("-".to_owned(), show_size),
                    version.words(),
                    version.shown.clone(),
                ]
            };
            let rows: Vec<[String; 5]> = record.versions.iter().map(row).collect();
            let headings = [
                ("version", Align::Right),
                ("put (UTC)", Align::Left),
                ("size", Align::Right),
                ("", Align::Left),
                ("name", Align::Left),
            ];
            write_table(out, headings, &rows)?;
        }
        Ok(())
    }
}
