//! What a lying writer does to an object.

use kakera_engine::names::Slot;
use kakera_engine::object::SealedObject;

/// A part of another object, to which the descriptor commits all the same: whoever holds it is honest, and
/// the parts do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// The fragment of one slot.
    Fragment,
    /// The key share of one slot.
    Share,
}

impl Misfit {
    /// Gives `slot` its part of `other`, an object of the same length and codes. The object has another
    /// id then.
    pub fn put_into(self, object: &mut SealedObject, other: &SealedObject, slot: Slot) {
        let place = slot.index();
        match self {
            Self::Fragment => {
                object.fragments[place].clone_from(&other.fragments[place]);
                let root = other.descriptor.fragment_roots[place];
                object.descriptor.fragment_roots[place] = root;
            }
            Self::Share => {
                object.shares[place] = other.shares[place].clone();
                let row = object.shares[place].row(&object.descriptor.binding());
                object.descriptor.rows[place] = row;
            }
        }
        object.object_id = object.descriptor.object_id();
    }
}
