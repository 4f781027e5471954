//! One small object, its manifest and pointer, and what its holders send.

use std::sync::LazyLock;

use kakera_engine::keyshare::Share;
use kakera_engine::names::{Epoch, GroupId, RecordId, Slot};
use kakera_engine::object::{
    Descriptor, DescriptorVersion, Extent, GroupHashes, Manifest, ObjectBuilder, PlacedExtent,
    Placement, PointerBody, PointerVersion, RecordEntry, SealedObject,
};
use kakera_engine::seal::{Compartment, Hardening, PointerKey, Suite, VaultRoot, seal_vault_file};
use kakera_engine::wire::canonical;
use zeroize::Zeroizing;

use super::{NOW, ledger, rng};

const COMPARTMENT: Compartment = Compartment { number: 1, generation: 0 };
const RECORD: &[u8] = b"MSH|^~\\&|a record of a patient";

pub(crate) fn root() -> VaultRoot {
    VaultRoot::from_bytes(Zeroizing::new([9; 32]))
}

pub(crate) fn pointer_key() -> PointerKey {
    root().pointer_key(0)
}

pub(crate) fn lost_slot() -> Slot {
    slots()[2]
}

pub(super) fn extent() -> &'static Extent {
    &SAMPLE.1
}

pub(super) fn slots() -> Vec<Slot> {
    Slot::all(ledger::code().n).collect()
}

pub(super) fn sealed() -> &'static SealedObject {
    &SAMPLE.0
}

pub(crate) fn descriptor() -> &'static Descriptor {
    &sealed().descriptor
}

static SAMPLE: LazyLock<(SealedObject, Extent)> = LazyLock::new(|| {
    let root = root();
    let record = root.compartment(COMPARTMENT).record(RecordId([1; 16]));
    let mut builder = ObjectBuilder::new(Suite::ChaCha20Poly1305, &mut rng());
    let (Ok(extent), Ok(code)) = (builder.push(&record, 1, RECORD), ledger::code().build()) else {
        unreachable!("a short record fits and the sample code exists");
    };
    let placement =
        Placement { group: GroupId(0), epoch: Epoch(0), code: &code, key: ledger::key_code() };
    match builder.finish(&placement, &root, &mut rng()) {
        Ok(object) => (object, extent),
        Err(error) => unreachable!("the sample codes have equal slots: {error}"),
    }
});

pub(crate) fn descriptors() -> Vec<Vec<u8>> {
    let retained = Descriptor {
        version: DescriptorVersion::V2,
        retain_until: Some(NOW),
        ..descriptor().clone()
    };
    vec![descriptor().encode(), retained.encode()]
}

pub(crate) fn manifests() -> Vec<Vec<u8>> {
    let (object, extent) = &*SAMPLE;
    let record = |name: &str| RecordEntry {
        name: name.to_owned(),
        compartment: COMPARTMENT,
        record_id: RecordId([1; 16]),
        version: 1,
        len: RECORD.len() as u64,
        modified: NOW,
        content_hash: [2; 32],
        extents: vec![PlacedExtent { object: 0, extent: extent.clone() }],
    };
    let records = vec![record("a/b.hl7"), record("カルテ.dcm")];
    [(vec![], vec![]), (vec![object.reference()], records)]
        .into_iter()
        .filter_map(|(objects, records)| Manifest::new(objects, records).ok())
        .map(|manifest| manifest.encode())
        .collect()
}

pub(super) fn pointer_body() -> PointerBody {
    let (object, extent) = &*SAMPLE;
    PointerBody {
        version: PointerVersion::Manifest,
        code: ledger::code(),
        objects: vec![object.reference()],
        extents: vec![PlacedExtent { object: 0, extent: extent.clone() }],
    }
}

pub(crate) fn pointer_bodies() -> Vec<Vec<u8>> {
    vec![canonical::encode(&pointer_body())]
}

pub(crate) fn group_hashes() -> Vec<Vec<u8>> {
    [1, 16 * 1024, 50_000].map(|length| GroupHashes::of(&vec![5; length]).encode()).into()
}

pub(crate) fn shares() -> Vec<Vec<u8>> {
    sealed().shares.iter().map(canonical::encode).collect()
}

pub(crate) fn proven_parts() -> Vec<Vec<u8>> {
    let prove = |share: &Share| canonical::encode(&share.prove_part(&descriptor().binding()));
    sealed().shares.iter().map(prove).collect()
}

pub(crate) fn proven_symbols() -> Vec<Vec<u8>> {
    let binding = descriptor().binding();
    let prove = |share: &Share| share.prove_symbol(&binding, lost_slot());
    sealed().shares.iter().filter_map(prove).map(|symbol| canonical::encode(&symbol)).collect()
}

pub(crate) fn code_names() -> Vec<Vec<u8>> {
    ["rs(14,10,10)", "mbr(10,5,7)", "msr(10,5,8)", "clay(14,10,13)"]
        .map(|name| name.as_bytes().to_vec())
        .into()
}

pub(crate) fn vault_files() -> Vec<Vec<u8>> {
    seal_vault_file(&root(), "correct horse", Hardening::SmallMachine, &mut rng())
        .into_iter()
        .collect()
}
