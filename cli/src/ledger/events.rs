//! `kakera events`: what happened to the network's machines, groups and validators.
//!
//! Told from the ledger, so every machine tells the same. What users do is left out: pointers and
//! identities are most of a chain and say nothing about its machines.

use std::io::{self, Write};
use std::time::Duration;

use kakera_engine::ledger::{Body, CertifiedBlock};
use serde::Serialize;

use super::{connect, describe, read_blocks};
use crate::arguments::EventOptions;
use crate::failure::Failure;
use crate::machine::stopped;
use crate::quantity::show_time;
use crate::session::Session;

/// Blocks that are asked for at a time.
const BLOCKS_AT_ONCE: u64 = 256;
/// How often a follower looks for new blocks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Prints the newest events, oldest first; then, if asked to, those to come, until interrupted.
pub(crate) async fn run(session: &Session, options: &EventOptions) -> Result<(), Failure> {
    let (connection, head) = connect(session).await?;
    let (mut first, mut newest) = (head.height + 1, Vec::new());
    while first > 1 && newest.len() < options.last {
        let last = first - 1;
        first = last.saturating_sub(BLOCKS_AT_ONCE - 1).max(1);
        let page = read_blocks(&connection.client, first, last).await?;
        newest.splice(0..0, page.iter().flat_map(events));
    }
    let shown = newest.split_off(newest.len().saturating_sub(options.last));
    print(session, &shown)?;
    if options.follow {
        let mut stopped = std::pin::pin!(stopped()?);
        let mut next = head.height + 1;
        loop {
            tokio::select! {
                () = &mut stopped => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let height = connection.client.head().await?.header().height;
            while next <= height {
                let last = height.min(next + BLOCKS_AT_ONCE - 1);
                let page = read_blocks(&connection.client, next, last).await?;
                print(session, &page.iter().flat_map(events).collect::<Vec<_>>())?;
                next = last + 1;
            }
        }
    }
    connection.close().await
}

#[derive(Serialize)]
struct Event {
    height: u64,
    /// Unix milliseconds, the block's.
    time: u64,
    event: &'static str,
    about: String,
    author: String,
}

fn events(block: &CertifiedBlock) -> impl Iterator<Item = Event> {
    let (height, time) = (block.block.header.height, block.block.header.time);
    let entries = block.block.entries.iter().map(|salted| &salted.entry);
    let of_machines = entries.filter(|entry| {
        !matches!(
            entry.body,
            Body::Pointer(_) | Body::PointerRetire(_) | Body::IdentityRecord(_) | Body::Unknown(_)
        )
    });
    of_machines.map(move |entry| {
        let (event, about) = describe(&entry.body);
        Event { height, time, event, about, author: entry.author.to_string() }
    })
}

/// A line each, or a JSON object a line.
fn print(session: &Session, events: &[Event]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let mut write = |event: &Event| {
        if session.output.is_json() {
            serde_json::to_writer(&mut out, event)?;
            return writeln!(out);
        }
        let Event { time, event, about, author, .. } = event;
        writeln!(out, "{}  {event}: {about} (by {})", show_time(time / 1000), &author[..16])
    };
    let written = events.iter().try_for_each(&mut write);
    written.and_then(|()| out.flush()).map_err(|error| Failure::standard_output(&error))
}
