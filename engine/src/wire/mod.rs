//! What peers say to each other: canonical CBOR, messages and frames.

pub mod canonical;
