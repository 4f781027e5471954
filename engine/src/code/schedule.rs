//! A linear map in steps, for codes whose matrix would be too large to multiply by.
//!
//! Per column and node there is one symbol in every *plane*. What the sources store is *coupled*:
//! to uncouple it combines at most two symbols. The uncoupled symbols of all nodes in one plane are
//! a codeword of one small code, so those of the lost nodes follow from the known ones, plane by
//! plane, and coupling again gives what the targets store.
//!
//! The strips of a node lie plane after plane and are short: each step is a patch of a
//! [`Patchwork`], and nothing is kept but the uncoupled symbols of the lost nodes.

use super::construction::GroupMap;
use crate::gf::Patchwork;

/// Bytes between what is kept of one node and of the next beyond its length, so that not all of them
/// fall into the same lines of a cache.
const SKEW: usize = 192;

/// A map from sources to targets, all with one strip per plane.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Planes that a source has.
    pub(super) source_planes: usize,
    /// Planes that a target has.
    pub(super) target_planes: usize,
    /// Lost nodes of which uncoupled symbols are kept, with the planes of a target.
    pub(super) lost: usize,
    /// Sources that are copied to targets before anything else is done.
    pub(super) copies: Vec<(usize, usize)>,
    /// A unit is a strip of one plane. The strips of the patches are the sources; as outputs the
    /// targets, then the lost nodes.
    pub(super) steps: Patchwork,
}

impl GroupMap for Schedule {
    fn apply(
        &self,
        width: usize,
        sources: &[&[u8]],
        targets: &mut [&mut [u8]],
        workspace: &mut Vec<u8>,
    ) {
        let stride = self.target_planes * width + SKEW;
        workspace.resize(workspace.len().max(self.lost * stride), 0);
        let lost = workspace.chunks_exact_mut(stride).take(self.lost);
        let sources: Vec<&[u8]> = sources
            .iter()
            .flat_map(|source| source.chunks_exact(self.source_planes * width))
            .collect();
        let targets = targets
            .iter_mut()
            .flat_map(|target| target.chunks_exact_mut(self.target_planes * width));
        let mut outputs: Vec<&mut [u8]> = targets.chain(lost).collect();
        for &(source, target) in &self.copies {
            outputs[target].copy_from_slice(sources[source]);
        }
        self.steps.apply(width, &sources, &mut outputs);
    }

    fn products(&self) -> usize {
        self.steps.products()
    }
}
