//! `kakera repair`: every holder rebuilds what it misses. The client only asks for it.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kakera_engine::names::NodeId;
use kakera_engine::wire::RepairProgress;
use kakera_net::client::{Client, ErrorKind};
use serde::Serialize;

use crate::arguments::RepairOptions;
use crate::failure::{Failure, Kind};
use crate::local::LocalNetwork;
use crate::operator::{Seat, replace, seats};
use crate::output::{Align, Output, Report, write_table};
use crate::progress;
use crate::quantity::show_size;
use crate::session::Session;

const POLL_PAUSE: Duration = Duration::from_millis(100);
/// A newcomer refuses until it has seen the block that made it the holder.
const REFUSALS_MAX: u32 = 100;
/// How long the ledger may take to count a slot as whole that its holder has found so.
const COUNT_TIME: Duration = Duration::from_secs(30);

/// Replaces lost nodes where that is asked, then has every slot repaired.
pub(crate) async fn run(session: &Session, options: &RepairOptions) -> Result<(), Failure> {
    let mut lost: BTreeSet<NodeId> = options.lost.iter().copied().collect();
    if options.operator.operator_key.is_none() {
        lost.extend(LocalNetwork::killed_nodes(&session.local_folder())?);
    }
    if !lost.is_empty() {
        replace_lost(session, options.operator.operator_key.as_deref(), &lost).await?;
    }
    let connection = session.connect()?;
    let seats = seats(&connection.client).await?;
    let report = repair_seats(&connection.client, &seats, session.output).await;
    connection.close().await?;
    session.output.conclude(&report, report.failure())
}

async fn replace_lost(
    session: &Session,
    operator_key: Option<&Path>,
    lost: &BTreeSet<NodeId>,
) -> Result<(), Failure> {
    let connection = session.connect_as(session.operator(operator_key)?)?;
    let replaced = replace(&connection.client, lost).await?;
    connection.close().await?;
    if !replaced.is_empty() {
        session.output.narrate(&format!("Slots with a new holder: {}.", replaced.len()));
    }
    Ok(())
}

