//! `kakera sim` as its users see it.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kakera_sim::validation::Effort;
use tempfile::TempDir;

const SCENARIO: &str = "\
[network]
nodes = 12
zones = 4
lifetime = { exponential = \"60d\" }
[code]
data = \"mbr(6,3,4)\"
key = { k = 3, d = 4 }
[objects]
groups = 2
[repair]
detection = { fixed = \"1h\" }
time = { exponential = \"5d\" }
[attacker]
hostile = \"10%\"
refresh = \"30d\"
[run]
horizon = \"1y\"
replications = 200
seed = 7
";

fn sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kakera")).arg("sim").args(arguments).output().unwrap()
}

/// Standard output of a run that succeeds.
fn answer(arguments: &[&str]) -> String {
    let output = sim(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn scenario(folder: &Path, text: &str) -> String {
    let path = folder.join("scenario.toml");
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn parts(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Full nodes, for some hours.
const FULL_NODES: &str = "\
[network]
nodes = 10
lifetime = { exponential = \"1d\" }
[code]
data = \"mbr(6,3,4)\"
key = { k = 3, d = 4 }
[objects]
groups = 2
bytes_per_group = \"64KiB\"
[repair]
patience = \"30min\"
rate = \"1MB/s\"
[attacker]
hostile = \"20%\"
[protocol]
object = \"16KiB\"
[run]
horizon = \"2h\"
replications = 18
";

#[test]
fn threads_and_shards_change_no_byte() {
    let counts = threads_and_shards_agree(SCENARIO);
    assert!(!counts.contains("\"trace\""), "{counts}");
    let coding = counts.split("\"kernel\":\"portable\",\"seconds\":").nth(1).unwrap();
    let seconds: f64 = coding.split('}').next().unwrap().parse().unwrap();
    assert!(seconds > 0.0 && counts.matches("\"kernel\"").count() == 4, "{counts}");
}

#[test]
fn threads_and_shards_change_no_byte_of_full_nodes() {
    let nodes = threads_and_shards_agree(FULL_NODES);
    assert!(nodes.contains("\"trace\":\""), "{nodes}");
    let folder = TempDir::new().unwrap();
    let other = FULL_NODES.replacen("[run]", "[run]\nseed = 2", 1);
    let other = answer(&["run", &scenario(folder.path(), &other), "--json"]);
    let trace = |text: &str| text.split("\"trace\":").nth(1).unwrap()[..66].to_owned();
    assert_ne!(trace(&nodes), trace(&other));
}

/// What one thread answers, and then all others.
fn threads_and_shards_agree(text: &str) -> String {
    let folder = TempDir::new().unwrap();
    let scenario = scenario(folder.path(), text);
    let whole = answer(&["run", &scenario, "--threads", "1", "--json"]);
    for threads in ["2", "8"] {
        assert_eq!(answer(&["run", &scenario, "--threads", threads, "--json"]), whole);
    }
    for shards in [1, 4, 16] {
        let kept = folder.path().join(format!("parts-{shards}")).display().to_string();
        for shard in (0..shards).rev() {
            answer(&["run", &scenario, "--parts", &kept, "--shard", &format!("{shard}/{shards}")]);
        }
        assert_eq!(answer(&["merge", &scenario, &kept, "--json"]), whole);
    }
    whole
}

/// A rule ends a run early, at the same place for any threads and for shards that ran everything.
#[test]
fn a_rule_stops_every_run_at_the_same_place() {
    let folder = TempDir::new().unwrap();
    let scenario = scenario(folder.path(), &format!("{SCENARIO}stop = {{ events = 20000 }}\n"));
    let whole = answer(&["run", &scenario, "--threads", "1", "--json"]);
    assert!(whole.contains("\"replications\":100,"), "{whole}");
    assert_eq!(answer(&["run", &scenario, "--threads", "8", "--json"]), whole);
    let kept = folder.path().join("parts").display().to_string();
    for shard in ["0/4", "1/4", "2/4", "3/4"] {
        answer(&["run", &scenario, "--parts", &kept, "--shard", shard]);
    }
    assert_eq!(answer(&["merge", &scenario, &kept, "--json"]), whole);
}

#[test]
fn a_stopped_run_goes_on_where_it_was() {
    let folder = TempDir::new().unwrap();
    let scenario = scenario(folder.path(), SCENARIO);
    let whole = answer(&["run", &scenario, "--csv"]);
    assert!(whole.lines().all(|line| line.split(',').count() == 8), "{whole}");
    let kept = folder.path().join("parts");
    let kept_name = kept.display().to_string();
    answer(&["run", &scenario, "--parts", &kept_name]);
    let written = parts(&kept);
    assert_eq!(written.len(), 64);
    for path in &written[10..] {
        fs::remove_file(path).unwrap();
    }
    let untouched = fs::metadata(&written[0]).unwrap().modified().unwrap();
    let missing = sim(&["merge", &scenario, &kept_name]);
    assert_eq!(missing.status.code(), Some(5));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("54 of 64 blocks are missing"));
    assert_eq!(answer(&["run", &scenario, "--parts", &kept_name, "--csv"]), whole);
    assert_eq!(fs::metadata(&written[0]).unwrap().modified().unwrap(), untouched);

    fs::write(&written[3], "{}").unwrap();
    let broken = sim(&["merge", &scenario, &kept_name]);
    assert_eq!(broken.status.code(), Some(5));
}

#[test]
fn a_killed_run_is_resumed() {
    is_resumed(&SCENARIO.replacen("replications = 200", "replications = 20000", 1));
}

#[test]
fn a_killed_run_of_full_nodes_is_resumed() {
    is_resumed(FULL_NODES);
}

/// Killed with -9 in the middle, then begun again: the bytes of a run that was left alone.
fn is_resumed(text: &str) {
    let folder = TempDir::new().unwrap();
    let path = scenario(folder.path(), text);
    let blocks = kakera_sim::scenario::Scenario::parse(text).unwrap().campaign.blocks() as usize;
    let kept = folder.path().join("parts");
    let kept_name = kept.display().to_string();
    let arguments = ["sim", "run", &path, "--threads", "1", "--parts", &kept_name, "--json"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_kakera"))
        .args(arguments)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let whole_parts = || {
        let entries = fs::read_dir(&kept).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "json")).count()
    };
    while whole_parts() < 3 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = whole_parts();
    assert!((3..blocks).contains(&before), "{before} of {blocks}");
    let resumed = answer(&arguments[1..]);
    assert_eq!(resumed, answer(&["run", &path, "--json"]));
}

#[test]
fn bad_scenarios_are_refused_in_one_line() {
    let folder = TempDir::new().unwrap();
    for (from, to, message) in [
        ("nodes = 12", "nods = 12", "network.nodes: is missing"),
        ("\"60d\"", "\"60\"", "network.lifetime.exponential: '60' has no unit"),
        ("\"5d\"", "\"-5d\"", "repair.time.exponential: '-5d' is below zero"),
        ("mbr(6,3,4)", "mbr(6,7,4)", "code.data: mbr(6,7,4): a code needs 1 <= k <= d < n"),
        (
            "groups = 2",
            "groups = 1000000000000",
            "objects.groups: 1000000000000 groups need 70000 GB of memory a thread\ntry: groups = 178956970",
        ),
        (
            "nodes = 12",
            "nodes = 1000000000000",
            "network.nodes: 1000000000000 machines need 102000 GB of memory a thread\ntry: nodes = ",
        ),
        ("seed = 7", "sed = 7", "run.sed: there is no such key\ntry: 'seed'"),
        ("groups = 2", "group = 2", "objects.group: there is no such key\ntry: 'groups'"),
        ("[network]", "[network", "line 1:"),
        ("d = 4 }", "d = 7 }", "code.key.k: (n, k, d) = (6, 3, 7)"),
        ("{ exponential = \"60d\" }", "{ empirical = [] }", "there are no observations"),
        ("\"10%\"", "\"-3%\"", "attacker.hostile: '-3%' is not a share"),
        ("horizon = \"1y\"", "horizon = 1", "run.horizon: '1' has no unit"),
        ("[run]", "[mass_loss]\nat = \"9d\"\n[run]", "mass_loss.share: is missing"),
        ("replications = 200", "replications = 0", "run.replications: 0 is not between"),
        ("mbr(6,3,4)", "mbr(6,3,6)", "code.data: mbr(6,3,6): a code needs 1 <= k <= d < n"),
        ("zones = 4", "churn = \"napster\"", "network.churn: there is no churn"),
        ("[run]", "[corruption]\nshare = 9\n[run]", "corruption.share: '9' has no unit"),
        ("zones = 4", "kinds = [{ nodes = 13 }]", "network.kinds[1].nodes: 13 is not between"),
    ] {
        let path = scenario(folder.path(), &SCENARIO.replacen(from, to, 1));
        let refused = sim(&["run", &path]);
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let text = String::from_utf8(refused.stderr).unwrap();
        assert!(text.starts_with("error: ") && text.contains(message), "{text}");
        assert!(text.lines().count() == 2 && text.contains("\ntry: "), "{text}");
    }
    let missing = sim(&["run", "nowhere.toml"]);
    assert_eq!(missing.status.code(), Some(3));
}

#[test]
fn every_published_number_has_a_page() {
    let papers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../papers");
    for row in kakera_sim::validation::rows() {
        let page = fs::read_to_string(papers.join(row.folder).join("README.md")).unwrap();
        assert!(page.contains(&format!("kakera sim validate {}", row.id)), "{}", row.id);
        assert!(page.contains(row.source), "{}", row.id);
    }
}

/// What is exact stands in the pages in its digits; what is estimated, where a short run of it may be.
#[test]
fn pages_say_what_is_computed() {
    let papers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../papers");
    for row in kakera_sim::validation::rows() {
        let page = fs::read_to_string(papers.join(row.folder).join("README.md")).unwrap();
        let lines: Vec<Vec<&str>> = page
            .lines()
            .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
            .collect();
        for check in row.checks(Effort::Short) {
            let said = lines.iter().filter(|cells| cells.len() == 6 && cells[0] == check.what);
            let said: Vec<f64> = said.map(|cells| cells[3].parse().unwrap()).collect();
            let [low, high] = check.interval.unwrap_or_else(|| {
                let slack = check.reproduced.abs() * 1e-5;
                [check.reproduced - slack, check.reproduced + slack]
            });
            let right = said.iter().any(|said| (low..=high).contains(said));
            assert!(right, "{}: {}: {said:?} of {low} to {high}", row.id, check.what);
        }
    }
}

/// 150 million groups on 1024 threads: what a run of it takes is said, and nothing is begun.
#[test]
fn a_run_that_cannot_fit_is_refused_with_the_figure() {
    let folder = TempDir::new().unwrap();
    let large = SCENARIO.replacen("groups = 2", "groups = 150000000", 1);
    let path = scenario(folder.path(), &large);
    let refused = sim(&["run", &path, "--threads", "1024"]);
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("1024 threads need ") && text.contains(" GB of memory"), "{text}");
}

/// Every one is explained, and run a few times.
#[test]
fn ready_scenarios_are_sound() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/scenarios");
    let scratch = TempDir::new().unwrap();
    let mut ran = 0;
    for path in parts(&folder) {
        let text = answer(&["explain", &path.display().to_string()]);
        assert!(text.contains("exact answer"), "{text}");
        let text = fs::read_to_string(&path).unwrap();
        let (before, after) = text.split_once("replications = ").unwrap();
        // A month of full nodes is long.
        let before = match text.contains("[protocol]") {
            true => before.replace("horizon = \"30d\"", "horizon = \"5min\""),
            false => before.to_owned(),
        };
        let after = after.trim_start_matches(|digit: char| digit.is_ascii_digit());
        let short = scenario(scratch.path(), &format!("{before}replications = 2{after}"));
        let summary = answer(&["run", &short, "--threads", "1"]);
        assert!(summary.contains("\n2 runs, "), "{}: {summary}", path.display());
        ran += 1;
    }
    assert!(ran >= 9);
}

#[test]
fn designs_meet_their_targets_or_the_reason_is_said() {
    let networks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/networks");
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("designs.html").display().to_string();
    let clinics = networks.join("seven-clinics.toml").display().to_string();
    let table = answer(&["design", &clinics, "--html", &page]);
    assert!(table.contains("least storage") && table.contains("safest secret"), "{table}");
    let html = fs::read_to_string(&page).unwrap();
    assert!(html.matches("<svg").count() == 3 && html.contains("bytes stored a byte of objects"));
    let first = scenario(folder.path(), &answer(&["design", &clinics, "--scenario", "1"]));
    assert!(answer(&["calc", &first]).contains("P(a group leaks)"));

    let text = fs::read_to_string(&clinics).unwrap();
    let greedy = scenario(folder.path(), &format!("{text}storage = 1.01\n"));
    let refused = sim(&["design", &greedy]);
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.starts_with("error: impossible, because storage factor of 1.01"), "{text}");
    assert!(text.lines().count() == 2 && text.contains("\ntry: storage = "), "{text}");
}

#[test]
fn rules_that_stop_a_run_are_explained() {
    let folder = TempDir::new().unwrap();
    let explain = |rule: &str| {
        let path = scenario(folder.path(), &format!("{SCENARIO}{rule}"));
        answer(&["explain", &path])
    };
    assert!(!explain("").contains("it stops"));
    let text = explain("stop = { half_width = \"5%\", seen = 100, events = 20000 }\n");
    let expected = "early once every interval is within 5 % of its value, or 100 groups are lost, \
                    and as many leaked, or 20000 events are handled; seen after every 8 blocks";
    assert!(text.contains("it stops") && text.contains(expected), "{text}");
}

#[test]
fn plans_and_influences_are_told() {
    let folder = TempDir::new().unwrap();
    let path = scenario(folder.path(), SCENARIO);
    let plan = answer(&["plan", &path, "--half-width", "5%"]);
    assert!(plan.contains("replications") && plan.contains("P(any group leaks)"), "{plan}");
    let influence = answer(&["sensitivity", &path]);
    for parameter in ["network.lifetime", "repair.time", "attacker.hostile", "attacker.refresh"] {
        assert!(influence.contains(parameter), "{influence}");
    }
}

#[test]
fn traces_become_laws() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("trace.csv").display().to_string();
    let mut trace = String::from("node,start,end\n");
    for node in 0..40 {
        for session in 0..5 {
            let start = session * 5000 + node * 7;
            let end = start + 300 + (node * 37 + session * 911) % 3000;
            trace.push_str(&format!("n{node},{start},{end}\n"));
        }
    }
    fs::write(&path, trace).unwrap();
    let laws = answer(&["fit", &path]);
    assert!(laws.contains("pauses.session") && laws.contains("{ weibull = { shape = "), "{laws}");
    for (text, message) in [("", "there are no sessions"), ("a,1,2\nb,3\n", "line 2: has 2 fields")]
    {
        fs::write(&path, text).unwrap();
        let refused = sim(&["fit", &path]);
        assert_eq!(refused.status.code(), Some(2));
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(said.contains(message) && said.lines().count() == 2, "{said}");
    }
}

#[test]
fn reports_stand_alone() {
    let folder = TempDir::new().unwrap();
    let path = scenario(folder.path(), SCENARIO);
    let page = folder.path().join("report.html").display().to_string();
    answer(&["run", &path, "--html", &page]);
    let html = fs::read_to_string(&page).unwrap();
    for part in ["P(a group is not lost)", "P(a group has leaked)", "MB a machine and month"] {
        assert!(html.contains(part), "{part}");
    }
    assert!(html.matches("<svg").count() == 3 && !html.contains("NaN"));
    assert!(!html.contains("http://") || html.matches("http://").count() == 3, "only SVG's name");
}

/// Losses that counting does not see are estimated in another way, and that is said.
#[test]
fn rare_losses_are_not_only_counted() {
    let folder = TempDir::new().unwrap();
    let rare = SCENARIO.replacen("groups = 2", "groups = 1", 1).replacen(
        "exponential = \"5d\"",
        "fixed = \"8h\"",
        1,
    );
    let serial = rare.replacen("[repair]", "[repair]\nmode = \"one-by-one\"", 1);
    for (rare, method) in [(rare, "crossings"), (serial, "splitting")] {
        let path = scenario(folder.path(), &rare);
        let output = sim(&["run", &path]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("estimating their loss by {method}")), "{said}");
        assert!(String::from_utf8(output.stdout).unwrap().contains(method));
    }
}

#[test]
fn an_exact_answer_or_the_reason_why_not() {
    let folder = TempDir::new().unwrap();
    let path = scenario(folder.path(), SCENARIO);
    let refused = sim(&["calc", &path]);
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(text.contains("repair.detection follows a law with memory"), "{text}");
    let exponential = SCENARIO.replacen("{ fixed = \"1h\" }", "{ exponential = \"1h\" }", 1);
    let path = scenario(folder.path(), &exponential);
    let text = answer(&["calc", &path]);
    assert!(text.contains("P(a group is lost)") && text.contains("exact"), "{text}");
}
