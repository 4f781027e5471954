//! What the demonstration found, as one table or one JSON object.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::output::{Align, Report, write_table};
use crate::quantity::{show_rate, show_size};

/// The figures of one run.
#[derive(Debug, Serialize)]
pub(crate) struct DemoReport {
    pub(super) nodes: usize,
    pub(super) code: String,
    pub(super) n: u8,
    pub(super) k: u8,
    pub(super) d: u8,
    pub(super) key_k: u8,
    pub(super) key_d: u8,
    pub(super) records: u64,
    pub(super) bytes: u64,
    /// Of all files in the nodes' folders.
    pub(super) stored_bytes: u64,
    /// The whole client process, opening the vault included.
    pub(super) put_seconds: f64,
    pub(super) get_seconds: f64,
    pub(super) nodes_lost_before_repair: usize,
    pub(super) nodes_lost_after_repair: usize,
    pub(super) slots_lost: usize,
    pub(super) repair_seconds: f64,
    pub(super) fragments_repaired: u64,
    pub(super) repaired_fragment_bytes: u64,
    /// Helper symbols received.
    pub(super) repair_bytes: u64,
    /// d·β for the same fragments.
    pub(super) repair_bytes_theory: u64,
    /// What Reed-Solomon would have received for them.
    pub(super) repair_bytes_rs: u64,
    pub(super) key_repair_bytes: u64,
    /// Message headers, inventories, signatures.
    pub(super) repair_header_bytes: u64,
    /// Pieces of plaintext, names of files and patients that were searched for.
    pub(super) plaintext_samples: usize,
    pub(super) plaintext_searched_bytes: u64,
    pub(super) plaintext_found_on_nodes: usize,
    pub(super) plaintext_found_in: Option<String>,
    pub(super) records_different: Vec<String>,
    pub(super) restored_identical: bool,
    pub(super) seconds: f64,
}

impl DemoReport {
    /// What did not hold of what was to be shown.
    pub(super) fn failure(&self) -> Option<Failure> {
        let integrity = |message: String| {
            Some(Failure::new(Kind::Integrity, message, "report this: it must not happen"))
        };
        if !self.restored_identical {
            return integrity(format!("not identical: {}", self.records_different.join(", ")));
        }
        if let Some(file) = &self.plaintext_found_in {
            return integrity(format!("plaintext was found on a node, in {file}"));
        }
        None
    }

    /// Bytes per byte of the lost fragments.
    fn per_fragment_byte(&self, bytes: u64) -> String {
        format!("{:.3}", bytes as f64 / self.repaired_fragment_bytes.max(1) as f64)
    }

    fn repair_row(&self, what: &str, bytes: u64) -> [String; 4] {
        [
            what.to_owned(),
            show_size(bytes),
            show_size(bytes / self.fragments_repaired.max(1)),
            self.per_fragment_byte(bytes),
        ]
    }

    fn outcome_rows(&self) -> Vec<[String; 2]> {
        let row = |what: &str, value: String| [what.to_owned(), value];
        let speed = |seconds| format!("{seconds:.1} s, {}", show_rate(self.bytes, seconds));
        let expansion = self.stored_bytes as f64 / self.bytes.max(1) as f64;
        let found = format!(
            "{} of {} samples in {}",
            self.plaintext_found_on_nodes,
            self.plaintext_samples,
            show_size(self.plaintext_searched_bytes)
        );
        let lost = format!(
            "{} for good, repaired, then {} more",
            self.nodes_lost_before_repair, self.nodes_lost_after_repair
        );
        vec![
            row(
                "network",
                format!(
                    "{} nodes, data {}, key ({},{})",
                    self.nodes, self.code, self.key_k, self.key_d
                ),
            ),
            row("records", format!("{}, {}", self.records, show_size(self.bytes))),
            row(
                "stored",
                format!("{}, {expansion:.2} × the records", show_size(self.stored_bytes)),
            ),
            row("put", speed(self.put_seconds)),
            row("plaintext on nodes", found),
            row("nodes lost", lost),
            row("repair", format!("{} slots in {:.1} s", self.slots_lost, self.repair_seconds)),
            row("get by a new machine", speed(self.get_seconds)),
            row("every byte identical", if self.restored_identical { "yes" } else { "NO" }.into()),
            row("the whole tour", format!("{:.0} s", self.seconds)),
        ]
    }
}

impl Report for DemoReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out)?;
        write_table(out, [("", Align::Left), ("", Align::Left)], &self.outcome_rows())?;
        writeln!(out)?;
        let rows = [
            self.repair_row("moved (helper symbols)", self.repair_bytes),
            self.repair_row("theory of the code, d·β", self.repair_bytes_theory),
            self.repair_row("Reed-Solomon would move", self.repair_bytes_rs),
            self.repair_row("key shares", self.key_repair_bytes),
            self.repair_row("headers", self.repair_header_bytes),
        ];
        let headings = [
            ("repair traffic", Align::Left),
            ("bytes", Align::Right),
            ("per lost fragment", Align::Right),
            ("per byte lost", Align::Right),
        ];
        write_table(out, headings, &rows)
    }
}
