//! Products in the field that each kernel does in a second, against the rates by which the simulator
//! reckons processor time.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use kakera_engine::code::{CodeParameters, repair_products};
use kakera_engine::gf;
use kakera_sim::coding::PRODUCTS_PER_SECOND;

use crate::instructions;
use crate::report::{Goal, Report};

const CODES: [&str; 3] = ["rs(10,5,5)", "mbr(10,5,9)", "msr(10,5,8)"];
/// Machines differ, and so do the hours of one.
const TOLERANCE: f64 = 2.0;
/// Repairs of 64 KiB in a run: some tenths of a second.
const REPAIRS: usize = 5000;

/// What to time
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// A tenth of the repairs, without goals
    #[arg(long)]
    short: bool,
}

/// Times repairs of every code with every kernel that runs here and has a recorded rate.
pub(crate) fn run(options: &Options) -> Result<Report> {
    let repairs = if options.short { REPAIRS / 10 } else { REPAIRS };
    let program = instructions::build()?;
    let mut report = Report::new("coding-rates");
    for (kernel, recorded) in PRODUCTS_PER_SECOND {
        if !gf::kernels().any(|name| name == kernel) {
            continue;
        }
        let mut slowest = f64::INFINITY;
        for text in CODES {
            let rate = products_per_second(&program, kernel, text, repairs)?;
            report.add(format!("{kernel} {text}, products per second"), rate);
            slowest = slowest.min(rate);
        }
        // Either may be too high.
        let ratio = (slowest / recorded).max(recorded / slowest);
        let figure = report.add(format!("{kernel}, times off the recorded rate"), ratio);
        if !options.short {
            figure.goal(Goal::AtMost(TOLERANCE));
        }
    }
    Ok(report)
}

/// Of whole repairs: what all helpers do and what the newcomer does.
fn products_per_second(program: &Path, kernel: &str, text: &str, repairs: usize) -> Result<f64> {
    let code: CodeParameters = text.parse()?;
    let products = repair_products(&code.build()?);
    let (mut seconds, mut bytes) = (0.0, 0.0);
    for operation in ["help", "repair"] {
        // The difference of two runs is free of the start and of what is prepared once.
        let (once, len) = time(program, [kernel, text, operation], repairs)?;
        let (thrice, _) = time(program, [kernel, text, operation], 3 * repairs)?;
        seconds += (thrice - once) / (2 * repairs) as f64;
        bytes = len;
    }
    Ok(products * bytes / seconds)
}

/// Seconds of one run, and the bytes of a fragment.
fn time(program: &Path, series: [&str; 3], times: usize) -> Result<(f64, f64)> {
    let start = Instant::now();
    let output = Command::new(program).args(series).arg(times.to_string()).output()?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok((seconds, instructions::bytes_a_time(&output.stdout).context("no count of bytes")?))
}
