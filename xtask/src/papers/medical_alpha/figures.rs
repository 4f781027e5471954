//! What the experiment measured.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::papers::chart::{Axis, Chart, Series};
use crate::papers::traffic::Bytes;
use crate::report::{Figure, Goal, Report};
use crate::samples::{ascending, median, percentile};

/// Published: a write with its sync at first, and after about a thousand writes.
const PUBLISHED_SECONDS: [f64; 2] = [3.0, 7.0];
/// Bytes moved for each byte of the entries themselves.
const SYNC_GOAL: Goal = Goal::AtMost(1.5);
/// Writes of one point in the chart.
const WINDOW: usize = 50;

#[derive(Default)]
pub(super) struct Figures {
    pub(super) writes: Vec<Write>,
    pub(super) catch_ups: Vec<CatchUp>,
    /// Seconds from the start of the validator's process to a write that is synced.
    pub(super) validator_restarts: Vec<f64>,
    /// Seconds and bytes of rebuilding the validator from the other server, and the bytes of the
    /// chain's entries.
    pub(super) rebuilt: Option<(f64, Bytes, u64)>,
}

/// What the bytes of a write's sync are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SyncKind {
    /// The other server follows: it asks for each block.
    OfEach,
    /// The other server takes part in agreeing on each block, which the same requests carry; what a
    /// sync costs shows when one catches up.
    WithAgreement,
}

/// One write and its sync.
pub(super) struct Write {
    /// Its place in the log of all entries.
    pub(super) index: u64,
    pub(super) seconds: f64,
    pub(super) moved: Bytes,
    pub(super) entry_bytes: u64,
}

/// One stop of the other server.
pub(super) struct CatchUp {
    pub(super) indices: Vec<u64>,
    /// From the start of its process.
    pub(super) seconds: f64,
    pub(super) moved: Bytes,
    pub(super) entry_bytes: u64,
}

impl Figures {
    /// `lengths` are those of all entries of the chain, by their places.
    pub(super) fn set_entry_lengths(&mut self, lengths: &[u64]) {
        let length = |index: &u64| lengths.get(*index as usize).copied().unwrap_or(0);
        for write in &mut self.writes {
            write.entry_bytes = length(&write.index);
        }
        for catch_up in &mut self.catch_ups {
            catch_up.entry_bytes = catch_up.indices.iter().map(length).sum();
        }
    }

    /// Adds what was measured, beside what was published; without the goals for times if `short`.
    pub(super) fn add_to(&self, report: &mut Report, prefix: &str, kind: SyncKind, short: bool) {
        report.count(format!("{prefix}writes"), self.writes.len());
        self.add_times(report, prefix, short);
        let own = self.writes.iter().map(|write| write.entry_bytes).sum();
        let moved = self.writes.iter().map(|write| write.moved).sum();
        match kind {
            SyncKind::OfEach => {
                add_bytes(report, &format!("{prefix}sync"), moved, own).goal(SYNC_GOAL)
            }
            SyncKind::WithAgreement => {
                add_bytes(report, &format!("{prefix}agreement_and_sync"), moved, own)
            }
        };

        report.count(format!("{prefix}stops"), self.catch_ups.len());
        let seconds = self.catch_ups.iter().map(|stop| stop.seconds);
        report.add(format!("{prefix}start_to_caught_up_p50_ms"), median(&milliseconds(seconds)));
        let own = self.catch_ups.iter().map(|stop| stop.entry_bytes).sum();
        let moved = self.catch_ups.iter().map(|stop| stop.moved).sum();
        let caught_up = add_bytes(report, &format!("{prefix}catch_up"), moved, own);
        // A server that missed one entry asks for heads and peers, which more than one share.
        if self.catch_ups.iter().all(|stop| stop.indices.len() > 1) {
            caught_up.goal(SYNC_GOAL);
        }
        let restarts = milliseconds(self.validator_restarts.iter().copied());
        report.add(format!("{prefix}validator_start_to_synced_p50_ms"), median(&restarts));
        if let Some((seconds, moved, own)) = self.rebuilt {
            report.add(format!("{prefix}rebuilt_validator_seconds"), seconds);
            add_bytes(report, &format!("{prefix}rebuilt"), moved, own).goal(SYNC_GOAL);
        }
    }

