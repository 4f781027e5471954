//! Parts on disk: refusals, damage, side-by-side use and the frozen file format.

use std::os::unix::fs::symlink;
use std::sync::Barrier;

use kakera_engine::names::{GroupId, NodeId, ObjectId, Slot};
use kakera_engine::wire::PartReference;
use kakera_net::store::disk::{Disk, DiskFile, OpenDiskError, OsDisk};
use kakera_net::store::file::{read_file, write_atomic};
use kakera_net::store::parts::{
    BatchName, FRAGMENT_LENGTH_MAX, Part, PartStore, PutError, ReadError, Recovery, ShareRecord,
};
use kakera_net::store::simulated::SimulatedDisk;
use zeroize::Zeroizing;

const QUOTA: u64 = 1 << 30;
const DESCRIPTOR: &[u8] = b"descriptor";
const SHARE: &[u8] = b"a key share";
const FRAGMENT: &[&[u8]] = &[b"first piece, ", b"second piece"];
const FILE_LENGTH: u64 = 24 + 10 + 11 + 32 + 25;

fn key(object: u8) -> PartReference {
    PartReference { group: GroupId(7), slot: Slot::new(3).unwrap(), object: ObjectId([object; 32]) }
}

fn part(object: u8) -> Part<'static> {
    Part {
        key: key(object),
        submitter: NodeId([1; 32]),
        submitter_quota_bytes: None,
        descriptor: DESCRIPTOR,
        share: SHARE,
        fragment: FRAGMENT,
    }
}

fn path(object: u8) -> String {
    format!("parts/7/3/{}", key(object).object)
}

fn open(disk: &SimulatedDisk) -> PartStore<SimulatedDisk> {
    PartStore::open(disk.clone(), QUOTA).unwrap().0
}

fn assert_stored<D: Disk>(store: &PartStore<D>, object: u8) {
    let meta = store.meta(&key(object)).unwrap().unwrap();
    assert_eq!((meta.descriptor.as_slice(), meta.share.as_slice()), (DESCRIPTOR, SHARE));
    assert_eq!(meta.fragment_length, 25);
    let fragment = store.fragment(&key(object), 0..25).unwrap().unwrap();
    assert_eq!(fragment, FRAGMENT.concat());
}

#[test]
fn a_part_is_put_read_listed_and_removed() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    for object in [2, 1, 3] {
        store.put(&part(object)).unwrap();
        store.put(&part(object)).unwrap();
        assert_stored(&store, object);
    }
    assert_eq!(store.fragment(&key(1), 6..19).unwrap().unwrap(), b"piece, second");
    let objects = |after, limit| store.objects(GroupId(7), key(0).slot, after, limit);
    assert_eq!(objects(None, 2), [key(1).object, key(2).object]);
    assert_eq!(objects(Some(key(1).object), 9), [key(2).object, key(3).object]);
    assert_eq!(store.slots(), [(GroupId(7), key(0).slot)]);
    assert_eq!((store.usage().objects, store.usage().bytes), (3, 3 * FILE_LENGTH));
    for object in [1, 1, 2, 3] {
        store.remove(&key(object)).unwrap();
        assert!(!store.contains(&key(object)) && store.meta(&key(object)).unwrap().is_none());
    }
    assert!(store.slots().is_empty() && store.usage().bytes == 0);
}

#[test]
fn the_file_format_is_frozen() {
    let disk = SimulatedDisk::new();
    open(&disk).put(&part(1)).unwrap();
    let bytes = read_file(&disk, &path(1), 1000).unwrap().unwrap();
    assert_eq!(bytes.len() as u64, FILE_LENGTH);
    assert_eq!(
        blake3::hash(&bytes).to_hex().as_str(),
        "9c5f0752a14f01e556652dcbd62562fc97c8829fdb6f324c73c354d55f568d6d"
    );
}

