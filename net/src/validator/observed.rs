//! What a validator shows of itself.

use std::sync::Arc;

use kakera_engine::policy::LedgerView;

use super::service::Service;
use crate::clock::unix_milliseconds;
use crate::fabric::Fabric;
use crate::observe::{Figure, Observed, of_fabric, of_view};

/// A validator and its endpoint.
pub(super) struct ObservedValidator {
    pub(super) service: Arc<Service>,
    pub(super) fabric: Fabric,
}

impl Observed for ObservedValidator {
    fn figures(&self) -> Vec<Figure> {
        let service = &self.service;
        let view = service.desk.view();
        let now = unix_milliseconds();
        // It attests itself; what can grow old is its newest block, where others go on.
        let mut figures = of_view(&view.attested(now), now);
        let counts = view.state().counts();
        let validates = view.is_validator(&service.id);
        let waiting = service.desk.act(|machine| machine.waiting_count());
        figures.extend([
            Figure::gauge(
                "kakera_validator",
                "1 if this machine is of the validator set, 0 if it only follows.",
                f64::from(u8::from(validates)),
            ),
            Figure::gauge(
                "kakera_validators",
                "Validators of the next block.",
                view.state().validators().0.len() as f64,
            ),
            Figure::gauge(
                "kakera_entries_waiting",
                "Entries here that wait for a block.",
                waiting as f64,
            ),
            Figure::gauge(
                "kakera_ledger_durable_height",
                "Height of the newest block on this validator's disk, final or not.",
                service.durable_height() as f64,
            ),
            Figure::gauge("kakera_machines", "Machines ever enrolled.", f64::from(counts.nodes)),
            Figure::gauge("kakera_groups", "Placement groups.", f64::from(counts.groups)),
        ]);
        figures.extend(of_fabric(&self.fabric.statistics()));
        figures
    }

    fn hindrance(&self) -> Option<String> {
        let view = self.service.desk.view();
        if !view.is_validator(&self.service.id) {
            return Some("it is not of the validator set: it only follows".into());
        }
        (view.height() < self.service.shown_before).then(|| {
            "its newest block of before the restart is not known to be final; see that the others \
             run"
            .into()
        })
    }
}
