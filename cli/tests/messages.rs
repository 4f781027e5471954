//! What the binary says and how it exits, without a network.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn kakera(data: &Path, arguments: &[&str]) -> Output {
    command(data, arguments).output().unwrap()
}

fn command(data: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kakera"));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"KAKERA_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).env("KAKERA_DATA", data).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Runs twice, for people and with `--json`, and compares both with what is expected.
fn assert_failure(
    data: &Path,
    arguments: &[&str],
    code: i32,
    kind: &str,
    message: &str,
    advice: &str,
) {
    let data_name = data.display().to_string();
    let shown = |text: &str| text.replace(&data_name, "DATA");
    let plain = kakera(data, arguments);
    assert_eq!(shown(text(&plain.stderr)), format!("error: {message}\ntry: {advice}\n"));
    assert_eq!((plain.status.code(), text(&plain.stdout)), (Some(code), ""));

    let json = kakera(data, &[&["--json"], arguments].concat());
    let answer: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(answer["error"]["kind"], kind);
    assert_eq!(shown(answer["error"]["message"].as_str().unwrap()), message);
    assert_eq!(shown(answer["error"]["try"].as_str().unwrap()), advice);
    assert_eq!((json.status.code(), text(&json.stderr)), (Some(code), ""));
}

#[test]
fn usage_errors_say_what_to_do() {
    let data = TempDir::new().unwrap();
    let usage = |arguments: &[&str], message, advice| {
        assert_failure(data.path(), arguments, 2, "usage", message, advice);
    };
    usage(&["puts"], "unrecognized subcommand 'puts'", "put");
    usage(
        &["put"],
        "the following required arguments were not provided: <PATH>...",
        "kakera put --help",
    );
    usage(&["get", "x", "--rang", "1-2"], "unexpected argument '--rang' found", "--range");
    usage(
        &["get", "x", "--range", "9-5"],
        "invalid value '9-5' for '--range <A-B>': '9-5' is empty: it goes from A up to, not including, B",
        "kakera get --help",
    );
    usage(
        &["get", "--all"],
        "the following required arguments were not provided: --output <FILE>",
        "kakera get --help",
    );
    usage(
        &["local", "up", "--code", "xor(1,2,3)", "--key-code", "5,6"],
        "invalid value 'xor(1,2,3)' for '--code <CODE>': 'xor(1,2,3)' is not a code",
        "mbr(10,5,7)",
    );
    usage(
        &["local", "up", "--code", "msr(10,5,7)", "--key-code", "5,6"],
        "msr(10,5,7): msr needs d >= 2k-2 = 8 helpers",
        "msr(10,5,8)",
    );
    usage(
        &["local", "up", "--code", "clay(14,10,12)", "--key-code", "8,9"],
        "clay(14,10,12): clay repairs from all the 13 others, neither fewer nor some",
        "clay(14,10,13)",
    );
    usage(
        &["codes", "--n", "5", "--k", "5"],
        "mbr(5,5,5): a code needs 1 <= k <= d < n",
        "kakera codes --n 20 --k 8 --d 14",
    );
    usage(&["--log", "a=b=c", "ls"], "the log filter 'a=b=c' is not one", "--log info");
}

