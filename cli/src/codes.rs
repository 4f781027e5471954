//! Which codes a network's groups get: by its size, unless its founder says otherwise.

use kakera_engine::code::{CodeKind, CodeParameters};
use kakera_engine::keyshare::KeyParameters;

use crate::arguments::CodeOptions;
use crate::failure::{Failure, Kind};

/// The data code and the key code of a group; they share their n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codes {
    pub(crate) data: CodeParameters,
    pub(crate) key: KeyParameters,
}

impl Codes {
    /// What was asked for, or the default of `architecture.md` §2.
    pub(crate) fn choose(options: &CodeOptions) -> Result<Self, Failure> {
        let (Some(data), Some(key)) = (options.code, options.key_code) else {
            return Self::for_nodes(options.nodes);
        };
        data.check().map_err(refuse)?;
        let codes = Self { data, key: KeyParameters::new(data.n, key.k, key.d).map_err(refuse)? };
        if u16::from(data.n) > options.nodes {
            return Err(Failure::new(
                Kind::Usage,
                format!("{data} needs {} nodes and {} are expected", data.n, options.nodes),
                format!("--nodes {}", data.n),
            ));
        }
        Ok(codes)
    }

    /// The default for a network of this many storage nodes; below 3, for the 3 that records need.
    pub(crate) fn for_nodes(nodes: u16) -> Result<Self, Failure> {
        let (n, (k, d), (key_k, key_d)) = match nodes {
            0..=4 => (3, (2, 2), (2, 2)),
            5..=9 => (5, (3, 4), (3, 4)),
            10..=24 => (10, (5, 7), (5, 6)),
            25.. => (20, (8, 14), (10, 11)),
        };
        let data = CodeParameters { kind: CodeKind::Mbr, n, k, d };
        Ok(Self { data, key: KeyParameters::new(n, key_k, key_d).map_err(refuse)? })
    }

    /// Slots that may be lost at once so that enough helpers for an ordinary repair are left.
    pub(crate) fn repairable_losses(&self) -> usize {
        usize::from(self.data.n - self.data.d.max(self.key.d()))
    }
}

fn refuse(error: impl std::fmt::Display) -> Failure {
    Failure::of(Kind::Usage, error, "--code 'mbr(10,5,7)' --key-code 5,6")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_code_that_fits_it() {
        for nodes in 3..=1000 {
            let codes = Codes::for_nodes(nodes).unwrap();
            codes.data.check().unwrap();
            assert!(u16::from(codes.data.n) <= nodes && codes.data.n == codes.key.n());
            assert!(codes.repairable_losses() >= 1);
        }
        assert_eq!(Codes::for_nodes(10).unwrap().data.to_string(), "mbr(10,5,7)");
        assert_eq!(Codes::for_nodes(10).unwrap().repairable_losses(), 3);
    }
}
