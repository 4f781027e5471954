//! The decoders, each with the limits of the place that receives the bytes.

use std::time::Duration;

use kakera_engine::catalogue::{ABOUT_LEN_MAX, Catalogue, Head, Segment};
use kakera_engine::clinical::{self, ssmix2};
use kakera_engine::code::CodeParameters;
use kakera_engine::identity::{Handle, Kept, PublicRecord, open_kit};
use kakera_engine::keyshare::renewal::{
    Answer, CheckValues, Complaint, DealerPost, DealingRound, DealtRows, Leaves,
};
use kakera_engine::keyshare::{
    AuditAnswer, Coverage, DegradedHelp, ProvenPart, ProvenSymbol, RowHash, Share, repair_degraded,
};
use kakera_engine::ledger::agreement::{Message, Record};
use kakera_engine::ledger::{
    CertifiedBlock, Chain, ChunkError, CompactBlock, Entry, Genesis, LedgerProof, LightClient,
    LogProof, Prefix, SentBlock, SetChange, SignedHeader, SignedProposal, SignedVote,
    SnapshotAssembly, SnapshotBase, StateChunk, StateKey, StateProof,
};
use kakera_engine::names::Slot;
use kakera_engine::object::{Descriptor, GroupHashes, Manifest, PointerBody};
use kakera_engine::seal::{VaultFileError, open_vault_file};
use kakera_engine::wire::{
    BODY_LEN_MAX, HEADER_LEN_MAX, InventoryPage, ListedIdentity, ListedShare, MisfitProof,
    Operation, OrdersPage, ProvenValue, RefreshWord, Remark, Request, RequestError, Response,
    SignedPost, canonical,
};
use kakera_net::network_file::NetworkFile;
use minicbor::{Decode, Encode};

use crate::samples;

pub(crate) fn request(bytes: &[u8]) -> bool {
    // A mutated request never has a valid capability; all before it counts.
    matches!(
        Request::verify(bytes, &samples::wire::session(), samples::NOW),
        Ok(_) | Err(RequestError::Capability)
    )
}

pub(crate) fn operation(bytes: &[u8]) -> bool {
    match canonical::decode::<Operation>(bytes, HEADER_LEN_MAX) {
        Ok(Operation::Store(store)) => {
            store.object.verify(&samples::ledger::network());
            true
        }
        decoded => decoded.is_ok(),
    }
}

pub(crate) fn response(bytes: &[u8]) -> bool {
    Response::from_header(bytes).is_ok()
}

pub(crate) fn proven_values(bytes: &[u8]) -> bool {
    decodes::<Vec<ProvenValue>>(bytes, BODY_LEN_MAX)
}

pub(crate) fn handle(bytes: &[u8]) -> bool {
    let typed = str::from_utf8(bytes).ok().and_then(|typed| Handle::parse(typed).ok());
    let again = typed.as_ref().map(|handle| Handle::parse(&handle.to_string()));
    assert!(again.is_none_or(|again| again.ok() == typed));
    typed.is_some()
}

pub(crate) fn identity_record(bytes: &[u8]) -> bool {
    let record = PublicRecord::from_bytes(bytes);
    assert!(record.as_ref().map_or(true, |record| record.to_bytes() == bytes));
    record.is_ok()
}

pub(crate) fn identity_file(bytes: &[u8]) -> bool {
    let kept = Kept::from_bytes(bytes);
    assert!(kept.as_ref().map_or(true, |kept| kept.to_bytes()[..] == *bytes));
    kept.is_ok()
}

pub(crate) fn identity_listing(bytes: &[u8]) -> bool {
    decodes::<Vec<ListedIdentity>>(bytes, BODY_LEN_MAX)
}

pub(crate) fn recovery_kit(bytes: &[u8]) -> bool {
    let text = str::from_utf8(bytes).unwrap_or_default();
    open_kit(&text.lines().collect::<Vec<_>>()).is_ok()
}

pub(crate) fn inventory_page(bytes: &[u8]) -> bool {
    decodes::<InventoryPage>(bytes, BODY_LEN_MAX)
}

pub(crate) fn misfit_proof(bytes: &[u8]) -> bool {
    decodes::<MisfitProof>(bytes, BODY_LEN_MAX)
}

pub(crate) fn refresh_posts(bytes: &[u8]) -> bool {
    decodes::<Vec<SignedPost>>(bytes, BODY_LEN_MAX)
}

pub(crate) fn refresh_list(bytes: &[u8]) -> bool {
    decodes::<Vec<ListedShare>>(bytes, BODY_LEN_MAX)
}

pub(crate) fn refresh_word(bytes: &[u8]) -> bool {
    decodes::<RefreshWord>(bytes, BODY_LEN_MAX)
}

