//! Packing and reading back, end to end: builder, fragments and shares, pointer, manifest, ranges.

use std::ops::Range;

use kakera_engine::code::{Code, CodeKind, CodeParameters};
use kakera_engine::keyshare::{self, KeyParameters, Secret};
use kakera_engine::names::{Epoch, GroupId, RecordId, Slot};
use kakera_engine::object::{
    Descriptor, Extent, ExtentReader, GroupHashes, Manifest, OBJECT_LEN_MAX, ObjectBuilder,
    ObjectReference, PackError, PlacedExtent, Placement, PointerBody, PointerVersion, RecordEntry,
    SealedObject,
};
use kakera_engine::seal::{
    CHUNK_LEN, Compartment, OpenError, RecordSecret, Suite, VaultRoot, padme, sealed_len,
};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

const COMPARTMENT: Compartment = Compartment { number: 3, generation: 1 };
const POINTER: u64 = 17;

/// A writer of one vault who spreads over one group.
struct Writer {
    root: VaultRoot,
    code: Code,
    rng: ChaCha20Rng,
    sealed: Vec<SealedObject>,
    building: ObjectBuilder,
}

impl Writer {
    fn new(suite: Suite, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let parameters = CodeParameters { kind: CodeKind::Mbr, n: 5, k: 3, d: 4 };
        Self {
            root: VaultRoot::generate(&mut rng),
            code: parameters.build().unwrap(),
            building: ObjectBuilder::new(suite, &mut rng),
            rng,
            sealed: Vec::new(),
        }
    }

    fn finish_object(&mut self) {
        let placement = Placement {
            group: GroupId(2),
            epoch: Epoch(5),
            code: &self.code,
            key: KeyParameters::new(5, 3, 4).unwrap(),
        };
        let sealed = self.building.finish(&placement, &self.root, &mut self.rng).unwrap();
        self.sealed.push(sealed);
    }

    /// Cuts `plaintext` over as many objects as it takes; extents count objects from the first.
    fn write(
        &mut self,
        record: &RecordSecret,
        version: u64,
        mut plaintext: &[u8],
    ) -> Vec<PlacedExtent> {
        let mut extents = Vec::new();
        while !plaintext.is_empty() {
            let fits = self.building.remaining().min(plaintext.len() as u64);
            if fits == 0 {
                self.finish_object();
                continue;
            }
            let (piece, rest) = plaintext.split_at(fits as usize);
            let extent = self.building.push(record, version, piece).unwrap();
            extents.push(PlacedExtent { object: self.sealed.len() as u32, extent });
            plaintext = rest;
        }
        extents
    }

    fn write_record(&mut self, name: &str, number: u8, plaintext: &[u8]) -> RecordEntry {
        let record_id = RecordId([number; 16]);
        let record = self.root.compartment(COMPARTMENT).record(record_id);
        RecordEntry {
            name: name.to_owned(),
            compartment: COMPARTMENT,
            record_id,
            version: 1,
            len: plaintext.len() as u64,
            modified: 1_800_000_000,
            content_hash: *blake3::hash(plaintext).as_bytes(),
            extents: self.write(&record, 1, plaintext),
        }
    }

    /// Writes the manifest behind the records and returns the sealed pointer.
    fn finish(&mut self, records: Vec<RecordEntry>) -> Vec<u8> {
        let before: Vec<_> = self.sealed.iter().map(SealedObject::reference).collect();
        let manifest = Manifest::new(before.clone(), records).unwrap().encode();
        let mut extents = self.write(&self.root.catalogue(), POINTER, &manifest);
        self.finish_object();
        extents.iter_mut().for_each(|placed| placed.object -= before.len() as u32);
        let body = PointerBody {
            version: PointerVersion::Manifest,
            code: self.code.parameters(),
            objects: self.sealed[before.len()..].iter().map(SealedObject::reference).collect(),
            extents,
        };
        body.seal(&self.root.pointer_key(POINTER), &mut self.rng).unwrap()
    }
}

