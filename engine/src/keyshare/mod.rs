//! keyshare
