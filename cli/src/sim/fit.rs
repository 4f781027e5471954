//! `kakera sim fit`: laws from a trace.

use std::io::{self, Write};
use std::path::PathBuf;

use kakera_sim::fit::{Fit, Observation, Trace, fit};
use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::output::{Align, Output, Report, write_table};
use crate::sim::number::show;

/// The largest trace that is read whole into memory.
const TRACE_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The trace: CSV of node,start,end in seconds, or event_trace.tab
    #[arg(value_name = "TRACE")]
    path: PathBuf,
}

/// Fits lives, sessions and absences.
pub(super) fn run(output: Output, options: &Options) -> Result<(), Failure> {
    let path = &options.path;
    let size = std::fs::metadata(path).map_err(|error| Failure::file(path, &error))?.len();
    if size > TRACE_BYTES_MAX {
        let message =
            format!("{}: has {size} bytes, and {TRACE_BYTES_MAX} are read", path.display());
        return Err(Failure::new(Kind::Usage, message, "a part of the machines"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
    let trace = Trace::parse(&text).map_err(|error| {
        Failure::of(Kind::Usage, format!("{}: {error}", path.display()), "kakera sim fit --help")
    })?;
    let quantity = |key, observations: &[Observation]| Quantity {
        key,
        observations: observations.len(),
        ended: observations.iter().filter(|one| one.ended).count(),
        fits: fit(observations),
    };
    output.report(&FitReport {
        nodes: trace.nodes,
        quantities: vec![
            quantity("network.lifetime", &trace.lives),
            quantity("pauses.session", &trace.sessions),
            quantity("pauses.length", &trace.absences),
        ],
    })
}

#[derive(Serialize)]
struct FitReport {
    nodes: usize,
    quantities: Vec<Quantity>,
}

#[derive(Serialize)]
struct Quantity {
    key: &'static str,
    observations: usize,
    ended: usize,
    fits: Vec<Fit>,
}

impl Report for FitReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let headings = [
            ("key", Align::Left),
            ("seen", Align::Right),
            ("ended", Align::Right),
            ("law, the best first", Align::Left),
            ("AIC", Align::Right),
            ("distance", Align::Right),
            ("p", Align::Right),
        ];
        let mut rows = Vec::new();
        for quantity in &self.quantities {
            let seen = [quantity.observations.to_string(), quantity.ended.to_string()];
            if quantity.fits.is_empty() {
                let [seen, ended] = seen.clone();
                let none = "too few to fit".to_owned();
                rows.push([
                    quantity.key.into(),
                    seen,
                    ended,
                    none,
                    String::new(),
                    String::new(),
                    String::new(),
                ]);
            }
            for (place, fit) in quantity.fits.iter().enumerate() {
                let first = place == 0;
                let once = |text: &str| if first { text.to_owned() } else { String::new() };
                rows.push([
                    once(quantity.key),
                    once(&seen[0]),
                    once(&seen[1]),
                    fit.scenario.clone(),
                    show(fit.akaike, 8),
                    show(fit.distance, 3),
                    show(fit.p_value, 2),
                ]);
            }
        }
        write_table(out, headings, &rows)?;
        writeln!(
            out,
            "\n{} machines. A p below 0.05 says that the law is not what is behind the spans; \
             then {{ empirical = [...] }} keeps them as they are.",
            self.nodes
        )
    }
}
