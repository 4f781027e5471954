//! `kakera doctor`: looks a machine or a client over, and says of each finding what to do.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use kakera_engine::ledger::CLOCK_AHEAD_MAX_MILLIS;
use kakera_engine::names::NodeId;
use kakera_net::client::Client;
use kakera_net::id::Identity;
use kakera_net::node::IDENTITY_FILE;
use kakera_net::validator::VOTING_LOG_FILE;
use serde::Serialize;

use crate::failure::{Failure, Kind};
use crate::listing::ask_nodes;
use crate::machine::QUOTA_BYTES;
use crate::operator;
use crate::output::{Align, Report, write_table};
use crate::quantity::show_size;
use crate::session::{CLIENT_KEY, OPERATOR_KEY, Session, load_identity};

/// A put and a repair need buffers; below this the system may begin to kill processes.
const MEMORY_BYTES_MIN: u64 = 64 << 20;
/// Room on the disk below which a chain and its checkpoints may soon not fit.
const DISK_BYTES_MIN: u64 = 256 << 20;
/// Blocks by which a machine may lag without anything being wrong.
const LAG_BLOCKS_MAX: u64 = 100;

/// Reports all findings; failed checks end in exit code 1.
pub(crate) async fn run(session: &Session) -> Result<(), Failure> {
    let mut checks = Checks::default();
    checks.look_at_folder(session.data());
    checks.look_at_disk(session);
    checks.look_at_memory();
    let key = checks.look_at_keys(session.data());
    checks.look_at_copies(session.data());
    if let Some((identity, machine)) = key {
        match session.connect_as(Arc::clone(&identity)) {
            Ok(connection) => {
                checks.ok("network file", "it is there and whole");
                let own = machine.then(|| identity.node_id());
                checks.look_at_network(&connection.client, own).await;
                connection.close().await?;
            }
            Err(failure) => checks.failed("network file", failure.message, failure.advice),
        }
    }
    let failed = checks.0.iter().filter(|finding| finding.state == State::Failed).count();
    let report = DoctorReport { findings: checks.0 };
    let failure = (failed > 0).then(|| {
        let message = format!("{failed} of {} checks failed", report.findings.len());
        Failure::new(Kind::Failure, message, "what stands after each of them")
    });
    session.output.conclude(&report, failure)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    /// It works, and may soon not.
    Warning,
    Failed,
}

#[derive(Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    finding: String,
    /// What to do about it.
    fix: Option<String>,
}

#[derive(Default)]
struct Checks(Vec<Finding>);

impl Checks {
    fn ok(&mut self, check: &'static str, finding: impl Into<String>) {
        self.0.push(Finding { check, state: State::Ok, finding: finding.into(), fix: None });
    }

    fn warn(&mut self, check: &'static str, finding: impl Into<String>, fix: impl Into<String>) {
        let (finding, fix) = (finding.into(), Some(fix.into()));
        self.0.push(Finding { check, state: State::Warning, finding, fix });
    }

    fn failed(&mut self, check: &'static str, finding: impl Into<String>, fix: impl Into<String>) {
        let (finding, fix) = (finding.into(), Some(fix.into()));
        self.0.push(Finding { check, state: State::Failed, finding, fix });
    }

    fn look_at_folder(&mut self, data: &Path) {
        let shown = data.display();
        match fs::metadata(data) {
            Ok(found) if found.permissions().mode() & 0o077 == 0 => {
                self.ok("data folder", format!("{shown} is its owner's alone"));
            }
            Ok(_) => self.warn(
                "data folder",
                format!("others may look into {shown}"),
                format!("chmod 700 {shown}"),
            ),
            Err(error) => self.failed(
                "data folder",
                format!("{shown}: {error}"),
                "kakera node init, kakera vault create, or --data DIR",
            ),
        }
    }

    fn look_at_disk(&mut self, session: &Session) {
        let Ok(disk) = rustix::fs::statvfs(session.data()) else { return };
        let free = disk.f_bavail * disk.f_frsize;
        let shown = show_size(free);
        let parts = session.data().join("parts");
        if free < DISK_BYTES_MIN {
            let fix = "free some space: what is stored stays, but nothing new fits";
            return self.failed("disk", format!("{shown} free"), fix);
        }
        let quota = session.configuration.quota.unwrap_or(QUOTA_BYTES);
        if parts.is_dir() && free + folder_bytes(&parts) < quota {
            return self.warn(
                "disk",
                format!("{shown} free, less than the quota of {} lets in", show_size(quota)),
                "a lower quota in config.toml, so that others know when this machine is full",
            );
        }
        self.ok("disk", format!("{shown} free"));
    }

    fn look_at_memory(&mut self) {
        let Some(available) = available_memory() else { return };
        let shown = format!("{} available", show_size(available));
        if available < MEMORY_BYTES_MIN {
            return self.warn("memory", shown, "end other programs, or add memory");
        }
        self.ok("memory", shown);
    }

    /// The key that this folder speaks with, and whether it is a machine's.
    fn look_at_keys(&mut self, data: &Path) -> Option<(Arc<Identity>, bool)> {
        let mut usable = None;
        for (name, machine) in [(IDENTITY_FILE, true), (CLIENT_KEY, false), (OPERATOR_KEY, false)] {
            let path = data.join(name);
            if !path.exists() {
                continue;
            }
            match load_identity(&path, "restore it from a copy") {
                Ok(identity) => {
                    self.ok("key", format!("{name} is {}", identity.node_id()));
                    usable = usable.or(Some((identity, machine)));
                }
                Err(failure) => self.failed("key", failure.message, failure.advice),
            }
        }
        if usable.is_none() {
            let finding = "there is no usable key in the folder";
            self.failed("key", finding, "kakera node init, or kakera vault create");
        }
        usable
    }

