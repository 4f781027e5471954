//! Whether anything readable lies on the nodes: a search of whole folders for samples of the
//! plaintext.
//!
//! Every file name, every word given and many 16-byte pieces of the stored files are searched for
//! at every position of every file. A filter over the first four bytes rejects nearly all
//! positions, so that the search runs at the speed of the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::patients::Random;
use super::tree;

/// Bytes of a sampled piece.
const PIECE_LEN: usize = 16;
/// A piece with fewer distinct byte values, a run of zeros say, would be found anywhere.
const PIECE_VALUES_MIN: usize = 8;
/// Samples that are shorter would be found in random bytes by chance.
const SAMPLE_LEN_MIN: usize = 6;
const NAME_LEN_MIN: usize = 8;
/// Only the beginning of a longer sample counts.
const SAMPLE_LEN_MAX: usize = 64;
const PIECES_PER_FILE: u64 = 4;
const PIECES_PER_LARGE_FILE: u64 = 1000;
const LARGE_FILE: u64 = 16 << 20;
const BLOCK_LEN: usize = 1 << 20;
const FILTER_BITS: u32 = 18;

/// Pieces of plaintext to be searched for.
pub(crate) struct Samples {
    samples: BTreeSet<Vec<u8>>,
}

impl Samples {
    /// `words`, the names of all files below `folder`, and pieces of their contents.
    pub(crate) fn take(folder: &Path, words: &[String]) -> io::Result<Self> {
        let mut samples = BTreeSet::new();
        let mut random = Random(1);
        let mut insert = |bytes: &[u8]| {
            if bytes.len() >= SAMPLE_LEN_MIN {
                samples.insert(bytes[..bytes.len().min(SAMPLE_LEN_MAX)].to_vec());
            }
        };
        words.iter().for_each(|word| insert(word.as_bytes()));
        for file in tree::files(folder)? {
            // Shorter ones, `address` say, may be names of a node's own files.
            let name = file.name.rsplit('/').next().unwrap_or(&file.name);
            if name.len() >= NAME_LEN_MIN {
                insert(name.as_bytes());
            }
            let mut open = File::open(folder.join(&file.name))?;
            let pieces =
                if file.len < LARGE_FILE { PIECES_PER_FILE } else { PIECES_PER_LARGE_FILE };
            for _ in 0..pieces.min(file.len / PIECE_LEN as u64) {
                let mut piece = [0; PIECE_LEN];
                open.seek(SeekFrom::Start(random.below(file.len - PIECE_LEN as u64 + 1)))?;
                open.read_exact(&mut piece)?;
                if piece.iter().collect::<BTreeSet<_>>().len() >= PIECE_VALUES_MIN {
                    insert(&piece);
                }
            }
        }
        Ok(Self { samples })
    }

    /// How many different ones.
    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }
}

/// What a search found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Bytes searched.
    pub(crate) bytes: u64,
    /// Different samples found.
    pub(crate) samples: usize,
    /// The first file in which one was found.
    pub(crate) first: Option<PathBuf>,
}

/// Searches every file below `folders`.
pub(crate) fn search(folders: &[PathBuf], samples: &Samples) -> io::Result<Findings> {
    let index = Index::new(samples);
    let mut found = BTreeSet::new();
    let mut findings = Findings::default();
    let mut block = vec![0; BLOCK_LEN + SAMPLE_LEN_MAX];
    for folder in folders {
        for file in tree::files(folder)? {
            let path = folder.join(&file.name);
            let before = found.len();
            index.search_file(&mut File::open(&path)?, &mut block, &mut found)?;
            index.search_block(file.name.as_bytes(), &mut found);
            findings.bytes += file.len;
            if found.len() > before {
                findings.first.get_or_insert(path);
            }
        }
    }
    findings.samples = found.len();
    Ok(findings)
}

struct Index<'a> {
    filter: Vec<bool>,
    by_start: BTreeMap<[u8; 4], Vec<&'a [u8]>>,
}

impl<'a> Index<'a> {
    fn new(samples: &'a Samples) -> Self {
        let mut index = Self { filter: vec![false; 1 << FILTER_BITS], by_start: BTreeMap::new() };
        for sample in &samples.samples {
            let Some(start) = sample.first_chunk::<4>() else { continue };
            index.filter[filter_place(start)] = true;
            index.by_start.entry(*start).or_default().push(sample);
        }
        index
    }

    /// Blocks overlap, so that a sample across their border is seen whole.
    fn search_file(
        &self,
        file: &mut File,
        block: &mut [u8],
        found: &mut BTreeSet<&'a [u8]>,
    ) -> io::Result<()> {
        let mut kept = 0;
        loop {
            let read = tree::fill(file, &mut block[kept..])?;
            let len = kept + read;
            self.search_block(&block[..len], found);
            if len < block.len() {
                return Ok(());
            }
            kept = SAMPLE_LEN_MAX - 1;
            block.copy_within(len - kept.., 0);
        }
    }

    fn search_block(&self, block: &[u8], found: &mut BTreeSet<&'a [u8]>) {
        for (position, start) in block.windows(4).enumerate() {
            let Some(start) = start.first_chunk::<4>() else { continue };
            if !self.filter[filter_place(start)] {
                continue;
            }
            for sample in self.by_start.get(start).into_iter().flatten() {
                if block[position..].starts_with(sample) {
                    found.insert(sample);
                }
            }
        }
    }
}

fn filter_place(start: &[u8; 4]) -> usize {
    (u32::from_le_bytes(*start).wrapping_mul(0x9e37_79b1) >> (32 - FILTER_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_samples_inside_across_blocks_and_in_names() {
        let (input, node) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let word = "Yamada^Taro".to_owned();
        std::fs::write(input.path().join("record-name-1"), b"").unwrap();
        let samples = Samples::take(input.path(), &[word.clone(), "short".into()]).unwrap();
        assert_eq!(samples.len(), 2);
        let search = || search(&[node.path().to_owned()], &samples).unwrap();
        let mut bytes = vec![0; BLOCK_LEN + SAMPLE_LEN_MAX + 1000];
        let place = node.path().join("part");
        std::fs::write(&place, &bytes).unwrap();
        assert_eq!((search().samples, search().bytes), (0, bytes.len() as u64));
        for offset in [0, BLOCK_LEN + SAMPLE_LEN_MAX - 5, bytes.len() - word.len()] {
            bytes.fill(0);
            bytes[offset..offset + word.len()].copy_from_slice(word.as_bytes());
            std::fs::write(&place, &bytes).unwrap();
            assert_eq!((search().samples, search().first), (1, Some(place.clone())), "{offset}");
        }
        std::fs::write(node.path().join("record-name-1.part"), b"").unwrap();
        assert_eq!(search().samples, 2);
    }

    #[test]
    fn the_plaintext_itself_holds_every_sample() {
        let folder = tempfile::tempdir().unwrap();
        let extent = super::super::patients::Extent { images: 1, large_file_bytes: 20 << 20 };
        let words = super::super::patients::write(folder.path(), extent).unwrap();
        let samples = Samples::take(folder.path(), &words).unwrap();
        assert!(samples.len() > 3000, "{}", samples.len());
        let findings = search(&[folder.path().to_owned()], &samples).unwrap();
        assert_eq!(findings.samples, samples.len());
    }
}
