//! A made-up SS-MIX2 standardised storage that lives: messages come, are replaced and deleted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// Orders of one visit, each a message.
const KINDS: [&str; 4] = ["ADT-12", "OML-11", "OMP-01", "PPR-01"];
/// Text in ISO-2022-JP, whose bytes contain delimiters.
const KANJI: &[u8] = b"\x1b$B;3ED|B@O:^7l@6\x1b(B";

/// The storage and what is in it.
pub(crate) struct Storage {
    root: PathBuf,
    rng: ChaCha8Rng,
    patients: Vec<String>,
    visits: u64,
    /// Files that are in force: their paths without the flag.
    current: Vec<PathBuf>,
    clock: u64,
}

impl Storage {
    /// An empty storage below `root`.
    pub(crate) fn new(root: PathBuf, seed: u64) -> Result<Self> {
        fs::create_dir_all(&root)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let patients =
            (0..100).map(|_| format!("{:010}", rng.next_u64() % 10_000_000_000)).collect();
        Ok(Self { root, rng, patients, visits: 0, current: Vec::new(), clock: 0 })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Writes so many new messages of about 1 KB; of a hundred, three are replaced and one deleted.
    pub(crate) fn grow(&mut self, files: usize) -> Result<()> {
        for _ in 0..files {
            let place = self.rng.next_u64() as usize % self.patients.len();
            let patient = self.patients[place].clone();
            self.visits += 1;
            let kind = KINDS[self.rng.next_u64() as usize % KINDS.len()];
            let order = self.visits;
            let stem = self.stem(&patient, kind, order)?;
            self.write(&stem, 1, &patient)?;
            self.current.push(stem);
            match self.rng.next_u32() % 100 {
                0..3 => self.replace()?,
                3 => self.delete()?,
                _ => {}
            }
        }
        Ok(())
    }

    /// One message is corrected: the file gets flag 2, and a new one flag 1.
    fn replace(&mut self) -> Result<()> {
        let place = self.rng.next_u64() as usize % self.current.len();
        let old = self.current.swap_remove(place);
        fs::rename(with_flag(&old, 1), with_flag(&old, 2))?;
        let name = old.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let parts: Vec<&str> = name.split('_').collect();
        let [patient, _, kind, order, ..] = parts[..] else { return Ok(()) };
        let (patient, kind) = (patient.to_owned(), kind.to_owned());
        let order = order.parse().unwrap_or(0);
        // In the folder of the visit, where the first one is.
        let new = self.stem(&patient, &kind, order)?;
        self.write(&new, 1, &patient)?;
        self.current.push(new);
        Ok(())
    }

    fn delete(&mut self) -> Result<()> {
        let place = self.rng.next_u64() as usize % self.current.len();
        let old = self.current.swap_remove(place);
        Ok(fs::rename(with_flag(&old, 1), with_flag(&old, 0))?)
    }

    fn stem(&mut self, patient: &str, kind: &str, order: u64) -> Result<PathBuf> {
        self.clock += 1;
        // The same for all files of an order.
        let day = 20_240_101 + order % 28;
        let folder = self
            .root
            .join(&patient[0..3])
            .join(&patient[3..6])
            .join(patient)
            .join(day.to_string())
            .join(kind);
        fs::create_dir_all(&folder)?;
        let time = 20_240_101_000_000_000 + self.clock;
        Ok(folder.join(format!("{patient}_{day}_{kind}_{order:015}_{time}_01")))
    }

    fn write(&mut self, stem: &Path, flag: u8, patient: &str) -> Result<()> {
        let mut text = format!(
            "MSH|^~\\&|HIS|SEND|GW|RCV|20240101||OUL^R22^OUL_R22|{}|P|2.5||||||~ISO IR87||ISO 2022-1994\r\
             PID|0001||{patient}^^^^PI||",
            self.clock
        )
        .into_bytes();
        text.extend(KANJI);
        text.extend(b"^^^^^L^I||19500101|F\r");
        for line in 0..2 + self.rng.next_u32() % 8 {
            let value = self.rng.next_u32() % 10_000;
            text.extend(
                format!("OBR|{line}|{value:015}||3D010000002399801^AST^JC10|||20240101\r").bytes(),
            );
            text.extend(format!("OBX|{line}|NM|3B035000002327201^").bytes());
            text.extend(KANJI);
            text.extend(format!("^JC10||{value}|U/L^U/L^99XYZ|||||F|||20240101\r").bytes());
        }
        Ok(fs::write(with_flag(stem, flag), text)?)
    }
}

fn with_flag(stem: &Path, flag: u8) -> PathBuf {
    let mut path = stem.as_os_str().to_owned();
    path.push(format!("_{flag}"));
    path.into()
}

/// Every file below a folder by its path from there, with the hash of its bytes; and all bytes.
pub(crate) fn tree(folder: &Path) -> Result<(BTreeMap<PathBuf, u64>, u64)> {
    let (mut files, mut bytes) = (BTreeMap::new(), 0);
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
                continue;
            }
            let content = fs::read(entry.path())?;
            bytes += content.len() as u64;
            let digest = kakera_engine::hash::hash("xtask/tree", &[&content]);
            let mut short = [0; 8];
            short.copy_from_slice(&digest[..8]);
            let name = entry.path().strip_prefix(folder)?.to_owned();
            files.insert(name, u64::from_be_bytes(short));
        }
    }
    Ok((files, bytes))
}
