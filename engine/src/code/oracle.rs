//! The codes as their papers define them, slowly, to test the closed forms against.

use super::{CodeKind, CodeParameters};
use crate::gf::{Matrix, POLYNOMIAL, oracle, pow};
use crate::names::Slot;
