//! What the validators' chains hold after a load.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::Result;
use kakera_engine::hash::hash;
use kakera_engine::ledger::CertifiedBlock;
use kakera_engine::wire::canonical;
use kakera_net::client::{Client, ClientSettings};
use kakera_net::id::Identity;
use kakera_net::network_file::NetworkFile;

use super::clients::{EntryName, Posted, name_of};
use crate::chain::read_blocks;
use crate::product::LocalNetwork;
use crate::report::{Goal, Report};

/// The entries of one chain against those that were posted.
#[derive(Default)]
struct Entries {
    found: BTreeSet<EntryName>,
    misplaced: usize,
    twice: usize,
    foreign: usize,
}

/// Reads the chain of every validator above `height` up to the last entry that was acknowledged,
/// and compares. So many entries may be `foreign`.
pub(crate) async fn check(
    network: &LocalNetwork,
    height: u64,
    posted: &[Posted],
    foreign: usize,
    report: &mut Report,
) -> Result<()> {
    let acknowledged = posted.iter().filter_map(|entry| Some((entry.name, entry.outcome?.0)));
    let acknowledged: BTreeMap<EntryName, u64> =
        acknowledged.map(|(name, place)| (name, place.index)).collect();
    let places = posted.iter().filter_map(|entry| entry.outcome);
    let last = places.map(|(place, _)| place.height).max().unwrap_or(height);
    let all: BTreeSet<EntryName> = posted.iter().map(|entry| entry.name).collect();

    let (file, mut entries, mut first, mut differing) =
        (network.network_file()?, Entries::default(), None, 0);
    for validator in file.addresses.keys() {
        let mut alone = file.clone();
        alone.addresses.retain(|other, _| other == validator);
        let blocks = read_blocks(&client(network, alone)?, height + 1, last).await?;
        let names: Vec<[u8; 32]> = blocks.iter().map(name_of_block).collect();
        match &first {
            None => {
                entries.compare(&blocks, &all, &acknowledged);
                first = Some(names);
            }
            Some(first) => differing += usize::from(*first != names),
        }
    }
    let blocks = first.unwrap_or_default().len();
    report.add("entries_per_block", all.len() as f64 / blocks as f64);
    report.count("chains_compared", file.addresses.len()).goal(Goal::AtLeast(1.0));
    report.count("chains_different", differing).goal(Goal::AtMost(0.0));
    let missing = acknowledged.keys().filter(|name| !entries.found.contains(*name)).count();
    report.count("acknowledged_missing", missing).goal(Goal::AtMost(0.0));
    report.count("acknowledged_misplaced", entries.misplaced).goal(Goal::AtMost(0.0));
    report.count("entries_twice", entries.twice).goal(Goal::AtMost(0.0));
    report.count("entries_of_others", entries.foreign).goal(Goal::AtMost(foreign as f64));
    Ok(())
}

/// A client of the only validator of the file.
fn client(network: &LocalNetwork, file: NetworkFile) -> Result<Client> {
    let identity = Arc::new(Identity::load(&network.data().join("client.key"))?);
    Ok(Client::new(ClientSettings { network: file, identity, seen: None })?)
}

/// Of everything but the certificate, in which validators may rightly differ.
fn name_of_block(block: &CertifiedBlock) -> [u8; 32] {
    hash("load", &[&canonical::encode(&block.block)])
}

impl Entries {
    fn compare(
        &mut self,
        blocks: &[CertifiedBlock],
        posted: &BTreeSet<EntryName>,
        acknowledged: &BTreeMap<EntryName, u64>,
    ) {
        for CertifiedBlock { block, .. } in blocks {
            let first = block.header.log_size - block.entries.len() as u64;
            for (index, salted) in (first..).zip(&block.entries) {
                let name = name_of(salted.entry.author, &salted.entry.body);
                self.foreign += usize::from(!posted.contains(&name));
                self.twice += usize::from(!self.found.insert(name));
                let told = acknowledged.get(&name);
                self.misplaced += usize::from(told.is_some_and(|told| *told != index));
            }
        }
    }
}
