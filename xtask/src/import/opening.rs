//! A vault of very many small records: what a machine that has nothing of it fetches to open it,
//! what one more record costs beside a vault of few, and both again when the catalogue's segments
//! have been merged.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kakera_engine::catalogue::RecordName;
use kakera_engine::identity::Handle;
use kakera_engine::seal::VaultRoot;
use kakera_net::client::{Client, ClientSettings};
use kakera_net::id::Identity;
use kakera_net::network_file::NetworkFile;
use kakera_net::vault::{NoProgress, Source, Vault};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::storage::Storage;
use super::{Disk, NODES};
use crate::owner::Owner;
use crate::process::Process;
use crate::product::{self, LocalNetwork};
use crate::report::{Goal, Report};
use crate::samples::{ascending, median};

/// Records of the vault that the costs of the large one are compared with.
const FEW: usize = 1000;
const PUTS_MEASURED: usize = 10;
/// Puts of one record after which 16 segments of about 20 of them have been merged.
const PUTS_UNTIL_MERGED: usize = 360;
const LOOK_EVERY: Duration = Duration::from_millis(2);
const MIB: f64 = (1 << 20) as f64;

const OPEN_SECONDS_MAX: f64 = 5.0;
/// Some thirty segments, about seven questions each.
const OPEN_REQUESTS_MAX: f64 = 250.0;
const PUT_SECONDS_MAX: f64 = 1.0;
/// Bytes of one more record beside those of one more in a vault of few.
const PUT_PER_FEW_MAX: f64 = 2.0;
const PEAK_MIB_MAX: f64 = 256.0;

/// Measures all of it on a network of its own.
pub(super) fn run(records: usize, seed: u64, report: &mut Report) -> Result<()> {
    let network = LocalNetwork::up(product::build()?, &["--nodes", &NODES.to_string()])?;
    let owner = Owner::new(&network, "records")?;
    let runtime = Runtime::new()?;
    let mut machine = runtime.block_on(Machine::new(&network, &owner))?;
    let mut storage = Storage::new(network.scratch().join("many"), seed)?;
    import(&network, &owner, &mut storage, FEW)?;
    let few = machine.measure(&runtime, PUTS_MEASURED)?;
    few.add_to("few", None, report);
    let imported = import(&network, &owner, &mut storage, records.saturating_sub(FEW))?;
    report.add("many_import_seconds", imported.seconds);
    report.add("many_import_peak_mib", imported.peak_mib);
    machine.measure(&runtime, PUTS_MEASURED)?.add_to("many", Some(&few), report);
    list_afresh(&network, &owner, records, report)?;
    machine.measure(&runtime, PUTS_UNTIL_MERGED)?.add_to("until_merged", Some(&few), report);
    machine.measure(&runtime, PUTS_MEASURED)?.add_to("merged", Some(&few), report);
    Ok(())
}

/// A process that has ended.
struct Ended {
    seconds: f64,
    peak_mib: f64,
}

fn import(
    network: &LocalNetwork,
    owner: &Owner,
    storage: &mut Storage,
    files: usize,
) -> Result<Ended> {
    storage.grow(files)?;
    let root = storage.root().to_str().context("not UTF-8")?.to_owned();
    watch(network, owner, network.data(), &["import", "ssmix2", &root]).map(|(ended, _)| ended)
}

/// A machine with an empty data folder opens the vault and lists it.
fn list_afresh(
    network: &LocalNetwork,
    owner: &Owner,
    records: usize,
    report: &mut Report,
) -> Result<()> {
    let fresh = network.scratch().join("fresh");
    owner.run(network, &fresh, &["vault", "open", &owner.handle])?;
    let (ended, answer) = watch(network, owner, fresh, &["ls"])?;
    let listed = answer["records"].as_array().map_or(0, Vec::len);
    // Some are deleted, and corrected ones are versions of the same record.
    report.count("many_listed", listed).goal(Goal::AtLeast(0.9 * records as f64));
    report.add("many_listed_by_a_fresh_process_seconds", ended.seconds);
    report.add("many_listed_peak_mib", ended.peak_mib).goal(Goal::AtMost(PEAK_MIB_MAX));
    Ok(())
}

/// Runs a command and looks at its memory all the while.
fn watch(
    network: &LocalNetwork,
    owner: &Owner,
    data: PathBuf,
    words: &[&str],
) -> Result<(Ended, serde_json::Value)> {
    // Not a pipe: nobody reads while it runs.
    let answer = network.scratch().join("answer");
    let start = Instant::now();
    let mut child = owner.command(network, &data, words)?.stdout(File::create(&answer)?).spawn()?;
    let (process, mut peak) = (Process::from_id(child.id()), 0);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        peak = peak.max(process.peak_bytes().unwrap_or(0));
        sleep(LOOK_EVERY);
    };
    let seconds = start.elapsed().as_secs_f64();
    let text = fs::read_to_string(answer)?;
    ensure!(status.success(), "{}: {status}: {text}", words.join(" "));
    let ended = Ended { seconds, peak_mib: peak as f64 / MIB };
    Ok((ended, serde_json::from_str(&text).unwrap_or_default()))
}

