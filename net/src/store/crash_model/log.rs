//! The promises of the block log.

use rand_chacha::ChaCha8Rng;

use super::{below, drawn_bytes, unless_off};
use crate::store::block_log::BlockLog;
use crate::store::simulated::SimulatedDisk;

const RECORD_LENGTH_BOUND: u32 = 1500;

pub(super) struct Model {
    salt: [u8; 32],
    /// Which log is in use; those before it are done with.
    number: u32,
    /// Records acknowledged or shown.
    records: Vec<Vec<u8>>,
    /// Records of an append that did not return; any first few of them may be there.
    under_way: Vec<Vec<u8>>,
}

impl Model {
    pub(super) fn new(seed: u64) -> Self {
        let mut salt = [0; 32];
        salt[..8].copy_from_slice(&seed.to_le_bytes());
        Self { salt, number: 0, records: Vec::new(), under_way: Vec::new() }
    }
}

impl super::Model for Model {
    type Store = BlockLog<SimulatedDisk>;

    fn open(&mut self, disk: &SimulatedDisk) -> Result<Option<Self::Store>, String> {
        let opened = BlockLog::open(disk, &format!("chain-{}", self.number), self.salt);
        let Some((log, _)) = unless_off(disk, "open", opened)? else {
            return Ok(None);
        };
        let Some(shown) = unless_off(disk, "read", log.read_range(0, usize::MAX))? else {
            return Ok(None);
        };
        let promised = self.records.len();
        self.records.append(&mut self.under_way);
        if shown.len() < promised {
            return Err(format!("{} records of {promised} acknowledged", shown.len()));
        }
        if !self.records.starts_with(&shown) {
            return Err("a record is not what was appended".to_owned());
        }
        self.records = shown;
        Ok(Some(log))
    }

    fn step(
        &mut self,
        log: &mut Self::Store,
        disk: &SimulatedDisk,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), String> {
        if below(rng, 4) == 0 && !self.records.is_empty() {
            self.number += 1;
            self.records.clear();
            if let Some(next) = self.open(disk)? {
                *log = next;
            }
            return Ok(());
        }
        let batch = (0..1 + below(rng, 4)).map(|_| drawn_bytes(rng, RECORD_LENGTH_BOUND));
        self.under_way = batch.collect();
        let records: Vec<&[u8]> = self.under_way.iter().map(Vec::as_slice).collect();
        if unless_off(disk, "append", log.append_batch(&records))?.is_some() {
            self.records.append(&mut self.under_way);
        }
        Ok(())
    }
}
