//! The formats of sealing and of objects: frozen by hash, and what they refuse.

use ed25519_dalek::SigningKey;
use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::{KeyParameters, RowHash, Secret};
use kakera_engine::names::{Epoch, GroupId, ObjectId, RecordId};
use kakera_engine::object::{
    Descriptor, DescriptorVersion, Extent, FormatError, FragmentRoot, GroupHashes, Manifest,
    NAME_LEN_MAX, ObjectBuilder, ObjectReference, OpenPointerError, PlacedExtent, Placement,
    PointerBody, PointerVersion, RecordEntry,
};
use kakera_engine::seal::{
    Compartment, Hardening, KeyCommitment, PointerError, StreamContext, StreamKey, Suite,
    VaultRoot, padding_key, pointer_tag, seal_vault_file,
};
use kakera_engine::wire::canonical::{self, CanonicalError};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use zeroize::Zeroizing;

fn rng() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([0x26; 32])
}

fn root() -> VaultRoot {
    VaultRoot::from_bytes(Zeroizing::new([0x11; 32]))
}

fn object(number: u8) -> ObjectReference {
    ObjectReference { group: GroupId(7), object_id: ObjectId([number; 32]), salt: [number; 32] }
}

fn placed(object: u32, plain_len: u32) -> PlacedExtent {
    let extent = Extent { offset: 4000, plain_len, commitment: KeyCommitment([0xcc; 32]) };
    PlacedExtent { object, extent }
}

fn entry(name: &str) -> RecordEntry {
    RecordEntry {
        name: name.to_owned(),
        compartment: Compartment { number: 1, generation: 0 },
        record_id: RecordId([5; 16]),
        version: 2,
        len: 70_000,
        modified: 1_800_000_000,
        content_hash: [6; 32],
        extents: vec![placed(0, 30_000), placed(1, 40_000)],
    }
}

fn manifest() -> Manifest {
    Manifest::new(vec![object(1), object(2)], vec![entry("b"), entry("a")]).unwrap()
}

fn pointer(objects: u8) -> PointerBody {
    PointerBody {
        version: PointerVersion::Manifest,
        code: CodeParameters { kind: CodeKind::Mbr, n: 5, k: 3, d: 4 },
        objects: (0..objects).map(object).collect(),
        extents: (0..objects).map(|index| placed(index.into(), 900)).collect(),
    }
}

fn descriptor() -> Descriptor {
    let key = |byte| SigningKey::from_bytes(&[byte; 32]).verifying_key().to_bytes();
    Descriptor {
        version: DescriptorVersion::V1,
        suite: Suite::Aes256Gcm,
        group: GroupId(7),
        code: CodeParameters { kind: CodeKind::Mbr, n: 5, k: 3, d: 4 },
        coded_len: 4352,
        salt: [9; 32],
        fragment_roots: vec![FragmentRoot([1; 32]); 5],
        key: KeyParameters::new(5, 3, 4).unwrap(),
        rows: vec![RowHash([2; 32]); 5],
        epoch: Epoch(3),
        read_key: key(1),
        write_key: key(2),
        retain_until: None,
    }
}

fn retained() -> Descriptor {
    let (version, retain_until) = (DescriptorVersion::V2, Some(1_956_528_000));
    Descriptor { version, retain_until, ..descriptor() }
}

/// One line a format: its name and the start of the BLAKE3 hash of its bytes.
fn digests(formats: &[(&str, Vec<u8>)]) -> String {
    let line = |(name, bytes): &(&str, Vec<u8>)| {
        format!("{} {name}\n", &blake3::hash(bytes).to_hex()[..32])
    };
    formats.iter().map(line).collect()
}

/// A descriptor's hash depends on the codes of fragments and key shares too; here it is filled in.
#[test]
fn formats_are_frozen() {
    let pointer = pointer(2).seal(&root().pointer_key(4), &mut rng()).unwrap();
    let file = seal_vault_file(&root(), "passphrase", Hardening::SmallMachine, &mut rng()).unwrap();
    let actual = digests(&[
        ("descriptor", descriptor().encode()),
        ("descriptor with a date", retained().encode()),
        ("object id", descriptor().object_id().as_bytes().to_vec()),
        ("manifest", manifest().encode()),
        ("group hashes", GroupHashes::of(&[7; 40_000]).encode()),
        ("pointer", pointer),
        ("vault file", file),
        ("coded bytes, suite 1", coded_bytes(Suite::ChaCha20Poly1305)),
        ("coded bytes, suite 2", coded_bytes(Suite::Aes256Gcm)),
    ]);
    assert_eq!(
        actual,
        "\
f2c784a279cd50b99b4e273a39b622b0 descriptor\n\
4655472c725bf134c9d9728dc52e6a8c descriptor with a date\n\
8182fd76b2207c3579cbde4ee3bd42b7 object id\n\
70a48a00682fd08c850e1e5e5d0c5465 manifest\n\
05f9207ed6f2aaff84d4aa949c409c17 group hashes\n\
730592dbfb91b4a4e7c3438eb2c2e6ec pointer\n\
f17977ac023b3c77974365c0b45b7400 vault file\n\
15083f0d1e6def1703abefc77363859c coded bytes, suite 1\n\
5116c16229f147d8a76cf42e62c417aa coded bytes, suite 2\n\
"
    );
}

