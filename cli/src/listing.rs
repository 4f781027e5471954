//! `kakera ls` and `kakera status`: what there is, and how many losses it can take.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::time::Duration;

use kakera_engine::catalogue::{Record, RecordName};
use kakera_engine::names::{GroupId, NodeId};
use kakera_engine::policy::durability::read_threshold;
use kakera_engine::wire::NodeStatus;
use kakera_net::client::{Client, GroupPlace};
use kakera_net::clock::unix_milliseconds;
use kakera_net::vault::{ObjectHealth, Vault};
use serde::Serialize;

use crate::arguments::PassphraseOptions;
use crate::checks::Checks;
use crate::failure::Failure;
use crate::output::{Align, Report, write_table};
use crate::quantity::{show_size, show_span, show_time};
use crate::session::Session;

/// A holder that takes longer to tell its figures counts as silent.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// Nanoseconds of a second.
pub(crate) const NANOSECONDS: u64 = 1_000_000_000;

/// Lists the records whose names begin with `prefix`.
pub(crate) async fn list(
    session: &Session,
    prefix: &OsStr,
    passphrase: &PassphraseOptions,
) -> Result<(), Failure> {
    let mut connection = session.connect()?;
    let vault = session.open_vault(&mut connection, passphrase).await?;
    let records = vault
        .catalogue()
        .list(prefix.as_bytes())
        .filter_map(|record| {
            let newest = record.newest();
            let stored = record.stored(newest)?;
            Some(RecordReport {
                name: name_text(&newest.name),
                bytes: stored.len,
                modified: stored.modified / NANOSECONDS,
                version: newest.number,
                unseen: record.unseen(),
                shown: newest.name.to_string(),
            })
        })
        .collect();
    connection.close().await?;
    session.output.report(&ListReport { records })
}

#[derive(Serialize)]
struct ListReport {
    records: Vec<RecordReport>,
}

#[derive(Serialize)]
struct RecordReport {
    name: String,
    bytes: u64,
    /// Unix seconds.
    modified: u64,
    version: u64,
    /// Versions that were written on other machines at the same time as a later one.
    unseen: Vec<u64>,
    #[serde(skip)]
    shown: String,
}

/// A name in JSON: as it is where it is UTF-8, else as it is shown.
pub(crate) fn name_text(name: &RecordName) -> String {
    let text = str::from_utf8(name.as_bytes()).map(str::to_owned);
    text.unwrap_or_else(|_| name.to_string())
}

impl Report for ListReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<[String; 4]> = self
            .records
            .iter()
            .map(|record| {
                let (size, time) = (show_size(record.bytes), show_time(record.modified));
                [size, time, record.version.to_string(), record.shown.clone()]
            })
            .collect();
        let headings = [
            ("size", Align::Right),
            ("modified (UTC)", Align::Left),
            ("version", Align::Right),
            ("name", Align::Left),
        ];
        write_table(out, headings, &rows)?;
        let at_once = self.records.iter().filter(|record| !record.unseen.is_empty()).count();
        if at_once > 0 {
            writeln!(
                out,
                "{at_once} of them were changed on two machines at once; kakera history NAME shows \
                 all versions."
            )?;
        }
        Ok(())
    }
}

/// Shows for each group, or those of one record, how many more holders may be lost.
pub(crate) async fn status(
    session: &Session,
    name: Option<&RecordName>,
    passphrase: &PassphraseOptions,
) -> Result<(), Failure> {
    let mut connection = session.connect()?;
    // First: it makes the connection that of a machine which is enrolled.
    let vault = match name {
        Some(_) => Some(session.open_vault(&mut connection, passphrase).await?),
        None => None,
    };
    let mut groups = connection.client.groups().await?;
    let mut record = None;
    if let (Some(vault), Some(name)) = (&vault, name) {
        let found = vault.record(name)?;
        let holding = groups_of(found);
        groups.retain(|group| holding.contains(&group.id));
        record = Some(RecordHealth::ask(session, vault, found).await?);
    }
    let mut reports = Vec::with_capacity(groups.len());
    for group in &groups {
        reports.push(GroupReport::ask(&connection.client, group).await);
    }
    connection.close().await?;
    session.output.report(&StatusReport { record, groups: reports })
}

