//! How far an object is from being lost, as its holders show now.

use std::sync::Arc;

use kakera_engine::object::ObjectReference;
use kakera_engine::policy::durability::read_threshold;
use kakera_engine::wire::GroupRange;

use super::Vault;
use super::reader::wanted;
use crate::client::ClientError;

/// The first group of every fragment proves that its holder still has it, for 16 KiB.
const FIRST_GROUP: GroupRange = GroupRange { first: 0, count: 1 };

/// What the holders of one object have shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectHealth {
    /// Slots of its group.
    pub slots: usize,
    /// Slots whose holders sent a right key part and a right group of the fragment.
    pub sound: usize,
    /// Slots that are needed to read it.
    pub needed: usize,
}

impl ObjectHealth {
    /// More holders that may be lost; negative: as many are missing.
    pub fn margin(&self) -> i64 {
        self.sound as i64 - self.needed as i64
    }
}

impl Vault {
    /// Asks every holder of an object for its key part and a piece of its fragment.
    pub async fn health(&self, object: &ObjectReference) -> Result<ObjectHealth, ClientError> {
        let group = self.client.group(object.group).await?;
        let read_key = Arc::new(self.root.read_key(&object.salt));
        let wanted = wanted(object, &group, Some(FIRST_GROUP));
        let (sound, _) = self.client.transfers().survey(wanted, read_key, &group.members).await;
        let needed = read_threshold(&group.code, &group.key);
        Ok(ObjectHealth { slots: group.members.len(), sound, needed })
    }
}
