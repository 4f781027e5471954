//! A thousand wrong passphrases against running identity nodes, over QUIC on loopback. Only their
//! clock is not the day's: it is put forward by an hour whenever all tries are used up.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::identity::{Handle, TRIES_PER_WINDOW, WINDOW_MS_MAX, WINDOW_MS_MIN};
use kakera_engine::keyshare::KeyParameters;
use kakera_engine::ledger::{BeaconChain, Genesis, Suite};
use kakera_engine::seal::{Hardening, VaultRoot};
use kakera_net::client::{Client, ClientSettings, ErrorKind, NewPassphrase};
use kakera_net::clock::unix_milliseconds;
use kakera_net::id::Identity;
use kakera_net::listening;
use kakera_net::network_file::NetworkFile;
use kakera_net::validator::{self, ValidatorSettings};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::report::{Goal, Report};

#[derive(Args)]
pub(crate) struct Options {
    /// Wrong passphrases that the identity nodes shall answer
    #[arg(long, default_value_t = 1000)]
    tries: usize,
}

const VALIDATORS: [u8; 4] = [1, 2, 3, 4];
const OWNER: u8 = 100;
/// A machine on which the owner opened the vault before.
const OWN_MACHINE: u8 = 101;
/// One on which nobody ever did.
const FRESH_MACHINE: u8 = 102;
/// Machines of who guesses: more machines must be of no use.
const GUESSERS: [u8; 3] = [200, 201, 202];
const PASSPHRASE: &str = "unglazed pumice stroller mauve";
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
const HOUR_MS: u64 = WINDOW_MS_MIN;

pub(crate) fn run(options: &Options) -> Result<Report> {
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let folder = tempfile::tempdir()?;
        let start = unix_milliseconds();
        let clock = Arc::new(AtomicU64::new(start));
        let mut validators = JoinSet::new();
        let network = start_validators(folder.path(), &clock, &mut validators)?;
        let handle = create(&network).await?;
        let scene = Scene { network, handle, clock };
        let figures = tokio::select! {
            figures = scene.guess(options.tries) => figures?,
            Some(ended) = validators.join_next() => bail!("a validator ended: {ended:?}"),
        };
        validators.shutdown().await;
        Ok(report(options, &figures))
    })
}

/// What came of the guesses.
#[derive(Default)]
struct Figures {
    seconds: f64,
    asked: usize,
    /// Answered in the first hour, whatever was asked.
    answered_at_once: usize,
    answered: usize,
    refused: usize,
    hours: u64,
    hours_between_max: u64,
    /// Openings of the owner on the machine that opened before, while all others were locked out.
    owner_opened: usize,
    owner_refused: usize,
    hours_until_fresh: u64,
}

fn report(options: &Options, figures: &Figures) -> Report {
    let mut report = Report::new("passphrases");
    report.count("wrong_passphrases", figures.asked);
    report
        .count("answered", figures.answered)
        .goal(Goal::AtLeast(options.tries as f64))
        .more_is_better();
    report.count("refused", figures.refused);
    report
        .count("answered_in_first_hour", figures.answered_at_once)
        .goal(Goal::AtMost(f64::from(TRIES_PER_WINDOW)));
    report
        .add("days_for_all", figures.hours as f64 / 24.0)
        .goal(Goal::AtLeast(ladder_hours(options.tries) as f64 / 24.0))
        .more_is_better();
    let hours_max = WINDOW_MS_MAX / HOUR_MS;
    report
        .add("longest_wait_h", figures.hours_between_max as f64)
        .goal(Goal::AtMost(hours_max as f64));
    report
        .count("owner_opened_meanwhile", figures.owner_opened)
        .goal(Goal::AtLeast(1.0))
        .more_is_better();
    report.count("owner_refused", figures.owner_refused).goal(Goal::AtMost(0.0));
    report.add("fresh_machine_waited_h", figures.hours_until_fresh as f64).goal(Goal::AtLeast(1.0));
    report
        .add("fresh_machine_opened_after_h", figures.hours_until_fresh as f64)
        .goal(Goal::AtMost(hours_max as f64));
    report.add("time_s", figures.seconds);
    report
}

/// What the specification makes so many tries take: windows of 1, 2, 4, 8, 16 and then 24 hours.
fn ladder_hours(tries: usize) -> u64 {
    let windows_before_last = tries.div_ceil(TRIES_PER_WINDOW as usize).saturating_sub(1);
    (0..windows_before_last as u32).map(|rung| (1 << rung.min(5)).min(24)).sum()
}

struct Scene {
    network: NetworkFile,
    handle: Handle,
    clock: Arc<AtomicU64>,
}

