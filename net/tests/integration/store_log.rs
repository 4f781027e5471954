//! The block log: torn ends are cut off, damage is named, full disks are refusals.

use kakera_net::store::block_log::{BlockLog, LogCopy, LogError, RECORD_LENGTH_MAX};
use kakera_net::store::disk::{Disk, DiskFile, OsDisk};
use kakera_net::store::file::{read_file, write_atomic};
use kakera_net::store::simulated::SimulatedDisk;

const PATH: &str = "chain";
const SALT: [u8; 32] = [7; 32];
const PREAMBLE_LENGTH: u64 = 76;
const FRAME_LENGTH: u64 = 68;

fn open(disk: &SimulatedDisk) -> Result<(BlockLog<SimulatedDisk>, u64), LogError> {
    let (log, recovery) = BlockLog::open(disk, PATH, SALT)?;
    Ok((log, recovery.truncated_bytes))
}

/// A log of "zero", "one" + "two" in one append, "" and "four".
fn filled() -> (SimulatedDisk, BlockLog<SimulatedDisk>) {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.append(b"zero").unwrap();
    log.append_batch(&[b"one", b"two"]).unwrap();
    log.append_batch(&[]).unwrap();
    log.append(b"").unwrap();
    log.append(b"four").unwrap();
    (disk, log)
}

fn records() -> Vec<Vec<u8>> {
    [&b"zero"[..], b"one", b"two", b"", b"four"].map(<[u8]>::to_vec).to_vec()
}

/// Where the frame of each record begins, and the end.
fn offsets() -> Vec<u64> {
    let mut offset = PREAMBLE_LENGTH;
    let mut offsets = vec![offset];
    for record in records() {
        offset += FRAME_LENGTH + record.len() as u64;
        offsets.push(offset);
    }
    offsets
}

#[test]
fn records_are_read_back_one_by_one_and_in_ranges() {
    let (disk, log) = filled();
    drop(log);
    let (log, truncated) = open(&disk).unwrap();
    assert_eq!((log.len(), truncated), (5, 0));
    for (index, record) in (0..).zip(records()) {
        assert_eq!(log.read(index).unwrap(), Some(record));
    }
    assert_eq!(log.read(5).unwrap(), None);
    assert_eq!(log.read(u64::MAX).unwrap(), None);
    assert_eq!(log.read_range(0, usize::MAX).unwrap(), records());
    assert_eq!(log.read_range(1, 6).unwrap(), records()[1..4]);
    assert_eq!(log.read_range(0, 1).unwrap(), records()[..1]);
    assert!(log.read_range(5, 100).unwrap().is_empty());
    assert!(log.read_range(u64::MAX, 100).unwrap().is_empty());
}

#[test]
fn the_file_format_is_frozen() {
    let (disk, _) = filled();
    let bytes = read_file(&disk, PATH, 1000).unwrap().unwrap();
    assert_eq!(bytes.len() as u64, offsets()[5]);
    assert_eq!(
        blake3::hash(&bytes).to_hex().as_str(),
        "dd1c2161f4ed7f02b334b467756a8248bf117f7755ed31f2b62f18079f3e644b"
    );
}

#[test]
fn a_log_cut_anywhere_keeps_its_whole_records() {
    for length in PREAMBLE_LENGTH..offsets()[5] {
        let (disk, _) = filled();
        disk.open(PATH).unwrap().truncate(length).unwrap();
        let (mut log, truncated) = open(&disk).unwrap();
        let whole = offsets()[1..].iter().filter(|end| **end <= length).count();
        assert_eq!(log.read_range(0, usize::MAX).unwrap(), records()[..whole]);
        assert_eq!(truncated, length - offsets()[whole]);
        log.append(b"next").unwrap();
        assert_eq!(open(&disk).unwrap().0.read(whole as u64).unwrap().unwrap(), b"next");
    }
}

#[test]
fn damage_before_the_last_append_names_its_place() {
    let offsets = offsets();
    for offset in PREAMBLE_LENGTH..offsets[4] {
        let (disk, log) = filled();
        let damaged = offsets.iter().rposition(|begin| *begin <= offset).unwrap();
        disk.flip_bit(PATH, offset).unwrap();
        assert!(matches!(log.read(damaged as u64), Err(LogError::Damaged { .. })));
        match open(&disk).map(|(log, _)| log.len()) {
            Err(LogError::Damaged { path, offset: at, index }) => {
                assert_eq!((path.as_str(), at, index), (PATH, offsets[damaged], damaged as u64));
            }
            other => panic!("byte {offset}: {other:?}"),
        }
        let untouched = read_file(&disk, PATH, 1000).unwrap().unwrap();
        assert_eq!(untouched.len() as u64, offsets[5]);
    }
}

