//! `kakera ls` and `kakera status`: what there is, and how many losses it can take.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use kakera_engine::names::NodeId;
use kakera_engine::policy::durability::read_threshold;
use kakera_engine::wire::NodeStatus;
use kakera_net::client::{Client, GroupPlace};
use serde::Serialize;

use crate::arguments::PassphraseOptions;
use crate::failure::Failure;
use crate::output::{Align, Report, write_table};
use crate::quantity::{show_size, show_time};
use crate::session::Session;

/// A holder that takes longer to tell its figures counts as silent.
const ANSWER_TIME: Duration = Duration::from_secs(3);

/// Lists the records whose names begin with `prefix`.
pub(crate) async fn list(
    session: &Session,
    prefix: &str,
    passphrase: &PassphraseOptions,
) -> Result<(), Failure> {
    let mut connection = session.connect()?;
    let vault = session.open_vault(&mut connection, passphrase).await?;
    let records = vault
        .list(prefix)
        .map(|record| RecordReport {
            name: record.entry.name.clone(),
            bytes: record.entry.len,
            modified: record.entry.modified,
            version: record.entry.version,
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
}

impl Report for ListReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<[String; 4]> = self
            .records
            .iter()
            .map(|record| {
                let (size, time) = (show_size(record.bytes), show_time(record.modified));
                [size, time, record.version.to_string(), printable(&record.name)]
            })
            .collect();
        let headings = [
            ("size", Align::Right),
            ("modified (UTC)", Align::Left),
            ("version", Align::Right),
            ("name", Align::Left),
        ];
        write_table(out, headings, &rows)
    }
}

/// A name may hold what would steer the terminal.
fn printable(name: &str) -> String {
    let shown = |character: char| {
        if character.is_control() { character.escape_debug().to_string() } else { character.into() }
    };
    name.chars().map(shown).collect()
}

/// Shows for each group, or those of one record, how many more holders may be lost.
pub(crate) async fn status(
    session: &Session,
    name: Option<&str>,
    passphrase: &PassphraseOptions,
) -> Result<(), Failure> {
    let mut connection = session.connect()?;
    let mut groups = connection.client.groups().await?;
    if let Some(name) = name {
        let vault = session.open_vault(&mut connection, passphrase).await?;
        let holding = vault.record(name)?.groups();
        groups.retain(|group| holding.contains(&group.id));
    }
    let mut reports = Vec::with_capacity(groups.len());
    for group in &groups {
        reports.push(GroupReport::ask(&connection.client, group).await);
    }
    connection.close().await?;
    session.output.report(&StatusReport { groups: reports })
}

#[derive(Serialize)]
struct StatusReport {
    groups: Vec<GroupReport>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n太郎"), "a\\u{1b}[2Jb\\n太郎");
    }
}
