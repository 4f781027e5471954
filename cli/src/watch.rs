//! `kakera status --watch`: the health of all groups together, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use kakera_engine::names::NodeId;
use kakera_engine::policy::durability::read_threshold;
use kakera_engine::policy::repair::{churn_budget, leak_margin};
use kakera_engine::wire::RepairTotals;
use kakera_net::client::{Client, GroupPlace};
use kakera_net::clock::unix_milliseconds;
use serde::Serialize;

use crate::failure::Failure;
use crate::listing::ask_nodes;
use crate::machine::stopped;
use crate::quantity::{show_size, show_span, show_time};
use crate::session::Session;

/// Clears a terminal and goes to its first line (ECMA-48: CUP, ED).
const CLEAR: &str = "\x1b[H\x1b[2J";
/// The longest bar of the histogram.
const BAR_MAX: usize = 40;

/// Shows the network's health every so often until interrupted: text over itself on a terminal, else
/// one after the other; with `--json` an object a line.
pub(crate) async fn run(session: &Session, every: Duration) -> Result<(), Failure> {
    let connection = session.connect()?;
    let mut stopped = std::pin::pin!(stopped()?);
    loop {
        let health = NetworkHealth::ask(&connection.client).await?;
        let mut out = io::stdout().lock();
        let written = if session.output.is_json() {
            serde_json::to_writer(&mut out, &health)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out))
        } else {
            let clear = if out.is_terminal() { CLEAR } else { "" };
            write!(out, "{clear}").and_then(|()| health.write_text(&mut out))
        };
        written.and_then(|()| out.flush()).map_err(|error| Failure::standard_output(&error))?;
        drop(out);
        tokio::select! {
            () = &mut stopped => break,
            () = tokio::time::sleep(every) => {}
        }
    }
    connection.close().await
}

/// All groups together.
#[derive(Serialize)]
struct NetworkHealth {
    /// Unix milliseconds.
    time: u64,
    height: u64,
    groups: usize,
    /// Machines that hold slots.
    holders: usize,
    answering: usize,
    /// How many groups there are of so many slots that answer and have everything.
    groups_by_sound_slots: BTreeMap<usize, usize>,
    /// Slots that are being rebuilt.
    rebuilding: usize,
    /// What the nodes that answer have moved for repairs since they run; absent where none says so.
    repairs: Option<RepairsMoved>,
    /// The least over all groups of holders that may still be lost; negative: so many are missing.
    losses_tolerated: Option<i64>,
    /// The least over all groups of holders that may turn hostile although all who left this epoch are.
    leak_margin: Option<i64>,
    /// Groups whose budget of changes in this epoch is used up: their shares are due to be dealt anew.
    churn_budget_used_up: usize,
    /// Seconds since the shares of some group were dealt, the longest; absent where the ledger does
    /// not say.
    oldest_shares_age: Option<u64>,
    #[serde(skip)]
    n: usize,
}

/// Bytes moved by repairs, beside what they would take.
#[derive(Clone, Copy, Default, Serialize)]
struct RepairsMoved {
    running: u64,
    fragment_bytes: u64,
    symbol_bytes: u64,
    symbol_bytes_theory: u64,
    reed_solomon_bytes: u64,
    whole_fragment_bytes: u64,
}

impl RepairsMoved {
    /// All nodes together.
    fn sum(nodes: &[&RepairTotals]) -> Option<Self> {
        let add = |sum: Self, node: &&RepairTotals| Self {
            running: sum.running + u64::from(node.running),
            fragment_bytes: sum.fragment_bytes + node.fragment_bytes,
            symbol_bytes: sum.symbol_bytes + node.symbol_bytes,
            symbol_bytes_theory: sum.symbol_bytes_theory + node.symbol_bytes_theory,
            reed_solomon_bytes: sum.reed_solomon_bytes + node.reed_solomon_bytes,
            whole_fragment_bytes: sum.whole_fragment_bytes + node.witness_bytes,
        };
        (!nodes.is_empty()).then(|| nodes.iter().fold(Self::default(), add))
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { running, fragment_bytes, symbol_bytes, reed_solomon_bytes, .. } = *self;
        writeln!(
            out,
            "{running} repairs run. Since the nodes run, {} were rebuilt from {} of symbols; \
             Reed-Solomon would have moved {}.",
            show_size(fragment_bytes),
            show_size(symbol_bytes),
            show_size(reed_solomon_bytes)
        )?;
        if self.whole_fragment_bytes > 0 {
            let bytes = show_size(self.whole_fragment_bytes);
            writeln!(out, "{bytes} more were whole fragments, where helpers lied or were few.")?;
        }
        Ok(())
    }
}

