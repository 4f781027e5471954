//! The promises of small files replaced as a whole.

use rand_chacha::ChaCha8Rng;

use super::{drawn_bytes, unless_off};
use crate::store::file::{read_file, write_atomic};
use crate::store::simulated::SimulatedDisk;

const PATH: &str = "settings";
const LENGTH_BOUND: u32 = 3000;

pub(super) struct Model {
    /// What may be there: the last contents acknowledged or shown, and those of a write that did
    /// not return.
    possible: Vec<Option<Vec<u8>>>,
}

impl Model {
    pub(super) fn new() -> Self {
        Self { possible: vec![None] }
    }
}

impl super::Model for Model {
    type Store = ();

    fn open(&mut self, disk: &SimulatedDisk) -> Result<Option<()>, String> {
        let result = read_file(disk, PATH, LENGTH_BOUND as usize);
        let Some(contents) = unless_off(disk, "read", result)? else {
            return Ok(None);
        };
        if !self.possible.contains(&contents) {
            return Err("the file is not what was last written".to_owned());
        }
        self.possible = vec![contents];
        Ok(Some(()))
    }

    fn step(
        &mut self,
        (): &mut (),
        disk: &SimulatedDisk,
        rng: &mut ChaCha8Rng,
    ) -> Result<(), String> {
        let contents = drawn_bytes(rng, LENGTH_BOUND);
        self.possible.push(Some(contents.clone()));
        let result = write_atomic(disk, PATH, &contents);
        if unless_off(disk, "write", result)?.is_some() {
            self.possible = vec![Some(contents)];
        }
        Ok(())
    }
}
