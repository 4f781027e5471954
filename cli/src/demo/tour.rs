//! The steps of the demonstration.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Instant;

use kakera_engine::names::NodeId;
use tempfile::TempDir;
use zeroize::Zeroizing;

use super::client::ClientMachine;
use super::patients::{self, Extent};
use super::report::DemoReport;
use super::scan::{self, Findings, Samples};
use super::tree;
use crate::arguments::DemoOptions;
use crate::codes::Codes;
use crate::failure::{Failure, Kind};
use crate::local::{Lifetime, LocalNetwork};
use crate::operator::{replace, seats};
use crate::output::Output;
use crate::quantity::show_size;
use crate::repair::{RepairReport, repair_seats};
use crate::session::Connection;

const STEPS: u8 = 8;
/// Bytes of a stored part that are shown.
const SHOWN_LEN: usize = 48;

/// A demonstration in its temporary folder. Dropping it kills every process and removes the folder.
pub(super) struct Tour {
    output: Output,
    begun: Instant,
    codes: Codes,
    nodes: u16,
    /// What is stored, and the words in it that nobody else may see.
    files: PathBuf,
    words: Vec<String>,
    network: LocalNetwork,
    step: u8,
    folder: TempDir,
}

impl Drop for Tour {
    fn drop(&mut self) {
        self.network.kill();
    }
}

/// A client's answer to `put`.
struct Stored {
    records: u64,
    bytes: u64,
    stored_bytes: u64,
    seconds: f64,
}

/// What the repairs moved, and how long they took.
struct Repaired {
    report: RepairReport,
    seconds: f64,
}

impl Repaired {
    fn newcomers(&self) -> BTreeSet<NodeId> {
        self.report.slots.iter().filter_map(|slot| NodeId::from_hex(&slot.node)).collect()
    }
}

impl Tour {
    /// Makes the files to be stored and the folders of the network.
    pub(super) fn prepare(output: Output, options: &DemoOptions) -> Result<Self, Failure> {
        let begun = Instant::now();
        let folder = TempDir::with_prefix("kakera-demo-")
            .map_err(|error| Failure::file(&std::env::temp_dir(), &error))?;
        let (files, words) = match &options.files {
            Some(files) => {
                let whole =
                    fs::canonicalize(files).map_err(|error| Failure::file(files, &error))?;
                (whole, Vec::new())
            }
            None => {
                let files = folder.path().join("patients");
                let written = patients::write(&files, Extent::DEMONSTRATION);
                (files, written.map_err(|error| Failure::file(folder.path(), &error))?)
            }
        };
        let codes = Codes::for_nodes(options.nodes)?;
        let nodes = options.nodes;
        let local = folder.path().join("local");
        let network = LocalNetwork::create(&local, 1, nodes, codes, Lifetime::WithParent)?;
        Ok(Self { output, begun, codes, nodes, files, words, network, step: 0, folder })
    }

    /// The whole tour.
    pub(super) async fn go(mut self) -> Result<DemoReport, Failure> {
        let operator = self.start_network().await?;
        let mut owner = self.machine("owner");
        self.network.enrol_client(&operator, owner.id(self.output)?).await?;
        let (handle, passphrase) = owner.create_vault().await?;
        let samples = self.sample()?;
        let stored = self.store(&owner).await?;
        let findings = self.look_at_nodes(&samples)?;
        let losses = self.codes.repairable_losses();
        let gone = self.kill_holders(&operator, losses, &BTreeSet::new(), "for good").await?;
        let repaired = self.repair(&operator, &gone).await?;
        let newcomers = repaired.newcomers();
        self.kill_holders(&operator, losses, &newcomers, "of the first ones too").await?;
        let get_seconds = self.restore(&handle, passphrase).await?;
        let different = self.compare()?;
        operator.close().await?;
        let Codes { data, key } = self.codes;
        let repair = &repaired.report;
        Ok(DemoReport {
            nodes: self.nodes.into(),
            code: data.to_string(),
            n: data.n,
            k: data.k,
            d: data.d,
            key_k: key.k(),
            key_d: key.d(),
            records: stored.records,
            bytes: stored.bytes,
            stored_bytes: stored.stored_bytes,
            put_seconds: stored.seconds,
            get_seconds,
            nodes_lost_before_repair: gone.len(),
            nodes_lost_after_repair: losses,
            slots_lost: repair.slots.len(),
            repair_seconds: repaired.seconds,
            fragments_repaired: repair.sum(|slot| slot.objects_held),
            repaired_fragment_bytes: repair.sum(|slot| slot.fragment_bytes),
            repair_bytes: repair.sum(|slot| slot.symbol_bytes),
            repair_bytes_theory: repair.sum(|slot| slot.symbol_bytes_theory),
            repair_bytes_rs: repair.sum(|slot| slot.reed_solomon_bytes),
            key_repair_bytes: repair.sum(|slot| slot.key_bytes),
            repair_header_bytes: repair.sum(|slot| slot.header_bytes),
            plaintext_samples: samples.len(),
            plaintext_searched_bytes: findings.bytes,
            plaintext_found_on_nodes: findings.samples,
            plaintext_found_in: findings.first.map(|path| path.display().to_string()),
            restored_identical: different.is_empty(),
            records_different: different,
            seconds: self.begun.elapsed().as_secs_f64(),
        })
    }