/// Two records and the padding of one object. The first fragment of rs(3,1,1) is the object.
fn coded_bytes(suite: Suite) -> Vec<u8> {
    let (root, mut rng) = (root(), rng());
    let mut builder = ObjectBuilder::new(suite, &mut rng);
    let record =
        root.compartment(Compartment { number: 1, generation: 0 }).record(RecordId([3; 16]));
    builder.push(&record, 1, &[4; 70_000]).unwrap();
    builder.push(&root.catalogue(), 2, b"manifest").unwrap();
    let code = CodeParameters { kind: CodeKind::Rs, n: 3, k: 1, d: 1 }.build().unwrap();
    let placement = Placement {
        group: GroupId(1),
        epoch: Epoch(0),
        code: &code,
        key: KeyParameters::new(3, 2, 2).unwrap(),
    };
    let sealed = builder.finish(&placement, &root, &mut rng).unwrap();
    assert_eq!(sealed.fragments[0].len() as u64, sealed.descriptor.coded_len);
    sealed.fragments[0].clone()
}

#[test]
fn the_key_schedule_is_frozen() {
    let root = root();
    let pointer = root.pointer_signing_key(1);
    let span = root.span_signing_key(1);
    let secret = Secret::random(&mut rng());
    let compartment = Compartment { number: 1, generation: 2 };
    let record = root.compartment(compartment).record(RecordId([3; 16]));
    let stream = |key: &StreamKey| {
        let mut sealed = Vec::new();
        key.seal(&[0; 70_000], &mut sealed);
        sealed
    };
    let suite = Suite::ChaCha20Poly1305;
    let context = StreamContext { salt: &[4; 32], suite, offset: 5, plain_len: 70_000 };
    let (record_key, commitment) = record.stream_key(&secret, 6, &context);
    let (manifest_key, _) = root.catalogue().stream_key(&secret, 6, &context);
    let actual = digests(&[
        ("read key", root.read_key(&[1; 32]).to_bytes().to_vec()),
        ("write key", root.write_key(&[1; 32]).to_bytes().to_vec()),
        ("pointer signing key", pointer.to_bytes().to_vec()),
        ("pointer tag", pointer_tag(&pointer.verifying_key()).as_bytes().to_vec()),
        ("span signing key", span.to_bytes().to_vec()),
        ("record stream", stream(&record_key)),
        ("record commitment", commitment.0.to_vec()),
        ("manifest stream", stream(&manifest_key)),
        ("padding", stream(&padding_key(&secret, suite, &[4; 32]))),
    ]);
    assert_eq!(
        actual,
        "\
545246143ebd6fb09a48452ff8918dc4 read key\n\
d501cbebbf232f53210223cc6e1fb6bd write key\n\
7f34f83d7c24b491e715ae231817f924 pointer signing key\n\
4e1129ed8a2ac3b3d59c53ce8b312db0 pointer tag\n\
1f2c11b43075c8f5d6128634246ac47a span signing key\n\
29fd27391cb56dfb2b0d7dfa18c987c8 record stream\n\
d205992061ab74e071d77d1d029b7119 record commitment\n\
9025d9fd2d2b51f8872665ffbe31fedb manifest stream\n\
c4acd09228298d261ed9f9343f9243a4 padding\n\
"
    );
}

