//! A Tahoe-LAFS grid on this machine, driven through its client's web API.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{NODES, System, disk_bytes};
use crate::process::{CpuTimes, Process};
use crate::product::workspace;

const VERSION: &str = "tahoe-lafs==1.20.0";
const START_SECONDS_MAX: u64 = 120;
/// 3-of-10 is Tahoe's default.
const SHARES: [&str; 3] = ["--shares-needed=3", "--shares-happy=7", "--shares-total=10"];

/// An introducer, storage nodes and a client; ended when dropped.
pub(super) struct Grid {
    folder: PathBuf,
    web_port: u16,
    children: Vec<Child>,
    /// What opens each record, in the order of the puts.
    capabilities: Vec<String>,
    /// What opens the folder of records to be repaired.
    repaired: Option<String>,
}

/// Installs Tahoe-LAFS from PyPI if it is not here, under `target/`.
pub(super) fn install() -> Result<()> {
    if program().exists() {
        return Ok(());
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(environment()))?;
    run(Command::new(environment().join("bin/pip")).args(["install", "--quiet", VERSION]))
        .context("tahoe-lafs comes from PyPI")
}

impl System for Grid {
    fn start(folder: &Path) -> Result<Self> {
        let mut grid = Self {
            folder: folder.to_owned(),
            web_port: free_port()?,
            children: Vec::new(),
            capabilities: Vec::new(),
            repaired: None,
        };
        let introducer = folder.join("introducer");
        create("create-introducer", &introducer, &listening(free_port()?))?;
        grid.launch(&introducer)?;
        let furl = wait_for_file(&introducer.join("private/introducer.furl"))?;
        let introducer_option = format!("--introducer={}", furl.trim());
        for node in grid.storage_folders() {
            let mut options = listening(free_port()?).to_vec();
            options.extend([introducer_option.clone(), "--webport=none".into()]);
            create("create-node", &node, &options)?;
            grid.launch(&node)?;
        }
        let client = folder.join("client");
        let mut options = SHARES.map(str::to_owned).to_vec();
        let web = format!("--webport=tcp:{}:interface=127.0.0.1", grid.web_port);
        options.extend([introducer_option, web]);
        create("create-client", &client, &options)?;
        grid.launch(&client)?;
        grid.wait_for_connections()?;
        Ok(grid)
    }

    fn put(&mut self, file: &Path) -> Result<()> {
        let capability = self.request("PUT", "/uri", &fs::read(file)?)?;
        self.capabilities.push(String::from_utf8(capability)?);
        Ok(())
    }

    fn put_folder(&mut self, folder: &Path) -> Result<()> {
        let directory = String::from_utf8(self.request("POST", "/uri?t=mkdir", &[])?)?;
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().context("a name is not UTF-8")?;
            self.request("PUT", &format!("/uri/{directory}/{name}"), &fs::read(entry.path())?)?;
        }
        self.repaired = Some(directory);
        Ok(())
    }

    fn get(&mut self, index: usize) -> Result<Vec<u8>> {
        let capability = self.capabilities.get(index).context("no such record")?;
        self.request("GET", &format!("/uri/{capability}"), &[])
    }

    fn cpu_seconds(&self) -> Result<f64> {
        Ok(CpuTimes::now(&self.processes())?.running_total())
    }

    fn storage_processes(&self) -> Result<Vec<Process>> {
        let all = self.processes();
        Ok(all[1..=usize::from(NODES)].to_vec())
    }

    fn storage_folders(&self) -> Vec<PathBuf> {
        (0..NODES).map(|index| self.folder.join(format!("storage-{index}"))).collect()
    }

    /// Only the records to be repaired are on the nodes then: a deep check of all would take as
    /// long as all its files.
    fn lose_node(&mut self, records: &Path) -> Result<u64> {
        let shares: Vec<PathBuf> =
            self.storage_folders().iter().map(|node| node.join("storage/shares")).collect();
        shares.iter().try_for_each(|folder| empty(folder))?;
        self.put_folder(records)?;
        let lost = disk_bytes(&shares[..1])?;
        empty(&shares[0])?;
        Ok(lost)
    }

    fn repair(&mut self) -> Result<()> {
        let directory = self.repaired.as_deref().context("no folder was put")?;
        let path = format!("/uri/{directory}?t=stream-deep-check&repair=true");
        let lines = String::from_utf8(self.request("POST", &path, &[])?)?;
        let units = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let results = units.filter_map(|unit| unit.get("check-and-repair-results").cloned());
        let repaired = results.filter(|result| result["repair-successful"] == true).count();
        ensure!(repaired > 0, "Tahoe-LAFS repaired nothing: {lines}");
        Ok(())
    }
}

impl Grid {
    /// Every process of the grid.
    fn processes(&self) -> Vec<Process> {
        self.children.iter().map(|child| Process::from_id(child.id())).collect()
    }

    /// Asks the client; the body of the answer.
    fn request(&self, method: &str, path: &str, body: &[u8]) -> Result<Vec<u8>> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.web_port))?;
        // Under HTTP/1.0 the answer ends with the connection.
        write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len())?;
        stream.write_all(body)?;
        let mut response = Vec::new();
        stream.read_to_end(&mut response)?;
        let end = response.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.context("no HTTP response")? + 4;
        let head = String::from_utf8_lossy(&response[..end]).into_owned();
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "{method} {path}: {head}");
        response.drain(..end);
        Ok(response)
    }

    fn launch(&mut self, node: &Path) -> Result<()> {
        let log = fs::File::create(node.join("output.log"))?;
        let child = Command::new(program())
            .args(["run", "--allow-stdin-close"])
            .arg(node)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.children.push(child);
        Ok(())
    }

    fn wait_for_connections(&self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(START_SECONDS_MAX) {
            if self.connected().unwrap_or(0) >= usize::from(NODES) {
                return Ok(());
            }
            sleep(Duration::from_millis(500));
        }
        bail!("the Tahoe-LAFS grid did not come up; see {}", self.folder.display())
    }

    fn connected(&self) -> Result<usize> {
        let status: Value = serde_json::from_slice(&self.request("GET", "/?t=json", &[])?)?;
        let servers = status["servers"].as_array().into_iter().flatten();
        let states = servers.filter_map(|server| server["connection_status"].as_str());
        Ok(states.filter(|state| state.to_lowercase().starts_with("connected")).count())
    }
}

impl Drop for Grid {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn create(command: &str, node: &Path, options: &[String]) -> Result<()> {
    run(Command::new(program()).arg(command).args(options).arg(node))
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Removes all shares of a storage node.
fn empty(shares: &Path) -> Result<()> {
    fs::remove_dir_all(shares)?;
    Ok(fs::create_dir_all(shares.join("incoming"))?)
}

fn environment() -> PathBuf {
    workspace().join("target/tahoe-venv")
}

fn program() -> PathBuf {
    environment().join("bin/tahoe")
}

fn listening(port: u16) -> [String; 3] {
    [
        "--listen=tcp".into(),
        format!("--port=tcp:{port}:interface=127.0.0.1"),
        format!("--location=tcp:127.0.0.1:{port}"),
    ]
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    Ok(listener.local_addr()?.port())
}

fn wait_for_file(path: &Path) -> Result<String> {
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(START_SECONDS_MAX) {
        if let Ok(text) = fs::read_to_string(path) {
            return Ok(text);
        }
        sleep(Duration::from_millis(100));
    }
    bail!("{} does not appear", path.display())
}