/// The groups that hold what the record holds now.
fn groups_of(record: Record<'_>) -> BTreeSet<GroupId> {
    let pieces = record.stored(record.newest()).map_or(&[][..], |stored| &stored.pieces);
    pieces.iter().map(|piece| piece.object.group).collect()
}

#[derive(Serialize)]
struct StatusReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<RecordHealth>,
    groups: Vec<GroupReport>,
}

/// How far one record is from being lost, by what its holders have just shown.
#[derive(Serialize)]
struct RecordHealth {
    name: String,
    version: u64,
    bytes: u64,
    objects: usize,
    /// Objects of which every holder has its parts.
    objects_whole: usize,
    /// More holders that may be lost of the object that can bear the least; absent without objects.
    losses_tolerated: Option<i64>,
    /// Unix seconds of the last drill of this data folder that restored it.
    checked: Option<u64>,
    #[serde(skip)]
    shown: String,
}

impl RecordHealth {
    async fn ask(session: &Session, vault: &Vault, record: Record<'_>) -> Result<Self, Failure> {
        let newest = record.newest();
        let stored = record.stored(newest);
        let pieces = stored.map_or(&[][..], |stored| &stored.pieces);
        let objects: BTreeSet<_> = pieces.iter().map(|piece| piece.object).collect();
        let mut health = Vec::with_capacity(objects.len());
        for object in &objects {
            health.push(vault.health(object).await?);
        }
        Ok(Self {
            name: name_text(&newest.name),
            version: newest.number,
            bytes: stored.map_or(0, |stored| stored.len),
            objects: health.len(),
            objects_whole: health.iter().filter(|object| object.sound == object.slots).count(),
            losses_tolerated: health.iter().map(ObjectHealth::margin).min(),
            checked: Some(Checks::load(session).last(record.id())).filter(|time| *time > 0),
            shown: newest.name.to_string(),
        })
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { shown, version, bytes, objects, objects_whole, .. } = self;
        let size = show_size(*bytes);
        write!(out, "{shown}, version {version}, {size} in {objects} objects: ")?;
        match self.losses_tolerated {
            None => write!(out, "it is empty, so the catalogue alone holds it.")?,
            Some(losses) if losses < 0 => {
                write!(out, "it cannot be read until {} more holders come back.", -losses)?;
            }
            Some(losses) if objects_whole == objects => {
                write!(out, "every holder has its parts, and {losses} of them may still fail.")?;
            }
            Some(losses) => write!(
                out,
                "it can be read and {losses} more holders may fail, but some miss their parts of {} \
                 objects; kakera repair fills them.",
                objects - objects_whole
            )?,
        }
        match self.checked {
            Some(time) => writeln!(out, " Last restored in a drill: {} UTC.", show_time(time)),
            None => writeln!(out, " No drill of this machine has restored it yet."),
        }
    }
}

#[derive(Serialize)]
struct GroupReport {
    group: u32,
    code: String,
    n: usize,
    /// Holders that must answer for a read.
    needed: usize,
    answering: usize,
    /// Holders that are not rebuilding what belongs in their slots.
    whole: usize,
    /// More holders that may be lost; negative: as many are missing.
    losses_tolerated: i64,
    /// How often the key shares were refreshed.
    epoch: u64,
    /// Seconds since all of them were; absent where the ledger does not say.
    shares_age: Option<u64>,
    holders: Vec<HolderReport>,
}

#[derive(Serialize)]
struct HolderReport {
    slot: u8,
    node: String,
    answers: bool,
    /// It took the slot from another and rebuilds what belongs there.
    filling: bool,
    objects: Option<u64>,
    bytes: Option<u64>,
}

