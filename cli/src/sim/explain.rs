//! `kakera sim explain`: a scenario in words.

use std::io::{self, Write};

use kakera_sim::campaign::Stop;
use kakera_sim::fleet::{Absence, Attack, Fleet, Hostile, Kind, Repair, RepairTime, Session};
use kakera_sim::protocol::Network;
use kakera_sim::random::Law;
use kakera_sim::scenario::Scenario;
use kakera_sim::time::HOUR;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Align, Output, Report, write_table};
use crate::quantity::show_size;
use crate::sim::number::show;

/// Explains.
pub(super) fn run(output: Output, scenario: &Scenario) -> Result<(), Failure> {
    output.report(&Explanation { lines: lines(scenario) })
}

#[derive(Serialize)]
struct Explanation {
    lines: Vec<(&'static str, String)>,
}

impl Report for Explanation {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<[String; 2]> =
            self.lines.iter().map(|(what, text)| [(*what).into(), text.clone()]).collect();
        write_table(out, [("", Align::Left), ("", Align::Left)], &rows)
    }
}

fn lines(scenario: &Scenario) -> Vec<(&'static str, String)> {
    let campaign = &scenario.campaign;
    let fleet = &campaign.fleet;
    let mut lines = vec![
        ("machines", format!("{} in {} zones", fleet.nodes, fleet.zones)),
        ("they live", fleet.lives.iter().map(law).collect::<Vec<_>>().join(", or ")),
        ("codes", codes(scenario)),
        ("groups", format!("{} with {} each", fleet.groups, show_size(scenario.bytes_per_group))),
        ("stored", format!("{} times that", show(scenario.storage_factor(), 4))),
        ("lost", format!("a group with fewer than {} of {} slots", fleet.k, fleet.n)),
        (
            "a repair moves",
            format!(
                "{} a slot with {} helpers, {} by decoding with fewer",
                show_size(fleet.traffic.repair_bytes),
                fleet.traffic.d,
                show_size(fleet.traffic.decode_bytes)
            ),
        ),
        ("a death is known", notice(fleet)),
        ("repair", repair(&fleet.repair)),
    ];
    lines.extend(fleet.absence.as_ref().map(|absence| ("pauses", pauses(absence))));
    lines.extend(fleet.kinds.iter().map(|other| ("other machines", kind(other))));
    lines.extend(fleet.corruption.as_ref().map(|corruption| {
        let (sound, found) = (span(corruption.share_mean), law(&corruption.found));
        ("corruption", format!("of a share after {sound} in the mean, found after {found}"))
    }));
    lines.extend(fleet.outages.as_ref().map(|outages| {
        let (interval, length) = (law(&outages.interval), law(&outages.length));
        ("outages", format!("of every zone after {interval}, for {length}"))
    }));
    lines.extend(fleet.quorum_losses.as_ref().map(|losses| {
        let (interval, length) = (law(&losses.interval), law(&losses.length));
        ("no quorum", format!("after {interval}, for {length}"))
    }));
    lines.extend(fleet.mass_loss.map(|loss| {
        let share = show(100.0 * loss.share, 4);
        ("mass loss", format!("{share} % of machines at {}", span(loss.at as f64)))
    }));
    lines.extend(fleet.attack.map(|attack| ("attacker", attacker(attack))));
    lines.extend(campaign.protocol.map(|network| ("full nodes", full_nodes(&network))));
    lines.push((
        "runs",
        format!(
            "{} of {}, seed {}, about {} of memory a thread",
            campaign.replications,
            span(fleet.horizon as f64),
            campaign.seed,
            show_size(campaign.memory_bytes())
        ),
    ));
    lines.extend(
        scenario.stop.as_ref().map(|rule| ("it stops", stop(rule, fleet.attack.is_some()))),
    );
    let exact = match scenario.exact() {
        Ok(_) => "yes: kakera sim calc".into(),
        Err(reason) => format!("no: {reason}"),
    };
    lines.push(("exact answer", exact));
    lines
}

fn stop(rule: &Stop, attacked: bool) -> String {
    let both = if attacked { ", and as many leaked" } else { "" };
    let [width, seen, events] = [
        rule.half_width.map(|share| {
            format!("every interval is within {} % of its value", show(100.0 * share, 4))
        }),
        rule.seen.map(|seen| format!("{seen} groups are lost{both}")),
        rule.events.map(|events| format!("{events} events are handled")),
    ];
    let rules: Vec<String> = [width, seen, events].into_iter().flatten().collect();
    format!("early once {}; seen after every {} blocks", rules.join(", or "), Stop::BATCH)
}

