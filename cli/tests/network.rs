//! The binary on networks of its own processes.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A data folder with a local network; both end with it.
struct Machine {
    data: TempDir,
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.run(&["local", "down"]);
    }
}

impl Machine {
    fn new() -> Self {
        Self { data: TempDir::new().unwrap() }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        kakera(self.data.path(), arguments)
    }

    /// Runs a command that must succeed; its JSON object.
    fn ok(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["--json"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must fail; its exit code and message.
    fn failure(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run(&[&["--json"], arguments].concat());
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let message = answer["error"]["message"].as_str().unwrap().to_owned();
        (output.status.code().unwrap(), message)
    }

    fn states(&self) -> Vec<String> {
        let status = self.ok(&["local", "status"]);
        let processes = status["processes"].as_array().unwrap();
        processes.iter().map(|process| process["state"].as_str().unwrap().to_owned()).collect()
    }
}

fn kakera(data: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kakera"));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"KAKERA_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .env("KAKERA_DATA", data)
        .env("KAKERA_PASSPHRASE", "of the tests")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn write_charts(folder: &Path) {
    std::fs::create_dir_all(folder.join("2026")).unwrap();
    std::fs::write(folder.join("2026/a.hl7"), b"MSH|^~\\&|".repeat(150)).unwrap();
    std::fs::write(folder.join("empty"), b"").unwrap();
    let scan: Vec<u8> =
        (0..5_000_000u32).map(|byte| (byte.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(folder.join("scan.dcm"), scan).unwrap();
}

#[test]
fn records_outlive_the_processes_they_were_stored_on() {
    let machine = Machine::new();
    let charts = machine.data.path().join("charts");
    write_charts(&charts);
    let out = machine.data.path().join("out");
    let out_name = out.to_str().unwrap();

    machine.ok(&["local", "up", "--nodes", "3"]);
    assert_eq!(machine.states(), ["running"; 4]);
    assert_eq!(machine.failure(&["put", charts.to_str().unwrap()]).0, 3, "without a vault");
    machine.ok(&["vault", "create", "--file", "--profile", "small"]);
    let put = machine.ok(&["put", charts.to_str().unwrap()]);
    assert_eq!((&put["records"], &put["objects"]), (&3.into(), &put["objects_complete"]));

    let listed = machine.ok(&["ls", "charts/2026/"]);
    assert_eq!(listed["records"].as_array().unwrap().len(), 1);
    assert_eq!(listed["records"][0]["bytes"], 1350);
    let range = machine.run(&["get", "charts/scan.dcm", "--range", "4500000-4500100"]);
    assert_eq!(range.stdout, std::fs::read(charts.join("scan.dcm")).unwrap()[4_500_000..4_500_100]);
    assert_eq!(machine.failure(&["get", "charts/none", "-o", out_name]).0, 3);

    // Everything stops and starts again; a loss is repaired; another one is borne.
    machine.ok(&["local", "down"]);
    assert_eq!(machine.states(), ["stopped"; 4]);
    machine.ok(&["local", "up"]);
    machine.ok(&["local", "kill", "1"]);
    machine.ok(&["local", "up"]);
    assert_eq!(machine.states(), ["running", "killed", "running", "running"]);
    machine.ok(&["local", "add"]);
    let repair = machine.ok(&["repair"]);
    let moved = |figure: &str| -> u64 {
        repair["slots"].as_array().unwrap().iter().map(|slot| slot[figure].as_u64().unwrap()).sum()
    };
    assert!(moved("fragment_bytes") > 0);
    assert_eq!(moved("symbol_bytes"), moved("symbol_bytes_theory"));
    machine.ok(&["local", "kill", "2"]);
    assert_eq!(machine.ok(&["status", "charts/scan.dcm"])["groups"][0]["losses_tolerated"], 0);
    machine.ok(&["get", "--all", "-o", machine.data.path().join("all").to_str().unwrap()]);
    for name in ["2026/a.hl7", "empty", "scan.dcm"] {
        let restored = std::fs::read(machine.data.path().join("all/charts").join(name)).unwrap();
        assert!(restored == std::fs::read(charts.join(name)).unwrap(), "{name}");
    }
    let verified = machine.ok(&["ledger", "verify"]);
    assert!(verified["entries"].as_u64().unwrap() >= 8);

    // One more is too many: nothing is written, and the message says how many are missing.
    machine.ok(&["local", "kill", "3"]);
    let (code, message) = machine.failure(&["get", "charts/scan.dcm", "-o", out_name]);
    assert_eq!(code, 4, "{message}");
    assert!(message.contains("1 of the 2 holders needed") && !out.exists(), "{message}");
    machine.ok(&["local", "start", "3"]);
    machine.ok(&["get", "charts/scan.dcm", "-o", out_name]);
}

#[test]
fn a_ledger_runs_without_storage_nodes_and_stores_no_records() {
    let machine = Machine::new();
    machine.ok(&["local", "up", "--nodes", "0"]);
    assert_eq!(machine.states(), ["running"]);
    machine.ok(&["ledger", "verify"]);
    machine.ok(&["vault", "create", "--file", "--profile", "small"]);
    let file = machine.data.path().join("letter");
    std::fs::write(&file, "dear").unwrap();
    let (exit_code, message) = machine.failure(&["put", file.to_str().unwrap()]);
    assert_eq!(exit_code, 75);
    assert!(message.contains("no placement group"), "{message}");
}

#[test]
fn a_machine_that_is_not_enrolled_is_turned_away() {
    let machine = Machine::new();
    machine.ok(&["local", "up", "--nodes", "3"]);
    let stranger = TempDir::new().unwrap();
    let network = machine.data.path().join("local/network.toml");
    let ask = |arguments: &[&str]| {
        kakera(stranger.path(), &[&["--network", network.to_str().unwrap()], arguments].concat())
    };
    let made = ask(&["--json", "vault", "create", "--file", "--profile", "small"]);
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let refused = ask(&["ls"]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    machine.ok(&["node", "enrol", "--submitter", made["client"].as_str().unwrap()]);
    assert_eq!(ask(&["ls"]).status.code(), Some(0));
}

#[test]
fn the_health_of_all_groups_is_shown_again_and_again() {
    let machine = Machine::new();
    machine.ok(&["local", "up", "--nodes", "5"]);
    let mut command = Command::new(env!("CARGO_BIN_EXE_kakera"));
    command.args(["--json", "status", "--watch=100ms"]).env("KAKERA_DATA", machine.data.path());
    let mut watching = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let first = next();
    assert_eq!(first["groups_by_sound_slots"], serde_json::json!({ "5": 1 }), "{first}");
    let figures =
        ["groups", "holders", "answering", "rebuilding", "losses_tolerated", "leak_margin"];
    assert_eq!(figures.map(|name| first[name].as_i64().unwrap()), [1, 5, 5, 0, 2, 2], "{first}");
    // A new network follows the newest rules, under which nodes say what their repairs moved.
    assert_eq!(first["repairs"]["running"], 0, "{first}");
    assert_eq!(first["repairs"]["symbol_bytes"], 0, "{first}");
    machine.ok(&["local", "kill", "2"]);
    let fewer = std::iter::repeat_with(next).find(|health| health["answering"] == 4).unwrap();
    assert_eq!(fewer["groups_by_sound_slots"], serde_json::json!({ "4": 1 }), "{fewer}");
    assert_eq!(fewer["losses_tolerated"], 1, "{fewer}");
    watching.kill().unwrap();
    watching.wait().unwrap();
}

#[test]
fn a_machine_joins_with_the_line_that_the_operator_sent_and_leaves() {
    let machine = Machine::new();
    machine.ok(&["local", "up", "--nodes", "5"]);
    let invited = machine.ok(&["node", "invite", "--zone", "cellar", "--expires", "1h"]);
    let code = invited["code"].as_str().unwrap();
    assert!(!code.contains(char::is_whitespace), "{code}");
    let newcomer = TempDir::new().unwrap();
    let join = |code: &str| {
        let arguments = ["--json", "node", "join", code, "--address", "127.0.0.1:7499"];
        kakera(newcomer.path(), &arguments)
    };
    let mistyped = join(&code[..code.len() - 1]);
    assert_eq!(mistyped.status.code(), Some(2), "{mistyped:?}");
    let joined = join(code);
    assert!(joined.status.success(), "{joined:?}");
    let joined: Value = serde_json::from_slice(&joined.stdout).unwrap();
    let node = joined["node"].as_str().unwrap();
    assert!(newcomer.path().join("network.toml").exists());
    // The line is used up.
    assert!(!join(code).status.success());

    machine.ok(&["node", "retire", node]);
    let (exit_code, message) = machine.failure(&["node", "retire", node]);
    assert!(exit_code != 0 && message.contains("not enrolled"), "{message}");
}

#[test]
fn processes_deal_the_key_shares_anew() {
    let machine = Machine::new();
    machine.ok(&["local", "up", "--nodes", "3"]);
    machine.ok(&["local", "down"]);
    for node in 1..=3 {
        let folder = machine.data.path().join(format!("local/node-{node:02}"));
        std::fs::write(folder.join("config.toml"), "refresh_every = \"4s\"\n").unwrap();
    }
    machine.ok(&["local", "up"]);
    machine.ok(&["vault", "create", "--file", "--profile", "small"]);
    let file = machine.data.path().join("letter");
    std::fs::write(&file, "dear").unwrap();
    machine.ok(&["put", file.to_str().unwrap()]);
    let epoch = || machine.ok(&["status"])["groups"][0]["epoch"].as_u64().unwrap();
    let first = epoch();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    // Two more: the record's own shares were in at least one of them.
    while epoch() < first + 2 {
        assert!(std::time::Instant::now() < deadline, "no refresh within two minutes");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    let got = machine.data.path().join("got");
    machine.ok(&["get", "letter", "-o", got.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(got).unwrap(), "dear");
    let status = machine.ok(&["status"]);
    assert!(status["groups"][0]["shares_age"].as_u64().unwrap() < 60, "{status}");
    let refreshed = |node| {
        let folder = machine.data.path().join(format!("local/node-{node:02}/shares"));
        std::fs::read_dir(folder).unwrap().count() > 0
    };
    assert!((1..=3).all(refreshed), "new shares are on every disk");
}

#[test]
fn the_demonstration_shows_all_it_promises() {
    let folder = TempDir::new().unwrap();
    write_charts(&folder.path().join("charts"));
    let charts = folder.path().join("charts");
    let output = kakera(
        folder.path(),
        &["--json", "demo", "--nodes", "5", "--files", charts.to_str().unwrap()],
    );
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for key in [
        "nodes",
        "code",
        "n",
        "k",
        "d",
        "key_k",
        "key_d",
        "records",
        "bytes",
        "stored_bytes",
        "put_seconds",
        "get_seconds",
        "slots_lost",
        "repair_bytes",
        "repair_bytes_theory",
        "repair_bytes_rs",
        "key_repair_bytes",
        "restored_identical",
        "plaintext_found_on_nodes",
    ] {
        assert!(!report[key].is_null(), "{key}");
    }
    assert_eq!(report["restored_identical"], true);
    assert_eq!(report["plaintext_found_on_nodes"], 0);
    assert_eq!(report["repair_bytes"], report["repair_bytes_theory"]);
    assert!(report["repair_bytes_rs"].as_u64() > report["repair_bytes"].as_u64());
    assert_eq!((&report["records"], &report["slots_lost"]), (&3.into(), &1.into()));
}

fn validator(number: u8) -> String {
    if number == 1 { "validator".into() } else { format!("validator-{number:02}") }
}

/// Runs a command on validators in turn; how many votes for it wait for others after each, or none
/// if it is in force.
fn vote(machine: &Machine, validators: &[u8], command: &[&str]) -> Vec<Option<u64>> {
    let local = machine.data.path().join("local");
    let network = local.join("network.toml");
    let votes = validators.iter().map(|number| {
        let folder = local.join(validator(*number));
        let options = ["--json", "--network", network.to_str().unwrap(), "validator"];
        let output = kakera(&folder, &[&options, command].concat());
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let in_force = answer["in_force"].as_bool().unwrap_or_else(|| panic!("{answer}"));
        (!in_force).then(|| answer["votes"].as_u64().unwrap())
    });
    votes.collect()
}

#[test]
fn three_of_four_validators_decide() {
    let machine = Machine::new();
    machine.ok(&["local", "up", "--nodes", "1", "--validators", "4"]);
    let status = machine.ok(&["local", "status"]);
    let id = |name: &str| {
        let all = status["processes"].as_array().unwrap();
        let one = all.iter().find(|process| process["name"] == name).unwrap();
        one["id"].as_str().unwrap().to_owned()
    };
    let decided = [Some(1), Some(2), None];
    let twice = vote(&machine, &[1, 1, 2, 3], &["retain", "1"]);
    assert_eq!(twice, [Some(1), Some(1), Some(2), None]);
    assert_eq!(vote(&machine, &[4], &["retain", "1"]), [None], "there is nothing to vote on");
    assert_eq!(vote(&machine, &[4, 2, 1], &["lost", &id("1")]), decided);
    assert_eq!(vote(&machine, &[1, 2, 3], &["remove", &id(&validator(4))]), decided);
    // Of three, all must agree.
    assert_eq!(vote(&machine, &[1, 2, 3], &["remove", &id(&validator(3))]), decided);

    let events = machine.run(&["--json", "events", "--last", "9"]).stdout;
    let events = String::from_utf8(events).unwrap();
    let told = events.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        event["event"].as_str().unwrap().to_owned()
    });
    let votes = [["vote: node lost"; 3], ["vote: validators"; 3], ["vote: validators"; 3]];
    assert!(told.filter(|event| event.starts_with("vote")).eq(votes.concat()), "{events}");
    assert_eq!(machine.run(&["events", "--last", "0"]).stdout, b"");
    machine.ok(&["ledger", "verify"]);
}

/// What an auditor does: copy the chain, check it and proofs of it where there is no network.
fn audit(machine: &Machine) {
    let path = |name: &str| machine.data.path().join(name).to_str().unwrap().to_owned();
    let (copy, lines) = (path("audit"), path("entries.jsonl"));
    let (code, message) = machine.failure(&["ledger", "verify", "--folder", &copy]);
    assert!(code == 3 && message.contains("no copy"), "{message}");
    let synced = machine.ok(&["ledger", "sync", &copy]);
    let (height, entries) = (synced["height"].as_u64().unwrap(), synced["entries"].as_u64());
    assert!(height > 0 && synced["new"] == height && synced["first"] == 1, "{synced}");
    assert_eq!(machine.ok(&["ledger", "sync", &copy])["new"], 0);

    let exported = machine.ok(&["ledger", "export", "--folder", &copy, "-o", &lines]);
    assert_eq!(exported["lines"].as_u64(), entries);
    let copied = std::fs::read(&lines).unwrap();
    assert_eq!(machine.run(&["ledger", "export"]).stdout, copied, "from the network alike");
    let first: Value =
        serde_json::from_slice(copied.split(|byte| *byte == b'\n').next().unwrap()).unwrap();
    let enrolled = first["about"].as_str().unwrap().split(' ').next().unwrap().to_owned();
    let blocks = machine.run(&["ledger", "export", "--blocks", "--from", "1", "--count", "1"]);
    let block: Value = serde_json::from_slice(&blocks.stdout).unwrap();
    assert!(block["height"] == 1 && !block["signers"].as_array().unwrap().is_empty());

    let (entry, present, absent) = (path("entry"), path("present"), path("absent"));
    machine.ok(&["ledger", "prove", "--entry", "0", "--folder", &copy, "-o", &entry]);
    machine.ok(&["ledger", "prove", "--machine", &enrolled, "-o", &present]);
    let nobody = "ab".repeat(32);
    machine.ok(&["ledger", "prove", "--machine", &nobody, "--folder", &copy, "-o", &absent]);
    let beyond = ["ledger", "prove", "--entry", "999999", "--folder", &copy, "-o", &entry];
    assert_eq!(machine.failure(&beyond).0, 3);

    machine.ok(&["local", "down"]);
    assert_eq!(machine.ok(&["ledger", "verify", "--folder", &copy])["height"], height);
    let verify = |file: &str| machine.ok(&["ledger", "verify", "--proof", file]);
    assert_eq!(verify(&entry)["value"], first["bytes"]);
    assert!(verify(&present)["value"].is_string() && verify(&absent)["value"].is_null());
    for (file, what) in [(entry, "proof"), (format!("{copy}/chain.log"), "")] {
        let mut bytes = std::fs::read(&file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let option = if what == "proof" { ["--proof", &file] } else { ["--folder", &copy] };
        let (code, message) = machine.failure(&[&["ledger", "verify"], &option[..]].concat());
        assert_eq!(code, 5, "{message}");
    }
}

#[test]
fn auditors_check_copies_and_proofs_of_one_validator_without_the_network() {
    let machine = Machine::new();
    machine.ok(&["local", "up", "--nodes", "0"]);
    audit(&machine);
}

#[test]
fn auditors_check_copies_and_proofs_of_four_validators_without_the_network() {
    let machine = Machine::new();
    machine.ok(&["local", "up", "--nodes", "0", "--validators", "4"]);
    audit(&machine);
}

/// Hours in a network in use; seconds here.
fn hurry(machine: &Machine) {
    let times = "probe_every = \"300ms\"\nsuspect_after = \"1500ms\"\nlost_after = \"3s\"\n\
                 compare_every = \"5s\"\nscrub_pause = \"100ms\"\n";
    for entry in std::fs::read_dir(machine.data.path().join("local")).unwrap() {
        let folder = entry.unwrap().path();
        if folder.is_dir() {
            std::fs::write(folder.join("config.toml"), times).unwrap();
        }
    }
}

/// Waits until all holders of the group answer and are whole, and none is of `gone`.
fn wait_until_whole(machine: &Machine, gone: &[String]) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    loop {
        let status = machine.ok(&["status"]);
        let group = &status["groups"][0];
        let lost = |holder: &Value| gone.iter().any(|id| holder["node"] == id.as_str());
        let whole = group["whole"] == group["n"] && group["answering"] == group["n"];
        if whole && !group["holders"].as_array().unwrap().iter().any(lost) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{status}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[test]
fn killed_nodes_are_replaced_by_nobody_s_hand_and_rot_is_repaired() {
    let machine = Machine::new();
    let charts = machine.data.path().join("charts");
    write_charts(&charts);
    machine.ok(&["local", "up", "--nodes", "5"]);
    machine.ok(&["vault", "create", "--file", "--profile", "small"]);
    let codes = machine.ok(&["status"]);
    let n = codes["groups"][0]["n"].as_u64().unwrap();
    for _ in 0..2 {
        machine.ok(&["local", "add"]);
    }
    machine.ok(&["put", charts.to_str().unwrap()]);
    machine.ok(&["local", "down"]);
    hurry(&machine);
    machine.ok(&["local", "up"]);

    // Two holders, one after the other, with SIGKILL.
    let mut gone = Vec::new();
    for _ in 0..2 {
        let holder = machine.ok(&["status"])["groups"][0]["holders"][0]["node"].clone();
        machine.ok(&["local", "kill", &number_of(&machine, &holder).to_string()]);
        gone.push(holder.as_str().unwrap().to_owned());
        wait_until_whole(&machine, &gone);
    }
    let holders = machine.ok(&["status"])["groups"][0]["holders"].clone();
    assert_eq!(holders.as_array().unwrap().len() as u64, n);

    // A byte of a part changes on the disk of a holder: its scrub finds it.
    let holder = holders[1]["node"].clone();
    let number = number_of(&machine, &holder);
    let folder = machine.data.path().join(format!("local/node-{number:02}"));
    let part = a_file_below(&folder.join("parts"));
    // The end is the fragment; the share before it is another one after each refresh.
    let mut rotten = std::fs::read(&part).unwrap();
    let sound = rotten[rotten.len() - 100..].to_vec();
    *rotten.last_mut().unwrap() ^= 1;
    std::fs::write(&part, rotten).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !std::fs::read(&part).is_ok_and(|bytes| bytes.ends_with(&sound)) {
        assert!(std::time::Instant::now() < deadline, "{} stays rotten", part.display());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let out = machine.data.path().join("out");
    machine.ok(&["get", "charts/scan.dcm", "-o", out.to_str().unwrap()]);
    assert!(std::fs::read(out).unwrap() == std::fs::read(charts.join("scan.dcm")).unwrap());
}

/// The number of the local node that has this id.
fn number_of(machine: &Machine, id: &Value) -> u16 {
    let status = machine.ok(&["local", "status"]);
    let processes = status["processes"].as_array().unwrap();
    let process = processes.iter().find(|process| process["id"] == *id).unwrap();
    process["name"].as_str().unwrap().parse().unwrap()
}

fn a_file_below(folder: &Path) -> std::path::PathBuf {
    let entry = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    if entry.is_dir() { a_file_below(&entry) } else { entry }
}

/// Every file below a folder, by its path from there.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if let Ok(content) = std::fs::read(&path) {
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), content);
            }
        }
    }
    files
}

#[test]
fn records_have_versions_and_a_storage_comes_back_as_it_was() {
    const PATIENT: &str = "7351962840";
    const MARKER: &[u8] = b"Yamada^Taro^planted";
    let machine = Machine::new();
    machine.ok(&["local", "up", "--nodes", "3"]);
    machine.ok(&["vault", "create", "--file", "--profile", "small"]);

    // Versions: an edit, a rename, a deletion, a restoration; an unchanged file is skipped.
    let letter = machine.data.path().join("letter.txt");
    let put = || machine.ok(&["put", letter.to_str().unwrap()]);
    std::fs::write(&letter, "first").unwrap();
    assert_eq!(put()["records"], 1);
    assert_eq!(put()["unchanged"], 1);
    std::fs::write(&letter, "second").unwrap();
    assert_eq!(put()["records"], 1);
    machine.ok(&["mv", "letter.txt", "2026/letter.txt"]);
    assert_eq!(machine.failure(&["get", "letter.txt", "-o", "/dev/null"]).0, 3);
    machine.ok(&["rm", "2026/letter.txt"]);
    assert_eq!(machine.failure(&["rm", "2026/letter.txt"]).0, 3);
    machine.ok(&["restore", "2026/letter.txt", "1"]);
    let history = machine.ok(&["history", "letter.txt"]);
    let versions = history["records"][0]["versions"].as_array().unwrap();
    let kinds: Vec<_> = versions.iter().map(|version| version["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["stored", "stored", "same", "deleted", "same"]);
    assert_eq!(machine.run(&["get", "2026/letter.txt"]).stdout, b"first");
    assert_eq!(machine.run(&["get", "2026/letter.txt", "--at", "3"]).stdout, b"second");

    // A storage, changed between two imports.
    let root = machine.data.path().join("ssmix2");
    let folder = root.join("735/196").join(PATIENT).join("20260401/OML-11");
    std::fs::create_dir_all(&folder).unwrap();
    let file = |time: u64, flag: u8| {
        folder.join(format!("{PATIENT}_20260401_OML-11_000000000000001_{time:017}_01_{flag}"))
    };
    std::fs::write(file(1, 1), [b"MSH|^~\\&|", MARKER].concat()).unwrap();
    let import = || machine.ok(&["import", "ssmix2", root.to_str().unwrap()]);
    assert_eq!(import()["stored"], 1);
    std::fs::rename(file(1, 1), file(1, 2)).unwrap();
    std::fs::write(file(2, 1), [MARKER, b" corrected"].concat()).unwrap();
    let second = import();
    assert_eq!((&second["stored"], &second["renamed"]), (&1.into(), &1.into()));
    let out = machine.data.path().join("out");
    let exported = machine.ok(&["export", out.to_str().unwrap(), "--prefix", "ssmix2/"]);
    assert_eq!((&exported["files"], &exported["unchanged"]), (&2.into(), &0.into()));
    assert!(files(&out.join("ssmix2")) == files(&root));
    assert_eq!(machine.ok(&["export", out.to_str().unwrap()])["unchanged"], 2);

    // A drill reads it all and writes nothing of it.
    let drill = machine.ok(&["drill"]);
    assert_eq!((&drill["checked"], &drill["losses_tolerated"]), (&2.into(), &1.into()));
    let health = machine.ok(&["status", "2026/letter.txt"]);
    assert_eq!(health["record"]["objects_whole"], health["record"]["objects"]);

    // No byte that a node or validator has written tells a name, a patient or a content.
    let written = files(&machine.data.path().join("local"));
    assert!(written.len() > 10);
    for (path, content) in written {
        for marker in [PATIENT.as_bytes(), MARKER, b"letter.txt", b"OML-11"] {
            let found = content.windows(marker.len()).any(|window| window == marker);
            assert!(!found, "{} in {}", marker.escape_ascii(), path.display());
        }
    }
}

/// As `engine/spec/catalogue.md` §1 says of every kind of name.
#[test]
fn odd_names_are_kept_and_shown_apart_and_nothing_is_written_outside_the_folder() {
    let machine = Machine::new();
    machine.ok(&["local", "up", "--nodes", "3"]);
    machine.ok(&["vault", "create", "--file", "--profile", "small"]);
    let home = machine.data.path().join("home");
    let odd = home.join("odd");
    std::fs::create_dir_all(&odd).unwrap();
    let names: [&[u8]; 6] = [b"line\nbreak", b"caf\xe9", b"case", b"CASE", b" -o ", b"back\\slash"];
    let long = [b'n'; 255];
    for name in names.iter().copied().chain([&long[..]]) {
        std::fs::write(odd.join(OsStr::from_bytes(name)), name).unwrap();
    }
    assert_eq!(machine.ok(&["put", odd.to_str().unwrap()])["records"], 7);
    let listed = machine.ok(&["ls"]);
    let shown = listed["records"].as_array().unwrap().iter();
    let shown: BTreeSet<&str> = shown.map(|record| record["name"].as_str().unwrap()).collect();
    assert!(shown.len() == 7 && shown.contains("odd/caf\\xe9"), "{shown:?}");
    let plain = String::from_utf8(machine.run(&["ls"]).stdout).unwrap();
    assert_eq!(plain.lines().filter(|line| line.contains("odd/")).count(), 7, "{plain}");
    let out = home.join("out");
    machine.ok(&["export", out.to_str().unwrap()]);
    assert!(files(&out.join("odd")) == files(&odd));

    assert_eq!(machine.failure(&["mv", "odd/case", ""]).0, 2);
    assert_eq!(machine.failure(&["mv", "odd/case", &"n".repeat(4097)]).0, 2);
    machine.ok(&["mv", "odd/CASE", &"n".repeat(4096)]);
    machine.ok(&["mv", &"n".repeat(4096), "odd/CASE"]);
    let absolute = home.join("absolute");
    for name in ["../outside", absolute.to_str().unwrap()] {
        machine.ok(&["mv", "odd/case", name]);
        let again = home.join("again");
        let export = ["export", again.to_str().unwrap()];
        let refused = machine.run(&export);
        let told = String::from_utf8_lossy(&[refused.stdout, refused.stderr].concat()).into_owned();
        assert!(refused.status.code() == Some(6) && told.contains("outside the folder"), "{told}");
        // One object of the report and the failure.
        let refused = machine.run(&[&["--json"], &export[..]].concat());
        let answer: Value = serde_json::from_slice(&refused.stdout).unwrap();
        assert_eq!((&answer["error"]["kind"], &answer["unchanged"]), (&"denied".into(), &6.into()));
        assert!(refused.status.code() == Some(6) && refused.stderr.is_empty(), "{answer}");
        assert_eq!(machine.run(&["get", name]).stdout, b"case");
        machine.ok(&["mv", name, "odd/case"]);
    }
    let left: BTreeSet<_> =
        std::fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| name == "odd" || name == "out" || name == "again"), "{left:?}");
}

/// Every file of the machines, with its bytes.
fn machine_files(machine: &Machine) -> BTreeMap<PathBuf, Vec<u8>> {
    files(&machine.data.path().join("local"))
}

#[test]
fn a_destroyed_record_is_gone_from_every_disk_and_stays_so() {
    let machine = Machine::new();
    let charts = machine.data.path().join("charts");
    write_charts(&charts);
    let charts = charts.to_str().unwrap();
    machine.ok(&["local", "up", "--nodes", "5"]);
    machine.ok(&["vault", "create", "--file", "--profile", "small"]);
    machine.ok(&["put", charts]);
    // Kept until its date, whoever asks.
    let kept = machine.data.path().join("kept");
    std::fs::write(&kept, "to be kept").unwrap();
    machine.ok(&["put", kept.to_str().unwrap(), "--retain-until", "2999-12-31"]);
    let (code, message) = machine.failure(&["rm", "--shred", "kept"]);
    assert_eq!((code, message.contains("until 2999-12-31")), (6, true), "{message}");

    let parts = |machine: &Machine| -> Vec<PathBuf> {
        let all = machine_files(machine).into_keys();
        all.filter(|path| path.to_str().unwrap().contains("/parts/")).collect()
    };
    let before = machine_files(&machine);
    let shredded = machine.ok(&["rm", "--shred", "charts/2026/a.hl7"]);
    assert_eq!(shredded["destroyed"], true);
    let objects = shredded["objects"].as_array().unwrap();
    assert_eq!(objects.len(), 1);
    let object = objects[0]["object"].as_str().unwrap();
    assert_eq!((&objects[0]["needed"], &objects[0]["attested"]), (&3.into(), &5.into()));
    let of_object = |path: &&PathBuf| path.to_str().unwrap().ends_with(object);
    let doomed: Vec<&PathBuf> = before.keys().filter(of_object).collect();
    assert_eq!(doomed.len(), 5);
    // Not one byte of a key share is left in any file of any node.
    let after = machine_files(&machine);
    for path in doomed {
        let part = &before[path];
        let word = |at: usize| u32::from_le_bytes(part[at..at + 4].try_into().unwrap()) as usize;
        let share = &part[24 + word(12)..24 + word(12) + word(16)];
        let share = &share[share.len() - 32..];
        let holds = |bytes: &[u8]| bytes.windows(share.len()).any(|at| at == share);
        assert!(holds(part) && !after.values().any(|bytes| holds(bytes)));
    }
    assert!(!parts(&machine).iter().any(|path| path.to_str().unwrap().ends_with(object)));
    let out = machine.data.path().join("out");
    let out = out.to_str().unwrap();
    assert_eq!(machine.failure(&["get", "charts/2026/a.hl7", "-o", out]).0, 3);
    // What lay beside it is whole.
    let range = machine.run(&["get", "charts/scan.dcm", "--range", "0-100"]);
    assert_eq!(range.stdout.len(), 100);

    // Nothing comes back with a restart, a repair or a newcomer; the receipts do.
    machine.ok(&["local", "down"]);
    machine.ok(&["local", "up"]);
    machine.ok(&["local", "kill", "1"]);
    machine.ok(&["local", "add"]);
    machine.ok(&["repair"]);
    let again = machine.run(&["rm", "--shred", "charts/2026/a.hl7"]);
    let text = String::from_utf8(again.stdout).unwrap();
    // The one that burnt down left its slot in this epoch and cannot sign any more, until the shares
    // are dealt anew, which is due at once.
    let attested = if text.contains("epoch 1:") { 5 } else { 4 };
    let destroyed = format!("the shares of {attested} slots are destroyed, 3 are needed");
    assert!(text.contains(&destroyed), "{text}");
    assert!(text.contains("a lie of one of those who signed") && again.status.success(), "{text}");
    assert!(!parts(&machine).iter().any(|path| {
        path.to_str().unwrap().ends_with(object) && !path.to_str().unwrap().contains("node-01")
    }));
    let history = machine.ok(&["history", "charts/2026/a.hl7"]);
    let kinds: Vec<&str> = history["records"][0]["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| version["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["destroyed", "deleted"]);
    machine.ok(&["export", out]);
    assert_eq!(files(Path::new(out)).len(), 3);
}
