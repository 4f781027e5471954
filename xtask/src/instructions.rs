//! Instructions of the coding kernels under callgrind, against recorded counts.
//!
//! Times vary with the machine and its neighbours, instruction counts do not: a change that makes a
//! kernel do more shows here. Valgrind has neither AVX-512 nor GFNI, so the series are of the AVX2
//! and the portable kernel; the loop and the matrices are those of all kernels.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::report::{Goal, Report};

/// More than the recorded count by this factor is a regression.
const TOLERANCE: f64 = 1.03;

/// Kernel, code, operation, and instructions per KiB coded, as recorded with Rust 1.95.
const SERIES: [(&str, &str, &str, f64); 9] = [
    ("avx2", "rs(10,5,5)", "encode", 1661.0),
    ("avx2", "rs(10,5,5)", "decode", 1551.0),
    ("avx2", "mbr(10,5,9)", "encode", 3118.0),
    ("avx2", "mbr(10,5,9)", "decode", 2155.0),
    ("avx2", "mbr(10,5,9)", "repair", 1744.0),
    ("avx2", "msr(10,5,8)", "encode", 2515.0),
    ("avx2", "msr(10,5,8)", "decode", 3365.0),
    ("avx2", "msr(10,5,8)", "repair", 2216.0),
    ("portable", "rs(10,5,5)", "encode", 11569.0),
];

/// What to count
#[derive(Args, Debug)]
pub(crate) struct Options {}

/// Builds the counted program and counts every series.
pub(crate) fn run(_: &Options) -> Result<Report> {
    let program = build()?;
    let mut report = Report::new("instructions");
    for (kernel, code, operation, recorded) in SERIES {
        // The difference of two runs is free of the start and of what is prepared once.
        let (once, bytes) = count(&program, [kernel, code, operation], 1)?;
        let (thrice, _) = count(&program, [kernel, code, operation], 3)?;
        let per_kib = (thrice - once) / 2.0 / (bytes / 1024.0);
        report
            .add(format!("{kernel} {code} {operation}, instructions per KiB"), per_kib)
            .goal(Goal::AtMost(recorded * TOLERANCE));
    }
    Ok(report)
}

pub(crate) fn build() -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
    let folder = workspace.join("target");
    let status = Command::new(env!("CARGO"))
        .current_dir(workspace)
        .args(["build", "--quiet", "--locked", "--release", "--package", "kakera-engine"])
        .args(["--example", "code_repeatedly", "--target-dir"])
        .arg(&folder)
        .status()?;
    ensure!(status.success(), "the counted program does not build");
    Ok(folder.join("release/examples/code_repeatedly"))
}

/// Instructions of one run, and the bytes that it codes each time.
fn count(program: &Path, series: [&str; 3], times: usize) -> Result<(f64, f64)> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(series)
        .arg(times.to_string())
        .output()
        .context("valgrind does not start; install the package valgrind")?;
    let log = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} {} {}:\n{log}", series[0], series[1], series[2]);
    let bytes = bytes_a_time(&output.stdout).context("no count of bytes")?;
    Ok((collected(&log).context(log.into_owned())?, bytes))
}

/// The bytes that the program says that it codes each time.
pub(crate) fn bytes_a_time(output: &[u8]) -> Option<f64> {
    String::from_utf8_lossy(output).split_whitespace().next()?.parse().ok()
}

/// The instructions that callgrind tells at its end.
fn collected(log: &str) -> Option<f64> {
    let line = log.lines().rev().find_map(|line| line.split("Collected : ").nth(1))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_the_log() {
        let log = "==7== \n==7== Events    : Ir\n==7== Collected : 123456\n==7== \n";
        assert_eq!(collected(log), Some(123_456.0));
        assert_eq!(collected("==7== Process terminating"), None);
    }
}