impl Scene {
    async fn guess(&self, tries: usize) -> Result<Figures> {
        let (begin, mut figures) = (Instant::now(), Figures::default());
        let (own, fresh) = (self.client(OWN_MACHINE)?, self.client(FRESH_MACHINE)?);
        ensure!(self.opens(&own, PASSPHRASE).await?, "the owner is locked out before any guess");
        let guessers: Vec<Client> =
            GUESSERS.iter().map(|number| self.client(*number)).collect::<Result<_>>()?;
        let (mut hours, mut last_answer) = (0, 0);
        while figures.answered < tries {
            let guesser = &guessers[figures.asked % guessers.len()];
            let answered = self.opens(guesser, &format!("guess {}", figures.asked)).await?;
            figures.asked += 1;
            if answered {
                figures.answered += 1;
                figures.answered_at_once += usize::from(hours == 0);
                figures.hours_between_max = figures.hours_between_max.max(hours - last_answer);
                last_answer = hours;
                continue;
            }
            figures.refused += 1;
            // The first hour is tried to its end; in every later one a refusal is believed.
            if hours > 0 || figures.asked >= tries {
                if hours == last_answer {
                    let opened = self.opens(&own, PASSPHRASE).await?;
                    figures.owner_opened += usize::from(opened);
                    figures.owner_refused += usize::from(!opened);
                }
                self.clock.fetch_add(HOUR_MS, Ordering::Relaxed);
                hours += 1;
            }
        }
        figures.hours = hours;
        // The last guesses use up the window; then the owner comes to a machine that was never seen.
        while self.opens(&guessers[0], "one guess more").await? {}
        while !self.opens(&fresh, PASSPHRASE).await? {
            ensure!(figures.hours_until_fresh < 100, "the owner stays locked out");
            self.clock.fetch_add(HOUR_MS, Ordering::Relaxed);
            figures.hours_until_fresh += 1;
        }
        figures.seconds = begin.elapsed().as_secs_f64();
        Ok(figures)
    }

    /// Whether the identity nodes answered; the passphrase must open if it is the right one, and
    /// only then.
    async fn opens(&self, client: &Client, passphrase: &str) -> Result<bool> {
        let right = passphrase == PASSPHRASE;
        let passphrase = Zeroizing::new(passphrase.to_owned());
        match client.open_identity(&self.handle, passphrase).await {
            Ok(opened) => {
                ensure!(right, "a wrong passphrase opens");
                ensure!(opened.root.expose() == root().expose(), "another vault was opened");
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::Denied => {
                ensure!(!right, "the right passphrase does not open");
                Ok(true)
            }
            Err(error) if error.to_string().contains("too many tries") => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn client(&self, number: u8) -> Result<Client> {
        client(&self.network, number)
    }
}

fn client(network: &NetworkFile, number: u8) -> Result<Client> {
    let (network, identity) = (network.clone(), identity(number));
    Ok(Client::new(ClientSettings { network, identity, seen: None })?)
}

fn identity(number: u8) -> Arc<Identity> {
    Arc::new(Identity::from_seed(&Zeroizing::new([number; 32])))
}

fn root() -> VaultRoot {
    VaultRoot::from_bytes(Zeroizing::new([0x42; 32]))
}

/// Makes the owner's identity once the validators agree.
async fn create(network: &NetworkFile) -> Result<Handle> {
    let owner = client(network, OWNER)?;
    let handle = Handle::generate("sato", owner.network(), &mut ChaCha20Rng::seed_from_u64(1))?;
    let begin = Instant::now();
    loop {
        let passphrase = Zeroizing::new(PASSPHRASE.to_owned());
        let new = NewPassphrase { passphrase, hardening: Hardening::SmallMachine };
        match owner.create_identity(&handle, &root(), &[7; 32], new).await {
            Ok(()) => break,
            Err(error) if begin.elapsed() > PATIENCE => {
                return Err(error).context("the validators do not work together");
            }
            Err(_) => tokio::time::sleep(POLL).await,
        }
    }
    owner.close().await;
    Ok(handle)
}

/// Validators that agree, and count tries by `clock`.
fn start_validators(
    root: &Path,
    clock: &Arc<AtomicU64>,
    running: &mut JoinSet<Result<()>>,
) -> Result<NetworkFile> {
    let id = |number: &u8| identity(*number).node_id();
    let anchor = |number: &u8| BeaconChain::of_genesis(identity(*number).signing_key()).anchor();
    let genesis = Genesis {
        suite: Suite,
        name: "passphrases".into(),
        created: 1_700_000_000_000,
        validators: VALIDATORS.iter().map(|number| (id(number), 1)).collect(),
        operators: [id(&OWNER)].into(),
        code: CodeParameters { kind: CodeKind::Mbr, n: 3, k: 2, d: 2 },
        key: KeyParameters::new(3, 2, 2)?,
        pointers_per_author_max: 1_000_000,
        version: Some(2),
        anchors: VALIDATORS.iter().map(|number| (id(number), anchor(number))).collect(),
    };
    let address = |number: &u8| Ok((id(number), listening::free_address()?));
    let addresses = VALIDATORS.iter().map(address).collect::<Result<_>>()?;
    let network = NetworkFile { genesis, addresses };
    for number in VALIDATORS {
        let folder = root.join(number.to_string());
        std::fs::create_dir(&folder)?;
        identity(number).store(&folder.join("identity.key"))?;
        validator::create_voting_log(&folder)?;
        let listen: SocketAddr = network.addresses[&id(&number)];
        let clock = Arc::clone(clock);
        let settings = ValidatorSettings {
            tries_clock: Arc::new(move || clock.load(Ordering::Relaxed)),
            ..ValidatorSettings::new(folder, listen, network.clone())
        };
        running.spawn(async move { Ok(validator::run(settings, std::future::pending()).await?) });
    }
    Ok(network)
}
