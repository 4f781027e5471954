//! Every decoder of bytes from outside as a fuzz target.
//!
//! A target takes any bytes and must return: no panic, no memory beyond a small multiple of the
//! input, and what it accepts must be the canonical encoding of what was understood. Each target
//! brings valid samples, from which libFuzzer starts and which `tests/replay.rs` mutates in every
//! ordinary test run. Inputs that once broke something are kept in `regressions/TARGET/`.

mod decoders;
mod samples;

/// A decoder, and valid inputs for it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Also the folder of its regressions.
    pub name: &'static str,
    /// Whether the decoder accepts these bytes.
    pub accepts: fn(&[u8]) -> bool,
    /// Inputs that the decoder accepts.
    pub samples: fn() -> Vec<Vec<u8>>,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("request", decoders::request, samples::wire::requests),
    target("operation", decoders::operation, samples::wire::operations),
    target("response", decoders::response, samples::wire::responses),
    target("proven-values", decoders::proven_values, samples::wire::proven_values),
    target("refresh-posts", decoders::refresh_posts, samples::wire::refresh_posts),
    target("refresh-list", decoders::refresh_list, samples::wire::refresh_lists),
    target("refresh-word", decoders::refresh_word, samples::wire::refresh_words),
    target("inventory-page", decoders::inventory_page, samples::wire::inventory_pages),
    target("misfit-proof", decoders::misfit_proof, samples::wire::misfit_proofs),
    target("orders-page", decoders::orders_page, samples::wire::orders_pages),
    target("genesis", decoders::genesis, samples::ledger::geneses),
    target("entry", decoders::entry, samples::ledger::entries),
    target("block", decoders::block, samples::ledger::blocks),
    target("compact-block", decoders::compact_block, samples::ledger::compact_blocks),
    target("sent-block", decoders::sent_block, samples::agreement::sent_blocks),
    target("ledger-proof", decoders::ledger_proof, samples::agreement::ledger_proofs),
    target("signed-header", decoders::signed_header, samples::ledger::signed_headers),
    target("set-change", decoders::set_change, samples::agreement::set_changes),
    target("vote", decoders::vote, samples::agreement::votes),
    target("remarks", decoders::remarks, samples::agreement::remarks),
    target("agreement-message", decoders::agreement_message, samples::agreement::messages),
    target("voting-record", decoders::voting_record, samples::agreement::records),
    target("proposal", decoders::proposal, samples::agreement::proposals),
    target("state-proof", decoders::state_proof, samples::ledger::state_proofs),
    target("log-proof", decoders::log_proof, samples::ledger::log_proofs),
    target("snapshot-base", decoders::snapshot_base, samples::snapshot::bases),
    target("state-chunk", decoders::state_chunk, samples::snapshot::chunks),
    target("state-prefix", decoders::state_prefix, samples::snapshot::prefixes),
    target("descriptor", decoders::descriptor, samples::object::descriptors),
    target("manifest", decoders::manifest, samples::object::manifests),
    target("catalogue-segment", decoders::catalogue_segment, samples::catalogue::segments),
    target("catalogue-head", decoders::catalogue_head, samples::catalogue::heads),
    target("clinical-file", decoders::clinical_file, samples::clinical::files),
    target("ssmix2-name", decoders::ssmix2_name, samples::clinical::names),
    target("pointer-body", decoders::pointer_body, samples::object::pointer_bodies),
    target("group-hashes", decoders::group_hashes, samples::object::group_hashes),
    target("share", decoders::share, samples::object::shares),
    target("proven-part", decoders::proven_part, samples::object::proven_parts),
    target("proven-symbol", decoders::proven_symbol, samples::object::proven_symbols),
    target("degraded-help", decoders::degraded_help, samples::renewal::degraded_helps),
    target("audit-answer", decoders::audit_answer, samples::renewal::audit_answers),
    target("coverage", decoders::coverage, samples::renewal::coverages),
    target("dealer-post", decoders::dealer_post, samples::renewal::dealer_posts),
    target("dealt-rows", decoders::dealt_rows, samples::renewal::dealt_rows),
    target("complaint", decoders::complaint, samples::renewal::complaints),
    target("complaint-answer", decoders::complaint_answer, samples::renewal::answers),
    target("check-values", decoders::check_values, samples::renewal::check_values),
    target("leaves", decoders::leaves, samples::renewal::leaves),
    target("network-file", decoders::network_file, samples::ledger::network_files),
    target("code-name", decoders::code_name, samples::object::code_names),
    target("vault-file", decoders::vault_file, samples::object::vault_files),
    target("handle", decoders::handle, samples::identity::handles),
    target("identity-record", decoders::identity_record, samples::identity::records),
    target("identity-file", decoders::identity_file, samples::identity::kept_files),
    target("identity-listing", decoders::identity_listing, samples::identity::listings),
    target("recovery-kit", decoders::recovery_kit, samples::identity::kits),
    target("part-file", decoders::part_file, samples::store::part_files),
    target("block-log", decoders::block_log, samples::store::block_logs),
    target("snapshot-file", decoders::snapshot_file, samples::store::snapshot_files),
];

const fn target(
    name: &'static str,
    accepts: fn(&[u8]) -> bool,
    samples: fn() -> Vec<Vec<u8>>,
) -> Target {
    Target { name, accepts, samples }
}
