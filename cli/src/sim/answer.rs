//! What a scenario is answered with: exact numbers, simulated ones, or both beside each other.

use std::io::{self, Write};
use std::path::Path;

use kakera_sim::campaign::{Blocks, Campaign, RepairMonths, Summary, UnreadableHours};
use kakera_sim::coding::CodingSeconds;
use kakera_sim::estimate::Estimate;
use kakera_sim::fleet::Fleet;
use kakera_sim::rare::{CrossingSampling, Crossings, Splitting, split_loss_probability};
use kakera_sim::scenario::{ExactAnswer, Leak, Scenario};
use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::output::{Align, Output, Report, write_table};
use crate::sim::number::show;
use crate::sim::page::{Page, charts};
use crate::sim::{Form, ScenarioFile};

/// Answers exactly or says why not.
pub(super) fn calc(output: Output, scenario: &Scenario) -> Result<(), Failure> {
    let exact = scenario.exact().map_err(|reason| {
        Failure::of(Kind::Usage, format!("there is no exact answer: {reason}"), "kakera sim run")
    })?;
    output.report(&Answer::new(scenario, Some(exact), None))
}

/// Reports what all blocks say, with the exact answer beside it if there is one.
pub(super) fn simulated(
    output: Output,
    file: &ScenarioFile,
    scenario: &Scenario,
    blocks: &Blocks,
    form: &Form,
) -> Result<(), Failure> {
    let summary = scenario.campaign.summary(blocks, scenario.confidence);
    let exact = scenario.exact().ok();
    let by_counts = scenario.campaign.protocol.is_none();
    let lost = summary.groups_lost;
    let rare = lost < COUNTED_LOSSES_MIN && exact.is_none() && by_counts;
    let mut answer = Answer::new(scenario, exact, Some(summary));
    if rare {
        answer.estimate_rare_loss(output, scenario, lost);
    }
    if let Some(path) = &form.html {
        answer.write_page(path, file)?;
    }
    if !form.csv {
        return output.report(&answer);
    }
    let mut out = io::stdout().lock();
    let written = answer.write_csv(&mut out).and_then(|()| out.flush());
    written.map_err(|error| Failure::standard_output(&error))
}

/// What its nines are shown of, too.
const LOSS: &str = "P(a group is lost)";

/// With fewer losses counting says little of their probability.
const COUNTED_LOSSES_MIN: u64 = 10;
/// Crossings that are drawn: 5 % of error and less.
const CROSSINGS: u64 = 4000;
/// Runs of a batch of splitting, more until the interval's half width is this share.
const SPLITTING_RUNS: [u64; 3] = [25, 100, 400];
const SPLITTING_HALF_WIDTH: f64 = 0.2;

/// The probability of a loss that counting hardly sees.
fn split(output: Output, fleet: &Fleet, scenario: &Scenario) -> Option<Splitting> {
    let mut last = None;
    for runs in SPLITTING_RUNS {
        let split =
            split_loss_probability(fleet, scenario.campaign.seed, runs, scenario.confidence);
        let narrow = split
            .as_ref()
            .is_ok_and(|split| split.estimate.relative_half_width() <= SPLITTING_HALF_WIDTH);
        let hopeless = split.as_ref().is_err_and(|error| !error.passes_with_more_runs());
        last = Some(split);
        if narrow || hopeless {
            break;
        }
    }
    match last? {
        Ok(split) => Some(split),
        Err(error) => {
            output.narrate(&format!("there is no such estimate: {error}"));
            None
        }
    }
}

/// The JSON form. Nothing in it depends on who ran what, or when.
#[derive(Serialize)]
struct Answer<'a> {
    version: &'static str,
    scenario: &'a str,
    seed: u64,
    confidence: f64,
    horizon_years: f64,
    /// Bytes that all machines keep for a byte of objects.
    storage_factor: f64,
    exact: Option<ExactAnswer>,
    simulated: Option<Summary>,
    /// Seconds of one core that a machine codes in a year for repairs, by kernel.
    coding_seconds_per_node_year: Vec<CodingSeconds>,
    /// The loss of the group, where counting saw too few.
    crossings: Option<Crossings>,
    /// The same where machines are not independent.
    splitting: Option<Splitting>,
}

/// A line of the table.
struct Line {
    /// Without commas, which part the fields of CSV.
    quantity: &'static str,
    value: f64,
    interval: Option<[f64; 2]>,
    method: &'static str,
}

