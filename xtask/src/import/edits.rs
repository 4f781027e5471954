//! Two clients of one vault that edit one record at the same time.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result};
use kakera_engine::catalogue::RecordName;
use kakera_engine::seal::VaultRoot;
use kakera_net::client::{Client, ClientSettings};
use kakera_net::id::Identity;
use kakera_net::vault::{NoProgress, Source, Vault};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

use super::NODES;
use crate::product::LocalNetwork;
use crate::report::{Goal, Report};

const ROOT: [u8; 32] = [3; 32];
const NAME: &str = "chart";

/// Edits the record so many times from both clients at once, and reads every version back.
pub(super) fn run(rounds: u32, report: &mut Report) -> Result<()> {
    let network = LocalNetwork::start(NODES)?;
    let runtime = Runtime::new()?;
    runtime.block_on(async {
        let mut vaults = [open(&network).await?, open(&network).await?];
        for round in 0..rounds {
            let [left, right] = &mut vaults;
            let (first, second) = tokio::join!(
                edit(&network, left, format!("left {round}")),
                edit(&network, right, format!("right {round}"))
            );
            first?;
            second?;
        }
        check(&open(&network).await?, rounds, report).await
    })
}

async fn open(network: &LocalNetwork) -> Result<Vault> {
    let identity = Arc::new(Identity::generate()?);
    let id = identity.node_id().to_string();
    network.run(&["node", "enrol", &id, "--submitter"])?;
    let settings = ClientSettings { network: network.network_file()?, identity, seen: None };
    let root = VaultRoot::from_bytes(Zeroizing::new(ROOT));
    Ok(Vault::open(Arc::new(Client::new(settings)?), root).await?)
}

async fn edit(network: &LocalNetwork, vault: &mut Vault, content: String) -> Result<()> {
    let path = network.scratch().join(content.replace(' ', "-"));
    fs::write(&path, content)?;
    let name = RecordName::new(NAME).context("a name")?;
    vault.put(vec![Source::new(name, path)], Arc::new(NoProgress)).await?;
    Ok(())
}

async fn check(vault: &Vault, rounds: u32, report: &mut Report) -> Result<()> {
    let name = RecordName::new(NAME).context("a name")?;
    let record = vault.record(&name)?;
    let mut contents = Vec::new();
    for version in record.versions() {
        let stored = record.stored(version).context("every version holds something")?;
        let mut content = Vec::new();
        vault.get(stored, None, &mut content, &NoProgress).await?;
        contents.push(String::from_utf8(content)?);
    }
    let expected = |side: &str| (0..rounds).map(move |round| format!("{side} {round}")).collect();
    let expected: [Vec<String>; 2] = ["left", "right"].map(expected);
    let lost = expected.iter().flatten().filter(|content| !contents.contains(content)).count();
    // Each client's own edits are in its order, and puts in the ledger's.
    let of = |side: &'static str| contents.iter().filter(move |content| content.starts_with(side));
    let ordered = record.versions().is_sorted_by(|earlier, later| earlier.put < later.put)
        && of("left").eq(expected[0].iter())
        && of("right").eq(expected[1].iter());
    let overtaken = record.versions().iter().filter(|v| v.based_on + 1 < v.number).count();
    report
        .count("double_edit_versions", contents.len())
        .goal(Goal::AtLeast(2.0 * f64::from(rounds)));
    report.count("double_edit_versions_lost", lost).goal(Goal::AtMost(0.0));
    report.count("double_edit_shown_as_such", overtaken).goal(Goal::AtLeast(1.0));
    report.add("double_edits_in_order", f64::from(u8::from(ordered))).goal(Goal::AtLeast(1.0));
    Ok(())
}
