//! What a renewed share is checked against: the rows of its epoch, and their place under the root
//! that the ledger has of the whole batch.

use minicbor::{Decode, Encode};

use super::commitment::{Digest, RowHash, RowTree, UNCOVERED, leads_to, root};
use super::coverage::Coverage;
use super::parameters::{Binding, KeyParameters};
use crate::hash::hash;
use crate::names::{Epoch, ObjectId};

/// The rows of one object after a refresh, with the path to the root of its batch. Public; each
/// holder keeps them beside its share (`engine/spec/keyshare.md` §9.7).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RenewedRows {
    /// The epoch of the shares.
    #[n(0)]
    pub epoch: Epoch,
    /// The commitment to every slot's share, in slot order.
    #[n(1)]
    pub rows: Vec<RowHash>,
    /// What these rows cover.
    #[n(2)]
    pub coverage: Coverage,
    /// The object's place in its batch.
    #[n(3)]
    index: u32,
    /// Objects of the batch.
    #[n(4)]
    count: u32,
    /// Sibling hashes from the object's leaf up, 32 bytes each.
    #[cbor(n(5), with = "minicbor::bytes")]
    path: Vec<u8>,
}

impl RenewedRows {
    /// Puts the new rows of a batch and what they cover, in the order of its objects, under one root.
    /// `objects` are ids and salts; there is at least one. Of an object that is left out there are
    /// no rows, and its leaf is 32 zero bytes.
    pub fn batch(
        (parameters, epoch): (KeyParameters, Epoch),
        objects: &[(ObjectId, [u8; 32])],
        rows: Vec<Option<(Vec<RowHash>, Coverage)>>,
    ) -> ([u8; 32], Vec<Option<Self>>) {
        let count = objects.len() as u32;
        let unplaced = |(rows, coverage)| {
            let path = Vec::new();
            Self { epoch, rows, coverage, index: 0, count, path }
        };
        let mut renewed: Vec<Option<Self>> =
            rows.into_iter().map(|rows| rows.map(unplaced)).collect();
        let leaves = objects.iter().zip(&renewed).map(|((object, salt), rows)| {
            rows.as_ref().map_or(UNCOVERED, |rows| rows.leaf(object, parameters, salt))
        });
        let tree = RowTree::new(leaves.collect());
        for (index, rows) in renewed.iter_mut().enumerate() {
            if let Some(rows) = rows {
                (rows.index, rows.path) = (index as u32, tree.path(index));
            }
        }
        (tree.row().0, renewed)
    }

    /// Whether these are the rows of `object` in the batch with this root.
    pub fn stand_under(
        &self,
        batch_root: &[u8; 32],
        object: &ObjectId,
        parameters: KeyParameters,
        salt: &[u8; 32],
    ) -> bool {
        let (index, count) = (self.index as usize, self.count as usize);
        let leaf = self.leaf(object, parameters, salt);
        self.rows.len() == usize::from(parameters.n())
            && index < count
            && leads_to(&RowHash(*batch_root), count, index, leaf, &self.path)
    }

    /// What the commitments bind.
    pub fn binding<'a>(&'a self, parameters: KeyParameters, salt: &'a [u8; 32]) -> Binding<'a> {
        Binding { parameters, salt, epoch: self.epoch, coverage: Some(&self.coverage) }
    }

    fn leaf(&self, object: &ObjectId, parameters: KeyParameters, salt: &[u8; 32]) -> Digest {
        let root = root(&self.binding(parameters, salt), &self.rows);
        hash("ks/renewed", &[object.as_bytes(), &root])
    }
}
