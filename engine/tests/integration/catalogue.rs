//! The catalogue: formats frozen by hash, what they refuse, and a model of a vault that many
//! machines write to.

use std::collections::{BTreeMap, BTreeSet};

use kakera_engine::catalogue::{
    About, Catalogue, CatalogueError, Content, Draft, Filed, Head, Log, OrderError, Piece,
    RecordName, SealedAs, Segment, SegmentPlace, Stored, Version, VersionKey,
};
use kakera_engine::names::{GroupId, ObjectId, RecordId};
use kakera_engine::object::{
    Extent, FormatVersion, Manifest, ObjectReference, PlacedExtent, RecordEntry,
};
use kakera_engine::seal::{Compartment, KeyCommitment};
use proptest::prelude::*;

fn object(number: u8) -> ObjectReference {
    ObjectReference { group: GroupId(7), object_id: ObjectId([number; 32]), salt: [number; 32] }
}

fn extent(plain_len: u32) -> Extent {
    Extent { offset: 4000, plain_len, commitment: KeyCommitment([0xcc; 32]) }
}

fn name(text: &str) -> RecordName {
    RecordName::new(text).unwrap()
}

fn record(number: u8) -> RecordId {
    RecordId([number; 16])
}

fn stored(id: RecordId, number: u64, object: ObjectReference) -> Content {
    Content::Stored(Box::new(Stored {
        compartment: Compartment { number: 1, generation: 0 },
        sealed: SealedAs { record: id, number },
        len: 900,
        modified: 1_800_000_000_123_456_789,
        hash: [6; 32],
        pieces: vec![Piece { object, extent: extent(900) }],
        about: None,
        retain_until: None,
    }))
}

fn version(id: u8, number: u64, text: &str, content: Content) -> Version {
    let (record, name) = (record(id), name(text));
    Version { record, number, based_on: number - 1, name, put: 3, recorded: 1_800_000_000, content }
}

fn segment() -> Segment {
    let mut overtaken = version(2, 4, "charts/b", stored(record(9), 1, object(2)));
    overtaken.based_on = 1;
    if let Content::Stored(stored) = &mut overtaken.content {
        stored.about = Some(About {
            patient: "0000012345".to_owned(),
            date: "20260401".to_owned(),
            kind: "CT".to_owned(),
        });
    }
    let versions = vec![
        overtaken,
        version(1, 1, "charts/a", stored(record(1), 1, object(1))),
        version(1, 2, "charts/a", Content::SameAs(1)),
        version(3, 2, "charts/", Content::Deleted),
    ];
    let labels = [(1, "0000012345"), (2, "another")].map(|(number, label)| (number, label.into()));
    Segment::new(versions, &BTreeMap::from(labels))
}

/// A segment of the second version: destroyed bytes, and bytes with a date.
fn shredded() -> Segment {
    let mut retained = version(4, 1, "charts/d", stored(record(4), 1, object(2)));
    if let Content::Stored(stored) = &mut retained.content {
        stored.retain_until = Some(1_956_528_000);
    }
    let mut versions = segment().versions;
    versions[0].content = Content::Shredded(vec![object(1), object(2)]);
    versions.push(version(1, 3, "charts/a", Content::Deleted));
    versions.push(retained);
    Segment::new(versions, &BTreeMap::new())
}

fn head() -> Head {
    let place = |number: u8| SegmentPlace {
        put: number.into(),
        versions: 4,
        pieces: vec![
            Piece { object: object(number), extent: extent(300) },
            Piece { object: object(number + 1), extent: extent(200) },
        ],
    };
    Head { segments: vec![place(1), place(2)], recent: segment().encode(&object(2)) }
}

fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_owned()
}

#[test]
fn formats_are_frozen() {
    assert_eq!(digest(&segment().encode(&object(2))), "837cadd18995c120ab7b9423fe59fe73");
    assert_eq!(digest(&shredded().encode(&object(2))), "cb259cafce1c60d9f13b14eb9226a623");
    assert_eq!(digest(&head().encode(&object(3))), "240433e06db05607bc7249fd1400232c");
}

