//! What nodes and validators have in common.

use kakera_engine::policy::LedgerView;

use super::Figure;
use crate::chain_view::ChainView;
use crate::fabric::Statistics;

/// The program and the chain as this machine knows it, at `now` (Unix milliseconds).
pub(crate) fn of_view(view: &ChainView, now: u64) -> Vec<Figure> {
    let age = match view.attested_at() {
        0 => f64::INFINITY,
        attested_at => now.saturating_sub(attested_at) as f64 / 1e3,
    };
    vec![
        Figure::info(
            "kakera_build",
            "1, labelled with the program's version.",
            "version",
            env!("CARGO_PKG_VERSION"),
        ),
        Figure::gauge(
            "kakera_ledger_height",
            "Height of the newest final block here.",
            view.height() as f64,
        ),
        Figure::gauge(
            "kakera_ledger_head_age_seconds",
            "Time since a validator last said that this block is the newest; +Inf before the first time.",
            age,
        ),
        Figure::gauge(
            "kakera_ledger_rules_version",
            "Version of the ledger's rules that the next block follows.",
            f64::from(view.state().version()),
        ),
    ]
}

/// What was sent, received and turned away.
pub(crate) fn of_fabric(statistics: &Statistics) -> Vec<Figure> {
    let Statistics { refused, .. } = *statistics;
    let directions = |sent, received| [("sent", sent), ("received", received)];
    vec![
        Figure::gauge(
            "kakera_connections",
            "QUIC connections open now, in and out.",
            statistics.connections as f64,
        ),
        Figure::counters(
            "kakera_udp_bytes",
            "UDP payload.",
            "direction",
            directions(statistics.udp_bytes_sent, statistics.udp_bytes_received),
        ),
        Figure::counters(
            "kakera_stream_bytes",
            "Complete requests and replies.",
            "direction",
            directions(statistics.stream_bytes_sent, statistics.stream_bytes_received),
        ),
        Figure::counter("kakera_requests", "Requests served.", statistics.requests_served),
        Figure::counters(
            "kakera_refused",
            "Turned away before a request was served, by reason.",
            "reason",
            [
                ("retried", refused.retried),
                ("throttled", refused.throttled),
                ("crowded", refused.crowded),
                ("not_admitted", refused.not_admitted),
                ("handshake_failed", refused.handshake_failed),
                ("surplus", refused.surplus),
                ("malformed", refused.malformed),
                ("too_slow", refused.too_slow),
                ("busy", refused.busy),
            ],
        ),
    ]
}