impl NetworkHealth {
    async fn ask(client: &Arc<Client>) -> Result<Self, Failure> {
        let height = client.head().await?.header().height;
        client.forget_groups();
        let groups = client.groups().await?;
        let holders: BTreeSet<NodeId> =
            groups.iter().flat_map(|group| &group.members).map(|member| member.node).collect();
        let holders: Vec<NodeId> = holders.into_iter().collect();
        let figures = ask_nodes(client, &holders).await;
        let answering = holders.iter().zip(&figures).filter(|(_, figures)| figures.is_some());
        let answering: BTreeSet<NodeId> = answering.map(|(holder, _)| *holder).collect();
        let told: Vec<&RepairTotals> =
            figures.iter().flatten().filter_map(|figures| figures.repairs.as_ref()).collect();
        let sound = |group: &GroupPlace| {
            let members = group.members.iter();
            let sound = members.filter(|member| {
                answering.contains(&member.node) && !group.filling.contains(&member.slot)
            });
            sound.count()
        };
        let mut groups_by_sound_slots = BTreeMap::new();
        for group in &groups {
            *groups_by_sound_slots.entry(sound(group)).or_default() += 1;
        }
        let time = unix_milliseconds();
        let spare = |group: &GroupPlace| {
            sound(group) as i64 - read_threshold(&group.code, &group.key) as i64
        };
        let used_up = |group: &&GroupPlace| group.left.len() >= churn_budget(group.key.k());
        let ages = groups.iter().filter_map(|group| group.refreshed.filter(|since| *since > 0));
        Ok(Self {
            time,
            height,
            groups: groups.len(),
            holders: holders.len(),
            answering: answering.len(),
            groups_by_sound_slots,
            rebuilding: groups.iter().map(|group| group.filling.len()).sum(),
            repairs: RepairsMoved::sum(&told),
            losses_tolerated: groups.iter().map(spare).min(),
            leak_margin: groups
                .iter()
                .map(|group| leak_margin(group.key.k(), group.left.len()))
                .min(),
            churn_budget_used_up: groups.iter().filter(used_up).count(),
            oldest_shares_age: ages.map(|since| time.saturating_sub(since) / 1000).max(),
            n: groups.iter().map(|group| group.members.len()).max().unwrap_or(0),
        })
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { height, groups, holders, answering, rebuilding, n, .. } = self;
        writeln!(out, "{} UTC, block {height}", show_time(self.time / 1000))?;
        writeln!(out, "{answering} of {holders} holders answer; {groups} groups")?;
        if let Some(losses) = self.losses_tolerated {
            match losses {
                ..0 => {
                    writeln!(out, "A group is not readable until {} holders come back.", -losses)?
                }
                _ => writeln!(out, "Any {losses} more holders may be lost.")?,
            }
        }
        writeln!(out, "\nslots that answer and have everything, of {n}")?;
        for (slots, groups) in self.groups_by_sound_slots.iter().rev() {
            let length = (groups * BAR_MAX).div_ceil(self.groups.max(1));
            let noun = if *groups == 1 { "group" } else { "groups" };
            writeln!(out, "  {slots:>3}  {:<BAR_MAX$}  {groups} {noun}", "#".repeat(length))?;
        }
        writeln!(out, "\n{rebuilding} slots are being rebuilt.")?;
        if let Some(repairs) = &self.repairs {
            repairs.write_text(out)?;
        }
        if let Some(age) = self.oldest_shares_age {
            writeln!(out, "The oldest key shares are {} old.", show_span(age))?;
        }
        if let Some(margin) = self.leak_margin {
            writeln!(
                out,
                "No group's secrets are open unless {} more of its holders conspire; {} groups are due to be \
                 dealt anew because holders left.",
                margin + 1,
                self.churn_budget_used_up
            )?;
        }
        Ok(())
    }
}