#[test]
fn what_is_written_is_read_wherever_it_lies() {
    for here in [object(1), object(2), object(9)] {
        let segment = segment();
        assert_eq!(segment.labels.len(), 1, "only labels that belong to a version");
        assert_eq!(Segment::decode(&segment.encode(&here), &here), Ok(segment));
        assert_eq!(Segment::decode(&shredded().encode(&here), &here), Ok(shredded()));
        assert_eq!(Head::decode(&head().encode(&here), &here), Ok(head()));
    }
    // Names are written as far as they differ from the one before.
    let long = "x".repeat(4000);
    let versions = (0..9).map(|id| version(id, 1, &format!("{long}{id}"), Content::Deleted));
    let segment = Segment::new(versions.collect(), &BTreeMap::new());
    assert!(segment.encode(&object(1)).len() < 4500);
    assert_eq!(Segment::decode(&segment.encode(&object(1)), &object(1)), Ok(segment));
}

#[test]
fn other_encodings_are_refused() {
    let here = object(2);
    let bytes = segment().encode(&here);
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        if let Ok(read) = Segment::decode(&changed, &here) {
            assert_eq!(read.encode(&here), changed);
        }
        assert!(Segment::decode(&bytes[..place], &here).is_err());
    }
    let refused = |change: fn(&mut Segment)| {
        let mut changed = segment();
        change(&mut changed);
        assert!(Segment::decode(&changed.encode(&here), &here).is_err());
    };
    refused(|segment| segment.versions.swap(0, 1));
    refused(|segment| {
        segment.versions[0].content = Content::Shredded(vec![object(2), object(1)]);
    });
    refused(|segment| segment.versions[0].based_on = segment.versions[0].number);
    refused(|segment| segment.versions[0].content = Content::SameAs(2));
    refused(|segment| {
        segment.labels.insert(7, "of nothing".to_owned());
    });
    refused(|segment| {
        segment.labels.insert(1, "l".repeat(65));
    });
    refused(|segment| {
        if let Content::Stored(stored) = &mut segment.versions[1].content {
            stored.len += 1;
        }
    });
}

/// Objects in which heads and segments lie; the number of one is its place.
#[derive(Default)]
struct Store(Vec<Vec<u8>>);

impl Store {
    fn next(&self) -> ObjectReference {
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(self.0.len() as u64).to_be_bytes());
        ObjectReference { group: GroupId(1), object_id: ObjectId(id), salt: id }
    }

    fn write(&mut self, bytes: Vec<u8>) -> Piece {
        let piece = Piece { object: self.next(), extent: extent(bytes.len() as u32) };
        self.0.push(bytes);
        piece
    }

    fn read(&self, piece: &Piece) -> &[u8] {
        let mut number = [0; 8];
        number.copy_from_slice(&piece.object.salt[..8]);
        &self.0[u64::from_be_bytes(number) as usize]
    }
}

/// A vault as one machine sees it.
#[derive(Clone, Default)]
struct Machine {
    catalogue: Catalogue,
    log: Log,
    puts: u64,
}

impl Machine {
    fn open(store: &Store, head_at: &Piece, puts: u64) -> Self {
        let here = head_at.object;
        let head = Head::decode(store.read(head_at), &here).unwrap();
        let recent = Segment::decode(&head.recent, &here).unwrap();
        let mut filed = Vec::new();
        let mut segments = vec![recent.clone()];
        for place in head.segments {
            let piece = &place.pieces[0];
            let segment = Segment::decode(store.read(piece), &piece.object).unwrap();
            assert_eq!(segment.versions.len() as u64, place.versions);
            let versions = segment.versions.iter().map(Version::key).collect();
            filed.push(Filed { place, versions });
            segments.push(segment);
        }
        let log = Log::new(filed, &recent);
        Self { catalogue: Catalogue::of(segments).unwrap(), log, puts }
    }

    /// Writes the drafts behind what the machine knows; where the head lies and what was written.
    fn put(&mut self, store: &mut Store, drafts: &[Draft]) -> Result<(Piece, usize), OrderError> {
        let versions = self.catalogue.order(drafts, self.puts, 1_800_000_000)?;
        let next = self.log.next(&self.catalogue, &versions, self.catalogue.labels());
        let before = store.0.len();
        let segment = next.segment.as_ref().map(|segment| SegmentPlace {
            put: self.puts,
            versions: segment.versions.len() as u64,
            pieces: vec![store.write(segment.encode(&store.next()))],
        });
        let here = store.next();
        let piece = store.write(next.head(segment.as_ref(), &here).encode(&here));
        self.catalogue.extend(versions);
        self.log = next.log(segment);
        self.puts += 1;
        Ok((piece, store.0[before..].iter().map(Vec::len).sum()))
    }
}

