//! The kernels, and which of them does the work.

use std::sync::OnceLock;

use thiserror::Error;

use super::portable;

#[cfg(target_arch = "x86_64")]
use super::{avx2, avx2_gfni, avx512_gfni};

#[cfg(target_arch = "aarch64")]
use super::neon;

/// Outputs that are computed together, and the inputs that at least one of them needs.
#[derive(Clone, Debug)]
pub(super) struct Pass {
    /// Which strips are written.
    pub(super) outputs: Vec<usize>,
    /// Which strips are read; without any, the outputs are zero.
    pub(super) inputs: Vec<usize>,
    /// For every input its coefficient for every output.
    pub(super) coefficients: Vec<u8>,
}

/// One way to compute a [`Pass`], by the instructions it needs.
#[derive(Debug)]
pub(super) struct Kernel {
    /// As it is named in [`force`].
    pub(super) name: &'static str,
    /// Most outputs of a pass: as many as the registers hold sums of.
    pub(super) pass_outputs: usize,
    /// Whether this processor has the instructions.
    runs_here: fn() -> bool,
    combine: Combine,
}

/// Overwrites the outputs of a pass; all strips have one length.
///
/// # Safety
/// The processor has the instructions of the kernel, every strip that the pass names exists, all of
/// them have the length of the first output, and the pass has from 1 to `pass_outputs` outputs.
type Combine = unsafe fn(&Pass, &[&[u8]], &mut [&mut [u8]]);

/// Every kernel of this architecture, the fastest first.
static KERNELS: &[Kernel] = &[
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx512-gfni",
        pass_outputs: avx512_gfni::PASS_OUTPUTS,
        runs_here: || {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("gfni")
        },
        combine: avx512_gfni::combine,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx2-gfni",
        pass_outputs: avx2_gfni::PASS_OUTPUTS,
        runs_here: || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("gfni"),
        combine: avx2_gfni::combine,
    },
    #[cfg(target_arch = "x86_64")]
    Kernel {
        name: "avx2",
        pass_outputs: avx2::PASS_OUTPUTS,
        runs_here: || is_x86_feature_detected!("avx2"),
        combine: avx2::combine,
    },
    #[cfg(target_arch = "aarch64")]
    Kernel {
        name: "neon",
        pass_outputs: neon::PASS_OUTPUTS,
        runs_here: || std::arch::is_aarch64_feature_detected!("neon"),
        combine: neon::combine,
    },
    Kernel {
        name: "portable",
        pass_outputs: portable::PASS_OUTPUTS,
        runs_here: || true,
        combine: portable::combine,
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

impl Kernel {
    /// Overwrites the outputs that the pass names with its combinations of `inputs`.
    ///
    /// # Panics
    /// If the pass does not fit the kernel, or a strip that it names is missing or has another
    /// length than its first output.
    pub(super) fn run(&self, pass: &Pass, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
        assert!((1..=self.pass_outputs).contains(&pass.outputs.len()), "outputs of a pass");
        let length = outputs[pass.outputs[0]].len();
        assert!(pass.outputs.iter().all(|&output| outputs[output].len() == length), "outputs");
        assert!(pass.inputs.iter().all(|&input| inputs[input].len() == length), "inputs");
        // SAFETY: a `Kernel` is only handed out if it runs here; the rest was asserted.
        unsafe { (self.combine)(pass, inputs, outputs) };
    }
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
