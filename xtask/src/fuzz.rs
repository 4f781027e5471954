//! `fuzz`: libFuzzer on every decoder, with the stable compiler.
//!
//! The coverage counters come from LLVM's SanitizerCoverage pass, which is reached by code
//! generation options; only AddressSanitizer would need a nightly compiler, and there is no unsafe
//! code in the decoders for it to watch. The crates of the workspace have the counters
//! (`fuzz/instrument`); their dependencies are those of the tests, with their debug assertions and
//! overflow checks, and are not built again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Result, anyhow, bail, ensure};
use kakera_fuzz::{TARGETS, Target};

use crate::product::workspace;
use crate::report::{Goal, Report};

const MEMORY_MIB: u32 = 1024;
const INPUT_LEN_MAX: usize = 64 * 1024;
const INPUT_SECONDS_MAX: u32 = 10;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Seconds for each target
    #[arg(long, default_value_t = 600)]
    seconds: u32,
    /// Only these targets
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(TARGETS.iter().map(|target| target.name)))]
    targets: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let binary = build()?;
    let mut report = Report::new("fuzz");
    let chosen = |target: &&Target| {
        options.targets.is_empty() || options.targets.iter().any(|name| name == target.name)
    };
    let chosen: Vec<&'static Target> = TARGETS.iter().filter(chosen).collect();
    let mut findings = 0;
    for targets in chosen.chunks(thread::available_parallelism()?.get()) {
        for (target, outcome) in targets.iter().zip(fuzz_all(&binary, targets, options.seconds)?) {
            report
                .add(format!("{}_executions", target.name), outcome.executions)
                .goal(Goal::AtLeast(1.0));
            report.add(format!("{}_edges", target.name), outcome.edges);
            findings += outcome.findings;
        }
    }
    report.count("findings", findings).goal(Goal::AtMost(0.0));
    Ok(report)
}

struct Outcome {
    executions: f64,
    /// Edges of the control flow that were reached.
    edges: f64,
    findings: usize,
}

fn build() -> Result<PathBuf> {
    let status = Command::new(env!("CARGO"))
        .current_dir(workspace())
        // The features of the whole workspace are those that the tests' dependencies were built with.
        .args(["build", "--quiet", "--locked", "--workspace", "--bin", "kakera-libfuzzer"])
        .args(["--features", "kakera-fuzz/libfuzzer"])
        .env("RUSTC_WORKSPACE_WRAPPER", workspace().join("fuzz/instrument"))
        .status()?;
    ensure!(status.success(), "the fuzzer does not build");
    Ok(workspace().join("target/debug/kakera-libfuzzer"))
}

/// Runs these targets at the same time.
fn fuzz_all(binary: &Path, targets: &[&'static Target], seconds: u32) -> Result<Vec<Outcome>> {
    thread::scope(|scope| {
        let start = |target: &&'static Target| {
            let target = *target;
            scope.spawn(move || fuzz(binary, target, seconds))
        };
        let runs: Vec<_> = targets.iter().map(start).collect();
        let outcome = |run: thread::ScopedJoinHandle<Result<Outcome>>| {
            run.join().map_err(|_| anyhow!("a run panicked"))?
        };
        runs.into_iter().map(outcome).collect()
    })
}

/// Runs one target from its samples, earlier findings and the corpus of earlier runs.
fn fuzz(binary: &Path, target: &Target, seconds: u32) -> Result<Outcome> {
    let corpus = workspace().join("target/fuzz/corpus").join(target.name);
    let findings = workspace().join("fuzz/regressions").join(target.name);
    std::fs::create_dir_all(&corpus)?;
    for (index, sample) in (target.samples)().iter().enumerate() {
        std::fs::write(corpus.join(format!("sample-{index}")), sample)?;
    }
    let before = files_in(&findings);
    let mut command = Command::new(binary);
    command
        .env("KAKERA_FUZZ_TARGET", target.name)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-max_len={INPUT_LEN_MAX}"))
        .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .arg("-print_final_stats=1")
        .arg(&corpus);
    if before > 0 {
        command.arg(&findings);
    } else {
        std::fs::create_dir_all(&findings)?;
    }
    let output = command.output()?;
    let log = String::from_utf8_lossy(&output.stderr);
    let found = files_in(&findings) - before;
    if found == 0 && before == 0 {
        std::fs::remove_dir(&findings)?;
    }
    if found > 0 {
        eprintln!("{}: a finding in {}\n{log}", target.name, findings.display());
    } else if !output.status.success() {
        bail!("{}: libFuzzer failed\n{log}", target.name);
    }
    let (executions, edges) = figures(&log);
    Ok(Outcome { executions, edges, findings: found })
}

/// Executions and edges, from the log's last words on them.
fn figures(log: &str) -> (f64, f64) {
    let number = |line: &str, name: &str| {
        let rest = line.split(name).nth(1)?;
        rest.split_whitespace().next()?.parse::<f64>().ok()
    };
    let last = |name: &str| log.lines().rev().find_map(|line| number(line, name)).unwrap_or(0.0);
    (last("stat::number_of_executed_units:"), last(" cov:"))
}

fn files_in(folder: &Path) -> usize {
    folder.read_dir().map_or(0, Iterator::count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_the_log() {
        let log = "#2 INITED cov: 5 ft: 6\n#9 DONE   cov: 50 ft: 61 corp: 3\n\
            stat::number_of_executed_units: 1234\nstat::peak_rss_mb: 30\n";
        assert_eq!(figures(log), (1234.0, 50.0));
    }
}