/// A machine of the owner that keeps nothing from one opening to the next.
struct Machine<'a> {
    network: &'a LocalNetwork,
    file: NetworkFile,
    identity: Arc<Identity>,
    root: VaultRoot,
    puts: usize,
}

/// What opening the vault and one more record cost.
struct Costs {
    open_seconds: f64,
    open_requests: f64,
    open_bytes: f64,
    put_seconds: f64,
    put_seconds_max: f64,
    put_requests: f64,
    /// Sent by the client, for a put.
    put_bytes: f64,
    /// On the disks of all nodes, for a put.
    stored_bytes: f64,
}

impl<'a> Machine<'a> {
    async fn new(network: &'a LocalNetwork, owner: &Owner) -> Result<Self> {
        let (file, identity) = (network.network_file()?, Arc::new(Identity::generate()?));
        let id = identity.node_id().to_string();
        network.run(&["node", "enrol", &id, "--submitter"])?;
        let settings =
            ClientSettings { network: file.clone(), identity: Arc::clone(&identity), seen: None };
        let client = Client::new(settings)?;
        let passphrase = Zeroizing::new(owner.passphrase.clone());
        let opened = client.open_identity(&Handle::parse(&owner.handle)?, passphrase).await?;
        client.close().await;
        Ok(Self { network, file, identity, root: opened.root, puts: 0 })
    }

    fn measure(&mut self, runtime: &Runtime, puts: usize) -> Result<Costs> {
        let before = Disk::read(self.network)?;
        let mut costs = runtime.block_on(self.open_and_put(puts))?;
        let after = Disk::read(self.network)?;
        costs.stored_bytes = (after.parts - before.parts) as f64 / puts as f64;
        Ok(costs)
    }

    /// All but what is stored.
    async fn open_and_put(&mut self, puts: usize) -> Result<Costs> {
        let (network, identity) = (self.file.clone(), Arc::clone(&self.identity));
        let client = Arc::new(Client::new(ClientSettings { network, identity, seen: None })?);
        let root = VaultRoot::from_bytes(Zeroizing::new(*self.root.expose()));
        let start = Instant::now();
        let mut vault = Vault::open(Arc::clone(&client), root).await?;
        let open_seconds = start.elapsed().as_secs_f64();
        let opened = client.fabric().statistics();
        let mut seconds = Vec::with_capacity(puts);
        for _ in 0..puts {
            self.puts += 1;
            let name = format!("one-{}", self.puts);
            let path = self.network.scratch().join(&name);
            fs::write(&path, name.repeat(1000 / name.len()))?;
            let name = RecordName::new(name).context("a name")?;
            let start = Instant::now();
            vault.put(vec![Source::new(name, path)], Arc::new(NoProgress)).await?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        let all = client.fabric().statistics();
        client.close().await;
        let seconds = ascending(seconds);
        let a_put = |of_all: u64, opened: u64| (of_all - opened) as f64 / puts as f64;
        Ok(Costs {
            open_seconds,
            open_requests: opened.requests_sent as f64,
            open_bytes: opened.stream_bytes_received as f64,
            put_seconds: median(&seconds),
            put_seconds_max: seconds.last().copied().unwrap_or(f64::NAN),
            put_requests: a_put(all.requests_sent, opened.requests_sent),
            put_bytes: a_put(all.stream_bytes_sent, opened.stream_bytes_sent),
            stored_bytes: 0.0,
        })
    }
}

impl Costs {
    /// With goals where there is something to compare it with.
    fn add_to(&self, name: &str, few: Option<&Self>, report: &mut Report) {
        let mut add = |what: &str, value: f64, at_most: Option<f64>| {
            let figure = report.add(format!("{name}_{what}"), value);
            if let Some(at_most) = at_most.filter(|_| few.is_some()) {
                figure.goal(Goal::AtMost(at_most));
            }
        };
        add("open_seconds", self.open_seconds, Some(OPEN_SECONDS_MAX));
        add("open_requests", self.open_requests, Some(OPEN_REQUESTS_MAX));
        add("open_megabytes", self.open_bytes / 1e6, None);
        add("put_one_seconds", self.put_seconds, Some(PUT_SECONDS_MAX));
        add("put_one_seconds_longest", self.put_seconds_max, None);
        add("put_one_requests", self.put_requests, None);
        add("put_one_kilobytes_sent", self.put_bytes / 1e3, None);
        add("put_one_kilobytes_stored", self.stored_bytes / 1e3, None);
        if let Some(few) = few {
            let per_few = self.put_bytes / few.put_bytes;
            add("put_one_bytes_per_those_of_few", per_few, Some(PUT_PER_FEW_MAX));
        }
    }
}