pub(crate) fn orders_page(bytes: &[u8]) -> bool {
    let Ok(page) = canonical::decode::<OrdersPage>(bytes, BODY_LEN_MAX) else { return false };
    for order in &page.orders {
        order.verify(&samples::ledger::network());
    }
    true
}

pub(crate) fn genesis(bytes: &[u8]) -> bool {
    canonical::decode::<Genesis>(bytes, BODY_LEN_MAX)
        .is_ok_and(|genesis| Chain::new(genesis).is_ok())
}

pub(crate) fn entry(bytes: &[u8]) -> bool {
    let Ok(entry) = Entry::from_bytes(bytes) else { return false };
    assert_eq!(entry.to_bytes(), bytes);
    entry.verifies(&samples::ledger::network());
    true
}

pub(crate) fn block(bytes: &[u8]) -> bool {
    let Ok(block) = CertifiedBlock::from_bytes(bytes) else { return false };
    let (of_one, of_four) =
        (samples::ledger::chain_before_blocks(), samples::agreement::chain_before_blocks());
    for mut chain in [of_one, of_four] {
        if chain.apply(&block, None).is_ok() {
            assert_eq!(block.to_bytes(), bytes);
        }
    }
    true
}

pub(crate) fn compact_block(bytes: &[u8]) -> bool {
    let Ok(compact) = CompactBlock::from_bytes(bytes) else { return false };
    assert_eq!(compact.to_bytes(), bytes);
    for mut chain in
        [samples::ledger::chain_before_blocks(), samples::agreement::chain_before_blocks()]
    {
        let Ok((block, checked)) = compact.clone().restore(&chain, None) else { continue };
        let again = CompactBlock::of(&block, chain.validators());
        if chain.commit(checked, block.certificate).is_ok() {
            assert_eq!(again.as_ref(), Some(&compact));
        }
    }
    true
}

pub(crate) fn signed_header(bytes: &[u8]) -> bool {
    let Ok(signed) = SignedHeader::from_bytes(bytes) else { return false };
    signed.certificate.certifies(&signed.header, &samples::ledger::genesis().validators);
    true
}

pub(crate) fn set_change(bytes: &[u8]) -> bool {
    let Ok(change) = SetChange::from_bytes(bytes) else { return false };
    let genesis = samples::agreement::chain_before_blocks().genesis().clone();
    if let Ok(mut client) = LightClient::new(genesis) {
        let _ = client.skip_to(&change.header, &change.validators);
        let _ = client.follow(&change);
    }
    true
}

pub(crate) fn vote(bytes: &[u8]) -> bool {
    let Ok(vote) = canonical::decode::<SignedVote>(bytes, HEADER_LEN_MAX) else { return false };
    vote.verifies(&samples::ledger::network());
    true
}

/// What a validator is told by another.
pub(crate) fn remarks(bytes: &[u8]) -> bool {
    let Ok(remarks) = Remark::read_list(bytes) else { return false };
    let encoded: Vec<Vec<u8>> = remarks.iter().map(Remark::to_bytes).collect();
    assert_eq!(Remark::list(&encoded), bytes, "another list from the same remarks");
    true
}

/// A message goes into an agreement under way, as from the network.
pub(crate) fn agreement_message(bytes: &[u8]) -> bool {
    let Ok(message) = Message::from_bytes(bytes) else { return false };
    let (mut agreement, validators) = samples::agreement::agreement();
    let begun = agreement.begin(message.height(), &validators, Duration::ZERO);
    let welcome = match &message {
        Message::Proposal(proposed) => agreement.welcomes(proposed),
        _ => true,
    };
    if begun.is_ok() && welcome {
        let _ = agreement.handle_message(&message, Duration::ZERO);
    }
    true
}

/// A record is recalled as a voting log of its own.
pub(crate) fn voting_record(bytes: &[u8]) -> bool {
    let Ok(record) = Record::from_bytes(bytes) else { return false };
    let (mut agreement, validators) = samples::agreement::agreement();
    let _ = agreement.resume(record.height, &validators, &[record], Duration::ZERO);
    true
}

pub(crate) fn proposal(bytes: &[u8]) -> bool {
    let Ok(proposal) = canonical::decode::<SignedProposal>(bytes, HEADER_LEN_MAX) else {
        return false;
    };
    proposal.verifies(&samples::ledger::network());
    true
}

pub(crate) fn state_proof(bytes: &[u8]) -> bool {
    let Ok(proof) = canonical::decode::<StateProof>(bytes, HEADER_LEN_MAX) else { return false };
    let key = StateKey::Counts.to_bytes();
    proof.verifies(&[0; 32], &key, None);
    proof.verifies(&[0; 32], &key, Some(&key));
    true
}

pub(crate) fn log_proof(bytes: &[u8]) -> bool {
    let Ok(proof) = canonical::decode::<LogProof>(bytes, HEADER_LEN_MAX) else { return false };
    for size in [0, 1, 5, u64::MAX] {
        proof.verifies(size, &[0; 32], [0; 32]);
    }
    true
}