/// The batch of one refresh of objects 1 and 2.
fn keep_shares(store: &PartStore<SimulatedDisk>) -> BatchName {
    let name = BatchName { group: GroupId(7), slot: key(0).slot, epoch: 1, attempt: 0 };
    let share = |object| Zeroizing::new(vec![object; 600]);
    let record = |object| ShareRecord { object: key(object).object, share: share(object) };
    [1, 2].into_iter().for_each(|object| store.put(&part(object)).unwrap());
    store.keep_shares(&name, &[0; 32], &[record(1), record(2)]).unwrap();
    name
}

/// How many bytes of each of these objects' new shares a file has.
fn share_bytes(disk: &SimulatedDisk, path: &str) -> [usize; 2] {
    let bytes = disk.medium_at(disk.place_of(path).unwrap());
    let runs = |object: u8| {
        bytes
            .chunk_by(|left, right| left == right)
            .filter(move |run| run[0] == object && run.len() > 40)
    };
    [1, 2].map(|object| runs(object).map(<[u8]>::len).sum())
}

#[test]
fn what_a_torn_erasure_left_of_a_share_is_overwritten() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    store.use_shares(&keep_shares(&store)).unwrap();
    drop(store);
    let batch = "shares/7-3-1";
    assert_eq!(share_bytes(&disk, batch), [600, 600]);
    // The removal of object 2 had come so far when the power went.
    disk.remove(&path(2)).unwrap();
    let file = disk.open(batch).unwrap();
    file.write_at(file.length().unwrap() - 300, &[0; 300]).unwrap();
    let store = open(&disk);
    assert_eq!(share_bytes(&disk, batch), [600, 0]);
    assert_eq!(*store.meta(&key(1)).unwrap().unwrap().share, [1; 600]);
}

#[test]
fn using_a_refresh_passes_over_a_destroyed_object() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    let name = keep_shares(&store);
    store.shred((name.group, key(2).object), b"an order", &NodeId([1; 32]), None).unwrap();
    assert_eq!(share_bytes(&disk, "shares/7-3-1-0"), [600, 0]);
    store.use_shares(&name).unwrap();
    assert_eq!(share_bytes(&disk, "shares/7-3-1"), [600, 0]);
    assert!(store.meta(&key(2)).unwrap().is_none());
    assert!(matches!(store.put(&part(2)), Err(PutError::Shredded)));
    let next = BatchName { epoch: 2, ..name };
    let record = ShareRecord { object: key(2).object, share: Zeroizing::new(vec![2; 600]) };
    assert!(store.keep_shares(&next, &[0; 32], &[record]).is_err());
    assert_eq!(*store.meta(&key(1)).unwrap().unwrap().share, [1; 600]);
}

#[test]
fn a_different_part_of_the_same_name_is_refused() {
    let store = open(&SimulatedDisk::new());
    store.put(&part(1)).unwrap();
    let other_fragment: &[&[u8]] = &[b"first piece, ", b"another piece"];
    for different in [
        Part { descriptor: b"Descriptor", ..part(1) },
        Part { share: b"A key share", ..part(1) },
        Part { fragment: &[b"first piece, ", b"second piecE"], ..part(1) },
        Part { fragment: other_fragment, ..part(1) },
        Part { fragment: &[], ..part(1) },
    ] {
        assert!(matches!(store.put(&different), Err(PutError::AlreadyThere)));
    }
    assert_stored(&store, 1);
    assert_eq!(store.usage().bytes, FILE_LENGTH);
}

#[test]
fn a_part_beyond_the_limits_is_refused() {
    let store = open(&SimulatedDisk::new());
    let long = vec![0; FRAGMENT_LENGTH_MAX];
    let refused = store.put(&Part { fragment: &[&long, b"!"], ..part(1) });
    assert!(matches!(refused, Err(PutError::TooLong(_))));
    store.put(&part(1)).unwrap();
    for (start, end) in [(0, 26), (26, 26), (u64::MAX, u64::MAX)] {
        let refused = store.fragment(&key(1), start..end);
        assert!(matches!(refused, Err(ReadError::OutOfRange { length: 25, .. })));
    }
}

