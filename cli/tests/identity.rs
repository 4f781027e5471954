//! A vault behind a handle, on networks of the binary's own processes.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A machine: a data folder, and the network file that it was given.
struct Machine {
    data: TempDir,
    network: Option<PathBuf>,
}

impl Machine {
    fn new(network: Option<PathBuf>) -> Self {
        let data = TempDir::new().unwrap();
        // As the program makes it itself: nobody else may look into it.
        std::fs::set_permissions(data.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        Self { data, network }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kakera"));
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"KAKERA_") {
                command.env_remove(name);
            }
        }
        command.args(arguments).env("KAKERA_DATA", self.data.path());
        command.envs(self.network.iter().map(|network| ("KAKERA_NETWORK", network)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, passphrase: Option<&str>, arguments: &[&str]) -> Output {
        let arguments = [&["--json"], arguments].concat();
        let mut command = self.command(&arguments);
        command.envs(passphrase.map(|passphrase| ("KAKERA_PASSPHRASE", passphrase)));
        command.output().unwrap()
    }

    fn ok(&self, passphrase: Option<&str>, arguments: &[&str]) -> Value {
        let output = self.run(passphrase, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn fails(&self, passphrase: &str, arguments: &[&str]) -> (i32, String) {
        let output = self.run(Some(passphrase), arguments);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), answer["error"]["message"].as_str().unwrap().to_owned())
    }

    fn get(&self, passphrase: Option<&str>, name: &str) -> Vec<u8> {
        let mut command = self.command(&["get", name]);
        command.envs(passphrase.map(|passphrase| ("KAKERA_PASSPHRASE", passphrase)));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }
}

/// A local network of four validators and three nodes, which ends with it.
struct LocalNetwork(Machine);

impl LocalNetwork {
    fn new() -> Self {
        let network = Self(Machine::new(None));
        network.0.ok(None, &["local", "up", "--nodes", "3", "--validators", "4"]);
        network
    }

    fn file(&self) -> PathBuf {
        self.0.data.path().join("local/network.toml")
    }
}

impl Drop for LocalNetwork {
    fn drop(&mut self) {
        self.0.run(None, &["local", "down"]);
    }
}

/// The files below a folder in which one of the markers stands.
fn files_with(folder: &Path, markers: &[&[u8]]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files_with(&entry.path(), markers));
        } else if kind.is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            let has = |marker: &&[u8]| bytes.windows(marker.len()).any(|part| *part == **marker);
            if markers.iter().any(has) {
                found.push(entry.path());
            }
        }
    }
    found
}

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_vault_opens_on_another_machine_and_leaves_nothing_behind() {
    let network = LocalNetwork::new();
    let owner = &network.0;
    let letter = owner.data.path().join("letter");
    std::fs::write(&letter, b"dear patient").unwrap();

    let made = owner.ok(None, &["vault", "create", "--name", "sato", "--profile", "small"]);
    let (handle, passphrase) =
        (made["handle"].as_str().unwrap(), made["passphrase"].as_str().unwrap());
    assert!(handle.starts_with("sato.") && passphrase.split(' ').count() == 7);
    let own = Some(passphrase);
    owner.ok(own, &["put", letter.to_str().unwrap()]);
    std::fs::remove_file(&letter).unwrap();

    // Another machine, which nobody enrolled, with the network file, the handle and the passphrase.
    let fresh = Machine::new(Some(network.file()));
    let mistyped =
        format!("{}{}", &handle[..handle.len() - 1], if handle.ends_with('0') { '1' } else { '0' });
    assert_eq!(fresh.fails(passphrase, &["vault", "open", &mistyped]).0, 2);
    let wrong = fresh.fails("antics gravel mauve", &["vault", "open", handle]);
    assert_eq!(wrong, (6, "the passphrase is wrong".to_owned()));
    fresh.ok(own, &["vault", "open", &handle.to_uppercase()]);
    assert_eq!(fresh.get(own, "letter"), b"dear patient");

    // With the agent nobody asks any more.
    let mut agent = fresh.command(&["vault", "agent"]);
    let _agent = Agent(agent.env("KAKERA_PASSPHRASE", passphrase).spawn().unwrap());
    let begin = Instant::now();
    while !fresh.data.path().join("agent.sock").exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "the agent does not listen");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(fresh.get(None, "letter"), b"dear patient");
    let kit = fresh.ok(None, &["vault", "recovery", "--shares", "3", "--threshold", "2"]);
    fresh.ok(None, &["vault", "lock"]);
    let asked = fresh.fails("antics gravel mauve", &["ls"]);
    assert_eq!(asked, (6, "the passphrase is wrong".to_owned()), "the agent has forgotten it");

    // Whoever has two shares of the kit needs no passphrase, and makes a new one.
    let shares: Vec<&str> =
        kit["shares"].as_array().unwrap().iter().map(|share| share.as_str().unwrap()).collect();
    let third = Machine::new(Some(network.file()));
    let paper = third.data.path().join("paper");
    std::fs::write(&paper, format!("{}\n\n{}\n", shares[2], shares[0])).unwrap();
    let recover =
        ["vault", "recover", handle, "--profile", "small", "--shares", paper.to_str().unwrap()];
    let recovered = third.ok(None, &recover);
    std::fs::remove_file(&paper).unwrap();
    let newest = recovered["passphrase"].as_str().unwrap();
    assert_eq!(third.get(Some(newest), "letter"), b"dear patient");
    assert_eq!(owner.fails(passphrase, &["ls"]), (6, "the passphrase is wrong".to_owned()));
    assert_eq!(owner.get(Some(newest), "letter"), b"dear patient");

    // No secret was written by any process of any machine, validators and nodes included.
    let root = kakera_root(&shares);
    let markers: [&[u8]; 5] =
        [passphrase.as_bytes(), newest.as_bytes(), shares[0].as_bytes(), &root, b"dear patient"];
    for machine in [owner, &fresh, &third] {
        let found = files_with(machine.data.path(), &markers);
        assert!(found.is_empty(), "{found:?}");
        assert!(!machine.data.path().join("vault.key").exists());
    }
    // The test would notice.
    std::fs::write(&letter, root).unwrap();
    assert_eq!(files_with(owner.data.path(), &markers), [letter]);
}

