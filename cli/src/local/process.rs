//! Background processes by their pid files.
//!
//! A pid is used again after its process has ended, so a file also keeps when the process started
//! and in which boot; nothing is ever sent to a process that does not match.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

const POLL_PAUSE: Duration = Duration::from_millis(10);

/// A process that was started once; it may have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pid: u32,
    /// Clock ticks after the boot (proc(5), field 22 of stat).
    started: u64,
    boot: String,
}

impl Process {
    /// A process that runs now.
    pub(crate) fn running(pid: u32) -> io::Result<Self> {
        let ended = || io::Error::new(io::ErrorKind::NotFound, "the process has ended");
        let started = start_time(pid).ok_or_else(ended)?;
        Ok(Self { pid, started, boot: boot()? })
    }

    /// What a pid file says; `None` if there is none or it was not written by this program.
    pub(crate) fn load(path: &Path) -> Option<Self> {
        let text = fs::read_to_string(path).ok()?;
        let mut words = text.split_whitespace();
        let process = Self {
            pid: words.next()?.parse().ok()?,
            started: words.next()?.parse().ok()?,
            boot: words.next()?.to_owned(),
        };
        words.next().is_none().then_some(process)
    }

    /// The text of its pid file.
    pub(crate) fn to_text(&self) -> String {
        format!("{} {} {}\n", self.pid, self.started, self.boot)
    }

    /// The number of the process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it has not ended.
    pub(crate) fn is_running(&self) -> bool {
        start_time(self.pid) == Some(self.started) && boot().is_ok_and(|boot| boot == self.boot)
    }

    /// Sends a signal, to this process or to none.
    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else {
            return Ok(());
        };
        // The handle stays with whatever process has the pid now; only then it is compared.
        let handle = match pidfd_open(pid, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(()),
            handle => handle?,
        };
        if !self.is_running() {
            return Ok(());
        }
        match pidfd_send_signal(handle, signal) {
            Err(Errno::SRCH) => Ok(()),
            sent => Ok(sent?),
        }
    }

    /// Waits until it has ended; tells whether it has.
    pub(crate) fn wait(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.is_running() {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(POLL_PAUSE);
        }
        true
    }
}

/// When the process of this pid started; `None` if there is none, or only what is left of one.
fn start_time(pid: u32) -> Option<u64> {
    start_time_by(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn start_time_by(stat: &str) -> Option<u64> {
    // The second field is a name in parentheses that may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    let (state, threads) = (fields.next()?, fields.nth(16)?);
    // The first thread may be gone while another still holds the files of the process.
    (!matches!(state, "Z" | "X") || threads != "1").then_some(())?;
    fields.nth(1)?.parse().ok()
}

fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn it_runs_until_its_last_thread_has_ended() {
        let started = |state: &str, threads: u8| {
            let fields = format!("{state} 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 {threads} 0 100 8192");
            start_time_by(&format!("7 (a) b) {fields}"))
        };
        assert_eq!([started("S", 1), started("Z", 2)], [Some(100); 2]);
        assert_eq!([started("Z", 1), started("X", 1)], [None; 2]);
    }

    #[test]
    fn a_file_brings_a_process_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        assert_eq!(Process::load(&path), None);
        let own = Process::running(std::process::id()).unwrap();
        fs::write(&path, own.to_text()).unwrap();
        assert_eq!(Process::load(&path), Some(own.clone()));
        assert!(own.is_running());
        for text in ["", "1", "1 2", "x 2 b", "1 2 b c"] {
            fs::write(&path, text).unwrap();
            assert_eq!(Process::load(&path), None, "{text}");
        }
    }

    #[test]
    fn only_the_process_that_was_started_is_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process::running(child.id()).unwrap();
        let recycled = Process { started: process.started + 1, ..process.clone() };
        let rebooted = Process { boot: "another".into(), ..process.clone() };
        for other in [recycled, rebooted] {
            assert!(!other.is_running());
            other.signal(Signal::KILL).unwrap();
        }
        assert!(process.is_running() && !process.wait(Duration::from_millis(30)));
        process.signal(Signal::KILL).unwrap();
        assert!(process.wait(Duration::from_secs(10)), "a killed child counts as ended unreaped");
        child.wait().unwrap();
        process.signal(Signal::KILL).unwrap();
        assert!(Process::running(child.id()).is_err());
    }
}