#[test]
fn the_quota_is_kept_to_the_byte() {
    let disk = SimulatedDisk::new();
    let (store, _) = PartStore::open(disk.clone(), 2 * FILE_LENGTH).unwrap();
    store.put(&part(1)).unwrap();
    store.put(&part(2)).unwrap();
    match store.put(&part(3)) {
        Err(PutError::QuotaExceeded { needed: FILE_LENGTH, available: 0 }) => {}
        other => panic!("{other:?}"),
    }
    store.put(&part(1)).unwrap();
    store.remove(&key(1)).unwrap();
    store.put(&part(3)).unwrap();
    drop(store);
    // A quota lowered below what is held refuses, and loses nothing.
    let (store, _) = PartStore::open(disk, FILE_LENGTH).unwrap();
    assert!(matches!(store.put(&part(4)), Err(PutError::QuotaExceeded { available: 0, .. })));
    assert_stored(&store, 3);
}

#[test]
fn a_submitters_quota_is_kept_to_the_byte_also_after_a_restart() {
    let of = |object, submitter| Part {
        submitter: NodeId([submitter; 32]),
        submitter_quota_bytes: Some(2 * FILE_LENGTH - 1),
        ..part(object)
    };
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    let refused = |store: &PartStore<SimulatedDisk>, part: &Part<'_>| match store.put(part) {
        Err(PutError::SubmitterQuotaExceeded { needed: FILE_LENGTH, available }) => available,
        other => panic!("{other:?}"),
    };
    store.put(&of(1, 1)).unwrap();
    assert_eq!(refused(&store, &of(2, 1)), FILE_LENGTH - 1);
    store.put(&of(2, 2)).unwrap();
    store.put(&of(1, 1)).unwrap();
    store.put(&Part { submitter_quota_bytes: None, ..of(3, 1) }).unwrap();
    assert_eq!(refused(&store, &of(4, 1)), 0);
    store.remove(&key(1)).unwrap();
    store.set_aside(&key(3)).unwrap();
    store.put(&of(4, 1)).unwrap();
    drop(store);

    let store = open(&disk);
    for _ in 0..2 {
        store.attribute(&key(4), &NodeId([1; 32]));
        store.attribute(&key(9), &NodeId([1; 32]));
    }
    assert_eq!(refused(&store, &of(5, 1)), FILE_LENGTH - 1);
    assert_eq!(store.usage().bytes, 2 * FILE_LENGTH);
    store.remove(&key(4)).unwrap();
    store.put(&of(5, 1)).unwrap();
}

#[test]
fn a_full_disk_is_a_clear_refusal_at_every_byte() {
    for budget in 0..FILE_LENGTH {
        let disk = SimulatedDisk::new();
        let store = open(&disk);
        store.put(&part(1)).unwrap();
        disk.limit_capacity(Some(FILE_LENGTH + budget));
        match store.put(&part(2)) {
            Err(PutError::DiskFull { needed: FILE_LENGTH, free }) => assert_eq!(free, budget),
            other => panic!("{budget} bytes: {other:?}"),
        }
        assert_eq!(store.usage().bytes, FILE_LENGTH);
        assert!(disk.list("incoming").unwrap().is_empty());
        store.remove(&key(1)).unwrap();
        store.put(&part(2)).unwrap();
        assert_stored(&store, 2);
    }
}

#[test]
fn a_failed_sync_is_no_acknowledgement() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    store.put(&part(1)).unwrap();
    disk.fail_syncs(true);
    assert!(matches!(store.put(&part(2)), Err(PutError::Io(_))));
    assert!(store.remove(&key(1)).is_err());
    assert!(
        !store.contains(&key(2))
            && !disk.list("parts/7/3").unwrap().iter().any(|entry| path(2).ends_with(&entry.name))
    );
    disk.fail_syncs(false);
    store.remove(&key(1)).unwrap();
    store.put(&part(2)).unwrap();
    assert_stored(&store, 2);
    disk.fail_reads(true);
    assert!(matches!(store.meta(&key(2)), Err(ReadError::Io(_))));
    disk.fail_reads(false);
    assert_stored(&store, 2);
}

