//! What machines show over HTTP, against its documentation.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A local network whose machines are observed; it ends with it.
struct Network(TempDir);

impl Drop for Network {
    fn drop(&mut self) {
        self.run(&["local", "down"]);
    }
}

impl Network {
    fn new() -> Self {
        let network = Self(TempDir::new().unwrap());
        network.run(&["local", "up", "--nodes", "3"]);
        network.run(&["local", "down"]);
        for folder in network.folders() {
            std::fs::write(folder.join("config.toml"), "observe = \"127.0.0.1:0\"\n").unwrap();
        }
        network.run(&["local", "up"]);
        network
    }

    fn run(&self, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kakera"));
        command.args(arguments).env("KAKERA_DATA", self.0.path());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    fn folders(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.0.path().join("local")).unwrap();
        let folders = entries.map(|entry| entry.unwrap().path());
        folders.filter(|path| path.is_dir()).collect()
    }
}

/// Status line and body.
fn ask(machine: &Path, method: &str, path: &str) -> (String, String) {
    let address = std::fs::read_to_string(machine.join("observed")).unwrap();
    let mut stream = TcpStream::connect(address.trim()).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

/// A node that starts has to hear of a validator first.
fn wait_until_ready(machine: &Path) {
    let start = Instant::now();
    loop {
        match ask(machine, "GET", "/readyz") {
            (status, body) if status.ends_with("200 OK") => break assert_eq!(body, "ok\n"),
            (status, reason) => {
                assert!(status.ends_with("503 Service Unavailable"), "{status}");
                assert!(reason.contains("no validator was heard since the start"), "{reason}");
                assert!(start.elapsed() < Duration::from_secs(30), "{reason}");
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Names with their meaning, as the text has them.
fn described(text: &str) -> BTreeSet<(String, String)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
    lines.map(|line| line.split_once(' ').map(|(n, h)| (n.into(), h.into())).unwrap()).collect()
}

#[test]
fn machines_show_what_is_documented_and_whether_they_can_work() {
    let network = Network::new();
    let mut shown = BTreeSet::new();
    for machine in network.folders() {
        assert_eq!(ask(&machine, "GET", "/livez"), ("HTTP/1.1 200 OK".into(), "ok\n".into()));
        wait_until_ready(&machine);
        let (status, text) = ask(&machine, "GET", "/metrics");
        assert!(status.ends_with("200 OK") && text.ends_with("# EOF\n"), "{status} {text}");
        assert!(text.lines().any(|line| line.starts_with("kakera_requests_total ")), "{text}");
        shown.extend(described(&text));
        assert!(ask(&machine, "GET", "/").0.ends_with("404 Not Found"));
        assert!(ask(&machine, "POST", "/metrics").0.ends_with("405 Method Not Allowed"));
    }

    let book = include_str!("../../docs/metrics.md");
    let rows = book.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    let documented: BTreeSet<(String, String)> = rows
        .filter_map(|row| match row.split(" | ").collect::<Vec<_>>()[..] {
            [name, _, _, meaning] => Some((name.strip_suffix('`')?.into(), meaning.into())),
            _ => None,
        })
        .collect();
    assert_eq!(documented, shown);
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_what_to_do() {
    let network = Network::new();
    let file = network.0.path().join("local/network.toml");
    let examine = |data: &Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kakera"));
        command.args(["--json", "doctor", "--network", file.to_str().unwrap()]);
        let output = command.env("KAKERA_DATA", data).output().unwrap();
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        let findings = answer["findings"].as_array().unwrap();
        let wrong = findings.iter().filter(|finding| finding["state"] != "ok").map(|finding| {
            assert!(finding["fix"].is_string(), "{finding}");
            let text = |name: &str| finding[name].as_str().unwrap().to_owned();
            (text("check"), text("state"))
        });
        (output.status.code().unwrap(), wrong.collect::<Vec<_>>(), answer)
    };
    let named = |check: &str, state: &str| (check.to_owned(), state.to_owned());

    let validator = network.0.path().join("local/validator");
    let (code, wrong, answer) = examine(&validator);
    assert_eq!((code, wrong), (0, vec![named("key backup", "warning")]), "{answer}");
    let node = network.folders().into_iter().find(|folder| folder.join("parts").exists()).unwrap();
    std::fs::write(node.join("config.toml"), "quota = '1GB'\n").unwrap();
    let (code, wrong, answer) = examine(&node);
    assert_eq!((code, wrong), (0, vec![]), "{answer}");

    network.run(&["local", "kill", "1"]);
    network.run(&["local", "kill", "2"]);
    network.run(&["local", "kill", "3"]);
    std::fs::set_permissions(&node, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (code, wrong, answer) = examine(&node);
    let expected = [
        named("data folder", "warning"),
        named("storage nodes", "warning"),
        named("port", "failed"),
    ];
    assert_eq!((code, wrong), (1, expected.to_vec()), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().starts_with("1 of "), "{answer}");
    let key = node.join("identity.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (code, wrong, answer) = examine(&node);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(code, 1, "{answer}");
    assert!(wrong.contains(&named("key", "failed")), "{answer}");
}
