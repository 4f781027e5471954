//! The storage report (Sakai, Tohoku University): after a large loss in a short time, reliability stays
//! low for ever where a share whose last copy is gone cannot be made again; with regenerating codes
//! redundancy comes back, as long as the data is not lost.
//!
//! Twenty node processes hold a group; ten are killed at once, ten empty ones join, and nobody does
//! anything more. Times are shortened: a node is lost after 10 s.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use serde_json::Value;

use super::chart::{Axis, Chart, Series};
use crate::node_figures::Figures;
use crate::product::{self, LocalNetwork, workspace};
use crate::records::{content, holds};
use crate::report::{Goal, Report};

const NODES: u8 = 20;
const LOST: u8 = 10;
const CODE: &str = "mbr(20,8,14)";
/// Read threshold and helpers of the key code.
const KEY_CODES: [&str; 2] = ["8,9", "10,11"];
const TIMES: &str = "observe = '127.0.0.1:0'\nprobe_every = '1s'\nsuspect_after = '4s'\n\
                     lost_after = '10s'\ncompare_every = '30s'\n";
/// How long redundancy may take to come back.
const TIME_MAX: Duration = Duration::from_secs(900);

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Records
    #[arg(long, default_value_t = 60)]
    records: usize,
    /// Where every draw begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the CSV and the SVG go [default: papers/sakai-2017]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Seconds since the loss, and slots that then had all that belongs there and answered.
type Course = Vec<(f64, f64)>;

pub(crate) fn run(options: &Options) -> Result<Report> {
    let mut report = Report::new("papers sakai-2017");
    let mut courses = Vec::new();
    for key_code in KEY_CODES {
        eprintln!("sakai-2017: {CODE}, key code {key_code}, seed {}", options.seed);
        courses.push(lose_half(key_code, options, &mut report).context(key_code)?);
    }
    let published = workspace().join("papers/sakai-2017");
    let output = options.output.clone().unwrap_or(published);
    fs::create_dir_all(&output)?;
    fs::write(output.join("measured.csv"), to_csv(&courses))?;
    fs::write(output.join("redundancy.svg"), to_svg(&courses))?;
    Ok(report)
}

fn lose_half(key_code: &str, options: &Options, report: &mut Report) -> Result<Course> {
    let words = ["--nodes", &NODES.to_string(), "--code", CODE, "--key-code", key_code];
    let network = LocalNetwork::up(product::build()?, &words)?;
    network.configure(TIMES)?;
    network.create_vault()?;
    let stored = store(&network, options)?;
    let figures = Figures::watch(network.machines());

    let machines = network.running()?;
    let nodes = machines.iter().filter(|machine| !machine.is_validator());
    let start = Instant::now();
    for node in nodes.take(LOST.into()) {
        network.run(&["local", "kill", &node.name])?;
    }
    let mut course = vec![(0.0, f64::from(NODES))];
    let look = |course: &mut Course| -> Result<f64> {
        let whole = whole_slots(&network.run(&["status"])?);
        course.push((start.elapsed().as_secs_f64(), whole));
        Ok(whole)
    };
    look(&mut course)?;
    for _ in 0..LOST {
        network.run(&["local", "add"])?;
        look(&mut course)?;
    }
    while look(&mut course)? < f64::from(NODES) && start.elapsed() < TIME_MAX {
        sleep(Duration::from_secs(1));
    }

    let name = |what: &str| format!("key_{}_{what}", key_code.replace(',', "_"));
    let least = course.iter().map(|(_, whole)| *whole).fold(f64::INFINITY, f64::min);
    let (seconds, whole) = course[course.len() - 1];
    report.add(name("slots_right_after"), least).goal(Goal::AtMost(f64::from(NODES - LOST)));
    report.add(name("slots_at_the_end"), whole).goal(Goal::AtLeast(f64::from(NODES)));
    report.add(name("seconds_until_all"), seconds);
    let identical = read_back(&network, &stored)?;
    report.count(name("records_identical"), identical).goal(Goal::AtLeast(stored.len() as f64));
    figures.stop()?.add_repairs_to(&name(""), report);
    Ok(course)
}

fn store(network: &LocalNetwork, options: &Options) -> Result<BTreeMap<String, u64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let folder = network.scratch().join("records");
    fs::create_dir(&folder)?;
    let mut stored = BTreeMap::new();
    for number in 0..options.records {
        let seed = rng.next_u64();
        fs::write(folder.join(number.to_string()), content(seed))?;
        stored.insert(format!("records/{number}"), seed);
    }
    network.run(&["put", folder.to_str().context("not UTF-8")?])?;
    Ok(stored)
}

/// How many records a fresh process reads as they were stored.
fn read_back(network: &LocalNetwork, stored: &BTreeMap<String, u64>) -> Result<usize> {
    let restored = network.scratch().join("restored");
    network.run(&["get", "--all", "--output", restored.to_str().context("not UTF-8")?])?;
    Ok(stored.iter().filter(|(name, seed)| holds(&restored.join(name), **seed)).count())
}

/// Slots of the first group whose holders answer and have all.
fn whole_slots(status: &Value) -> f64 {
    let holders = status["groups"][0]["holders"].as_array();
    let whole = holders
        .into_iter()
        .flatten()
        .filter(|holder| holder["answers"] == true && holder["filling"] == false);
    whole.count() as f64
}

fn to_csv(courses: &[Course]) -> String {
    let mut csv = "key code,seconds since the loss,whole slots of 20\n".to_owned();
    for (key_code, course) in KEY_CODES.iter().zip(courses) {
        for (seconds, whole) in course {
            // Writing to a string cannot fail.
            let _ = writeln!(csv, "\"({key_code})\",{seconds:.2},{whole}");
        }
    }
    csv
}

fn to_svg(courses: &[Course]) -> String {
    let end = courses.iter().filter_map(|course| course.last()).map(|(seconds, _)| *seconds);
    let end = (end.fold(0.0, f64::max) / 60.0).ceil() * 60.0;
    let looks = [("key code (8,9)", "#0b5fa5", "none"), ("key code (10,11)", "#b3470b", "8 4")];
    let mut series: Vec<Series<'_>> = courses
        .iter()
        .zip(looks)
        .map(|(course, (name, colour, dashes))| Series {
            name,
            points: course.clone(),
            colour,
            dashes,
            width: 2.5,
        })
        .collect();
    let points = vec![(0.0, 20.0), (0.0, 10.0), (end, 10.0)];
    let name = "the source's finding without regeneration: it stays low";
    series.push(Series { name, points, colour: "#777", dashes: "2 4", width: 2.0 });
    let chart = Chart {
        title: "Half of 20 nodes lost at once, 10 empty ones join: mbr(20,8,14)",
        x_label: "seconds since the loss (a node is given up after 10 s)",
        y_label: "slots that answer and have everything, of 20",
        x_max: end,
        x_step: if end > 300.0 { 60.0 } else { 20.0 },
        y_axis: Axis::Linear(20.0, 5.0),
        series,
    };
    chart.to_svg()
}
