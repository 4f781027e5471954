//! The programs of pinned commits, built from this repository's own history.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::product::workspace;

/// The last commit of the single validator: version 1 of the ledger's rules.
pub(super) const SINGLE_VALIDATOR: &str = "ab77c0e22a9082b9602b37a14c312c7f6d6636cb";
/// The last commit of version 6 of the rules: it knows handles, catalogues and several validators.
pub(super) const WITH_HANDLES: &str = "ee517f21f0222d513a8f3f0d2c0a16f715e75e0b";

/// The release build of a commit's program. The checkout and what cargo made of it stay under
/// `target/upgrade` for the next run.
pub(super) fn build(commit: &str) -> Result<PathBuf> {
    let folder = workspace().join("target/upgrade").join(commit);
    if !folder.exists() {
        check_out(commit, &folder)?;
    }
    eprintln!("upgrade: building {}", &commit[..8]);
    let status = Command::new(env!("CARGO"))
        .current_dir(&folder)
        // Its own folder, however this build was configured.
        .args(["build", "--quiet", "--locked", "--release", "--package", "kakera"])
        .args(["--target-dir", "target"])
        .status()?;
    ensure!(status.success(), "kakera of commit {commit} does not build");
    Ok(folder.join("target/release/kakera"))
}

/// Writes the commit's files to a folder, whole or not at all.
fn check_out(commit: &str, folder: &Path) -> Result<()> {
    let known = Command::new("git")
        .current_dir(workspace())
        .args(["cat-file", "-e", &format!("{commit}^{{commit}}")])
        .stderr(Stdio::null())
        .status();
    ensure!(
        known.context("git is needed to check out the old program")?.success(),
        "commit {commit} is not in this repository's history; try: git fetch --unshallow, or \
         clone without --depth"
    );
    let parent = folder.parent().context("no parent")?;
    fs::create_dir_all(parent)?;
    let unfinished = tempfile::tempdir_in(parent)?;
    let archive = Command::new("git")
        .current_dir(workspace())
        .args(["archive", commit])
        .stdout(Stdio::piped())
        .spawn()?;
    let files = archive.stdout.context("git archive has no output")?;
    let unpacked =
        Command::new("tar").arg("-x").current_dir(unfinished.path()).stdin(files).status()?;
    ensure!(unpacked.success(), "the files of commit {commit} cannot be unpacked");
    Ok(fs::rename(unfinished.keep(), folder)?)
}