    fn machine(&self, name: &str) -> ClientMachine {
        ClientMachine::new(self.folder.path().join(name), self.network.network_file())
    }

    fn narrate(&mut self, line: &str) {
        self.step += 1;
        self.output.narrate(&format!("[{}/{STEPS}] {line}", self.step));
    }

    async fn start_network(&mut self) -> Result<Connection, Failure> {
        let (nodes, codes) = (self.nodes, self.codes);
        self.narrate(&format!(
            "Starting {nodes} storage nodes and a validator, one process each. Data code {}: any {} \
             of {} fragments suffice. Key code: {} shares read, fewer tell nothing.",
            codes.data,
            codes.data.k,
            codes.data.n,
            codes.key.k(),
        ));
        self.network.up().await
    }

    /// Takes samples of the plaintext, and checks that the search would find every one of them.
    fn sample(&self) -> Result<Samples, Failure> {
        let file = |error| Failure::file(&self.files, &error);
        let samples = Samples::take(&self.files, &self.words).map_err(file)?;
        let found =
            scan::search(std::slice::from_ref(&self.files), &samples).map_err(file)?.samples;
        if found != samples.len() {
            let message = format!("the search finds {found} of {} samples", samples.len());
            return Err(Failure::new(Kind::Failure, message, "leave the files alone meanwhile"));
        }
        Ok(samples)
    }

    async fn store(&mut self, owner: &ClientMachine) -> Result<Stored, Failure> {
        let files = tree::files(&self.files).map_err(|error| Failure::file(&self.files, &error))?;
        let bytes = files.iter().map(|file| file.len).sum();
        self.narrate(&format!("Storing {} files, {}.", files.len(), show_size(bytes)));
        let arguments = [Path::new("put"), &self.files];
        let (answer, elapsed) = owner.run(&arguments).await?;
        let records = answer["records"].as_u64().unwrap_or_default();
        if records != files.len() as u64 {
            return Err(wrong(format!("{records} of {} files were stored", files.len())));
        }
        let mut stored_bytes = 0;
        for folder in self.node_folders()? {
            let files = tree::files(&folder).map_err(|error| Failure::file(&folder, &error))?;
            stored_bytes += files.iter().map(|file| file.len).sum::<u64>();
        }
        Ok(Stored { records, bytes, stored_bytes, seconds: elapsed.as_secs_f64() })
    }

    /// Searches everything that all nodes and the validator have on their disks.
    fn look_at_nodes(&mut self, samples: &Samples) -> Result<Findings, Failure> {
        self.narrate(&format!(
            "Searching the folders of all nodes and the validator for {} samples of the plaintext.",
            samples.len()
        ));
        let mut folders = self.node_folders()?;
        if let Some((path, bytes)) = largest_file_start(&folders)? {
            let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            self.output.narrate(&format!("      One node sees, in {path}: … {} …", hex.join("")));
        }
        let validators = self.network.validators()?.into_iter();
        folders.extend(validators.map(|(_, validator)| validator.path().to_owned()));
        let findings = scan::search(&folders, samples)
            .map_err(|error| Failure::file(self.folder.path(), &error))?;
        self.output.narrate(&format!(
            "      {} of them found in {}.",
            findings.samples,
            show_size(findings.bytes)
        ));
        Ok(findings)
    }

    /// Kills nodes that hold slots, except those to be spared.
    async fn kill_holders(
        &mut self,
        operator: &Connection,
        count: usize,
        spared: &BTreeSet<NodeId>,
        how: &str,
    ) -> Result<BTreeSet<NodeId>, Failure> {
        let holders: BTreeSet<NodeId> =
            seats(&operator.client).await?.iter().map(|seat| seat.member.node).collect();
        let mut killed = BTreeSet::new();
        let mut numbers = Vec::new();
        for (number, node) in self.network.nodes()? {
            let id = node.node_id()?;
            if killed.len() < count && holders.contains(&id) && !spared.contains(&id) {
                node.kill_for_good()?;
                killed.insert(id);
                numbers.push(number.to_string());
            }
        }
        self.narrate(&format!("Killed nodes {} {how}.", numbers.join(", ")));
        Ok(killed)
    }

