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
    /// The table of these objects in a list that begins in `here`.
    pub(super) fn of<'p>(
        objects: impl Iterator<Item = &'p ObjectReference>,
        here: &'a ObjectReference,
    ) -> Self {
        let objects: BTreeSet<_> = objects.filter(|object| *object != here).copied().collect();
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

    pub(super) fn number(&self, object: &ObjectReference) -> u32 {
        match self.objects.binary_search(object) {
            Ok(number) => number as u32,
            Err(_) => self.objects.len() as u32,
        }
    }

    pub(super) fn object(&self, number: u32) -> Result<ObjectReference, FormatError> {
        match number as usize {
            number if number < self.objects.len() => Ok(self.objects[number]),
            number if number == self.objects.len() => Ok(*self.here),
            _ => Err(FormatError::Inconsistent("an extent is in no object")),
        }
    }

    pub(super) fn place(&self, pieces: &[Piece]) -> Vec<PlacedExtent> {
        let place = |piece: &Piece| PlacedExtent {
            object: self.number(&piece.object),
            extent: piece.extent.clone(),
        };
        pieces.iter().map(place).collect()
    }

    pub(super) fn resolve(&self, placed: Vec<PlacedExtent>) -> Result<Vec<Piece>, FormatError> {
        let piece = |PlacedExtent { object, extent }: PlacedExtent| {
            extent.check()?;
            Ok(Piece { object: self.object(object)?, extent })
        };
        placed.into_iter().map(piece).collect()
    }
}
