//! The UDP socket under the endpoint: the only file that touches quinn's socket traits.
