//! Blocks in a folder, one file each, written so that a file is whole or not there.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use kakera_sim::campaign::Blocks;
use kakera_sim::part::{Part, merge};
use kakera_sim::scenario::Scenario;

use crate::failure::{Failure, Kind};

/// Where array jobs say which of how many they are: index, and count if it is said.
const ARRAY_JOBS: [(&str, &str); 3] = [
    ("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"),
    ("JOB_COMPLETION_INDEX", "KAKERA_SHARDS"),
    ("AWS_BATCH_JOB_ARRAY_INDEX", "KAKERA_SHARDS"),
];

/// Which blocks to run: every `of`-th from `index` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(super) index: u64,
    pub(super) of: u64,
}

/// A shard from `I/N`, or from the environment of an array job.
pub(super) fn parse_shard(text: &str) -> Result<Shard, String> {
    if text == "auto" {
        return from_environment(|name| std::env::var(name).ok());
    }
    let shard = text
        .split_once('/')
        .and_then(|(index, of)| Some(Shard { index: index.parse().ok()?, of: of.parse().ok()? }));
    shard
        .filter(|shard| shard.index < shard.of)
        .ok_or_else(|| format!("'{text}' is not I/N with I below N, such as 0/16, or auto"))
}

fn from_environment(variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
    let found = ARRAY_JOBS.iter().find_map(|(index, of)| Some((variable(index)?, *index, *of)));
    let Some((index, name, of_name)) = found else {
        return Err("this is no array job: none of SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX and \
                    AWS_BATCH_JOB_ARRAY_INDEX is set"
            .into());
    };
    let of = variable(of_name).ok_or_else(|| format!("{name} is set, but {of_name} is not"))?;
    match (index.parse(), of.parse()) {
        (Ok(index), Ok(of)) if index < of => Ok(Shard { index, of }),
        _ => Err(format!("{name} = {index} of {of_name} = {of} is no shard; number them from 0")),
    }
}

/// The folder of the parts of a run.
pub(super) struct Folder<'a> {
    path: &'a Path,
    scenario: &'a Scenario,
}

impl<'a> Folder<'a> {
    /// Makes the folder if it is not there.
    pub(super) fn open(path: &'a Path, scenario: &'a Scenario) -> Result<Self, Failure> {
        fs::create_dir_all(path).map_err(|error| Failure::file(path, &error))?;
        Ok(Self { path, scenario })
    }

    /// The part of a block, if it was run before.
    pub(super) fn load(&self, block: u64) -> Result<Option<Part>, Failure> {
        let path = self.path.join(self.name(block));
        match fs::read(&path) {
            Ok(bytes) => read_part(&path, &bytes).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::file(&path, &error)),
        }
    }

    /// Keeps a part.
    pub(super) fn keep(&self, part: &Part) -> Result<(), Failure> {
        let path = self.path.join(self.name(part.block()));
        let failed = |error: io::Error| Failure::file(&path, &error);
        let mut file = tempfile::NamedTempFile::new_in(self.path).map_err(failed)?;
        serde_json::to_writer(&mut file, part).map_err(|error| failed(error.into()))?;
        file.flush().and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    fn name(&self, block: u64) -> String {
        format!("{}-{block:03}.json", &self.scenario.hash)
    }
}

/// The blocks of all parts of a scenario in some folders.
pub(super) fn merge_folders(scenario: &Scenario, folders: &[PathBuf]) -> Result<Blocks, Failure> {
    let mut parts = Vec::new();
    for folder in folders {
        let entries = fs::read_dir(folder).map_err(|error| Failure::file(folder, &error))?;
        let paths = entries.map(|entry| entry.map(|entry| entry.path()));
        let mut paths: Vec<PathBuf> =
            paths.collect::<Result<_, _>>().map_err(|error| Failure::file(folder, &error))?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        paths.sort();
        for path in paths {
            let bytes = fs::read(&path).map_err(|error| Failure::file(&path, &error))?;
            parts.push(read_part(&path, &bytes)?);
        }
    }
    merge(scenario, parts).map_err(|error| Failure::of(Kind::Integrity, error, ""))
}

fn read_part(path: &Path, bytes: &[u8]) -> Result<Part, Failure> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("{}: is not a part of a run: {error}", path.display());
        Failure::new(Kind::Integrity, message, format!("rm {}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_written_as_index_and_count() {
        assert_eq!(parse_shard("3/16"), Ok(Shard { index: 3, of: 16 }));
        for text in ["", "3", "16/16", "0/0", "-1/4", "a/b", "1/2/3"] {
            assert!(parse_shard(text).is_err(), "{text}");
        }
    }

    #[test]
    fn array_jobs_know_their_place() {
        let environment = |variables: &'static [(&str, &str)]| {
            from_environment(move |name| {
                let found = variables.iter().find(|(variable, _)| *variable == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        const SLURM: [(&str, &str); 2] =
            [("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_COUNT", "8")];
        assert_eq!(environment(&SLURM), Ok(Shard { index: 2, of: 8 }));
        const KUBERNETES: [(&str, &str); 2] =
            [("JOB_COMPLETION_INDEX", "7"), ("KAKERA_SHARDS", "8")];
        assert_eq!(environment(&KUBERNETES), Ok(Shard { index: 7, of: 8 }));
        assert!(environment(&[("JOB_COMPLETION_INDEX", "7")]).is_err());
        assert!(
            environment(&[("SLURM_ARRAY_TASK_ID", "8"), ("SLURM_ARRAY_TASK_COUNT", "8")]).is_err()
        );
        assert!(environment(&[]).is_err());
    }
}