fn draft(id: u64, number: u64, text: &str, based_on: Option<u64>) -> Draft {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&id.to_be_bytes());
    let record = RecordId(bytes);
    Draft { record, based_on, name: name(text), content: stored(record, number, object(1)) }
}

#[test]
fn one_more_record_costs_the_same_after_many() {
    let (mut store, mut machine) = (Store::default(), Machine::default());
    let many: Vec<Draft> =
        (0..20_000).map(|id| draft(id, 1, &format!("patients/{id:06}/a"), Some(0))).collect();
    for some in many.chunks(1000) {
        machine.put(&mut store, some).unwrap();
    }
    let mut written = 0;
    let mut at = None;
    let puts = 3000;
    for id in 0..puts {
        let text = format!("single/{id:06}");
        let (head, bytes) =
            machine.put(&mut store, &[draft(100_000 + id, 1, &text, Some(0))]).unwrap();
        written += bytes;
        at = Some(head);
    }
    let segments = machine.log.segments();
    assert!(segments.len() <= 15 + 15 + 4, "{}", segments.len());
    // A version of 150 bytes, and a head of at most 4 KiB of versions and its segments.
    assert!(written < puts as usize * (4096 + 34 * 150 + 3 * 200), "{}", written / puts as usize);
    let opened = Machine::open(&store, &at.unwrap(), machine.puts);
    assert!(
        opened
            .catalogue
            .records()
            .zip(machine.catalogue.records())
            .all(|(left, right)| { left.versions() == right.versions() })
    );
    assert_eq!(opened.catalogue.len(), 23_000);
}

#[test]
fn two_edits_of_one_version_are_both_kept_and_shown() {
    let mut store = Store::default();
    let mut first = Machine::default();
    first.put(&mut store, &[draft(1, 1, "chart", Some(0))]).unwrap();
    let planned_elsewhere = draft(1, 2, "chart", Some(1));
    first.put(&mut store, &[draft(1, 2, "chart", Some(1))]).unwrap();
    first.put(&mut store, &[planned_elsewhere]).unwrap();
    let chart = first.catalogue.named(&name("chart")).unwrap();
    assert_eq!(chart.newest().number, 3);
    assert_eq!(chart.unseen(), [2]);
    let sealed = chart.stored(chart.newest()).unwrap().sealed;
    assert_eq!(sealed.number, 2, "its keys are those it was sealed with");
    // Who writes the next one has seen both.
    first.put(&mut store, &[draft(1, 4, "chart", Some(3))]).unwrap();
    assert_eq!(first.catalogue.named(&name("chart")).unwrap().unseen(), [0; 0]);

    // Two new records of one name become two versions of one.
    first.put(&mut store, &[draft(5, 1, "new", Some(0))]).unwrap();
    first.put(&mut store, &[draft(6, 1, "new", Some(0))]).unwrap();
    let new = first.catalogue.named(&name("new")).unwrap();
    assert_eq!((new.id(), new.versions().len()), (draft(5, 1, "new", None).record, 2));
    assert_eq!(new.unseen(), [1]);
    assert_eq!(new.stored(new.newest()).unwrap().sealed.record, draft(6, 1, "new", None).record);
}