#[test]
fn every_flipped_bit_before_the_fragment_is_noticed_and_repairable() {
    let header_length = FILE_LENGTH - 25;
    for offset in 0..header_length {
        let disk = SimulatedDisk::new();
        let store = open(&disk);
        store.put(&part(1)).unwrap();
        disk.flip_bit(&path(1), offset).unwrap();
        let Err(ReadError::Damaged { .. }) = store.fragment(&key(1), 0..1) else {
            panic!("byte {offset} may change unnoticed");
        };
        assert_eq!(store.usage().bytes, 0);
        assert!(store.meta(&key(1)).unwrap().is_none());
        assert_eq!(disk.list("damaged").unwrap().len(), 1);
        store.put(&part(1)).unwrap();
        assert_stored(&store, 1);
        store.remove(&key(1)).unwrap();
        assert!(disk.list("damaged").unwrap().is_empty());
    }
}

#[test]
fn damage_makes_way_for_a_put() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    store.put(&part(1)).unwrap();
    disk.flip_bit(&path(1), 30).unwrap();
    store.put(&part(1)).unwrap();
    assert_stored(&store, 1);
    assert_eq!((store.usage().bytes, disk.list("damaged").unwrap().len()), (FILE_LENGTH, 1));
    // Damage that only the fragment's hashes show is the caller's to report.
    disk.flip_bit(&path(1), FILE_LENGTH - 1).unwrap();
    assert_ne!(store.fragment(&key(1), 0..25).unwrap().unwrap(), FRAGMENT.concat());
    store.set_aside(&key(1)).unwrap();
    assert!(!store.contains(&key(1)));
    store.put(&part(1)).unwrap();
    assert_stored(&store, 1);
}

#[test]
fn a_file_of_another_part_or_length_is_damage() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    for object in 1..=3 {
        store.put(&part(object)).unwrap();
    }
    disk.remove(&path(2)).unwrap();
    disk.rename(&path(1), &path(2)).unwrap();
    assert!(store.meta(&key(1)).unwrap().is_none());
    assert!(matches!(store.meta(&key(2)), Err(ReadError::Damaged { .. })));
    for length in (0..FILE_LENGTH).chain([FILE_LENGTH + 1]) {
        disk.open(&path(3)).unwrap().truncate(length).unwrap();
        assert!(matches!(store.meta(&key(3)), Err(ReadError::Damaged { .. })), "{length} bytes");
        store.put(&part(3)).unwrap();
    }
}

#[test]
fn another_version_is_refused_and_left_alone() {
    let disk = SimulatedDisk::new();
    let store = open(&disk);
    store.put(&part(1)).unwrap();
    // What is laid out otherwise has no checksum where this version's is.
    disk.flip_bit(&path(1), 30).unwrap();
    for version in [1, 3] {
        disk.open(&path(1)).unwrap().write_at(8, &[version]).unwrap();
        let before = read_file(&disk, &path(1), 1000).unwrap();
        let refused = |found: u32| found == u32::from(version);
        assert!(matches!(store.meta(&key(1)), Err(ReadError::UnknownVersion(v)) if refused(v)));
        let read = store.fragment(&key(1), 0..1);
        assert!(matches!(read, Err(ReadError::UnknownVersion(v)) if refused(v)));
        assert!(matches!(store.put(&part(1)), Err(PutError::UnknownVersion(v)) if refused(v)));
        assert_eq!(read_file(&disk, &path(1), 1000).unwrap(), before);
    }
}