impl GroupReport {
    async fn ask(client: &Arc<Client>, group: &GroupPlace) -> Self {
        let nodes: Vec<NodeId> = group.members.iter().map(|member| member.node).collect();
        let figures = ask_nodes(client, &nodes).await;
        let answering = figures.iter().flatten().count();
        let reading =
            group.members.iter().zip(&figures).filter(|(member, figures)| {
                figures.is_some() && !group.filling.contains(&member.slot)
            });
        let reading = reading.count();
        let needed = read_threshold(&group.code, &group.key);
        let holders = group.members.iter().zip(&figures).map(|(member, figures)| HolderReport {
            slot: member.slot.point(),
            node: member.node.to_string(),
            answers: figures.is_some(),
            filling: group.filling.contains(&member.slot),
            objects: figures.as_ref().map(|figures| figures.objects),
            bytes: figures.as_ref().map(|figures| figures.bytes),
        });
        Self {
            group: group.id.0,
            code: group.code.to_string(),
            n: group.members.len(),
            needed,
            answering,
            whole: group.members.len() - group.filling.len(),
            losses_tolerated: reading as i64 - needed as i64,
            epoch: group.epochs.epoch.0,
            shares_age: group
                .refreshed
                .filter(|since| *since > 0)
                .map(|since| unix_milliseconds().saturating_sub(since) / 1000),
            holders: holders.collect(),
        }
    }
}

/// What the nodes say of themselves, all asked at once; `None` where one does not answer in time.
pub(crate) async fn ask_nodes(client: &Arc<Client>, nodes: &[NodeId]) -> Vec<Option<NodeStatus>> {
    let ask = |node: &NodeId| {
        let (client, node) = (Arc::clone(client), *node);
        tokio::spawn(async move {
            tokio::time::timeout(ANSWER_TIME, client.node_status(node)).await.ok()?.ok()
        })
    };
    let questions: Vec<_> = nodes.iter().map(ask).collect();
    let mut answers = Vec::with_capacity(nodes.len());
    for question in questions {
        answers.push(question.await.ok().flatten());
    }
    answers
}

impl Report for StatusReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(record) = &self.record {
            record.write_text(out)?;
        }
        for group in &self.groups {
            let GroupReport { group: id, code, n, needed, answering, losses_tolerated, .. } = group;
            write!(
                out,
                "Group {id}, {code}: {answering} of {n} holders answer, {needed} needed; "
            )?;
            if *losses_tolerated < 0 {
                writeln!(out, "not readable until {} come back.", -losses_tolerated)?;
            } else {
                writeln!(out, "{losses_tolerated} more may be lost.")?;
            }
            match group.shares_age {
                Some(age) => {
                    let (age, epoch) = (show_span(age), group.epoch);
                    writeln!(out, "Its key shares are {age} old, of epoch {epoch}.")?;
                }
                None => writeln!(out, "Its key shares were never refreshed.")?,
            }
            let shown =
                |figure: Option<u64>, show: fn(u64) -> String| figure.map_or("-".into(), show);
            let rows: Vec<[String; 5]> = group
                .holders
                .iter()
                .map(|holder| {
                    [
                        holder.slot.to_string(),
                        holder.node[..16].to_owned(),
                        match (holder.answers, holder.filling) {
                            (false, _) => "silent",
                            (true, true) => "rebuilding",
                            (true, false) => "answers",
                        }
                        .to_owned(),
                        shown(holder.objects, |objects| objects.to_string()),
                        shown(holder.bytes, show_size),
                    ]
                })
                .collect();
            let headings = [
                ("slot", Align::Right),
                ("node", Align::Left),
                ("", Align::Left),
                ("objects", Align::Right),
                ("bytes", Align::Right),
            ];
            write_table(out, headings, &rows)?;
        }
        Ok(())
    }
}
