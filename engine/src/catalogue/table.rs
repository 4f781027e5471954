//! Objects by number, as lists of extents name them.

use std::collections::BTreeSet;

use super::Piece;
use crate::object::{FormatError, ObjectReference, PlacedExtent};

/// The objects that a list of pieces names, ascending, without the one that the list itself begins
/// in: no object can contain its own name. That one has the number after the last.
#[derive(Debug)]
pub(super) struct ObjectTable<'a> {
    objects: Vec<ObjectReference>,
    here: &'a ObjectReference,
}

impl<'a> ObjectTable<'a> {
    /// The table of these pieces in a list that begins in `here`.
    pub(super) fn of<'p>(
        pieces: impl Iterator<Item = &'p Piece>,
        here: &'a ObjectReference,
    ) -> Self {
        let objects: BTreeSet<_> =
            pieces.map(|piece| piece.object).filter(|object| object != here).collect();
        Self { objects: objects.into_iter().collect(), here }
    }

    /// The table as it was written into a list that begins in `here`.
    pub(super) fn read(objects: Vec<ObjectReference>, here: &'a ObjectReference) -> Self {
        Self { objects, here }
    }

    /// What is written of the table.
    pub(super) fn objects(&self) -> &[ObjectReference] {
        &self.objects
    }

    pub(super) fn place(&self, pieces: &[Piece]) -> Vec<PlacedExtent> {
        let number = |piece: &Piece| match self.objects.binary_search(&piece.object) {
            Ok(number) => number as u32,
            Err(_) => self.objects.len() as u32,
        };
        pieces
            .iter()
            .map(|piece| PlacedExtent { object: number(piece), extent: piece.extent.clone() })
            .collect()
    }

    pub(super) fn resolve(&self, placed: Vec<PlacedExtent>) -> Result<Vec<Piece>, FormatError> {
        let piece = |PlacedExtent { object, extent }: PlacedExtent| {
            extent.check()?;
            let object = match object as usize {
                number if number < self.objects.len() => self.objects[number],
                number if number == self.objects.len() => *self.here,
                _ => return Err(FormatError::Inconsistent("an extent is in no object")),
            };
            Ok(Piece { object, extent })
        };
        placed.into_iter().map(piece).collect()
    }
}
