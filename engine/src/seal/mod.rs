//! Sealing: the key schedule, chunked authenticated encryption, pointers and the vault file.
//!
//! A record can be read only with two halves of its key: `V`, which lives as key shares on the
//! storage nodes, and `S`, which is derived from the [`VaultRoot`] and never leaves the owner but in
//! grants. [`RecordSecret::stream_key`] joins them. Formats: `engine/spec/seal.md`.

pub(crate) mod hardening;
mod keys;
mod padding;
mod pointer;
mod stream;
mod vault_file;

pub use hardening::{Hardening, HardeningError, PASSPHRASE_LEN_MAX};
pub use keys::{
    Compartment, CompartmentSecret, KeyCommitment, POINTERS_PER_SPAN, RecordSecret, StreamContext,
    VaultRoot, padding_key, pointer_tag,
};
pub use padding::{PADDED_LEN_MIN, padme};
pub use pointer::{POINTER_CLASSES, PointerError, PointerKey};
pub use stream::{
    CHUNK_LEN, OpenError, StreamKey, Suite, TAG_LEN, chunks_covering, plain_len_max, sealed_len,
};
pub use vault_file::{VAULT_FILE_LEN, VaultFileError, open_vault_file, seal_vault_file};