#[test]
fn damage_far_before_the_end_is_found_beyond_the_scan_window() {
    let disk = SimulatedDisk::new();
    let (mut log, _) = open(&disk).unwrap();
    log.append(&vec![1; 200_000]).unwrap();
    log.append(b"later").unwrap();
    disk.flip_bit(PATH, PREAMBLE_LENGTH + 5).unwrap();
    assert!(matches!(open(&disk), Err(LogError::Damaged { index: 0, .. })));
}

/// A block is made by others: a frame inside it must not pass for one of the log's own.
#[test]
fn a_torn_record_that_contains_frames_is_no_damage() {
    let (foreign, _) = filled();
    let frames = read_file(&foreign, PATH, 1000).unwrap().unwrap();
    let disk = SimulatedDisk::new();
    let (mut log, _) = BlockLog::open(&disk, PATH, [8; 32]).unwrap();
    log.append(&frames).unwrap();
    let length = disk.open(PATH).unwrap().length().unwrap();
    disk.open(PATH).unwrap().truncate(length - 1).unwrap();
    let (log, truncated) = open(&disk).unwrap();
    assert!(log.is_empty() && truncated > 0);
}

#[test]
fn a_file_that_is_not_a_log_is_refused() {
    for offset in (0..PREAMBLE_LENGTH).filter(|offset| !(8..12).contains(offset)) {
        let (disk, _) = filled();
        disk.flip_bit(PATH, offset).unwrap();
        assert!(matches!(open(&disk), Err(LogError::NotALog(_))), "byte {offset}");
    }
    let (disk, _) = filled();
    // A log that begins with record 0 has version 1 and no other.
    disk.open(PATH).unwrap().write_at(8, &[2]).unwrap();
    assert!(matches!(open(&disk), Err(LogError::NotALog(_))));
    disk.open(PATH).unwrap().write_at(8, &[3]).unwrap();
    assert!(matches!(open(&disk), Err(LogError::UnknownVersion { version: 3, .. })));
    write_atomic(&disk, PATH, b"").unwrap();
    assert!(matches!(open(&disk), Err(LogError::NotALog(_))));
}

/// The log without "zero" and "one", whose records are "two", "" and "four".
fn shortened() -> (SimulatedDisk, BlockLog<SimulatedDisk>) {
    let (disk, mut log) = filled();
    let mut copy = LogCopy::begin(&disk, PATH, [8; 32], 2).unwrap();
    copy.add(&log.read_range(2, 3).unwrap()).unwrap();
    assert_eq!(copy.next(), 4);
    copy.add(&log.read_range(4, 100).unwrap()).unwrap();
    copy.sync().unwrap();
    log.replace(&disk, copy).unwrap();
    (disk, log)
}

const SHORTENED_PREAMBLE_LENGTH: u64 = PREAMBLE_LENGTH + 8;

#[test]
fn a_shortened_log_goes_on_under_the_old_numbers() {
    let (disk, mut log) = shortened();
    log.append_batch(&[b"five", b"six"]).unwrap();
    for log in [log, open(&disk).unwrap().0] {
        assert_eq!((log.first(), log.len(), log.is_empty()), (2, 7, false));
        assert_eq!(log.read(2).unwrap(), Some(b"two".to_vec()));
        assert_eq!(log.read(6).unwrap(), Some(b"six".to_vec()));
        assert_eq!(log.read(7).unwrap(), None);
        assert_eq!(log.read_range(4, 8).unwrap(), [b"four".to_vec(), b"five".to_vec()]);
        for dropped in [0, 1] {
            let error = log.read(dropped).unwrap_err();
            assert!(matches!(error, LogError::Dropped { index, first: 2 } if index == dropped));
            assert!(matches!(log.read_range(dropped, 9), Err(LogError::Dropped { .. })));
        }
        assert_eq!(log.bytes_before(0), 0);
        assert_eq!(log.bytes_before(2), SHORTENED_PREAMBLE_LENGTH);
        assert_eq!(log.bytes_before(3), SHORTENED_PREAMBLE_LENGTH + FRAME_LENGTH + 3);
    }
}

