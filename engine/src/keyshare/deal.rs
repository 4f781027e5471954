//! V, and dealing it.

#[cfg(test)]
mod secrecy;

use std::fmt;

use rand_core::CryptoRng;
use zeroize::ZeroizeOnDrop;

use super::commitment::{RowHash, RowTree, pair_leaf};
use super::message::Message;
use super::parameters::{Binding, SECRET_LEN};
use super::share::Share;
use super::symbol::Symbol;

/// V: 32 bytes that exist only in a writer who deals them and in a reader who gathers them.
///
/// Wiped when dropped; never cloned, encoded or shown.
pub struct Secret(Symbol);

impl Secret {
    /// A uniform V.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        Self(Symbol::random(rng))
    }

    pub(super) fn new(symbol: Symbol) -> Self {
        Self(symbol)
    }

    /// The secret bytes, for key derivation.
    pub fn expose(&self) -> &[u8; SECRET_LEN] {
        self.0.expose()
    }
}

impl ZeroizeOnDrop for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret")
    }
}

/// A dealt V: a share and a row for every slot, in slot order.
#[derive(Debug)]
pub struct Dealt {
    /// Share i goes to the holder of slot i and to nobody else.
    pub shares: Vec<Share>,
    /// Public.
    pub rows: Vec<RowHash>,
}

/// Deals V to the n slots: n shares of 32 d bytes and their commitments.
///
/// Costs O(n d^2) field operations on 32 bytes and O(n^2) hashes. The random numbers must be fresh
/// for every call: never deal one V twice.
pub fn deal(binding: &Binding<'_>, secret: &Secret, rng: &mut impl CryptoRng) -> Dealt {
    let parameters = binding.parameters;
    let message = Message::random(parameters, &secret.0, rng);
    let shares: Vec<Share> = parameters.slots().map(|slot| message.share(slot)).collect();
    let rows = rows(binding, &shares);
    Dealt { shares, rows }
}

/// The rows of all shares; every pair is evaluated and hashed once, for both its rows.
fn rows(binding: &Binding<'_>, shares: &[Share]) -> Vec<RowHash> {
    let mut leaves: Vec<Vec<[u8; 32]>> = shares.iter().map(|_| Vec::new()).collect();
    for (index, share) in shares.iter().enumerate() {
        for other in &shares[index + 1..] {
            let symbol = share.pair_symbol(other.slot());
            let leaf = pair_leaf(binding, share.slot(), other.slot(), &symbol);
            leaves[index].push(leaf);
            leaves[other.slot().index()].push(leaf);
        }
        leaves[index].push(share.part_leaf(binding));
    }
    leaves.into_iter().map(|leaves| RowTree::new(leaves).row()).collect()
}