impl<'a> Answer<'a> {
    fn new(scenario: &'a Scenario, exact: Option<ExactAnswer>, simulated: Option<Summary>) -> Self {
        let horizon = scenario.campaign.fleet.horizon;
        let coding = |summary: &Summary| scenario.coding_seconds_per_node_year(summary);
        let coding_seconds_per_node_year = simulated.as_ref().map(coding).unwrap_or_default();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            scenario: &scenario.hash,
            seed: scenario.campaign.seed,
            confidence: scenario.confidence,
            horizon_years: horizon as f64 / kakera_sim::time::YEAR as f64,
            storage_factor: scenario.storage_factor(),
            exact,
            simulated,
            coding_seconds_per_node_year,
            crossings: None,
            splitting: None,
        }
    }

    /// Of one group on its own.
    fn estimate_rare_loss(&mut self, output: Output, scenario: &Scenario, lost: u64) {
        let Campaign { fleet, seed, .. } = &scenario.campaign;
        let Some(fleet) = fleet.one_group() else { return };
        let narrate = |method| {
            let text = format!("only {lost} groups were lost: estimating their loss by {method}");
            output.narrate(&text);
        };
        if let Ok(sampling) = CrossingSampling::new(&fleet) {
            narrate("crossings");
            let crossings = sampling.loss_probability(*seed, CROSSINGS, scenario.confidence);
            self.crossings = Some(crossings);
        } else {
            narrate("splitting");
            self.splitting = split(output, &fleet, scenario);
        }
    }

    fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        if let Some(exact) = &self.exact {
            exact_lines(exact, &mut lines);
        }
        if let Some(summary) = &self.simulated {
            simulated_lines(summary, &mut lines);
        }
        // The slowest and a common one; JSON has all.
        for CodingSeconds { kernel, seconds } in &self.coding_seconds_per_node_year {
            let quantity = match *kernel {
                "portable" => "seconds of coding a machine and year without SIMD",
                "avx2" => "seconds of coding a machine and year with AVX2",
                _ => continue,
            };
            lines.push(Line { quantity, value: *seconds, interval: None, method: "by rates" });
        }
        let mut add_loss = |Estimate { value, interval, .. }: Estimate, method| {
            let (quantity, interval) = (LOSS, Some(interval));
            lines.push(Line { quantity, value, interval, method });
        };
        if let Some(crossings) = &self.crossings {
            add_loss(crossings.estimate, "crossings");
        }
        if let Some(splitting) = &self.splitting {
            add_loss(splitting.estimate, "splitting");
        }
        lines.extend(lines.iter().filter_map(Line::nines).collect::<Vec<_>>());
        lines.push(Line {
            quantity: "bytes stored a byte of objects",
            value: self.storage_factor,
            interval: None,
            method: "exact",
        });
        lines
    }

    fn write_page(&self, path: &Path, file: &ScenarioFile) -> Result<(), Failure> {
        let Some(summary) = &self.simulated else { return Ok(()) };
        let name = file.path.file_stem().unwrap_or_default().to_string_lossy();
        let text = std::fs::read_to_string(&file.path)
            .map_err(|error| Failure::file(&file.path, &error))?;
        let mut page = Page::new(&format!("{name}: reliability and risk"));
        page.paragraph(&format!(
            "{} runs of {} years, {} events; seed {}, scenario {}, kakera {}.",
            summary.replications,
            show(self.horizon_years, 4),
            summary.events,
            self.seed,
            self.scenario,
            self.version
        ));
        if let Some(trace) = &summary.trace {
            page.paragraph(&format!("Full nodes on virtual time; trace {trace}."));
        }
        let interval = format!("{} % interval", show(100.0 * self.confidence, 4));
        let rows: Vec<_> = self.lines().into_iter().map(Line::cells).collect();
        page.table(["quantity", "value", &interval, "method"], &rows);
        for chart in charts(summary, self.confidence) {
            page.chart(&chart);
        }
        page.verbatim("Scenario", &text);
        page.write(path)
    }

    fn write_csv(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "quantity,value,low,high,confidence,method,scenario,seed")?;
        for Line { quantity, value, interval, method } in self.lines() {
            let [low, high] = interval
                .map_or([String::new(), String::new()], |ends| ends.map(|end| end.to_string()));
            let Self { confidence, scenario, seed, .. } = self;
            writeln!(
                out,
                "{quantity},{value},{low},{high},{confidence},{method},{scenario},{seed}"
            )?;
        }
        Ok(())
    }
}

