//! Whom a validator does not enrol again, from one run to the next: `barred` in its folder, a name a
//! line (`engine/spec/peer.md` §8).

use std::collections::BTreeSet;

use kakera_engine::names::NodeId;
use tracing::warn;

use crate::store::disk::Disk;
use crate::store::file::{read_file, write_atomic};

const FILE: &str = "barred";
/// Enough for a million names.
const LENGTH_MAX: usize = 65 << 20;

/// What was kept. Names that cannot be read are forgotten: whoever they were of is found out again.
pub(super) fn read(disk: &impl Disk) -> BTreeSet<NodeId> {
    let bytes = read_file(disk, FILE, LENGTH_MAX).unwrap_or_else(|error| {
        warn!(%error, "who failed audits before is forgotten: the file {FILE} cannot be read");
        None
    });
    let text = bytes.unwrap_or_default();
    let names = String::from_utf8_lossy(&text);
    let names = names.lines().map(|line| (line, NodeId::from_hex(line)));
    let names = names.inspect(|(line, name)| {
        if name.is_none() {
            warn!(line, "a line of the file {FILE} is no machine's name");
        }
    });
    names.filter_map(|(_, name)| name).collect()
}

/// Keeps them; durable on return.
pub(super) fn write(disk: &impl Disk, barred: &BTreeSet<NodeId>) {
    let text: String = barred.iter().map(|name| format!("{name}\n")).collect();
    if let Err(error) = write_atomic(disk, FILE, text.as_bytes()) {
        warn!(%error, "who failed audits may be forgotten at the next start: {FILE} cannot be kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::OsDisk;

    #[test]
    fn names_outlive_a_restart_and_a_damaged_line() {
        let folder = tempfile::tempdir().unwrap();
        let disk = OsDisk::open(folder.path()).unwrap();
        assert_eq!(read(&disk), BTreeSet::new());
        let names = BTreeSet::from([NodeId([1; 32]), NodeId([2; 32])]);
        write(&disk, &names);
        assert_eq!(read(&disk), names);
        let file = folder.path().join(FILE);
        let damaged = std::fs::read_to_string(&file).unwrap().replacen("01", "0#", 1);
        std::fs::write(&file, damaged).unwrap();
        assert_eq!(read(&disk), BTreeSet::from([NodeId([2; 32])]));
        write(&disk, &BTreeSet::new());
        assert_eq!(read(&disk), BTreeSet::new());
    }
}
