//! `restore`: a third of the nodes is replaced, then a machine that has nothing but the network file,
//! the handle and the passphrase restores everything; and nothing that may be read lies on any node.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::import::storage::{Storage, tree};
use crate::node_figures;
use crate::owner::Owner;
use crate::product::{self, LocalNetwork, OBSERVED, total};
use crate::report::{Goal, Report};

const NODES: u8 = 10;
/// A third of them, rounded up.
const REPLACED: u8 = 4;
/// Bytes of a piece of a file that is looked for.
const PIECE_LEN: usize = 16;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Files of an SS-MIX2 storage
    #[arg(long, default_value_t = 10_000)]
    files: usize,
    /// A folder of DICOM files to be stored beside it
    #[arg(long, value_name = "DIR")]
    dicom: Option<PathBuf>,
    /// Where every draw begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A tenth of it, for the gate
    #[arg(long, conflicts_with = "files")]
    short: bool,
}

pub(crate) fn run(options: &Options) -> Result<Report> {
    let files = if options.short { 1000 } else { options.files };
    eprintln!("restore: seed {}, {files} files", options.seed);
    let network = LocalNetwork::up(product::build()?, &["--nodes", &NODES.to_string()])?;
    network.configure(OBSERVED)?;
    let owner = Owner::new(&network, "restore")?;
    let source = network.scratch().join("source");
    let mut storage = Storage::new(source.join("ssmix2"), options.seed)?;
    storage.grow(files)?;
    let mut report = Report::new("restore");
    owner.run(&network, &network.data(), &["import", "ssmix2", text(storage.root())?])?;
    if let Some(dicom) = &options.dicom {
        copy(dicom, &source.join("dicom"))?;
        owner.run(&network, &network.data(), &["put", text(&source.join("dicom"))?])?;
    }
    replace_nodes(&network, &mut report)?;
    let fresh = network.scratch().join("fresh");
    let on_fresh = |words: &[&str]| owner.run(&network, &fresh, words);
    on_fresh(&["vault", "open", &owner.handle])?;
    let (listed, seconds) = on_fresh(&["ls"])?;
    let records = listed["records"].as_array().map_or(0, Vec::len);
    report.count("records", records).goal(Goal::AtLeast(0.9 * files as f64));
    report.add("open_and_list_seconds", seconds);
    let restored = network.scratch().join("restored");
    let (_, seconds) = on_fresh(&["export", text(&restored)?])?;
    report.add("export_seconds", seconds);
    let (expected, bytes) = tree(&source)?;
    let actual = tree(&restored)?.0;
    report.count("files_stored", expected.len());
    report.add("bytes_stored", bytes as f64);
    let same = expected.iter().filter(|(path, hash)| actual.get(*path) == Some(hash)).count();
    report.count("files_lost_or_changed", expected.len() - same).goal(Goal::AtMost(0.0));
    report.count("files_not_of_the_source", actual.len() - same).goal(Goal::AtMost(0.0));
    let (drill, seconds) = on_fresh(&["drill"])?;
    report.add("drill_seconds", seconds);
    report.add("drill_checked", total(&drill, "checked")).goal(Goal::AtLeast(records as f64));
    report
        .add("drill_losses_tolerated", drill["losses_tolerated"].as_f64().unwrap_or(f64::NAN))
        .goal(Goal::AtLeast(5.0));
    markers(&network, &source, &mut report)?;
    Ok(report)
}

/// One node after the other burns down and an empty one takes its place.
fn replace_nodes(network: &LocalNetwork, report: &mut Report) -> Result<()> {
    let start = Instant::now();
    for number in 1..=REPLACED {
        network.run(&["local", "kill", &number.to_string()])?;
        network.run(&["local", "add"])?;
        network.run(&["repair"])?;
    }
    report.add("nodes_replaced", f64::from(REPLACED));
    report.add("replace_seconds", start.elapsed().as_secs_f64());
    Ok(())
}

/// Looks for patients, names of files and pieces of their contents in every byte that any node or
/// validator has written, parts, chain and logs, and in what they show of themselves.
fn markers(network: &LocalNetwork, source: &Path, report: &mut Report) -> Result<()> {
    let mut pieces = BTreeSet::new();
    for path in tree(source)?.0.into_keys() {
        let name = path.file_name().unwrap_or_default().as_encoded_bytes();
        let content = fs::read(source.join(&path))?;
        let middle = content.len() / 2;
        let inner = content.get(middle..middle + PIECE_LEN);
        // The patient's number begins the name; it stands alone, too.
        for piece in
            [name.get(..PIECE_LEN), name.get(name.len().saturating_sub(PIECE_LEN)..), inner]
        {
            pieces.extend(piece.and_then(|piece| <[u8; PIECE_LEN]>::try_from(piece).ok()));
        }
    }
    // What is the same in the source and in other files, a run of zeros say, is no marker.
    pieces.retain(|piece: &[u8; PIECE_LEN]| piece.iter().collect::<BTreeSet<_>>().len() >= 5);
    let patients: BTreeSet<[u8; 10]> = pieces
        .iter()
        .filter_map(|piece| <[u8; 10]>::try_from(&piece[..10]).ok())
        .filter(|start| start.iter().all(u8::is_ascii_digit))
        .collect();
    let mut contents = Vec::new();
    for file in files(&network.machines())? {
        contents.push((file.display().to_string(), fs::read(&file)?));
    }
    let mut shown = 0;
    for machine in network.running()? {
        let figures = node_figures::metrics(&machine.folder);
        shown += usize::from(figures.is_some());
        contents.push((format!("figures of {}", machine.name), figures.unwrap_or_default().into()));
    }
    let (mut found, mut bytes) = (0, 0);
    for (name, content) in contents {
        bytes += content.len();
        let hits = content.windows(PIECE_LEN).filter(|window| {
            <[u8; PIECE_LEN]>::try_from(*window).is_ok_and(|window| pieces.contains(&window))
        });
        let patients = content.windows(10).filter(|window| {
            window[0].is_ascii_digit()
                && <[u8; 10]>::try_from(*window).is_ok_and(|window| patients.contains(&window))
        });
        let in_file = hits.count() + patients.count();
        if in_file > 0 {
            eprintln!("{name}: {in_file} markers");
        }
        found += in_file;
    }
    report.count("markers", pieces.len() + patients.len()).goal(Goal::AtLeast(100.0));
    report.count("machines_whose_figures_were_searched", shown).goal(Goal::AtLeast(10.0));
    report.add("megabytes_searched", bytes as f64 / 1e6).goal(Goal::AtLeast(1.0));
    report.count("markers_found", found).goal(Goal::AtMost(0.0));
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let (mut files, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                open.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::write(to.join(entry.file_name()), fs::read(entry.path())?)?;
        }
    }
    Ok(())
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path is not UTF-8")
}