fn notice(fleet: &Fleet) -> String {
    match fleet.patience {
        None => law(&fleet.detection),
        Some(patience) => format!(
            "after {} of silence, sooner if its groups miss others, and few at a time",
            span(patience as f64)
        ),
    }
}

fn full_nodes(network: &Network) -> String {
    format!(
        "with {} objects of {} in each group, watched by {}; {} % of messages are lost",
        network.objects_per_group,
        show_size(network.object_bytes.into()),
        match network.validators {
            1 => "one validator".into(),
            count => format!("{count} validators"),
        },
        network.loss_percent
    )
}

fn pauses(absence: &Absence) -> String {
    let session = match &absence.session {
        Session::Law(session) => format!("up {}", law(session)),
        Session::Daily { at, spread } => format!(
            "up until {} of every day, or up to {} later",
            span(*at as f64),
            span(*spread as f64)
        ),
    };
    let (length, timeout) = (law(&absence.length), span(absence.timeout as f64));
    format!("{session}, then away {length}; taken for dead after {timeout}")
}

fn kind(kind: &Kind) -> String {
    let lives = kind.lives.iter().map(law).collect::<Vec<_>>().join(", or ");
    let pauses = kind.absence.as_ref().map_or("always up".into(), pauses);
    format!("{} of all, that live {lives}; {pauses}", kind.nodes)
}

fn attacker(attack: Attack) -> String {
    let who = match attack.hostile {
        Hostile::Each(share) => format!("{} % of machines", show(100.0 * share, 4)),
        Hostile::Exactly(count) => format!("{count} machines at the start"),
    };
    let refresh = match attack.epoch {
        Some(epoch) => format!("refreshed every {}", span(epoch as f64)),
        None => "never refreshed".into(),
    };
    let growth = match attack.growth {
        0.0 => String::new(),
        growth => format!(", {} % more of newcomers every year", show(100.0 * growth, 4)),
    };
    let keep = if attack.withholds { "keep shares and withhold them" } else { "keep shares" };
    format!("{who}{growth} {keep}; {} of one epoch leak a group; {refresh}", attack.k_key)
}

fn codes(scenario: &Scenario) -> String {
    match scenario.key {
        Some(key) => format!("{} for data, ({},{}) for keys", scenario.code, key.k(), key.d()),
        None => format!("{}, no keys", scenario.code),
    }
}

fn repair(repair: &Repair) -> String {
    match repair {
        Repair::Each(time) => format!("every lost machine on its own, {}", repair_time(time)),
        Repair::OneByOne(time) => format!("one machine after the other, {}", repair_time(time)),
        Repair::Together { time, threshold } => {
            format!("a whole group once {threshold} lost slots are known, {}", law(time))
        }
    }
}

fn repair_time(time: &RepairTime) -> String {
    match time {
        RepairTime::Law(time) => law(time),
        RepairTime::Shared { rate, uplink } => format!(
            "at {}/s, or less where the newcomers of a zone share {}/s",
            show_size(*rate as u64),
            show_size(*uplink as u64)
        ),
        RepairTime::Helped { rate, uplink } => format!(
            "at {}/s, or less where helpers share their {}/s among many",
            show_size(*rate as u64),
            show_size(*uplink as u64)
        ),
        RepairTime::BytesPerSecond(rate) => format!("at {}/s", show_size(*rate as u64)),
    }
}

fn law(law: &Law) -> String {
    match law {
        Law::Never => "for ever".into(),
        Law::Fixed(0.0) => "at once".into(),
        Law::Fixed(fixed) => format!("{} always", span(*fixed)),
        Law::Uniform { longest } => format!("evenly anything up to {}", span(*longest)),
        Law::Exponential { mean } => format!("{} in the mean, exponential", span(*mean)),
        Law::Weibull { shape, scale, location } => format!(
            "Weibull of shape {shape}, scale {}, at least {}",
            span(*scale),
            span(*location)
        ),
        Law::LogNormal { median, sigma } => {
            format!("{} in the median, log-normal of sigma {sigma}", span(*median))
        }
        Law::Empirical(spans) => format!("as one of {} observations", spans.len()),
    }
}

/// `12 h`, `30 d`: days from two on.
fn span(nanoseconds: f64) -> String {
    let hours = nanoseconds / HOUR as f64;
    match hours {
        hours if hours >= 2.0 * 8760.0 => format!("{} y", show(hours / 8760.0, 4)),
        hours if hours >= 48.0 => format!("{} d", show(hours / 24.0, 4)),
        hours if hours >= 1.0 || hours == 0.0 => format!("{} h", show(hours, 4)),
        hours => format!("{} s", show(hours * 3600.0, 4)),
    }
}