/// What every decoder refuses: trailing bytes, truncation, a longer integer form, another version.
fn refuses_other_encodings<T: std::fmt::Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, FormatError>,
) {
    let encoding = |bytes: &[u8]| match decode(bytes) {
        Err(FormatError::Encoding(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(decode(bytes).is_ok());
    let trailing = [bytes, &[0]].concat();
    assert_eq!(encoding(&trailing), CanonicalError::Trailing(1));
    for length in 0..bytes.len() {
        assert!(matches!(encoding(&bytes[..length]), CanonicalError::Malformed(_)));
    }
    assert_eq!(bytes[1], 1, "the version comes first");
    let unknown = [&bytes[..1], &[9], &bytes[2..]].concat();
    assert!(matches!(encoding(&unknown), CanonicalError::Malformed(_)));
    let long_form = [&bytes[..1], &[0x18, 1], &bytes[2..]].concat();
    assert_eq!(encoding(&long_form), CanonicalError::NotCanonical);
    let oversized = vec![0; 20 << 20];
    assert!(matches!(encoding(&oversized), CanonicalError::TooLong { .. }));
}

#[test]
fn only_canonical_encodings_of_this_version_are_read() {
    refuses_other_encodings(&descriptor().encode(), Descriptor::decode);
    refuses_other_encodings(&manifest().encode(), Manifest::decode);
}

#[test]
fn descriptors_are_consistent() {
    let refused = |change: fn(&mut Descriptor)| {
        let mut changed = descriptor();
        change(&mut changed);
        let result = Descriptor::decode(&changed.encode());
        assert!(matches!(result, Err(FormatError::Inconsistent(_))), "{result:?}");
    };
    refused(|d| d.code.n = 6);
    refused(|d| d.code.d = 5);
    refused(|d| d.code.k = 0);
    refused(|d| d.key = KeyParameters::new(6, 3, 4).unwrap());
    refused(|d| d.fragment_roots.truncate(4));
    refused(|d| d.rows.push(RowHash([0; 32])));
    refused(|d| d.coded_len = 4351);
    refused(|d| d.coded_len = 0);
    refused(|d| d.coded_len = 8 << 20);
    refused(|d| d.coded_len = u64::MAX);
    // the neutral element, a point of small order, and no point at all
    refused(|d| d.read_key = std::array::from_fn(|place| u8::from(place == 0)));
    refused(|d| d.write_key = [0; 32]);
    refused(|d| d.write_key = [2; 32]);
}

#[test]
fn every_field_of_a_descriptor_is_named_by_the_object_id() {
    let bytes = descriptor().encode();
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        if let Ok(other) = Descriptor::decode(&changed) {
            assert_ne!(other.object_id(), descriptor().object_id());
        }
    }
}

#[test]
fn manifests_are_consistent() {
    let refused = |change: fn(&mut Manifest)| {
        let mut changed = manifest();
        change(&mut changed);
        let result = Manifest::decode(&changed.encode());
        assert!(matches!(result, Err(FormatError::Inconsistent(_))), "{result:?}");
    };
    refused(|m| m.records.swap(0, 1));
    refused(|m| m.records[1].name = "a".to_owned());
    refused(|m| m.records[0].name.clear());
    refused(|m| m.records[1].name = "x".repeat(NAME_LEN_MAX + 1));
    refused(|m| m.records[0].len += 1);
    refused(|m| m.objects[1] = m.objects[0]);
    refused(|m| {
        m.records[0].extents[0].extent.plain_len = u32::MAX;
        m.records[0].len = u64::from(u32::MAX) + 40_000;
    });
    assert!(Manifest::new(Vec::new(), vec![entry("a"), entry("a")]).is_err());
}

#[test]
fn objects_are_numbered_through_the_manifest_and_on_through_the_pointer() {
    let (manifest, pointer) = (manifest(), pointer(2));
    let numbered: Vec<_> = (0..5).map(|index| manifest.object(index, &pointer).copied()).collect();
    let expected = [Some(object(1)), Some(object(2)), Some(object(0)), Some(object(1)), None];
    assert_eq!(numbered, expected);
    assert_eq!(manifest.record("b").map(|entry| &*entry.name), Some("b"));
    assert_eq!(manifest.record("c"), None);
}

#[test]
fn pointers_fit_their_classes_and_are_consistent() {
    let key = root().pointer_key(1);
    for (objects, class) in [(1, 512), (4, 512), (5, 4096), (30, 4096)] {
        let sealed = pointer(objects).seal(&key, &mut rng()).unwrap();
        assert_eq!(sealed.len(), class, "{objects}");
        assert_eq!(PointerBody::open(&key, &sealed), Ok(pointer(objects)));
        let other = PointerBody::open(&root().pointer_key(2), &sealed);
        assert_eq!(other, Err(OpenPointerError::Sealed(PointerError::Forged)));
    }
    assert!(matches!(pointer(60).seal(&key, &mut rng()), Err(PointerError::TooLong(_))));

    let refused = |change: fn(&mut PointerBody)| {
        let mut changed = pointer(2);
        change(&mut changed);
        let sealed = changed.seal(&key, &mut rng()).unwrap();
        let result = PointerBody::open(&key, &sealed);
        let inconsistent =
            matches!(result, Err(OpenPointerError::Format(FormatError::Inconsistent(_))));
        assert!(inconsistent, "{result:?}");
    };
    refused(|body| body.extents.clear());
    refused(|body| body.extents[1].object = 2);
    refused(|body| body.extents[0].extent.offset = u32::MAX);
    refused(|body| body.code.k = 0);
    refuses_other_encodings(&canonical::encode(&pointer(2)), |bytes| {
        match PointerBody::open(&key, &key.seal(bytes, &mut rng()).unwrap_or_default()) {
            Err(OpenPointerError::Format(error)) => Err(error),
            Err(OpenPointerError::Sealed(_)) => {
                Err(CanonicalError::TooLong { length: bytes.len(), limit: 4096 }.into())
            }
            Ok(body) => Ok(body),
        }
    });
}

#[test]
fn secrets_are_not_shown() {
    let (root, rng) = (root(), &mut rng());
    let compartment = root.compartment(Compartment { number: 0, generation: 0 });
    let record = compartment.record(RecordId([0; 16]));
    let context =
        StreamContext { salt: &[0; 32], suite: Suite::Aes256Gcm, offset: 0, plain_len: 0 };
    let (stream, _) = record.stream_key(&Secret::random(rng), 0, &context);
    let shown = format!("{root:?} {compartment:?} {record:?} {stream:?} {:?}", root.pointer_key(0));
    assert_eq!(
        shown,
        "VaultRoot(..) CompartmentSecret(..) RecordSecret(..) StreamKey(..) PointerKey(..)"
    );
}