pub(crate) fn sent_block(bytes: &[u8]) -> bool {
    let Ok(sent) = SentBlock::from_bytes(bytes) else { return false };
    assert_eq!(sent.to_bytes(), bytes);
    let mut chain = samples::agreement::chain_before_blocks();
    if let Ok(block) = sent.clone().append_to(&mut chain, None) {
        let before = samples::agreement::chain_before_blocks();
        let known = matches!(sent, SentBlock::Compact(_)).then(|| before.validators());
        assert_eq!(SentBlock::of(block, known), sent);
    }
    true
}

pub(crate) fn ledger_proof(bytes: &[u8]) -> bool {
    let Ok(proof) = LedgerProof::from_bytes(bytes) else { return false };
    assert_eq!(proof.to_bytes(), bytes);
    let _ = proof.verify(samples::agreement::genesis_of_four());
    true
}

pub(crate) fn snapshot_base(bytes: &[u8]) -> bool {
    let Ok(base) = SnapshotBase::from_bytes(bytes) else { return false };
    assert_eq!(base.to_bytes(), bytes);
    let _ = SnapshotAssembly::new(samples::ledger::genesis().clone(), base, Vec::new());
    true
}

pub(crate) fn state_chunk(bytes: &[u8]) -> bool {
    let Ok(chunk) = StateChunk::from_bytes(bytes) else { return false };
    assert_eq!(chunk.to_bytes(), bytes);
    let mut assembly = samples::snapshot::assembly();
    if assembly.add(bytes).is_ok() {
        assert!(assembly.add(bytes) == Err(ChunkError::Overlap));
    }
    true
}

pub(crate) fn state_prefix(bytes: &[u8]) -> bool {
    let Ok(within) = canonical::decode::<Prefix>(bytes, HEADER_LEN_MAX) else { return false };
    if let Some(chunk) = samples::snapshot::snapshot().chunk(&within) {
        assert!(within.contains(&chunk.prefix()));
    }
    true
}

pub(crate) fn descriptor(bytes: &[u8]) -> bool {
    let Ok(descriptor) = Descriptor::decode(bytes) else { return false };
    assert_eq!(descriptor.encode(), bytes);
    // What is accepted can be used: there is such a code, and its sizes are computed.
    assert!(descriptor.code.build().is_ok_and(|code| {
        code.layout(descriptor.coded_len);
        true
    }));
    true
}

pub(crate) fn manifest(bytes: &[u8]) -> bool {
    Manifest::decode(bytes).is_ok_and(|manifest| manifest.encode() == bytes)
}

pub(crate) fn catalogue_segment(bytes: &[u8]) -> bool {
    let here = samples::catalogue::here();
    let Ok(segment) = Segment::decode(bytes, &here) else { return false };
    assert_eq!(segment.encode(&here), bytes);
    let _ = Catalogue::of([segment]).map(|catalogue| catalogue.list(b"").count());
    true
}

pub(crate) fn catalogue_head(bytes: &[u8]) -> bool {
    let here = samples::catalogue::here();
    Head::decode(bytes, &here).is_ok_and(|head| head.encode(&here) == bytes)
}

pub(crate) fn clinical_file(bytes: &[u8]) -> bool {
    let Some(about) = clinical::classify(bytes) else { return false };
    let parts = [about.patient, about.date, about.kind];
    assert!(parts.iter().all(|part| part.len() <= ABOUT_LEN_MAX));
    true
}

pub(crate) fn ssmix2_name(bytes: &[u8]) -> bool {
    let Some(name) = ssmix2::FileName::parse(bytes) else { return false };
    assert!(bytes.starts_with(name.stem) && bytes.starts_with(name.folder));
    true
}

pub(crate) fn pointer_body(bytes: &[u8]) -> bool {
    // Sealed, so that the checks after decoding run too.
    let key = samples::object::pointer_key();
    let sealed = key.seal(bytes, &mut samples::rng());
    sealed.is_ok_and(|sealed| PointerBody::open(&key, &sealed).is_ok())
}

pub(crate) fn group_hashes(bytes: &[u8]) -> bool {
    let Ok(hashes) = GroupHashes::decode(bytes) else { return false };
    hashes.verify(&hashes.root(), 1);
    hashes.check_group(hashes.count(), bytes);
    true
}

pub(crate) fn share(bytes: &[u8]) -> bool {
    let Ok(share) = canonical::decode::<Share>(bytes, HEADER_LEN_MAX) else { return false };
    let descriptor = samples::object::descriptor();
    share.row(&descriptor.binding());
    true
}

