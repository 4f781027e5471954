//! `kakera rm --shred`: a record is destroyed, and those who hold it say so.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use kakera_engine::catalogue::{Record, RecordName};
use kakera_engine::wire::canonical;
use kakera_net::clock::unix_milliseconds;
use kakera_net::vault::{DestroyedObject, Destruction, NoProgress};
use serde::Serialize;

use crate::arguments::RecordOptions;
use crate::failure::{Failure, Kind};
use crate::listing::name_text;
use crate::output::Report;
use crate::quantity::show_time;
use crate::records::no_record;
use crate::session::Session;

/// Destroys a record with all its versions, or goes on with it.
pub(crate) async fn run(session: &Session, options: &RecordOptions) -> Result<(), Failure> {
    let RecordOptions { name, passphrase } = options;
    let mut connection = session.connect()?;
    let mut vault = session.open_vault(&mut connection, passphrase).await?;
    let record = vault.catalogue().named(name).ok_or_else(|| no_record(name))?;
    require_not_retained(record).map_err(|failure| failure.during(name))?;
    let destruction = vault.shred(record.id(), Arc::new(NoProgress)).await?;
    connection.close().await?;
    let report = ShredReport::new(name, &destruction);
    let failure = (!destruction.is_enough()).then(|| {
        let message = format!("too few holders attest that they destroyed {name}");
        let advice = "the same command again when the holders named above answer; it asks all of \
                      them again";
        Failure::new(Kind::BelowThreshold, message, advice)
    });
    session.output.conclude(&report, failure)
}

/// The holders decide; this says it as a date, before anything is changed.
fn require_not_retained(record: Record<'_>) -> Result<(), Failure> {
    match record.retained_until().filter(|until| *until > unix_milliseconds() / 1000) {
        Some(until) => Err(Failure::new(
            Kind::Denied,
            format!("it must be kept until {} UTC", show_time(until)),
            "kakera rm hides it; it can be destroyed from that day on",
        )),
        None => Ok(()),
    }
}

#[derive(Serialize)]
struct ShredReport {
    name: String,
    /// The block that took it out of the catalogue; none if an earlier command did.
    height: Option<u64>,
    /// Versions of other records that were sealed again elsewhere.
    moved: u64,
    /// Whether reading it again takes a lie of one who attested.
    destroyed: bool,
    objects: Vec<ObjectReport>,
    #[serde(skip)]
    shown: String,
}

#[derive(Serialize)]
struct ObjectReport {
    object: String,
    group: u32,
    /// The epoch of the group's shares now.
    epoch: u64,
    /// Slots whose shares must be gone, and those of which that is attested.
    needed: usize,
    attested: usize,
    receipts: Vec<ReceiptReport>,
    missing: Vec<MissingReport>,
}

#[derive(Serialize)]
struct ReceiptReport {
    slot: u8,
    node: String,
    epoch: u64,
    /// Canonical bytes, for whoever wants to check the signature.
    receipt: String,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
struct MissingReport {
    slot: u8,
    node: String,
    why: String,
}

impl ShredReport {
    fn new(name: &RecordName, destruction: &Destruction) -> Self {
        Self {
            name: name_text(name),
            height: destruction.height,
            moved: destruction.moved,
            destroyed: destruction.is_enough(),
            objects: destruction.objects.iter().map(ObjectReport::new).collect(),
            shown: name.to_string(),
        }
    }

    /// Those whose word it rests on, by slot.
    fn witnesses(&self) -> BTreeSet<(u8, &str)> {
        let receipts = self.objects.iter().flat_map(|object| &object.receipts);
        receipts.map(|receipt| (receipt.slot, &receipt.node[..16])).collect()
    }

    fn missing(&self) -> BTreeMap<(u8, &str), &str> {
        let missing = self.objects.iter().flat_map(|object| &object.missing);
        missing.map(|one| ((one.slot, &one.node[..16]), one.why.as_str())).collect()
    }
}

impl ObjectReport {
    fn new(destroyed: &DestroyedObject) -> Self {
        let DestroyedObject { object, epoch, report } = destroyed;
        let hex = |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Self {
            object: object.object_id.to_string(),
            group: object.group.0,
            epoch: epoch.0,
            needed: report.needed,
            attested: report.slots.len(),
            receipts: report
                .receipts
                .iter()
                .map(|receipt| ReceiptReport {
                    slot: receipt.part.slot.point(),
                    node: receipt.holder.to_string(),
                    epoch: receipt.epoch.0,
                    receipt: hex(canonical::encode(receipt)),
                })
                .collect(),
            missing: report
                .missing
                .iter()
                .map(|(member, why)| MissingReport {
                    slot: member.slot.point(),
                    node: member.node.to_string(),
                    why: why.clone(),
                })
                .collect(),
        }
    }
}

impl Report for ShredReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { shown, height, moved, destroyed, objects, .. } = self;
        match height {
            Some(height) => writeln!(
                out,
                "{shown} is in the catalogue no more, final in block {height}; {moved} versions of other \
                 records that lay beside it were sealed again elsewhere."
            )?,
            None => writeln!(out, "{shown} was taken out of the catalogue before.")?,
        }
        if objects.is_empty() {
            return writeln!(out, "It never held a byte.");
        }
        for object in objects {
            let ObjectReport { object, group, epoch, needed, attested, .. } = object;
            writeln!(
                out,
                "Object {}, group {group}, epoch {epoch}: the shares of {attested} slots are destroyed, \
                 {needed} are needed.",
                &object[..16]
            )?;
        }
        if *destroyed {
            writeln!(out, "Reading it again takes a lie of one of those who signed:")?;
            for (slot, node) in self.witnesses() {
                writeln!(out, "  slot {slot:3}  {node}")?;
            }
        }
        let missing = self.missing();
        if !missing.is_empty() {
            writeln!(out, "Not attested by:")?;
        }
        for ((slot, node), why) in missing {
            writeln!(out, "  slot {slot:3}  {node}  {why}")?;
        }
        Ok(())
    }
}
