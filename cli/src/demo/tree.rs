//! Folders of files: what is in them, and whether two are the same.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// A file below a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TreeFile {
    /// Its path below the folder, with `/` between the parts.
    pub(crate) name: String,
    /// Bytes.
    pub(crate) len: u64,
}

/// Every regular file below `folder`, by name. Symbolic links are not followed.
pub(crate) fn files(folder: &Path) -> io::Result<Vec<TreeFile>> {
    let mut found = Vec::new();
    collect(folder, "", &mut found)?;
    found.sort_unstable();
    Ok(found)
}

fn collect(folder: &Path, prefix: &str, found: &mut Vec<TreeFile>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{name}/"), found)?;
        } else if kind.is_file() {
            found.push(TreeFile { name, len: entry.metadata()?.len() });
        }
    }
    Ok(())
}

/// The names of files that only one of two folders has, or whose bytes differ.
pub(crate) fn differences(left: &Path, right: &Path) -> io::Result<Vec<String>> {
    let (left_files, right_files) = (files(left)?, files(right)?);
    let mut different: Vec<String> = left_files
        .iter()
        .filter(|file| right_files.binary_search(file).is_err())
        .chain(right_files.iter().filter(|file| left_files.binary_search(file).is_err()))
        .map(|file| file.name.clone())
        .collect();
    for file in left_files.iter().filter(|file| right_files.binary_search(file).is_ok()) {
        if !same_bytes(&left.join(&file.name), &right.join(&file.name))? {
            different.push(file.name.clone());
        }
    }
    different.sort_unstable();
    different.dedup();
    Ok(different)
}

fn same_bytes(left: &Path, right: &Path) -> io::Result<bool> {
    let (mut left, mut right) = (File::open(left)?, File::open(right)?);
    let (mut left_block, mut right_block) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let (left_len, right_len) =
            (fill(&mut left, &mut left_block)?, fill(&mut right, &mut right_block)?);
        if left_block[..left_len] != right_block[..right_len] {
            return Ok(false);
        }
        if left_len < left_block.len() {
            return Ok(true);
        }
    }
}

/// Reads until the block is full or the file ends.
pub(super) fn fill(file: &mut File, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_wherever_they_are() {
        let (left, right) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let large = vec![7; 200_000];
        for folder in [&left, &right] {
            fs::create_dir(folder.path().join("a")).unwrap();
            fs::write(folder.path().join("a/same"), &large).unwrap();
            fs::write(folder.path().join("a/changed"), &large).unwrap();
        }
        assert!(differences(left.path(), right.path()).unwrap().is_empty());
        let mut changed = large.clone();
        changed[150_000] ^= 1;
        fs::write(right.path().join("a/changed"), &changed).unwrap();
        fs::write(right.path().join("extra"), b"").unwrap();
        fs::write(left.path().join("missing"), b"").unwrap();
        assert_eq!(
            differences(left.path(), right.path()).unwrap(),
            ["a/changed", "extra", "missing"]
        );
    }
}
