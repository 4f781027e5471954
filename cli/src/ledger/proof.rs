//! Proofs of what the ledger says, as files.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use kakera_engine::ledger::{
    Chain, Claim, Genesis, Header, LedgerProof, LedgerProofError, SaltedEntry, StateKey,
};
use kakera_engine::names::GroupId;
use kakera_net::chain_store::{ChainStore, ChainStoreError};
use kakera_net::store::disk::OsDisk;
use serde::Serialize;

use super::copy::{open, store_failure};
use super::{describe, hex};
use crate::arguments::{ClaimOptions, ProveOptions};
use crate::failure::{Failure, Kind};
use crate::output::Report;
use crate::quantity::show_time;
use crate::session::{Session, replace_file};

/// Writes a proof.
pub(super) async fn prove(session: &Session, options: &ProveOptions) -> Result<(), Failure> {
    let genesis = session.network()?.genesis;
    let proof = match (&options.folder, state_key(&options.claim)) {
        (Some(folder), key) => from_copy(&open(folder)?, &genesis, key, options.claim.entry)?,
        (None, Some(key)) => {
            let connection = session.connect()?;
            let proof = connection.client.prove_value(key).await;
            connection.close().await?;
            proof?
        }
        (None, None) => return Err(no_copy()),
    };
    // What is written is what a reader will check.
    let report = ProofReport::of(&proof, genesis)?;
    replace_file(&options.output, &proof.to_bytes())?;
    session.output.report(&report)
}

/// Checks a proof without the network.
pub(super) fn verify(session: &Session, file: &Path) -> Result<(), Failure> {
    let genesis = session.network()?.genesis;
    let bytes = fs::read(file).map_err(|error| Failure::file(file, &error))?;
    let proof = LedgerProof::from_bytes(&bytes).map_err(|error| {
        let message = format!("{} is no proof: {error}", file.display());
        Failure::new(Kind::Integrity, message, "ask for the file again")
    })?;
    session.output.report(&ProofReport::of(&proof, genesis)?)
}

fn no_copy() -> Failure {
    let message = "an entry is proved from a copy of the chain";
    Failure::new(Kind::Usage, message, "--folder DIR, after kakera ledger sync DIR")
}

fn state_key(claim: &ClaimOptions) -> Option<StateKey> {
    let pointers = claim.pointers.map(StateKey::PointersOf);
    let machine = claim.machine.map(StateKey::Node);
    let group = claim.group.map(|group| StateKey::Group(GroupId(group)));
    pointers.or(machine).or(group).or(claim.validators.then_some(StateKey::Validators))
}

fn from_copy(
    store: &ChainStore<OsDisk>,
    genesis: &Genesis,
    key: Option<StateKey>,
    entry: Option<u64>,
) -> Result<LedgerProof, Failure> {
    let load = || store.load(genesis.clone(), u64::MAX).map_err(store_failure);
    let (chain, claim) = match (key, entry) {
        (Some(key), _) => {
            let chain = load()?;
            let (value, proof) = chain.state_proof(&key);
            (chain, Claim::State { key, value, proof })
        }
        (None, Some(index)) => {
            // What came before a checkpoint can be proved only by the blocks themselves.
            let mut chain = load()?;
            if chain.entry_proof(index).is_err() {
                chain = store.replay(genesis.clone(), u64::MAX).map_err(store_failure)?;
            }
            let proof = chain.entry_proof(index).map_err(|error| {
                Failure::of(Kind::NotFound, error, "kakera ledger sync, or another number")
            })?;
            let entry = Box::new(find_entry(store, &chain, index).map_err(store_failure)?);
            (chain, Claim::Entry { entry, proof })
        }
        (None, None) => return Err(no_copy()),
    };
    // The head's own change of the set is not below it.
    let below = |height: u64| height < chain.head().header.height;
    let changes = chain.set_changes().iter();
    let changes = changes.filter(|change| below(change.header.header.height)).cloned().collect();
    Ok(LedgerProof::new(changes, chain.head().clone(), claim))
}

/// The entry with a number that the chain has.
fn find_entry(
    store: &ChainStore<OsDisk>,
    chain: &Chain,
    index: u64,
) -> Result<SaltedEntry, ChainStoreError> {
    let (mut below, mut last) = (store.first_height(), chain.head().header.height);
    loop {
        let height = below.midpoint(last);
        let Some(block) = store.block(height)? else {
            unreachable!("the chain was read from these blocks")
        };
        let end = block.block.header.log_size;
        let begin = end - block.block.entries.len() as u64;
        if index >= end {
            below = height + 1;
        } else if index < begin {
            last = height - 1;
        } else {
            return Ok(block.block.entries[(index - begin) as usize].clone());
        }
    }
}

#[derive(Serialize)]
struct ProofReport {
    network: String,
    height: u64,
    hash: String,
    /// Unix milliseconds.
    time: u64,
    /// What was proved.
    subject: String,
    /// Canonical CBOR in hexadecimal digits; none if it is proved that there is none.
    value: Option<String>,
}

impl ProofReport {
    fn of(proof: &LedgerProof, genesis: Genesis) -> Result<Self, Failure> {
        let (header, claim) = proof.verify(genesis).map_err(refused)?;
        let Header { network, height, time, .. } = header;
        let (subject, value) = match claim {
            Claim::State { key, value, .. } => (show_key(key), value.as_deref().map(hex)),
            Claim::Entry { entry, proof } => {
                let (kind, about) = describe(&entry.entry.body);
                let author = entry.entry.author.to_string();
                let subject =
                    format!("entry {}, by {}: {kind} {about}", proof.index, &author[..16]);
                (subject.trim_end().to_owned(), Some(hex(&entry.entry.to_bytes())))
            }
        };
        let (network, hash) = (network.to_string(), hex(&header.hash()));
        Ok(Self { network, height: *height, hash, time: *time, subject, value })
    }
}

fn refused(error: LedgerProofError) -> Failure {
    let kind = match error {
        LedgerProofError::Genesis(_) => Kind::Usage,
        _ => Kind::Integrity,
    };
    let advice =
        "check that the network file is that of the proof's network; else do not believe it";
    Failure::of(kind, error, advice)
}

fn show_key(key: &StateKey) -> String {
    match key {
        StateKey::PointersOf(tag) => format!("the pointers under tag {tag}"),
        StateKey::Node(node) => format!("machine {node}"),
        StateKey::Group(group) => format!("group {group}"),
        StateKey::Validators => "the validators of the next block".to_owned(),
        other => format!("{other:?}"),
    }
}

impl Report for ProofReport {
    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { network, height, hash, time, subject, value } = self;
        let (network, time) = (&network[..16], show_time(time / 1000));
        match value {
            Some(value) => writeln!(out, "{subject}: {} bytes\n  {value}", value.len() / 2)?,
            None => writeln!(out, "{subject}: not there")?,
        }
        writeln!(out, "proved at height {height} of network {network}, {time} UTC, block\n  {hash}")
    }
}