    /// Adds as many nodes as are gone, gives them the lost slots and has them rebuild the content.
    async fn repair(
        &mut self,
        operator: &Connection,
        gone: &BTreeSet<NodeId>,
    ) -> Result<Repaired, Failure> {
        let slots = gone.len();
        self.narrate(&format!(
            "Adding {slots} empty nodes. Each asks {} others for its slot's content; no owner helps, \
             nobody assembles a record or a key.",
            self.codes.data.d
        ));
        for _ in gone {
            self.network.add_node()?;
        }
        self.network.start_processes().await?;
        self.network.admit(operator).await?;
        let seats = replace(&operator.client, gone).await?;
        let begun = Instant::now();
        let report = repair_seats(&operator.client, &seats, self.output).await;
        let seconds = begun.elapsed().as_secs_f64();
        if let Some(slot) =
            report.slots.iter().find(|slot| slot.failure.is_some() || slot.objects_failed > 0)
        {
            let reason = slot.failure.as_deref().unwrap_or("not every object could be rebuilt");
            return Err(wrong(format!("the repair of slot {}: {reason}", slot.slot)));
        }
        self.output.narrate(&format!(
            "      {} slots are whole again: {} moved for {} of fragments, Reed-Solomon would have \
             moved {}.",
            report.slots.len(),
            show_size(report.sum(|slot| slot.symbol_bytes)),
            show_size(report.sum(|slot| slot.fragment_bytes)),
            show_size(report.sum(|slot| slot.reed_solomon_bytes)),
        ));
        Ok(Repaired { report, seconds })
    }

    /// A machine that has nothing, and whose user has the handle and the passphrase, reads everything;
    /// how long `get` took, in seconds.
    async fn restore(
        &mut self,
        handle: &str,
        passphrase: Zeroizing<String>,
    ) -> Result<f64, Failure> {
        self.narrate(&format!(
            "Reading everything back on a new machine, where somebody types the handle, {handle}, and \
             its passphrase: nothing was kept for it.",
        ));
        let mut fresh = self.machine("fresh");
        fresh.open_vault(handle, passphrase).await?;
        let restored = self.restored();
        fs::create_dir_all(&restored).map_err(|error| Failure::file(&restored, &error))?;
        let (_, elapsed) = fresh
            .run(&[Path::new("get"), Path::new("--all"), Path::new("--output"), &restored])
            .await?;
        Ok(elapsed.as_secs_f64())
    }

    /// The names of files that are not the same, byte by byte.
    fn compare(&mut self) -> Result<Vec<String>, Failure> {
        self.narrate("Comparing every byte.");
        let restored = self.restored();
        let restored = match self.files.file_name() {
            Some(name) => restored.join(name),
            None => restored,
        };
        tree::differences(&self.files, &restored).map_err(|error| Failure::file(&restored, &error))
    }

    fn restored(&self) -> PathBuf {
        self.folder.path().join("restored")
    }

    fn node_folders(&self) -> Result<Vec<PathBuf>, Failure> {
        let nodes = self.network.nodes()?;
        Ok(nodes.into_iter().map(|(_, node)| node.path().to_owned()).collect())
    }
}

fn wrong(message: String) -> Failure {
    Failure::new(Kind::Integrity, message, "report this: it must not happen")
}

/// Some bytes from the middle of the largest file of the first node.
fn largest_file_start(folders: &[PathBuf]) -> Result<Option<(String, Vec<u8>)>, Failure> {
    let Some(folder) = folders.first() else { return Ok(None) };
    let read = || -> std::io::Result<Option<(String, Vec<u8>)>> {
        let files = tree::files(folder)?;
        let Some(largest) = files.into_iter().max_by_key(|file| file.len) else { return Ok(None) };
        let mut bytes = vec![0; SHOWN_LEN.min(largest.len as usize)];
        let mut file = File::open(folder.join(&largest.name))?;
        file.seek(SeekFrom::Start((largest.len - bytes.len() as u64) / 2))?;
        file.read_exact(&mut bytes)?;
        Ok(Some((largest.name, bytes)))
    };
    read().map_err(|error| Failure::file(folder, &error))
}
