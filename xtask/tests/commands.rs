//! The commands that are spoken of are there.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

#[test]
fn every_command_that_a_text_names_explains_itself() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let texts = ["README.md", "ARCHITECTURE.md", ".ci/run"];
    let texts = texts.map(|name| std::fs::read_to_string(workspace.join(name)).unwrap()).concat();
    let command = |rest: &str| -> String {
        rest.chars().take_while(|letter| letter.is_ascii_lowercase() || *letter == '-').collect()
    };
    let commands: BTreeSet<String> = texts.split("xtask ").skip(1).map(command).collect();
    for name in commands.iter().filter(|name| !name.is_empty()) {
        let output =
            Command::new(env!("CARGO_BIN_EXE_xtask")).args([name, "--help"]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    }
    assert!(commands.contains("compare") && commands.contains("fuzz"), "{commands:?}");
}