#[test]
fn opening_clears_temporaries_and_leaves_foreign_names() {
    let disk = SimulatedDisk::new();
    open(&disk).put(&part(1)).unwrap();
    disk.create_new("incoming/17").unwrap();
    for directory in ["parts/07", "parts/8", "parts/8/0", "parts/8/256"] {
        disk.create_directory(directory).unwrap();
    }
    disk.create_new("parts/7/3/notes").unwrap();
    disk.create_new(&path(0xab).to_uppercase().replace("PARTS", "parts")).unwrap();
    let (store, recovery) = PartStore::open(disk.clone(), QUOTA).unwrap();
    assert_eq!(recovery, Recovery { removed_temporaries: 1, foreign_names: 5 });
    assert!(disk.list("incoming").unwrap().is_empty());
    assert_eq!(store.usage().objects, 1);
    assert_stored(&store, 1);
}

#[test]
fn many_threads_put_read_and_remove_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let disk = OsDisk::open(&folder.path().join("store")).unwrap();
    let (store, _) = PartStore::open(disk.clone(), QUOTA).unwrap();
    let start = Barrier::new(4);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, start) = (&store, &start);
            scope.spawn(move || {
                start.wait();
                for object in 0..20 {
                    store.put(&part(object)).unwrap();
                    assert_stored(store, object);
                    store.put(&part(100 + 20 * thread + object)).unwrap();
                    store.remove(&key(100 + 20 * thread + object)).unwrap();
                }
            });
        }
    });
    assert_eq!((store.usage().objects, store.usage().bytes), (20, 20 * FILE_LENGTH));
    drop(store);
    let (store, recovery) = PartStore::open(disk, QUOTA).unwrap();
    assert_eq!(recovery, Recovery::default());
    assert_eq!((store.usage().objects, store.usage().bytes), (20, 20 * FILE_LENGTH));
    (0..20).for_each(|object| assert_stored(&store, object));
}

#[test]
fn a_folder_is_opened_once_at_a_time() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    let disk = OsDisk::open(&folder).unwrap();
    let clone = disk.clone();
    drop(disk);
    match OsDisk::open(&folder) {
        Err(error @ OpenDiskError::InUse(_)) => {
            assert!(error.to_string().contains(folder.to_str().unwrap()));
        }
        other => panic!("{other:?}"),
    }
    drop(clone);
    OsDisk::open(&folder).unwrap();
    assert!(matches!(OsDisk::open(&folder.join("a/b")), Err(OpenDiskError::Io { .. })));
}

#[test]
fn no_path_leads_out_of_the_folder() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("store");
    let disk = OsDisk::open(&folder).unwrap();
    std::fs::create_dir(parent.path().join("outside")).unwrap();
    std::fs::write(parent.path().join("outside/file"), b"theirs").unwrap();
    symlink("../outside", folder.join("link")).unwrap();
    symlink("../outside/file", folder.join("file")).unwrap();
    for path in ["../outside/file", "link/file", "file", "/etc/hostname", "a//b", ".", "a\0b", ""] {
        assert!(disk.open(path).is_err(), "opened {path:?}");
        assert!(disk.create_new(path).is_err(), "created {path:?}");
        assert!(write_atomic(&disk, &format!("{path}/x"), b"").is_err(), "wrote below {path:?}");
    }
    assert!(disk.list("link").is_err() && disk.sync_directory("link").is_err());
    // A replaced link is replaced itself, not what it points to.
    write_atomic(&disk, "file", b"ours").unwrap();
    assert_eq!(read_file(&disk, "file", 4).unwrap().unwrap(), b"ours");
    assert!(read_file(&disk, "file", 3).is_err());
    assert!(read_file(&disk, "absent", 3).unwrap().is_none());
    assert_eq!(std::fs::read(parent.path().join("outside/file")).unwrap(), b"theirs");
    disk.sync_all().unwrap();
    assert!(disk.free_bytes().unwrap() > 0);
}
