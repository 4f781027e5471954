//! Proof files show what the ledger says to whoever has the genesis, and nothing else.

use crate::ledger_network::key;
use crate::ledger_validators::{Consortium, FOUR, genesis_of, machine};
use kakera_engine::hash::hash;
use kakera_engine::ledger::{
    Body, CertifiedBlock, Claim, HeadError, LedgerProof, LedgerProofError, Pointer, StateKey,
    pointer_tag,
};

fn network() -> Consortium {
    let mut network = Consortium::with_machines(6);
    network.change(&[201, 202, 203, 205]);
    let pointer = Pointer::sign(&network.id(), &key(9), vec![1; 700]);
    network.seal_body(10, Body::Pointer(pointer));
    network.change(&[202, 203, 204, 205]);
    network.seal(vec![]);
    network
}

fn proof(network: &Consortium, claim: Claim) -> LedgerProof {
    let changes = network.chain.set_changes().to_vec();
    LedgerProof::new(changes, network.chain.head().clone(), claim)
}

fn of_state(network: &Consortium, key: StateKey) -> LedgerProof {
    let (value, proof_of_value) = network.chain.state_proof(&key);
    proof(network, Claim::State { key, value, proof: proof_of_value })
}

fn of_entry(network: &Consortium, index: u64) -> LedgerProof {
    let entries = network
        .blocks
        .iter()
        .flat_map(|bytes| CertifiedBlock::from_bytes(bytes).unwrap().block.entries);
    let entry = Box::new(entries.into_iter().nth(index as usize).unwrap());
    proof(network, Claim::Entry { entry, proof: network.chain.entry_proof(index).unwrap() })
}

fn proofs(network: &Consortium) -> Vec<LedgerProof> {
    let tag = pointer_tag(&key(9).verifying_key().to_bytes());
    vec![
        of_state(network, StateKey::PointersOf(tag)),
        of_state(network, StateKey::Node(machine(12))),
        of_state(network, StateKey::Node(machine(99))),
        of_entry(network, 0),
        of_entry(network, 8),
    ]
}

#[test]
fn a_proof_shows_from_the_genesis_on_what_the_ledger_says() {
    let network = network();
    for proof in proofs(&network) {
        let read = LedgerProof::from_bytes(&proof.to_bytes()).unwrap();
        assert_eq!(read, proof);
        let (header, _) = read.verify(genesis_of(&FOUR)).unwrap();
        assert_eq!(header, &network.chain.head().header);
        let other = genesis_of(&[201, 202, 203]);
        assert!(matches!(read.verify(other), Err(LedgerProofError::Head(HeadError::Network(_)))));
    }
}

#[test]
fn no_byte_of_a_proof_can_be_changed() {
    let network = network();
    // Of an absent key, the same proof may show that another one is absent, too.
    for proof in [of_state(&network, StateKey::Node(machine(12))), of_entry(&network, 3)] {
        let bytes = proof.to_bytes();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1 << (place % 8);
            let shown = LedgerProof::from_bytes(&changed)
                .is_ok_and(|changed| changed.verify(genesis_of(&FOUR)).is_ok());
            assert!(!shown, "byte {place}");
        }
    }
}

#[test]
fn what_is_claimed_of_others_is_refused_with_the_reason() {
    let network = network();
    let (head, changes) = (network.chain.head().clone(), network.chain.set_changes().to_vec());
    let height = head.header.height;
    let (value, of_counts) = network.chain.state_proof(&StateKey::Counts);
    let key = StateKey::Pending;
    let wrong = Claim::State { key, value, proof: of_counts };
    let refused = |changes, claim| {
        let proof = LedgerProof::new(changes, head.clone(), claim);
        proof.verify(genesis_of(&FOUR)).unwrap_err()
    };
    assert_eq!(refused(changes.clone(), wrong.clone()), LedgerProofError::State(height));
    let unknown = HeadError::UnknownValidators { height, known: 0 };
    assert_eq!(refused(vec![], wrong), LedgerProofError::Head(unknown));
    let entries = CertifiedBlock::from_bytes(&network.blocks[0]).unwrap().block.entries;
    let entry = Box::new(entries[1].clone());
    let claim = Claim::Entry { entry, proof: network.chain.entry_proof(0).unwrap() };
    assert_eq!(refused(changes, claim), LedgerProofError::Entry(height));
}

#[test]
fn the_format_is_frozen() {
    let network = network();
    let digest = |proof: LedgerProof| {
        let hash = hash("frozen", &[&proof.to_bytes()]);
        hash[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    assert_eq!(
        [digest(of_state(&network, StateKey::Counts)), digest(of_entry(&network, 0))],
        ["2a17a2a9721582ca", "647a0ef9cdb531e7"]
    );
}