pub(crate) fn proven_part(bytes: &[u8]) -> bool {
    let Ok(part) = canonical::decode::<ProvenPart>(bytes, HEADER_LEN_MAX) else { return false };
    let descriptor = samples::object::descriptor();
    let row = descriptor.rows.get(part.slot().index()).unwrap_or(&RowHash([0; 32]));
    let _ = part.verify(&descriptor.binding(), row);
    true
}

pub(crate) fn proven_symbol(bytes: &[u8]) -> bool {
    let Ok(symbol) = canonical::decode::<ProvenSymbol>(bytes, HEADER_LEN_MAX) else { return false };
    let descriptor = samples::object::descriptor();
    let row = descriptor.rows.get(symbol.helper().index()).unwrap_or(&RowHash([0; 32]));
    let _ = symbol.verify(&descriptor.binding(), samples::object::lost_slot(), row);
    true
}

pub(crate) fn degraded_help(bytes: &[u8]) -> bool {
    let Ok(help) = canonical::decode::<DegradedHelp>(bytes, HEADER_LEN_MAX) else { return false };
    let (helpers, rows) = (Slot::all(3).collect(), [RowHash([0; 32]); 5]);
    let binding = samples::renewal::binding();
    let lost = samples::object::lost_slot();
    let _ = repair_degraded(&binding, lost, &helpers, &rows, &[help]);
    true
}

pub(crate) fn audit_answer(bytes: &[u8]) -> bool {
    let Ok(answer) = canonical::decode::<AuditAnswer>(bytes, HEADER_LEN_MAX) else { return false };
    let (share, binding) = (samples::renewal::share(), samples::renewal::binding());
    let _ = share.check_audit(&binding, samples::object::lost_slot(), &[0; 32], &answer);
    true
}

pub(crate) fn coverage(bytes: &[u8]) -> bool {
    let Ok(coverage) = canonical::decode::<Coverage>(bytes, HEADER_LEN_MAX) else { return false };
    let disputed = coverage.disputed().iter();
    disputed.for_each(|&(low, high)| assert!(!coverage.covers(high, low)));
    true
}

pub(crate) fn dealer_post(bytes: &[u8]) -> bool {
    let Ok(post) = canonical::decode::<DealerPost>(bytes, BODY_LEN_MAX) else { return false };
    let dealer = samples::renewal::share().slot();
    if let Some(mut round) = DealingRound::new(samples::renewal::terms().clone(), dealer) {
        round.handle_post(dealer, post);
        round.close();
    }
    true
}

pub(crate) fn dealt_rows(bytes: &[u8]) -> bool {
    let Ok(rows) = canonical::decode::<DealtRows>(bytes, BODY_LEN_MAX) else { return false };
    let dealer = samples::renewal::share().slot();
    if let Some(mut round) = DealingRound::new(samples::renewal::terms().clone(), dealer) {
        round.handle_rows(dealer, rows);
        round.close();
    }
    true
}

pub(crate) fn complaint(bytes: &[u8]) -> bool {
    decodes::<Complaint>(bytes, HEADER_LEN_MAX)
}

pub(crate) fn complaint_answer(bytes: &[u8]) -> bool {
    decodes::<Answer>(bytes, BODY_LEN_MAX)
}

pub(crate) fn check_values(bytes: &[u8]) -> bool {
    decodes::<CheckValues>(bytes, BODY_LEN_MAX)
}

pub(crate) fn leaves(bytes: &[u8]) -> bool {
    decodes::<Leaves>(bytes, BODY_LEN_MAX)
}

pub(crate) fn code_name(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let parameters = match text.parse::<CodeParameters>() {
        Ok(parameters) => parameters,
        Err(error) => return error.to_string().is_empty(),
    };
    if let Err(error) = parameters.check() {
        assert!(!error.to_string().is_empty());
    }
    true
}

pub(crate) fn network_file(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    match NetworkFile::parse(text) {
        Ok(file) => {
            assert!(NetworkFile::parse(&file.to_text()).is_ok_and(|again| again == file));
            true
        }
        Err(error) => error.to_string().is_empty(),
    }
}

pub(crate) fn vault_file(bytes: &[u8]) -> bool {
    // An empty passphrase is refused after the format was checked and before memory is filled.
    matches!(open_vault_file(bytes, ""), Err(VaultFileError::Passphrase(_)))
}

pub(crate) fn part_file(bytes: &[u8]) -> bool {
    samples::store::opens_part(bytes)
}

pub(crate) fn block_log(bytes: &[u8]) -> bool {
    samples::store::opens_log(bytes)
}

pub(crate) fn snapshot_file(bytes: &[u8]) -> bool {
    samples::store::opens_snapshot(bytes)
}

fn decodes<T>(bytes: &[u8], limit: usize) -> bool
where
    T: Encode<()> + for<'b> Decode<'b, ()>,
{
    canonical::decode::<T>(bytes, limit).is_ok()
}
