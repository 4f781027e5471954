//! What a storage node shows of itself.

use std::sync::{Arc, Mutex, PoisonError};

use kakera_engine::names::NodeId;
use kakera_engine::peer::SymbolUse;
use kakera_engine::policy::{LedgerView, VIEW_AGE_MAX_MS};
use kakera_engine::wire::{RepairProgress, RepairTotals};

use super::Node;
use crate::clock::unix_milliseconds;
use crate::fabric::{Counter, Fabric};
use crate::observe::{Figure, Observed, of_fabric, of_view};

/// What happened since the node runs.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) parts_damaged: Counter,
    /// Requests of others' repairs that were sent elsewhere, for the line is busy.
    pub(super) repairs_put_off: Counter,
    objects_repaired: Counter,
    objects_failed: Counter,
    /// What repairs that have ended moved.
    moved: Mutex<RepairTotals>,
    symbol_use: Mutex<SymbolUse>,
}

impl Tally {
    /// A repair has ended.
    pub(super) fn add_repair(&self, done: &RepairProgress, symbol_use: &SymbolUse) {
        self.objects_repaired.add(if done.fragment_bytes > 0 { done.objects_held } else { 0 });
        self.objects_failed.add(done.objects_failed);
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).add(done);
        self.symbol_use.lock().unwrap_or_else(PoisonError::into_inner).add(symbol_use);
        #[cfg(feature = "testkit")]
        for (what, amount) in [
            ("repair_bytes", done.symbol_bytes),
            ("witness_bytes", done.witness_bytes),
            ("repair_bytes_in_theory", done.symbol_bytes_theory),
            ("rebuilt_bytes", done.fragment_bytes),
        ] {
            crate::testkit::count(what, amount);
        }
    }

    fn moved(&self) -> RepairTotals {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn figures(&self) -> [Figure; 5] {
        let moved = self.moved();
        let symbol_use = *self.symbol_use.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = [
            ("symbols", moved.symbol_bytes),
            ("symbols_in_theory", moved.symbol_bytes_theory),
            ("symbols_useful", symbol_use.useful),
            ("symbols_useful_in_theory", symbol_use.useful_in_theory),
            ("symbols_replaced", symbol_use.replaced),
            ("symbols_refused", symbol_use.refused),
            ("symbols_failed", symbol_use.failed),
            ("reed_solomon_in_theory", moved.reed_solomon_bytes),
            ("whole_fragments", moved.witness_bytes),
            ("fragments_rebuilt", moved.fragment_bytes),
        ];
        [
            Figure::counter(
                "kakera_parts_damaged",
                "Parts found damaged when they were read or scrubbed.",
                self.parts_damaged.value(),
            ),
            Figure::counter(
                "kakera_repairs_put_off",
                "Questions of others' repairs that were sent to other holders, for the line is busy.",
                self.repairs_put_off.value(),
            ),
            Figure::counter(
                "kakera_objects_repaired",
                "Objects whose part here was rebuilt from other holders.",
                self.objects_repaired.value(),
            ),
            Figure::counter(
                "kakera_objects_not_repaired",
                "Attempts to rebuild an object's part that failed.",
                self.objects_failed.value(),
            ),
            Figure::counters(
                "kakera_repair_bytes",
                "Bytes of repairs: received symbols, what the code's theory and Reed-Solomon would \
                 need, what became of the symbols, fragments fetched whole where symbols did not do, \
                 and what was rebuilt.",
                "kind",
                bytes,
            ),
        ]
    }
}

/// A node and its endpoint.
pub(super) struct ObservedNode {
    pub(super) node: Arc<Node>,
    pub(super) fabric: Fabric,
}

impl Observed for ObservedNode {
    fn figures(&self) -> Vec<Figure> {
        let node = &self.node;
        let view = node.ledger.view();
        let usage = node.store.usage();
        let mut figures = of_view(&view, unix_milliseconds());
        figures.extend([
            Figure::gauge(
                "kakera_slots",
                "Slots of placement groups of which parts are stored here.",
                node.store.slots().len() as f64,
            ),
            Figure::gauge("kakera_parts", "Parts of objects stored here.", usage.objects as f64),
            Figure::gauge("kakera_parts_bytes", "Size of their files.", usage.bytes as f64),
            Figure::gauge(
                "kakera_parts_quota_bytes",
                "The most that this size may become.",
                usage.quota_bytes as f64,
            ),
            Figure::gauge(
                "kakera_repairs_running",
                "Slots that are being rebuilt here now.",
                f64::from(node.repair_totals().running),
            ),
            Figure::gauge(
                "kakera_audit_suspects",
                "Other holders that failed several audits of this node in a row.",
                node.suspects().len() as f64,
            ),
        ]);
        figures.extend(node.tally.figures());
        figures.extend(of_fabric(&self.fabric.statistics()));
        figures
    }

    fn hindrance(&self) -> Option<String> {
        let attested_at = self.node.ledger.view().attested_at();
        let age = unix_milliseconds().saturating_sub(attested_at);
        (age > VIEW_AGE_MAX_MS).then(|| {
            let time = match attested_at {
                0 => "since the start".into(),
                _ => format!("for {} s", age / 1000),
            };
            format!("no validator was heard {time}; see that this node reaches one")
        })
    }
}

impl Node {
    pub(super) fn suspects(&self) -> Vec<NodeId> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What all repairs have moved so far, and how many run.
    pub(super) fn repair_totals(&self) -> RepairTotals {
        let mut totals = self.tally.moved();
        for progress in self.lock_repairs().values() {
            let progress = progress.borrow();
            if !progress.finished {
                totals.running += 1;
                totals.add(&progress);
            }
        }
        totals
    }
}