fn kakera_root(shares: &[&str]) -> [u8; 32] {
    *kakera_engine::identity::open_kit(shares).unwrap().expose()
}

#[test]
fn a_vault_file_moves_behind_a_handle_and_weak_passphrases_are_refused() {
    let network = LocalNetwork::new();
    let owner = &network.0;
    let strong = "unglazed pumice stroller mauve";
    owner.ok(Some(strong), &["vault", "create", "--file", "--profile", "small"]);
    let letter = owner.data.path().join("letter");
    std::fs::write(&letter, b"dear patient").unwrap();
    owner.ok(Some(strong), &["put", letter.to_str().unwrap()]);

    let fresh = Machine::new(Some(network.file()));
    let weak = fresh.fails("of the tests", &["vault", "create", "--profile", "small"]);
    assert_eq!(weak.0, 2);
    assert!(weak.1.starts_with("the passphrase is too weak"), "{}", weak.1);
    let (code, message) = fresh.fails(strong, &["vault", "create", "--profile", "small"]);
    assert_eq!(code, 6, "nobody enrolled it: {message}");

    let moved = owner.ok(Some(strong), &["vault", "move-to-handle", "--profile", "small"]);
    assert!(!owner.data.path().join("vault.key").exists());
    assert_eq!(owner.get(Some(strong), "letter"), b"dear patient");
    fresh.ok(Some(strong), &["vault", "open", moved["handle"].as_str().unwrap()]);
    assert_eq!(fresh.get(Some(strong), "letter"), b"dear patient");

    // Another passphrase, from standard input of a new vault and from a file of this one.
    let file = fresh.data.path().join("new");
    std::fs::write(&file, "antics gravel dandelion mauve\n").unwrap();
    fresh.ok(
        Some(strong),
        &["vault", "passphrase", "--profile", "small", "--new-file", file.to_str().unwrap()],
    );
    assert_eq!(owner.fails(strong, &["ls"]).0, 6);
    assert_eq!(owner.get(Some("antics gravel dandelion mauve"), "letter"), b"dear patient");

    let other = Machine::new(Some(network.file()));
    let mut create =
        other.command(&["vault", "create", "--passphrase-stdin", "--profile", "small"]);
    let mut child = create.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"password\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
