//! Reads everything that is kept here, little by little, and has repaired what rotted.

use std::sync::{Arc, Weak};
use std::time::Duration;

use kakera_engine::peer::{Alarm, is_sound};
use kakera_engine::wire::PartReference;
use tracing::warn;

use super::{Node, disk};
use crate::blocking::blocking;

/// Parts whose names are listed at a time.
const PAGE_LEN: usize = 1000;

/// Looks at one part after the other, with a pause before each, until the node is gone.
pub(super) async fn scrub(node: Weak<Node>, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let slots = node.upgrade().map_or_else(Vec::new, |node| node.store.slots());
        for (group, slot) in slots {
            let mut after = None;
            loop {
                let Some(page) =
                    node.upgrade().map(|node| node.store.objects(group, slot, after, PAGE_LEN))
                else {
                    return;
                };
                for &object in &page {
                    tokio::time::sleep(pause).await;
                    let Some(node) = node.upgrade() else { return };
                    blocking(move || node.look_at(PartReference { group, slot, object })).await;
                }
                match page.last() {
                    Some(&last) if page.len() == PAGE_LEN => after = Some(last),
                    _ => break,
                }
            }
        }
    }
}

impl Node {
    /// A part that is not what this node promised is set aside, and its slot repaired.
    fn look_at(self: Arc<Self>, part: PartReference) {
        if disk::check(&self.store, &part, |stored, fragment| is_sound(&part, stored, fragment)) {
            return;
        }
        self.tally.parts_damaged.add(1);
        warn!(group = %part.group, slot = %part.slot, object = %part.object, "a part rotted");
        if let Err(error) = self.store.set_aside(&part) {
            warn!(%error, "it cannot be set aside");
        }
        let _ = self.alarms.try_send(Alarm::Damage(part.group, part.slot));
    }
}