/// Gathers V and the coded bytes from the slots that `first` begins.
fn gather(
    writer: &Writer,
    object: &ObjectReference,
    first: usize,
) -> (Descriptor, Secret, Vec<u8>) {
    let sealed = writer.sealed.iter().find(|sealed| sealed.object_id == object.object_id).unwrap();
    let descriptor = Descriptor::decode(&sealed.descriptor.encode()).unwrap();
    assert_eq!(descriptor.object_id(), object.object_id);
    let slots: Vec<Slot> = Slot::all(5).cycle_from(first).take(3).collect();
    let pieces: Vec<(Slot, &[u8])> =
        slots.iter().map(|slot| (*slot, &sealed.fragments[slot.index()][..])).collect();
    for (slot, fragment) in &pieces {
        let root = &descriptor.fragment_roots[slot.index()];
        assert!(GroupHashes::of(fragment).verify(root, fragment.len() as u64));
    }
    let layout = writer.code.layout(descriptor.coded_len);
    let coded = writer.code.decode(&layout, &pieces).unwrap();
    let binding = descriptor.binding();
    let parts: Vec<_> =
        slots.iter().map(|slot| sealed.shares[slot.index()].prove_part(&binding)).collect();
    let (secret, liars) = keyshare::read(&binding, &descriptor.rows, &parts).unwrap();
    assert!(liars.is_empty());
    (descriptor, secret, coded)
}

trait CycleFrom: Iterator + Clone + Sized {
    fn cycle_from(self, first: usize) -> impl Iterator<Item = Self::Item> {
        self.cycle().skip(first)
    }
}
impl<I: Iterator + Clone> CycleFrom for I {}

fn slice<'a>(coded: &'a [u8], range: &Range<u64>) -> &'a [u8] {
    &coded[range.start as usize..range.end as usize]
}

fn read_extents<'a>(
    writer: &Writer,
    extents: impl Iterator<Item = (&'a ObjectReference, &'a Extent)>,
    record: &RecordSecret,
    version: u64,
) -> Vec<u8> {
    let mut plaintext = Vec::new();
    for (first, (object, extent)) in extents.enumerate() {
        let (descriptor, secret, coded) = gather(writer, object, first);
        let reader = ExtentReader::new(&descriptor, &secret, record, version, extent).unwrap();
        plaintext.extend(reader.read_all(slice(&coded, &extent.coded_range())).unwrap());
    }
    plaintext
}

fn read_vault(writer: &Writer, pointer: &[u8]) -> Vec<(RecordEntry, Vec<u8>)> {
    let pointer = PointerBody::open(&writer.root.pointer_key(POINTER), pointer).unwrap();
    let head = pointer.extents.iter().map(|p| (&pointer.objects[p.object as usize], &p.extent));
    let bytes = read_extents(writer, head, &writer.root.catalogue(), POINTER);
    let manifest = Manifest::decode(&bytes).unwrap();
    let read = |entry: &RecordEntry| {
        let record = writer.root.compartment(entry.compartment).record(entry.record_id);
        let extents = entry
            .extents
            .iter()
            .map(|placed| (manifest.object(placed.object, &pointer).unwrap(), &placed.extent));
        (entry.clone(), read_extents(writer, extents, &record, entry.version))
    };
    manifest.records.iter().map(read).collect()
}

fn random_bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    ChaCha20Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
    bytes
}