    /// What should be kept elsewhere too, and what must not be missing.
    fn look_at_copies(&mut self, data: &Path) {
        if data.join(OPERATOR_KEY).exists() {
            let fix = "keep a copy elsewhere, unless you do: cp operator.key /media/...";
            self.warn("key backup", "without operator.key nobody new can be let in", fix);
        }
        if data.join(IDENTITY_FILE).exists()
            && data.join("chain.log").exists()
            && !data.join("parts").exists()
            && !data.join(VOTING_LOG_FILE).exists()
        {
            let fix = "have it replaced: kakera validator remove, and add another with a new key";
            self.failed("votes", format!("{VOTING_LOG_FILE} is gone: it does not vote"), fix);
        }
    }

    async fn look_at_network(&mut self, client: &Arc<Client>, own: Option<NodeId>) {
        let height = match client.head().await {
            Ok(head) => head.header().height,
            Err(error) => {
                return self.failed("ledger", error.to_string(), error.advice());
            }
        };
        self.ok("ledger", format!("the newest final block is {height}"));
        let Ok(validators) = client.next_validators().await else { return };
        let validators: Vec<NodeId> = validators.0.into_keys().collect();
        self.look_at_validators(client, &validators).await;
        self.look_at_nodes(client).await;
        if let Some(own) = own {
            self.look_at_machine(client, own, validators.contains(&own), height).await;
            if validators == [own] {
                self.warn(
                    "key backup",
                    "this is the only validator: without its key nothing new can be stored, ever",
                    format!("keep a copy of {IDENTITY_FILE} elsewhere, unless you do"),
                );
            }
        }
    }

    async fn look_at_validators(&mut self, client: &Client, validators: &[NodeId]) {
        let (mut answering, mut offset) = (0, 0i64);
        for validator in validators {
            if let Ok(ahead) = client.clock_offset(*validator).await {
                answering += 1;
                if ahead.abs() > offset.abs() {
                    offset = ahead;
                }
            }
        }
        let all = validators.len();
        let finding = format!("{answering} of {all} answer");
        if answering * 3 <= all * 2 {
            let fix = "start the others: more than two thirds decide";
            self.failed("validators", finding, fix);
        } else if answering < all {
            self.warn("validators", finding, "start the others, or kakera validator remove");
        } else {
            self.ok("validators", finding);
        }
        let seconds = offset as f64 / 1e3;
        let finding = format!("a validator's clock is {seconds:+.1} s from this machine's");
        match offset.unsigned_abs() {
            CLOCK_AHEAD_MAX_MILLIS.. => {
                self.failed("clock", finding, "run NTP on both: timedatectl set-ntp true");
            }
            2000.. => self.warn("clock", finding, "run NTP on both: timedatectl set-ntp true"),
            _ => self.ok("clock", "within 2 s of the validators'"),
        }
    }

    async fn look_at_nodes(&mut self, client: &Arc<Client>) {
        let Ok(nodes) = client.nodes().await else { return };
        let storing = nodes.iter().filter(|node| node.join.roles.storage && !node.retired);
        let storing: Vec<NodeId> = storing.map(|node| node.join.node).collect();
        let answers = ask_nodes(client, &storing).await;
        let silent: Vec<String> = storing
            .iter()
            .zip(&answers)
            .filter(|(_, answer)| answer.is_none())
            .map(|(node, _)| node.to_string()[..16].to_owned())
            .collect();
        let finding = format!("{} of {} answer", storing.len() - silent.len(), storing.len());
        if silent.is_empty() {
            return self.ok("storage nodes", finding);
        }
        let fix = format!("start {}; kakera status shows what is at stake", silent.join(", "));
        self.warn("storage nodes", finding, fix);
    }

    /// The machine of this folder, as others see it.
    async fn look_at_machine(
        &mut self,
        client: &Client,
        own: NodeId,
        validates: bool,
        height: u64,
    ) {
        match operator::find(client, &own).await {
            Ok(Some(node)) if node.retired => {
                let fix = format!("kakera node enrol {own} --address ADDRESS, by the operator");
                return self.failed("enrolment", "this machine was retired", fix);
            }
            Ok(None) if !validates => {
                let fix = format!("kakera node enrol {own} --address ADDRESS, by the operator");
                return self.failed("enrolment", "this machine is not enrolled", fix);
            }
            _ => self.ok("enrolment", "the ledger knows this machine"),
        }
        match client.node_status(own).await {
            Err(_) => self.failed(
                "port",
                "this machine does not answer at the address that the ledger has",
                "start it; see that UDP reaches its port; kakera node enrol with the new address",
            ),
            Ok(status) if status.height + LAG_BLOCKS_MAX < height => self.warn(
                "port",
                format!("it answers, {} blocks behind", height - status.height),
                "wait; if that grows, look at its disk and its way to the validators",
            ),
            Ok(_) => self.ok("port", "this machine answers at the address that the ledger has"),
        }
    }
}

/// What the files of a folder and of those below it use.
fn folder_bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => folder_bytes(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

/// What programs can still get without swapping (proc_meminfo(5)).
fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[derive(Serialize)]
struct DoctorReport {
    findings: Vec<Finding>,
}

impl Report for DoctorReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let rows: Vec<[String; 3]> = self
            .findings
            .iter()
            .map(|Finding { check, state, finding, fix }| {
                let state = match state {
                    State::Ok => "ok",
                    State::Warning => "warning",
                    State::Failed => "FAILED",
                };
                let fix = fix.as_ref().map(|fix| format!("; try: {fix}")).unwrap_or_default();
                [(*check).to_owned(), state.to_owned(), format!("{finding}{fix}")]
            })
            .collect();
        write_table(out, ["", "", ""].map(|heading| (heading, Align::Left)), &rows)
    }
}
