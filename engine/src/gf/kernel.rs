//! The kernels, and which of them does the work.

use std::sync::OnceLock;

use thiserror::Error;

use super::patchwork::Batch;
use super::portable;
use super::program::Strips;

#[cfg(target_arch = "x86_64")]
use super::{affine, avx2, avx2_gfni, avx512_gfni};

#[cfg(any(target_arch = "aarch64", test))]
use super::neon;

/// One way to compute a [`Pass`], by the instructions it needs.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As it is named in [`force`].
    pub(super) name: &'static str,
    /// Most outputs of a patch.
    pub(super) patch_outputs: usize,
    /// Whether this processor has the instructions.
    runs_here: fn() -> bool,
    pub(super) prepare: fn(u8) -> Prepared,
    pub(super) sums: PassKernel,
    /// For passes of quads, if that is worth the while.
    pub(super) quads: Option<PassKernel>,
    pub(super) sum_patches: SumPatches,
}

/// How passes of one method are computed.
#[derive(Debug)]
pub(super) struct PassKernel {
    /// Most outputs of a pass: as many as the registers hold sums of.
    pub(super) outputs: usize,
    pub(super) combine: Combine,
}

/// A coefficient as a kernel takes it: its matrix of bits, or itself.
pub(super) type Prepared = u64;

/// Overwrites the outputs of a pass, given its coefficients.
///
/// # Safety
/// The processor has the instructions of the kernel. There are from 1 to `outputs` outputs, no
/// starts or as many, and as many coefficients as the method needs; for quads the inputs are whole ones.
/// All strips have the given length, and outputs can be written and overlap nothing.
type Combine = unsafe fn(&[Prepared], &Strips);

/// Computes patches, given the coefficients that they name, how many bytes a unit is, and where the
/// strips begin.
///
/// # Safety
/// The processor has the instructions of the kernel. The patches have from 1 to `patch_outputs`
/// outputs, and all their spots lie within their strips; what is written can be written.
type SumPatches = unsafe fn(&[Prepared], &Batch, usize, &[*mut u8]);

/// Every kernel of this architecture, the fastest first.
static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx512-gfni",
        patch_outputs: avx512_gfni::PATCH_OUTPUTS,
        runs_here: || {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("gfni")
        },
        prepare: affine::matrix_of,
        sums: PassKernel { outputs: avx512_gfni::PASS_OUTPUTS, combine: avx512_gfni::combine },
        quads: Some(PassKernel {
            outputs: avx512_gfni::QUAD_OUTPUTS,
            combine: avx512_gfni::interpolate,
        }),
        sum_patches: avx512_gfni::sum_patches,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx2-gfni",
        patch_outputs: avx2_gfni::PATCH_OUTPUTS,
        runs_here: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("gfni"),
        prepare: affine::matrix_of,
        sums: PassKernel { outputs: avx2_gfni::PASS_OUTPUTS, combine: avx2_gfni::combine },
        quads: Some(PassKernel {
            outputs: avx2_gfni::QUAD_OUTPUTS,
            combine: avx2_gfni::interpolate,
        }),
        sum_patches: avx2_gfni::sum_patches,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx2",
        patch_outputs: avx2::PATCH_OUTPUTS,
        runs_here: || is_x86_feature_detected!("avx2"),
        prepare: u64::from,
        sums: PassKernel { outputs: avx2::PASS_OUTPUTS, combine: avx2::combine },
        quads: Some(PassKernel { outputs: avx2::QUAD_OUTPUTS, combine: avx2::interpolate }),
        sum_patches: avx2::sum_patches,
    },
    #[cfg(any(target_arch = "aarch64", test))]
    Kernel {
        name: "neon",
        patch_outputs: neon::PATCH_OUTPUTS,
        // Part of the architecture, and emulated in the tests of others.
        runs_here: || true,
        prepare: u64::from,
        sums: PassKernel { outputs: neon::PASS_OUTPUTS, combine: neon::combine },
        quads: Some(PassKernel { outputs: neon::QUAD_OUTPUTS, combine: neon::interpolate }),
        sum_patches: neon::sum_patches,
    },
    Kernel {
        name: "portable",
        patch_outputs: portable::PATCH_OUTPUTS,
        runs_here: || true,
        prepare: u64::from,
        sums: PassKernel { outputs: portable::PASS_OUTPUTS, combine: portable::combine },
        quads: None,
        sum_patches: portable::sum_patches,
    },
];

static CHOSEN: OnceLock<&Kernel> = OnceLock::new();

/// Why a kernel was not chosen.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum KernelError {
    /// No kernel has this name, or the processor lacks its instructions.
    #[error("no kernel '{name}' runs on this processor; it runs {}", available.join(", "))]
    Unknown {
        /// The name asked for.
        name: String,
        /// The names of the kernels that run here, the fastest first.
        available: Vec<&'static str>,
    },
    /// Another kernel is at work already.
    #[error("the kernel '{chosen}' is at work already; choose before any code is built")]
    Late {
        /// The kernel at work.
        chosen: &'static str,
    },
}

/// Makes the kernel of this name do all bulk work of the process, instead of the fastest.
///
/// Names: `avx512-gfni`, `avx2-gfni`, `avx2`, `neon`, `portable`. To be called before any
/// [`Combination`](super::Combination) exists.
///
/// # Errors
/// If the kernel does not run here, or another one is at work already.
pub fn force(name: &str) -> Result<(), KernelError> {
    let unknown = || KernelError::Unknown {
        name: name.to_owned(),
        available: available().map(|kernel| kernel.name).collect(),
    };
    let kernel = available().find(|kernel| kernel.name == name).ok_or_else(unknown)?;
    match CHOSEN.get_or_init(|| kernel).name {
        chosen if chosen == name => Ok(()),
        chosen => Err(KernelError::Late { chosen }),
    }
}

/// The names of the kernels that this processor runs, the fastest first.
pub fn kernels() -> impl Iterator<Item = &'static str> {
    available().map(|kernel| kernel.name)
}

/// The kernel that does the work: the forced one, else the fastest.
pub(super) fn chosen() -> &'static Kernel {
    CHOSEN.get_or_init(|| match available().next() {
        Some(fastest) => fastest,
        None => unreachable!("the portable kernel runs everywhere"),
    })
}

/// Every kernel that this processor runs, the fastest first.
pub(super) fn available() -> impl Iterator<Item = &'static Kernel> {
    KERNELS.iter().filter(|kernel| (kernel.runs_here)())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_chosen_once_and_by_name() {
        let unknown = force("abacus").unwrap_err();
        assert!(unknown.to_string().contains("'abacus' runs on this processor; it runs "));
        assert!(unknown.to_string().ends_with("portable"));
        assert_eq!(kernels().last(), Some("portable"));
        let chosen = chosen().name;
        assert_eq!(Ok(chosen), kernels().next().ok_or(()));
        assert_eq!(force(chosen), Ok(()));
        for other in kernels().filter(|&name| name != chosen) {
            assert_eq!(force(other), Err(KernelError::Late { chosen }));
        }
    }
}