/// One record alone in an object.
fn one_record(suite: Suite, plaintext: &[u8]) -> (Writer, RecordSecret, Extent, ObjectReference) {
    let mut writer = Writer::new(suite, 1);
    let entry = writer.write_record("record", 1, plaintext);
    writer.finish_object();
    let record = writer.root.compartment(COMPARTMENT).record(entry.record_id);
    let object = writer.sealed[0].reference();
    (writer, record, entry.extents[0].extent.clone(), object)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn packed_records_read_back(
        lengths in prop::collection::vec(prop_oneof![0usize..300, 0usize..300_000], 1..12),
        suite in prop_oneof![Just(Suite::ChaCha20Poly1305), Just(Suite::Aes256Gcm)],
        seed: u64,
    ) {
        let mut writer = Writer::new(suite, seed);
        let plaintexts: Vec<_> =
            lengths.iter().zip(seed / 2..).map(|(length, seed)| random_bytes(*length, seed)).collect();
        let records = plaintexts
            .iter()
            .zip(1..)
            .map(|(plaintext, number)| writer.write_record(&format!("r{number:02}"), number, plaintext))
            .collect();
        let pointer = writer.finish(records);
        prop_assert_eq!(pointer.len(), 512);
        let read = read_vault(&writer, &pointer);
        prop_assert_eq!(read.len(), plaintexts.len());
        for ((entry, actual), expected) in read.iter().zip(&plaintexts) {
            prop_assert_eq!(actual, expected);
            prop_assert_eq!(entry.content_hash, *blake3::hash(expected).as_bytes());
        }
    }

    #[test]
    fn ranges_need_and_read_only_their_chunks(
        length in 1usize..400_000,
        ends in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let plaintext = random_bytes(length, 8);
        let (writer, record, extent, object) = one_record(Suite::preferred(), &plaintext);
        let (descriptor, secret, coded) = gather(&writer, &object, 2);
        let reader = ExtentReader::new(&descriptor, &secret, &record, 1, &extent).unwrap();
        let (a, b) = (ends.0.index(length + 1), ends.1.index(length + 1));
        let range = a.min(b) as u64..a.max(b) as u64;
        let needed = extent.coded_range_of(range.clone()).unwrap();
        prop_assert!(needed.end - needed.start <= range.end - range.start + 3 * CHUNK_LEN as u64);
        let read = reader.read(range.clone(), slice(&coded, &needed)).unwrap();
        prop_assert_eq!(&read[..], slice(&plaintext, &range));
    }

    #[test]
    fn any_flipped_bit_of_a_stream_is_noticed(
        length in 0usize..200_000,
        place in any::<prop::sample::Index>(),
        bit in 0u8..8,
    ) {
        let (writer, record, extent, object) = one_record(Suite::preferred(), &vec![3; length.max(1)]);
        let (descriptor, secret, mut coded) = gather(&writer, &object, 0);
        let range = extent.coded_range();
        coded[place.index(range.end as usize)] ^= 1 << bit;
        let reader = ExtentReader::new(&descriptor, &secret, &record, 1, &extent).unwrap();
        let result = reader.read_all(slice(&coded, &range));
        prop_assert!(matches!(result, Err(OpenError::Forged(_))));
    }
}

#[test]
fn a_long_record_and_a_long_manifest_go_over_several_objects() {
    let mut writer = Writer::new(Suite::preferred(), 4);
    let long = random_bytes(9 << 20, 1);
    let mut records = vec![writer.write_record("long", 1, &long)];
    assert_eq!(records[0].extents.len(), 3);
    let small = writer.write_record("small", 2, b"small");
    // empty records with long names, to make the manifest longer than an object
    for number in 0..6000 {
        let name = format!("{number:0>1000}");
        records.push(RecordEntry { name, len: 0, extents: Vec::new(), ..small.clone() });
    }
    records.push(small);
    let pointer = writer.finish(records);
    let body = PointerBody::open(&writer.root.pointer_key(POINTER), &pointer).unwrap();
    assert_eq!((body.objects.len(), body.extents.len(), writer.sealed.len()), (2, 2, 4));
    assert!(writer.sealed[..3].iter().all(|full| full.descriptor.coded_len == OBJECT_LEN_MAX));
    let read = read_vault(&writer, &pointer);
    assert_eq!(read.iter().find(|(entry, _)| entry.name == "long").unwrap().1, long);
    assert_eq!(read.iter().find(|(entry, _)| entry.name == "small").unwrap().1, b"small");
}

#[test]
fn an_object_fills_to_the_last_byte_and_no_further() {
    let mut rng = ChaCha20Rng::seed_from_u64(6);
    let record = VaultRoot::generate(&mut rng).catalogue();
    let mut builder = ObjectBuilder::new(Suite::preferred(), &mut rng);
    assert!(builder.is_empty());
    let remaining = builder.remaining();
    assert_eq!(sealed_len(remaining) + 16, OBJECT_LEN_MAX);
    let piece = vec![0; remaining as usize + 1];
    let full = PackError::Full { length: remaining + 1, remaining };
    assert_eq!(builder.push(&record, 0, &piece), Err(full));
    builder.push(&record, 0, &piece[1..]).unwrap();
    assert_eq!(builder.remaining(), 0);
    assert_eq!(builder.push(&record, 0, &[]), Err(PackError::Full { length: 0, remaining: 0 }));
}

#[test]
fn lengths_are_padded_to_permitted_ones() {
    for (length, coded_len) in [(1, 4096), (4064, 4096), (4065, 4352), (100_000, padme(100_048))] {
        let (writer, ..) = one_record(Suite::preferred(), &vec![1; length]);
        assert_eq!(writer.sealed[0].descriptor.coded_len, coded_len);
    }
}