/// Has all these slots repaired at the same time and waits for the end, and until the ledger counts
/// them as whole.
pub(crate) async fn repair_seats(
    client: &Arc<Client>,
    seats: &[Seat],
    output: Output,
) -> RepairReport {
    let bar = progress::objects(output, "repair");
    let repairs: Vec<_> = seats
        .iter()
        .map(|seat| {
            let (client, seat, bar) = (Arc::clone(client), *seat, bar.clone());
            tokio::spawn(async move { repair_seat(&client, &seat, &bar).await })
        })
        .collect();
    let mut slots = Vec::with_capacity(seats.len());
    for (seat, repair) in seats.iter().zip(repairs) {
        let progress = match repair.await {
            Ok(progress) => progress,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        slots.push(SlotReport::new(seat, progress));
    }
    bar.finish_and_clear();
    wait_until_counted(client, seats, &mut slots).await;
    RepairReport { slots }
}

/// Waits until the ledger says of all repaired slots that they are whole; notes it where it does not.
async fn wait_until_counted(client: &Client, seats: &[Seat], slots: &mut [SlotReport]) {
    let deadline = Instant::now() + COUNT_TIME;
    loop {
        let filling = filling(client).await;
        let waits = |(seat, slot): &(&Seat, &mut SlotReport)| {
            slot.failure.is_none() && filling.as_ref().is_none_or(|filling| filling.contains(seat))
        };
        let waiting = seats.iter().zip(slots.iter_mut()).filter(waits);
        if Instant::now() >= deadline {
            for (_, slot) in waiting {
                slot.failure = Some("rebuilt, but the ledger does not say so yet".into());
            }
            return;
        }
        if waiting.count() == 0 {
            return;
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

/// The slots that the ledger does not count as whole; `None` if it cannot be asked.
async fn filling(client: &Client) -> Option<BTreeSet<Seat>> {
    client.forget_groups();
    let groups = client.groups().await.ok()?;
    let filling = groups.iter().flat_map(|group| {
        let members = group.members.iter().filter(|member| group.filling.contains(&member.slot));
        members.map(|member| Seat { group: group.id, member: *member })
    });
    Some(filling.collect())
}

async fn repair_seat(
    client: &Client,
    seat: &Seat,
    bar: &indicatif::ProgressBar,
) -> Result<RepairProgress, Failure> {
    let mut refusals = 0;
    let mut shown = RepairProgress::default();
    loop {
        match client.repair(seat.member.node, seat.group, seat.member.slot).await {
            Ok(progress) => {
                bar.inc_length(progress.objects_found.saturating_sub(shown.objects_found));
                bar.inc(progress.objects_held.saturating_sub(shown.objects_held));
                if progress.finished {
                    return Ok(progress);
                }
                shown = progress;
            }
            Err(error) if error.kind() == ErrorKind::Denied && refusals < REFUSALS_MAX => {
                refusals += 1;
            }
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

/// What the repairs did.
#[derive(Serialize)]
pub(crate) struct RepairReport {
    pub(crate) slots: Vec<SlotReport>,
}

/// What the repair of one slot did.
#[derive(Serialize)]
pub(crate) struct SlotReport {
    pub(crate) group: u32,
    pub(crate) slot: u8,
    pub(crate) node: String,
    pub(crate) objects_held: u64,
    pub(crate) objects_failed: u64,
    pub(crate) fragment_bytes: u64,
    pub(crate) symbol_bytes: u64,
    pub(crate) symbol_bytes_theory: u64,
    pub(crate) reed_solomon_bytes: u64,
    pub(crate) key_bytes: u64,
    pub(crate) header_bytes: u64,
    pub(crate) witness_bytes: u64,
    pub(crate) liars: Vec<String>,
    pub(crate) failure: Option<String>,
}

impl SlotReport {
    fn new(seat: &Seat, repair: Result<RepairProgress, Failure>) -> Self {
        let (progress, failure) = match repair {
            Ok(progress) => (progress, None),
            Err(failure) => (RepairProgress::default(), Some(failure.message)),
        };
        Self {
            group: seat.group.0,
            slot: seat.member.slot.point(),
            node: seat.member.node.to_string(),
            objects_held: progress.objects_held,
            objects_failed: progress.objects_failed,
            fragment_bytes: progress.fragment_bytes,
            symbol_bytes: progress.symbol_bytes,
            symbol_bytes_theory: progress.symbol_bytes_theory,
            reed_solomon_bytes: progress.reed_solomon_bytes,
            key_bytes: progress.key_bytes,
            header_bytes: progress.header_bytes,
            witness_bytes: progress.witness_bytes,
            liars: progress.liars.iter().map(NodeId::to_string).collect(),
            failure: failure.or(progress.last_failure.filter(|_| progress.objects_failed > 0)),
        }
    }
}

impl RepairReport {
    /// The sum of one figure over the slots.
    pub(crate) fn sum(&self, figure: impl Fn(&SlotReport) -> u64) -> u64 {
        self.slots.iter().map(figure).sum()
    }

    /// The first slot that is not whole, as a failure.
    fn failure(&self) -> Option<Failure> {
        let (slot, reason) =
            self.slots.iter().find_map(|slot| Some((slot, slot.failure.as_ref()?)))?;
        let SlotReport { group, slot, node, .. } = slot;
        Some(Failure::new(
            Kind::TryAgain,
            format!("slot {slot} of group {group}: {reason}"),
            format!(
                "bring node {} or other holders back, or kakera repair --lost {node}",
                &node[..16]
            ),
        ))
    }
}

impl Report for RepairReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<[String; 7]> = self
            .slots
            .iter()
            .map(|slot| {
                [
                    format!("{}/{}", slot.group, slot.slot),
                    slot.node[..16].to_owned(),
                    slot.objects_held.to_string(),
                    show_size(slot.fragment_bytes),
                    show_size(slot.symbol_bytes),
                    show_size(slot.reed_solomon_bytes),
                    slot.failure.clone().unwrap_or_else(|| "whole".into()),
                ]
            })
            .collect();
        let headings = [
            ("slot", Align::Right),
            ("holder", Align::Left),
            ("objects", Align::Right),
            ("rebuilt", Align::Right),
            ("moved", Align::Right),
            ("with Reed-Solomon", Align::Right),
            ("", Align::Left),
        ];
        write_table(out, headings, &rows)
    }
}