#[test]
fn the_format_of_a_shortened_log_is_frozen() {
    let (disk, _) = shortened();
    let bytes = read_file(&disk, PATH, 1000).unwrap().unwrap();
    assert_eq!(
        blake3::hash(&bytes).to_hex().as_str(),
        "f1826f45cfc88665dd833510c37376641865b766dd823c356245274dd66138ac"
    );
    for offset in 0..SHORTENED_PREAMBLE_LENGTH {
        let (disk, _) = shortened();
        disk.flip_bit(PATH, offset).unwrap();
        assert!(open(&disk).is_err(), "byte {offset}");
    }
}

#[test]
fn damage_in_a_shortened_log_is_no_interrupted_append() {
    let records = [SHORTENED_PREAMBLE_LENGTH, SHORTENED_PREAMBLE_LENGTH + FRAME_LENGTH + 3];
    for (record, begin) in records.into_iter().enumerate() {
        for offset in begin..begin + FRAME_LENGTH {
            let (disk, _) = shortened();
            disk.flip_bit(PATH, offset).unwrap();
            let found = open(&disk).err().unwrap();
            let expected = 2 + record as u64;
            assert!(
                matches!(found, LogError::Damaged { index, .. } if index == expected),
                "{found}"
            );
        }
    }
}

#[test]
fn a_copy_that_is_not_finished_changes_nothing() {
    let (disk, log) = filled();
    let mut copy = LogCopy::begin(&disk, PATH, [8; 32], 2).unwrap();
    disk.limit_capacity(Some(600));
    let full = copy.add(&[vec![0; 1000]]);
    assert!(matches!(full, Err(LogError::DiskFull { needed: 1068 })), "{full:?}");
    drop((copy, log));
    disk.limit_capacity(None);
    let (mut log, truncated) = open(&disk).unwrap();
    assert_eq!((log.first(), log.len(), truncated), (0, 5, 0));
    let copy = LogCopy::begin(&disk, PATH, [8; 32], 5).unwrap();
    disk.fail_syncs(true);
    copy.sync().unwrap_err();
    log.replace(&disk, copy).unwrap_err();
    assert!(matches!(log.append(b"five"), Err(LogError::Broken)));
}

#[test]
fn a_full_disk_refuses_an_append_at_every_byte() {
    let needed = 2 * FRAME_LENGTH + 9;
    for budget in 0..needed {
        let (disk, mut log) = filled();
        disk.limit_capacity(Some(offsets()[5] + budget));
        match log.append_batch(&[b"five", b"sixth"]) {
            Err(LogError::DiskFull { needed: told }) => assert_eq!(told, needed),
            other => panic!("{budget} bytes: {other:?}"),
        }
        assert_eq!(open(&disk).unwrap().0.len(), 5);
        disk.limit_capacity(None);
        log.append(b"five").unwrap();
        assert_eq!(open(&disk).unwrap().0.read(5).unwrap().unwrap(), b"five");
    }
}

#[test]
fn after_a_failed_sync_the_log_takes_no_more() {
    let (disk, mut log) = filled();
    disk.fail_syncs(true);
    assert!(matches!(log.append(b"five"), Err(LogError::Io(_))));
    disk.fail_syncs(false);
    assert!(matches!(log.append(b"five"), Err(LogError::Broken)));
    assert_eq!(log.read_range(0, usize::MAX).unwrap(), records());
    assert_eq!(open(&disk).unwrap().0.len(), 5);
}

#[test]
fn the_longest_record_fits_on_a_real_disk_and_no_longer_one() {
    let folder = tempfile::tempdir().unwrap();
    let disk = OsDisk::open(folder.path()).unwrap();
    let (mut log, _) = BlockLog::open(&disk, PATH, SALT).unwrap();
    let mut record = vec![1; RECORD_LENGTH_MAX];
    log.append(&record).unwrap();
    record.push(1);
    assert!(matches!(log.append(&record), Err(LogError::TooLong(_))));
    record.pop();
    let (log, _) = BlockLog::open(&disk, PATH, SALT).unwrap();
    assert_eq!((log.len(), log.read(0).unwrap()), (1, Some(record)));
}