#[test]
fn the_group_and_the_sharing_have_as_many_slots() {
    let mut writer = Writer::new(Suite::preferred(), 2);
    let key = KeyParameters::new(6, 3, 4).unwrap();
    let placement = Placement { group: GroupId(1), epoch: Epoch(0), code: &writer.code, key };
    let result = writer.building.finish(&placement, &writer.root, &mut writer.rng);
    assert_eq!(result.unwrap_err(), PackError::Slots { code: 5, key: 6 });
}

#[test]
fn nothing_but_the_right_keys_and_place_opens_an_extent() {
    let (writer, record, extent, object) = one_record(Suite::Aes256Gcm, &[9; 1000]);
    let (descriptor, secret, coded) = gather(&writer, &object, 1);
    let wrong = |descriptor: &Descriptor,
                 secret: &Secret,
                 record: &RecordSecret,
                 version,
                 extent: &Extent| {
        let result = ExtentReader::new(descriptor, secret, record, version, extent);
        assert_eq!(result.unwrap_err(), OpenError::WrongKey);
    };
    let neighbour = writer.root.compartment(COMPARTMENT).record(RecordId([2; 16]));
    let later = Compartment { generation: 2, ..COMPARTMENT };
    let granted_later = writer.root.compartment(later).record(RecordId([1; 16]));
    let other_secret = Secret::random(&mut ChaCha20Rng::seed_from_u64(3));
    wrong(&descriptor, &other_secret, &record, 1, &extent);
    wrong(&descriptor, &secret, &neighbour, 1, &extent);
    wrong(&descriptor, &secret, &granted_later, 1, &extent);
    wrong(&descriptor, &secret, &record, 2, &extent);
    wrong(&descriptor, &secret, &record, 1, &Extent { offset: 1, ..extent.clone() });
    wrong(&descriptor, &secret, &record, 1, &Extent { plain_len: 999, ..extent.clone() });
    for bit in 0..256 {
        let mut changed = extent.clone();
        changed.commitment.0[bit / 8] ^= 1 << (bit % 8);
        wrong(&descriptor, &secret, &record, 1, &changed);
    }
    // another object under the same V
    let other = Descriptor { salt: [0; 32], ..descriptor.clone() };
    wrong(&other, &secret, &record, 1, &extent);
    let other = Descriptor { suite: Suite::ChaCha20Poly1305, ..descriptor.clone() };
    wrong(&other, &secret, &record, 1, &extent);

    let reader = ExtentReader::new(&descriptor, &secret, &record, 1, &extent).unwrap();
    assert!(matches!(reader.read(0..1001, &coded), Err(OpenError::Range { .. })));
    assert!(matches!(reader.read(0..10, &coded), Err(OpenError::Length { .. })));
    assert_eq!(reader.read(1000..1000, &coded[..1016]), Ok(Vec::new()));
}

#[test]
fn pieces_of_one_record_in_one_object_have_keys_of_their_own() {
    let mut writer = Writer::new(Suite::preferred(), 3);
    let record = writer.root.catalogue();
    let first = writer.building.push(&record, 0, &[0; 500]).unwrap();
    let second = writer.building.push(&record, 0, &[0; 500]).unwrap();
    assert_ne!(first.commitment, second.commitment);
    writer.finish_object();
    let object = writer.sealed[0].reference();
    let (descriptor, secret, coded) = gather(&writer, &object, 0);
    let (one, other) = (slice(&coded, &first.coded_range()), slice(&coded, &second.coded_range()));
    assert_ne!(one, other);
    let reader = ExtentReader::new(&descriptor, &secret, &record, 0, &first).unwrap();
    assert_eq!(reader.read_all(one), Ok(vec![0; 500]));
    assert_eq!(reader.read_all(other), Err(OpenError::Forged(0)));
}

#[test]
fn no_plaintext_shows_in_the_coded_bytes() {
    let plaintext = b"patient 0001 ".repeat(20_000);
    for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
        let (writer, _, _, object) = one_record(suite, &plaintext);
        let (_, _, coded) = gather(&writer, &object, 0);
        let shows =
            |bytes: &[u8], word: &[u8]| bytes.windows(word.len()).any(|window| window == word);
        let fragments = &writer.sealed[0].fragments;
        assert!(fragments.iter().chain([&coded]).all(|bytes| !shows(bytes, b"patient")));
        // nor where the padding begins
        assert!(!shows(&coded, &[0; 6]));
    }
}