    fn add_times(&self, report: &mut Report, prefix: &str, short: bool) {
        // 500 of 4000.
        let part = self.writes.len() / 8;
        let [first, last] = [&self.writes[..part], &self.writes[self.writes.len() - part..]]
            .map(|writes| median(&times(writes)));
        let [published_first, published_last] = PUBLISHED_SECONDS.map(|seconds| seconds * 1e3);
        report.add(format!("{prefix}first_eighth_p50_ms"), first).peer(published_first);
        report.add(format!("{prefix}last_eighth_p50_ms"), last).peer(published_last);
        let growth = report.add(format!("{prefix}last_over_first"), last / first);
        growth.peer(published_last / published_first);
        if !short {
            growth.goal(Goal::AtMost(1.2));
        }
        let all = times(&self.writes);
        let middle = report.add(format!("{prefix}write_to_synced_p50_ms"), median(&all));
        if !short {
            middle.goal(Goal::AtMost(20.0));
        }
        report.add(format!("{prefix}write_to_synced_p99_ms"), percentile(&all, 99.0));
    }

    /// A line a write.
    pub(super) fn to_csv(&self) -> String {
        let mut csv = "write,milliseconds,stream_bytes,udp_bytes,entry_bytes\n".to_owned();
        for (number, write) in (1..).zip(&self.writes) {
            let Write { seconds, moved, entry_bytes, .. } = write;
            let milliseconds = seconds * 1e3;
            // Writing to a string cannot fail.
            let _ = writeln!(
                csv,
                "{number},{milliseconds:.3},{},{},{entry_bytes}",
                moved.stream, moved.udp
            );
        }
        csv
    }

    /// The time from write to synced beside the published one, given as lines `write,seconds`
    /// after a heading.
    pub(super) fn to_svg(&self, published: &str) -> Result<String> {
        let point = |line: &str| {
            let (write, seconds) = line.split_once(',')?;
            Some((write.trim().parse().ok()?, seconds.trim().parse().ok()?))
        };
        let published: Option<Vec<(f64, f64)>> = published.lines().skip(1).map(point).collect();
        let windows = |quantile: f64| {
            let points = self.writes.chunks(WINDOW).enumerate().map(move |(index, writes)| {
                let end = (index * WINDOW + writes.len()) as f64;
                (end, percentile(&times(writes), quantile) / 1e3)
            });
            points.collect()
        };
        let line =
            |name, points, colour, dashes, width| Series { name, points, colour, dashes, width };
        Ok(Chart {
            title: "Time from a write until it is on the other server",
            x_label: "writes so far, of about 1 KB each",
            y_label: "seconds (logarithmic)",
            x_max: 4000.0,
            x_step: 500.0,
            y_axis: Axis::Decades(-3, 1),
            series: vec![
                line(
                    "Medical alpha as published: about 3 s, after about 1000 writes about 7 s",
                    published.context("published.csv is not lines of two numbers")?,
                    "#b4450f",
                    "8 4",
                    2.5,
                ),
                line("Kakera, slowest of 50 writes", windows(100.0), "#8aa9cc", "2 2", 1.0),
                line("Kakera, median of 50 writes", windows(50.0), "#114b8b", "none", 2.5),
            ],
        }
        .to_svg())
    }
}

/// Adds what was moved for each byte of the entries themselves; gives the figure of the streams.
fn add_bytes<'a>(report: &'a mut Report, name: &str, moved: Bytes, own: u64) -> &'a mut Figure {
    report.add(format!("{name}_udp_bytes_per_own_byte"), moved.udp as f64 / own as f64);
    report.add(format!("{name}_stream_bytes_per_own_byte"), moved.stream as f64 / own as f64)
}

fn times(writes: &[Write]) -> Vec<f64> {
    milliseconds(writes.iter().map(|write| write.seconds))
}

/// Ascending.
fn milliseconds(seconds: impl Iterator<Item = f64>) -> Vec<f64> {
    ascending(seconds.map(|seconds| seconds * 1e3))
}
