//! `kakera sim sensitivity`: every parameter halved and doubled.

use std::io::{self, Write};

use kakera_sim::sensitivity::{Answer, Influence, parameters, sensitivity};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Align, Output, Report, write_table};
use crate::progress;
use crate::sim::number::show;
use crate::sim::{ScenarioFile, read_scenario, run::refuse_too_large};

/// Varies a scenario.
pub(super) fn run(output: Output, file: &ScenarioFile) -> Result<(), Failure> {
    let scenario = read_scenario(&file.path)?;
    refuse_too_large(&scenario, 1)?;
    let bar = progress::objects(output, "varying");
    bar.set_length(parameters(&scenario) as u64);
    let (base, influences) = sensitivity(&scenario, || bar.inc(1));
    bar.finish_and_clear();
    output.report(&SensitivityReport { base, influences })
}

#[derive(Serialize)]
struct SensitivityReport {
    base: Answer,
    influences: Vec<Influence>,
}

impl Report for SensitivityReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let headings = [
            ("", Align::Left),
            ("loss at half", Align::Right),
            ("at twice", Align::Right),
            ("power", Align::Right),
            ("leak at half", Align::Right),
            ("at twice", Align::Right),
            ("power", Align::Right),
        ];
        let power = |exponent: Option<f64>| exponent.map_or(String::new(), |e| show(e, 3));
        let row = |one: &Influence| {
            [
                one.parameter.into(),
                show(one.halved.loss, 3),
                show(one.doubled.loss, 3),
                power(one.loss_exponent),
                show(one.halved.leak, 3),
                show(one.doubled.leak, 3),
                power(one.leak_exponent),
            ]
        };
        let rows: Vec<_> = self.influences.iter().map(row).collect();
        write_table(out, headings, &rows)?;
        let how = if self.base.exact { "exact" } else { "counted, on the same random numbers" };
        writeln!(
            out,
            "\nAs it is: loss {}, leak {}, of a group; {how}. The power says how the probability \
             grows with the parameter.",
            show(self.base.loss, 4),
            show(self.base.leak, 4)
        )
    }
}