#[test]
fn deletions_renames_and_restorations_are_versions_and_never_overrule_what_was_not_seen() {
    let mut store = Store::default();
    let mut machine = Machine::default();
    let same = |number: u64, based_on: u64, text: &str| Draft {
        content: Content::SameAs(number),
        ..draft(1, 1, text, Some(based_on))
    };
    let deleted = |based_on: u64, text: &str| Draft {
        content: Content::Deleted,
        ..draft(1, 1, text, Some(based_on))
    };
    machine.put(&mut store, &[draft(1, 1, "a", Some(0)), draft(2, 1, "taken", Some(0))]).unwrap();
    machine.put(&mut store, &[same(1, 1, "b")]).unwrap();
    assert!(machine.catalogue.named(&name("a")).is_none());
    assert_eq!(
        machine.put(&mut store, &[same(1, 2, "taken")]).unwrap_err(),
        OrderError::NameTaken(name("taken"))
    );
    for stale in [deleted(1, "b"), same(1, 1, "c")] {
        assert!(matches!(machine.put(&mut store, &[stale]), Err(OrderError::Changed(_))));
    }
    // An edit that had not seen the rename keeps it.
    machine.put(&mut store, &[draft(1, 2, "a", Some(1))]).unwrap();
    let record = machine.catalogue.named(&name("b")).unwrap();
    assert_eq!((record.newest().number, record.unseen()), (3, vec![2]));
    machine.put(&mut store, &[deleted(3, "b")]).unwrap();
    assert_eq!(machine.catalogue.list(b"").count(), 1);
    assert_eq!(machine.catalogue.ever_named(&name("a")).count(), 1);
    machine.put(&mut store, &[same(1, 4, "b")]).unwrap();
    let record = machine.catalogue.named(&name("b")).unwrap();
    assert_eq!(record.source(record.newest()).unwrap().number, 1);
    assert_eq!(machine.catalogue.list(b"b").count(), 1);
}

#[test]
fn segments_that_contradict_each_other_are_refused() {
    let of = |versions: Vec<Version>| Segment { labels: BTreeMap::new(), versions };
    let first = version(1, 1, "a", stored(record(1), 1, object(1)));
    let other = version(1, 1, "b", stored(record(1), 1, object(1)));
    let twice = Catalogue::of([of(vec![first.clone()]), of(vec![first.clone()])]);
    assert_eq!(twice.unwrap().len(), 1);
    let contradiction = Catalogue::of([of(vec![first]), of(vec![other])]);
    assert_eq!(contradiction.unwrap_err(), CatalogueError::Contradiction(1));
    let dangling = Catalogue::of([of(vec![version(1, 2, "a", Content::SameAs(1))])]);
    assert_eq!(dangling.unwrap_err(), CatalogueError::Dangling(2));
}

#[test]
fn old_manifests_become_versions_and_no_version_of_theirs_is_lost() {
    let entry = |id: u8, version: u64| RecordEntry {
        name: "chart".to_owned(),
        compartment: Compartment { number: 0, generation: 0 },
        record_id: record(id),
        version,
        len: 900,
        modified: 1_800_000_000,
        content_hash: [version as u8; 32],
        extents: vec![PlacedExtent { object: 1, extent: extent(900) }],
    };
    let manifest = |entry: RecordEntry| Manifest {
        version: FormatVersion::V1,
        objects: vec![object(1)],
        records: vec![entry],
    };
    let mut machine = Machine::default();
    // The second version was written by two machines at once.
    for (put, of) in [(0, entry(1, 1)), (1, entry(1, 2)), (1, entry(1, 2)), (2, entry(1, 3))] {
        let added = machine.catalogue.fold(put, manifest(of), &[object(2)]).unwrap();
        machine.log.leave(added);
        machine.puts = put + 1;
    }
    let chart = machine.catalogue.named(&name("chart")).unwrap();
    let sealed = chart.versions().iter().map(|version| version.stored().unwrap().sealed.number);
    assert_eq!(sealed.collect::<Vec<_>>(), [1, 2, 2, 3]);
    assert_eq!(chart.versions()[2].based_on, 1);
    assert_eq!(chart.stored(chart.newest()).unwrap().pieces[0].object, object(2));
    // The next put takes them all into the catalogue.
    let mut store = Store::default();
    let (head, _) = machine.put(&mut store, &[draft(9, 1, "new", Some(0))]).unwrap();
    let opened = Machine::open(&store, &head, machine.puts);
    assert_eq!(opened.catalogue.named(&name("chart")).unwrap().versions().len(), 4);
    let outside = Manifest { objects: Vec::new(), ..manifest(entry(1, 1)) };
    assert_eq!(machine.catalogue.fold(9, outside, &[]), Err(CatalogueError::Object));
}

