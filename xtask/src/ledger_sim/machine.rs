//! A validator with its disk: what was synced survives a crash, of the rest a torn beginning.

use std::time::Duration;

use ed25519_dalek::SigningKey;
use kakera_engine::ledger::agreement::{Pace, Record};
use kakera_engine::ledger::{CertifiedBlock, Chain, Genesis};
use kakera_engine::peer::{Clock, Validator};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

/// A validator's process and its disk.
pub(super) struct Machine {
    pub(super) key: SigningKey,
    pub(super) validator: Option<Validator>,
    /// The chain's log, each block synced.
    pub(super) blocks: Vec<CertifiedBlock>,
    synced: Vec<Record>,
    unsynced: Vec<Record>,
    /// For the control: nothing of the voting log survives a crash.
    forgetful: bool,
    /// How far its clock is off, milliseconds.
    pub(super) skew: i64,
    /// Counts the crashes, so that what was on its way to an earlier process is not delivered.
    pub(super) life: u32,
    /// When it is woken next.
    pub(super) wake: Option<Duration>,
}

impl Machine {
    pub(super) fn new(key: SigningKey, skew: i64, forgetful: bool) -> Self {
        Self {
            key,
            validator: None,
            blocks: Vec::new(),
            synced: Vec::new(),
            unsynced: Vec::new(),
            forgetful,
            skew,
            life: 0,
            wake: None,
        }
    }

    /// Starts the process from what is on the disk.
    pub(super) fn start(
        &mut self,
        genesis: &Genesis,
        pace: Pace,
        clock: Clock,
    ) -> Result<(), String> {
        let mut chain = Chain::new(genesis.clone()).map_err(|error| error.to_string())?;
        let (last, before) = match self.blocks.split_last() {
            Some((last, before)) => (Some(last.clone()), before),
            None => (None, &[][..]),
        };
        for block in before {
            chain.apply(block, None).map_err(|error| error.to_string())?;
        }
        let mut validator = Validator::new(self.key.clone(), chain, last)
            .map_err(|error| format!("a validator does not start again: {error}"))?;
        validator.set_voting(pace, true);
        validator.recall(&self.synced, clock);
        self.validator = Some(validator);
        Ok(())
    }

    /// Kills the process. Of what was written and not synced a beginning may be there.
    pub(super) fn crash(&mut self, rng: &mut ChaCha8Rng) -> bool {
        let kept = if self.unsynced.is_empty() {
            0
        } else {
            rng.next_u64() as usize % (self.unsynced.len() + 1)
        };
        let torn = kept < self.unsynced.len();
        self.unsynced.truncate(kept);
        self.sync();
        if self.forgetful {
            self.synced.clear();
        }
        self.validator = None;
        self.life += 1;
        self.wake = None;
        torn
    }

    /// Writes to the voting log.
    pub(super) fn write(&mut self, record: Record) {
        self.unsynced.push(record);
    }

    /// Makes the voting log durable.
    pub(super) fn sync(&mut self) {
        self.synced.append(&mut self.unsynced);
    }

    /// Makes a block durable; what the voting log has of its height has done its work.
    pub(super) fn store(&mut self, block: CertifiedBlock) {
        let height = block.block.header.height;
        self.blocks.push(block);
        self.synced.retain(|record| record.height > height);
        self.unsynced.retain(|record| record.height > height);
    }
}