impl Line {
    /// Of the probability of a loss that is not zero, its nines: their number is the other way round.
    fn nines(&self) -> Option<Self> {
        let nines = |probability: f64| -probability.log10();
        let interval = self.interval.map(|[low, high]| [nines(high), nines(low)]);
        (self.quantity == LOSS && self.value > 0.0).then(|| Self {
            quantity: "nines of a group",
            value: nines(self.value),
            interval,
            method: self.method,
        })
    }

    fn cells(self) -> [String; 4] {
        let Self { quantity, value, interval, method } = self;
        let ends = interval
            .map(|[low, high]| format!("{} to {}", show(low, 4), show(high, 4)))
            .unwrap_or_default();
        [quantity.into(), show(value, 5), ends, method.into()]
    }
}

fn exact_lines(exact: &ExactAnswer, lines: &mut Vec<Line>) {
    let mut add = |quantity, value, method| {
        lines.push(Line { quantity, value, interval: None, method });
    };
    add(LOSS, exact.loss_probability, "exact");
    if let Some(years) = exact.mean_years_to_loss {
        add("mean years to a loss", years, "exact");
    }
    match exact.leak {
        Some(Leak::Exactly(leak)) => add("P(a group leaks)", leak, "exact"),
        Some(Leak::AtMost(leak)) => add("P(a group leaks)", leak, "at most"),
        None => {}
    }
}

fn simulated_lines(summary: &Summary, lines: &mut Vec<Line>) {
    let mut add = |quantity, (value, interval)| {
        lines.push(Line { quantity, value, interval, method: "simulated" });
    };
    let estimate = |estimate: Estimate| (estimate.value, Some(estimate.interval));
    let count = |value: f64| (value, None);
    add(LOSS, estimate(summary.loss_of_a_group));
    add("P(any group is lost)", estimate(summary.loss_of_any));
    add("P(a group leaks)", estimate(summary.leak_of_a_group));
    add("P(any group leaks)", estimate(summary.leak_of_any));
    if let Some(leak) = summary.leak_of_an_epoch {
        add("P(a group leaks in an epoch)", estimate(leak));
    }
    if let Some(unreadable) = summary.unreadable {
        add("share of time unreadable", estimate(unreadable));
    }
    if let Some(UnreadableHours { median, p99, longest, .. }) = summary.unreadable_hours {
        add("median of hours unreadable at a time", count(median));
        add("99th percentile of hours unreadable at a time", count(p99));
        add("most hours unreadable at a time", count(longest));
    }
    if let Some(bytes) = summary.repair_bytes_per_node_year {
        add("repair bytes a machine and year", estimate(bytes));
    }
    let RepairMonths { p99, peak, .. } = summary.repair_bytes_per_node_month;
    add("99th percentile of repair bytes a machine gets in a month", count(p99 as f64));
    add("most repair bytes a machine gets in a month", count(peak as f64));
    if let Some(hours) = summary.repair_waits_hours {
        add("hours that a repair waits", estimate(hours));
    }
    if let Some(hours) = summary.repair_lasts_hours {
        add("hours that a repair takes", estimate(hours));
    }
    if summary.refreshes_per_group_year > 0.0 {
        add("refreshes a group and year", count(summary.refreshes_per_group_year));
    }
    add("deaths a machine and year", count(summary.deaths_per_node_year));
    add("false repairs a machine and year", count(summary.false_repairs_per_node_year));
}

impl Report for Answer<'_> {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let interval = format!("{} % interval", show(100.0 * self.confidence, 4));
        let headings = [
            (&*format!("within {} years", show(self.horizon_years, 4)), Align::Left),
            ("", Align::Right),
            (&*interval, Align::Right),
            ("", Align::Left),
        ];
        let rows: Vec<_> = self.lines().into_iter().map(Line::cells).collect();
        write_table(out, headings, &rows)?;
        if let Some(Summary { replications, events, groups_lost, groups_leaked, trace, .. }) =
            &self.simulated
        {
            writeln!(
                out,
                "\n{replications} runs, {events} events, {groups_lost} groups lost, \
                 {groups_leaked} leaked; seed {}, scenario {}.",
                self.seed, self.scenario
            )?;
            if let Some(trace) = trace {
                writeln!(out, "Full nodes; trace {trace}.")?;
            }
        }
        Ok(())
    }
}