#[derive(Clone, Debug)]
enum Action {
    /// Some machine stores these names, having read the vault at some earlier time.
    Store { machine: usize, names: Vec<u8> },
    /// It reads the vault.
    Refresh { machine: usize },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (0usize..3, prop::collection::vec(0u8..12, 1..6))
            .prop_map(|(machine, names)| Action::Store { machine, names }),
        (0usize..3).prop_map(|machine| Action::Refresh { machine }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Machines plan against what they know and write behind what there is: every content that was
    /// ever stored is a version, in the order of the puts.
    #[test]
    fn nothing_that_was_stored_is_lost(actions in prop::collection::vec(action(), 1..60)) {
        let mut store = Store::default();
        let mut ledger = Machine::default();
        let mut machines = vec![Machine::default(); 3];
        let mut ids = 0;
        let mut contents = Vec::new();
        for action in actions {
            match action {
                Action::Refresh { machine } => machines[machine] = ledger.clone(),
                Action::Store { machine, mut names } => {
                    names.sort_unstable();
                    names.dedup();
                    let drafts: Vec<Draft> = names.iter().map(|text| {
                        let text = format!("n{text}");
                        ids += 1;
                        let known = machines[machine].catalogue.named(&name(&text));
                        let mut planned = draft(ids, ids, &text, Some(0));
                        if let Some(known) = known {
                            planned.record = known.id();
                            planned.based_on = Some(known.newest().number);
                        }
                        contents.push(planned.content.clone());
                        planned
                    }).collect();
                    let (head, _) = ledger.put(&mut store, &drafts).unwrap();
                    let opened = Machine::open(&store, &head, ledger.puts);
                    prop_assert_eq!(opened.catalogue.len(), ledger.catalogue.len());
                    ledger = opened;
                }
            }
        }
        let mut kept: Vec<&Version> =
            ledger.catalogue.records().flat_map(|record| record.versions()).collect();
        kept.sort_by_key(|version| version.put);
        prop_assert_eq!(kept.len(), contents.len());
        for content in &contents {
            prop_assert_eq!(kept.iter().filter(|version| version.content == *content).count(), 1);
        }
        for record in ledger.catalogue.records() {
            let numbers = record.versions().iter().map(|version| version.number);
            prop_assert!(numbers.eq(1..=record.versions().len() as u64));
            prop_assert!(record.versions().is_sorted_by_key(|version| version.put));
        }
        // A name is one record's.
        let mut names: Vec<_> =
            ledger.catalogue.list(b"").map(|record| &record.newest().name).collect();
        names.dedup();
        prop_assert_eq!(names.len(), ledger.catalogue.list(b"").count());
    }
}

/// As a vault destroys a record that shares its object with another.
#[test]
fn versions_are_told_again_and_the_segments_that_told_them_are_written_again() {
    let (mut store, mut machine) = (Store::default(), Machine::default());
    let first = draft(1, 1, "x", None).record;
    for number in 1..=100 {
        let drafts = [draft(number, 1, &format!("record {number}"), Some(0))];
        machine.put(&mut store, &drafts).unwrap();
    }
    let before = machine.log.segments().to_vec();
    assert!(before.len() >= 2);
    let key = VersionKey { record: first, number: 1 };
    let objects: Vec<ObjectReference> =
        machine.catalogue.version(key).unwrap().objects().copied().collect();
    machine.catalogue.retell(key, Content::Shredded(objects.clone()));
    machine.log.take_back(&BTreeSet::new(), &BTreeSet::from([key]));
    let told = |segments: &[Filed]| segments.iter().any(|filed| filed.versions.contains(&key));
    assert!(told(&before) && !told(machine.log.segments()));
    let deleted = Draft {
        record: first,
        based_on: Some(1),
        name: name("record 1"),
        content: Content::Deleted,
    };
    let (head, _) = machine.put(&mut store, &[deleted]).unwrap();
    let opened = Machine::open(&store, &head, machine.puts);
    let shredded = opened.catalogue.record(first).unwrap();
    assert_eq!(shredded.versions()[0].content, Content::Shredded(objects));
    assert!(shredded.is_shredded(&shredded.versions()[0]) && shredded.newest().is_deletion());
    assert!(shredded.stored(&shredded.versions()[0]).is_none());
    assert_eq!(opened.catalogue.list(b"").count(), 99);
    // A repetition of destroyed bytes holds nothing, and is no contradiction.
    let mut versions = shredded.versions().to_vec();
    versions[1].content = Content::SameAs(1);
    let again = Catalogue::of([Segment::new(versions, &BTreeMap::new())]).unwrap();
    let again = again.record(first).unwrap();
    assert!(again.is_shredded(again.newest()) && again.source(again.newest()).is_none());
}
