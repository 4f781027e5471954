//! `kakera drill`: proves that today's network can restore, without writing what it restores.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::time::Instant;

use kakera_engine::catalogue::{Record, Stored};
use kakera_engine::object::ObjectReference;
use kakera_net::clock::unix_milliseconds;
use kakera_net::vault::{ObjectHealth, Vault};
use serde::Serialize;

use crate::arguments::DrillOptions;
use crate::checks::Checks;
use crate::failure::{Failure, Kind};
use crate::output::Report;
use crate::progress;
use crate::put::Bar;
use crate::quantity::{show_rate, show_size, show_time};
use crate::session::Session;

/// Restores a sample of the records to nowhere and asks every holder of it.
pub(crate) async fn run(session: &Session, options: &DrillOptions) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut connection = session.connect()?;
    let vault = session.open_vault(&mut connection, &options.passphrase).await?;
    let open_seconds = begun.elapsed().as_secs_f64();
    let mut checks = Checks::load(session);
    let mut records: Vec<Record<'_>> = vault.catalogue().list(b"").collect();
    if records.is_empty() {
        return Err(Failure::new(Kind::NotFound, "the vault is empty", "kakera put"));
    }
    let all = records.len();
    records.sort_by_key(|record| checks.last(record.id()));
    records.truncate((all * usize::from(options.sample)).div_ceil(100));
    let sample = Sample::of(&records);
    let bar = Bar(progress::bytes(session.output, "drill"));
    bar.0.set_length(sample.records.iter().map(|(_, stored)| stored.len).sum());
    let mut report = DrillReport { records: all as u64, open_seconds, ..DrillReport::default() };
    restore(&vault, &sample, &mut checks, &bar, &mut report).await;
    ask_holders(&vault, &sample, &mut report).await?;
    bar.0.finish_and_clear();
    checks.store()?;
    let oldest = vault.catalogue().list(b"").map(|record| checks.last(record.id())).min();
    report.oldest_check = oldest.filter(|time| *time > 0);
    connection.close().await?;
    let failed = report.failed.len();
    let failure = (failed > 0).then(|| {
        let all = report.checked + failed as u64;
        let message = format!("{failed} of {all} records could not be restored");
        let advice = "kakera status NAME says what is missing; kakera repair";
        Failure::new(Kind::Integrity, message, advice)
    });
    session.output.conclude(&report, failure)
}

/// Records to restore, those together that were stored together, and the objects that they lie in.
struct Sample<'a> {
    records: Vec<(Record<'a>, &'a Stored)>,
    objects: BTreeSet<ObjectReference>,
}

impl<'a> Sample<'a> {
    fn of(records: &[Record<'a>]) -> Self {
        let held = |record: &Record<'a>| Some((*record, record.stored(record.newest())?));
        let mut records: Vec<_> = records.iter().filter_map(held).collect();
        records.sort_by_key(|(_, stored)| {
            stored.pieces.first().map(|piece| (piece.object, piece.extent.offset))
        });
        let pieces = records.iter().flat_map(|(_, stored)| &stored.pieces);
        let objects = pieces.map(|piece| piece.object).collect();
        Self { records, objects }
    }
}

async fn restore(
    vault: &Vault,
    sample: &Sample<'_>,
    checks: &mut Checks,
    bar: &Bar,
    report: &mut DrillReport,
) {
    let begun = Instant::now();
    let mut reader = vault.reader();
    for (record, stored) in &sample.records {
        match reader.read(stored, None, &mut io::sink(), bar).await {
            Ok(bytes) => {
                report.checked += 1;
                report.bytes += bytes;
                checks.note(record.id(), unix_milliseconds() / 1000);
            }
            Err(error) => report.failed.push(format!("{}: {error}", record.newest().name)),
        }
    }
    report.restore_seconds = begun.elapsed().as_secs_f64();
}

async fn ask_holders(
    vault: &Vault,
    sample: &Sample<'_>,
    report: &mut DrillReport,
) -> Result<(), Failure> {
    let mut margins: BTreeMap<i64, u64> = BTreeMap::new();
    for object in &sample.objects {
        let health: ObjectHealth = vault.health(object).await?;
        *margins.entry(health.margin()).or_default() += 1;
        report.objects += 1;
        report.objects_whole += u64::from(health.sound == health.slots);
    }
    report.losses_tolerated = margins.keys().next().copied();
    Ok(())
}

#[derive(Default, Serialize)]
struct DrillReport {
    /// Records of the vault.
    records: u64,
    /// Records restored and found right, and their bytes.
    checked: u64,
    bytes: u64,
    /// Records that could not be restored, and why.
    failed: Vec<String>,
    /// Objects asked for, and those of which every holder has its parts.
    objects: u64,
    objects_whole: u64,
    /// How many more holders may be lost of the object that can bear the least; absent where all
    /// records are empty.
    losses_tolerated: Option<i64>,
    open_seconds: f64,
    restore_seconds: f64,
    /// Unix seconds of the check that is the longest ago; absent where some record was never checked.
    oldest_check: Option<u64>,
}

impl Report for DrillReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "Restored {} of {} records, {} in {:.1} s ({}), after {:.1} s to open the vault; nothing was \
             written.",
            self.checked,
            self.records,
            show_size(self.bytes),
            self.restore_seconds,
            show_rate(self.bytes, self.restore_seconds),
            self.open_seconds,
        )?;
        if let Some(losses) = self.losses_tolerated {
            writeln!(
                out,
                "{} of {} objects are whole; of each, {losses} more holders may fail.",
                self.objects_whole, self.objects
            )?;
        }
        match self.oldest_check {
            Some(time) => writeln!(out, "Every record was checked since {} UTC.", show_time(time))?,
            None => writeln!(out, "Some records were never checked by this machine.")?,
        }
        self.failed.iter().try_for_each(|reason| writeln!(out, "Not restored: {reason}."))
    }
}
