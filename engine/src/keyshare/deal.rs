//! V, and dealing it.

#[cfg(test)]
mod secrecy;

use std::fmt;

use rand_core::CryptoRng;
use zeroize::ZeroizeOnDrop;

use super::commitment::{RowHash, RowTree, pair_leaf};
use super::parameters::{Binding, KeyParameters, SECRET_LEN};
use super::share::Share;
use super::symbol::{self, Symbol};
use crate::names::Slot;

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
    let message = Message::random(parameters, secret, rng);
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

/// The symmetric message matrix M of F(x, y) = sum of M_ab x^a y^b, zero where a, b >= k.
///
/// Column b for b < k has d entries; the others have k, the rest being zero.
struct Message {
    columns: Vec<Vec<Symbol>>,
}

impl Message {
    /// V at M_0k, or at M_00 if d = k; everything else is uniform.
    fn random(parameters: KeyParameters, secret: &Secret, rng: &mut impl CryptoRng) -> Self {
        let secret_column = if parameters.has_spare() { parameters.k() } else { 0 };
        Self::fill(parameters.k(), parameters.d(), |row, column| {
            if (row, column) == (0, secret_column) { secret.0.clone() } else { Symbol::random(rng) }
        })
    }

    /// Takes the entries a <= b, a < k, row by row, and mirrors them.
    fn fill(k: u8, d: u8, mut entry: impl FnMut(u8, u8) -> Symbol) -> Self {
        let mut columns: Vec<Vec<Symbol>> =
            (0..d).map(|_| Vec::with_capacity(usize::from(d))).collect();
        for a in 0..k {
            for b in a..d {
                let entry = entry(a, b);
                if a != b {
                    columns[usize::from(a)].push(entry.clone());
                }
                columns[usize::from(b)].push(entry);
            }
        }
        Self { columns }
    }

    /// psi_i M: the coefficients of f_i(y) = F(x_i, y).
    fn share(&self, slot: Slot) -> Share {
        let columns = self.columns.iter().map(|column| symbol::evaluate(column, slot));
        Share::new(slot, columns.collect())
    }
}
