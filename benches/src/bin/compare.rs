//! Measures every contest and prints one JSON array of the outcomes, for `cargo xtask compare`.

use std::time::Duration;

use clap::Parser;
use kakera_benches::rounds::{Effort, measure};
use kakera_benches::{Contest, avx2_contests, contests, isal_is_available};
use kakera_engine::gf::{force, kernels};
use serde_json::{Value, json};

const AVX2: &str = "avx2";

/// Measure Kakera's codes, key sharing and sealing beside their rivals
#[derive(Parser)]
struct Arguments {
    /// One short turn of each side, only to see that all run and agree
    #[arg(long)]
    short: bool,
    /// Only the kernels for AVX2, ours and ISA-L's
    #[arg(long)]
    avx2: bool,
    /// Only contests whose name contains this
    #[arg(long, default_value = "")]
    filter: String,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if !isal_is_available() {
        eprintln!("ISA-L is not installed and is left out; try: apt-get install libisal-dev");
    }
    let effort = if arguments.short {
        Effort { rounds: 1, turn: Duration::ZERO }
    } else {
        Effort { rounds: 61, turn: Duration::from_millis(4) }
    };
    let contests: Box<dyn Iterator<Item = Contest>> = match arguments.avx2 {
        false => Box::new(contests()),
        true if kernels().all(|name| name != AVX2) => Box::new(std::iter::empty()),
        true => {
            force(AVX2)?;
            Box::new(avx2_contests())
        }
    };
    let mut outcomes = Vec::new();
    for mut contest in contests.filter(|contest| contest.name.contains(&arguments.filter)) {
        contest.check()?;
        let unit = if contest.ours.bytes.is_some() { "gb_per_second" } else { "microseconds" };
        for outcome in measure(&mut contest, effort) {
            outcomes.push(json!({
                "contest": contest.name,
                "unit": unit,
                "peer": outcome.peer,
                "ours": outcome.ours,
                "theirs": outcome.theirs,
                "times_better": outcome.times_better,
                "goal": outcome.goal,
                "limit": outcome.limit,
            }));
        }
    }
    println!("{}", Value::Array(outcomes));
    Ok(())
}