#[test]
fn codes_are_compared_and_the_impossible_ones_explained() {
    let data = TempDir::new().unwrap();
    let output = kakera(data.path(), &["codes", "--n", "14", "--k", "10"]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    let table = text(&output.stdout);
    assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
    for code in ["rs(14,10,10)", "mbr(14,10,10)", "mbr(14,10,12)", "mbr(14,10,13)"] {
        assert!(table.lines().any(|line| line.starts_with(code)), "{code}: {table}");
    }
    let clay = table.lines().find(|line| line.starts_with("clay(14,10,13)")).unwrap();
    let cells: Vec<&str> = clay.split_whitespace().collect();
    assert_eq!((cells[1..5].to_vec(), cells.len()), (vec!["1.40", "0.325", "13", "256"], 11));
    assert!(cells[5..].iter().all(|cell| cell.parse::<f64>().unwrap() > 0.0), "{clay}");
    assert!(table.ends_with(
        "Not possible: msr(14,10,13): msr needs d >= 2k-2 = 18 helpers.\n  try: mbr(14,10,13)\n"
    ));
}

#[test]
fn codes_as_json_have_the_same_figures() {
    let data = TempDir::new().unwrap();
    let output = kakera(data.path(), &["--json", "codes", "--n", "10", "--k", "5", "--d", "8"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let codes = answer["codes"].as_array().unwrap();
    let names: Vec<&str> = codes.iter().map(|code| code["code"].as_str().unwrap()).collect();
    assert_eq!(names, ["rs(10,5,5)", "mbr(10,5,8)", "msr(10,5,8)"]);
    assert_eq!(codes[2]["stored"], 2.0);
    assert_eq!(codes[2]["moved"], 0.4);
    assert!(codes[2]["products_per_byte"]["encode"].as_f64().unwrap() > 0.0);
    assert!(codes[2]["gigabytes_per_second"]["repair"].as_f64().unwrap() > 0.0);
    assert_eq!(answer["impossible"][0]["try"], "clay(10,5,9)");
}

#[test]
fn a_json_get_needs_a_file_for_the_bytes() {
    let data = TempDir::new().unwrap();
    let output = kakera(data.path(), &["--json", "get", "x"]);
    assert_eq!(output.status.code(), Some(2));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["error"]["try"], "--output FILE");
}

#[test]
fn missing_things_are_told_from_wrong_ones() {
    let data = TempDir::new().unwrap();
    let not_found = |arguments: &[&str], message, advice| {
        assert_failure(data.path(), arguments, 3, "not_found", message, advice);
    };
    not_found(
        &["ls"],
        "there is no network file DATA/network.toml",
        "kakera local up, or --network FILE",
    );
    not_found(&["local", "status"], "there is no local network in DATA/local", "kakera local up");
    not_found(
        &["vault", "open"],
        "there is no vault in DATA",
        "kakera vault create, or kakera vault open HANDLE",
    );
    not_found(
        &["put", "/nonexistent"],
        "/nonexistent: No such file or directory (os error 2)",
        "check the path",
    );
}

#[test]
fn configuration_mistakes_are_named() {
    let data = TempDir::new().unwrap();
    let file = data.path().join("config.toml");
    std::fs::write(&file, "quotas = 5\n").unwrap();
    assert_failure(
        data.path(),
        &["ls"],
        2,
        "usage",
        "DATA/config.toml: there is no key 'quotas'",
        "the key 'quota'; all keys are network, log, gf, passphrase_file, listen, observe, mdns, quota, \
         uplink, probe_every, suspect_after, lost_after, compare_every, scrub_pause, audit_every, \
         refresh_every",
    );
    std::fs::write(&file, "quota = \"much\"\n").unwrap();
    let output = kakera(data.path(), &["ls"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("'much' is not an amount of bytes"));
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let data = TempDir::new().unwrap();
    std::fs::write(data.path().join("config.toml"), "network = \"/from/file\"").unwrap();
    let named = |command: &mut Command| {
        let output = command.output().unwrap();
        let error = text(&output.stderr);
        error.lines().next().unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!(named(&mut command(data.path(), &["ls"])), "/from/file");
    let mut from_environment = command(data.path(), &["ls"]);
    assert_eq!(named(from_environment.env("KAKERA_NETWORK", "/from/env")), "/from/env");
    let mut from_flag = command(data.path(), &["ls", "--network", "/from/flag"]);
    assert_eq!(named(from_flag.env("KAKERA_NETWORK", "/from/env")), "/from/flag");
}

#[test]
fn a_kernel_that_does_not_run_here_is_a_usage_error() {
    let data = TempDir::new().unwrap();
    let output = command(data.path(), &["ls"]).env("KAKERA_GF", "abacus").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let error = text(&output.stderr);
    assert!(error.contains("no kernel 'abacus' runs on this processor; it runs "), "{error}");
    let forced = command(data.path(), &["ls"]).env("KAKERA_GF", "portable").output().unwrap();
    assert!(!text(&forced.stderr).contains("kernel"), "{forced:?}");
}

#[test]
fn a_vault_is_made_once_and_opens_with_its_passphrase_only() {
    let data = TempDir::new().unwrap();
    let with = |passphrase: &str, arguments: &[&str]| {
        command(data.path(), arguments).env("KAKERA_PASSPHRASE", passphrase).output().unwrap()
    };
    let secret = "correct horse 馬";
    let created = with(secret, &["--json", "vault", "create", "--file", "--profile", "small"]);
    assert!(created.status.success(), "{created:?}");
    let answer: Value = serde_json::from_slice(&created.stdout).unwrap();
    assert_eq!(answer["client"].as_str().unwrap().len(), 64);

    let again = with(secret, &["vault", "create", "--file"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).starts_with("error: there is a vault already: "));

    assert!(with(secret, &["vault", "open"]).status.success());
    let wrong = with("correct horse", &["vault", "open"]);
    assert_eq!(
        (wrong.status.code(), text(&wrong.stderr)),
        (Some(6), "error: the passphrase is wrong\ntry: type it again\n")
    );
    for output in [&created, &again, &wrong] {
        assert!(!text(&output.stdout).contains("horse") && !text(&output.stderr).contains("horse"));
    }

    // A second machine takes the file, with a passphrase from a file of its own.
    let other = TempDir::new().unwrap();
    let passphrase_file = other.path().join("passphrase");
    std::fs::write(&passphrase_file, format!("{secret}\n")).unwrap();
    let vault_file = data.path().join("vault.key");
    let brought = kakera(
        other.path(),
        &[
            "vault",
            "open",
            vault_file.to_str().unwrap(),
            "--passphrase-file",
            passphrase_file.to_str().unwrap(),
        ],
    );
    assert!(brought.status.success(), "{brought:?}");
    assert_eq!(
        std::fs::read(&vault_file).unwrap(),
        std::fs::read(other.path().join("vault.key")).unwrap()
    );

    let mut damaged = std::fs::read(&vault_file).unwrap();
    damaged[60] ^= 1;
    std::fs::write(&vault_file, damaged).unwrap();
    assert_eq!(with(secret, &["vault", "open"]).status.code(), Some(5));
}

#[test]
fn a_passphrase_is_never_guessed_from_nothing() {
    let data = TempDir::new().unwrap();
    // In a session of its own there is no terminal to ask.
    let mut command = Command::new("setsid");
    command.arg("--wait").arg(env!("CARGO_BIN_EXE_kakera")).args(["vault", "create", "--file"]);
    let output = command
        .env("KAKERA_DATA", data.path())
        .env_remove("KAKERA_PASSPHRASE")
        .stdin(Stdio::null())
        .output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        text(&output.stderr).ends_with("try: --passphrase-file FILE, or set KAKERA_PASSPHRASE\n")
    );
}

#[test]
fn machines_are_founded_with_private_keys() {
    use std::os::unix::fs::MetadataExt;
    let data = TempDir::new().unwrap();
    let founded =
        kakera(data.path(), &["--json", "validator", "init", "--address", "192.0.2.1:7400"]);
    assert!(founded.status.success(), "{founded:?}");
    let network = std::fs::read_to_string(data.path().join("network.toml")).unwrap();
    assert!(network.contains("mbr(10,5,7)") && network.contains("192.0.2.1:7400"), "{network}");
    for key in ["identity.key", "operator.key"] {
        assert_eq!(data.path().join(key).metadata().unwrap().mode() & 0o777, 0o600);
    }
    let again = kakera(data.path(), &["validator", "init", "--address", "192.0.2.1:7400"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).ends_with("try: keep the key that is there\n"));

    let node = TempDir::new().unwrap();
    let made = kakera(node.path(), &["--json", "node", "init"]);
    let answer: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(answer["node"].as_str().unwrap().len(), 64);
}

/// The commands that a help text lists, with what it says of each on its first line.
fn commands(help: &str) -> Vec<(String, String)> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let rows = listed.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, about) = line.strip_prefix("  ")?.split_once("  ")?;
        (!name.is_empty() && name != "help").then(|| (name.to_owned(), about.trim().to_owned()))
    });
    rows.collect()
}

#[test]
fn every_command_has_examples_and_a_place_in_the_book() {
    let data = TempDir::new().unwrap();
    let help = |words: &[&str]| {
        let output = kakera(data.path(), &[words, &["--help"]].concat());
        assert!(output.status.success(), "{words:?}");
        text(&output.stdout).to_owned()
    };
    let whole = help(&[]);
    assert!(whole.contains("Exit codes: 0 done, 1 failure, 2 usage"));
    let book = include_str!("../../docs/commands.md");
    let in_book = |words: &str, about: &str| {
        assert!(book.contains(&format!("| `kakera {words}` | {about}")), "{words}: {about}");
    };
    for (command, about) in commands(&whole) {
        let of_command = help(&[&command]);
        assert!(of_command.contains(&format!("Examples:\n  kakera {command}")), "{command}");
        let below = commands(&of_command);
        if below.is_empty() {
            in_book(&command, &about);
        }
        for (below, about) in below {
            in_book(&format!("{command} {below}"), &about);
        }
    }
    assert_eq!(kakera(data.path(), &[]).status.code(), Some(2));
    assert!(kakera(data.path(), &["--version"]).status.success());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let data = TempDir::new().unwrap();
    let mut child = command(data.path(), &["node", "init"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}
