//! Intel ISA-L, of the version that is installed (Debian: `libisal-dev` or `libisal2`).
//!
//! Opened at run time, so that the same binary runs where it is missing.

use std::ffi::{c_int, c_uchar};
use std::sync::OnceLock;

use kakera_engine::gf::Matrix;
use libloading::Library;

/// `ec_init_tables(k, rows, matrix, tables)` of `erasure_code.h`.
type InitTables = unsafe extern "C" fn(c_int, c_int, *mut c_uchar, *mut c_uchar);
/// `ec_encode_data(len, k, rows, tables, data, coding)` of `erasure_code.h`.
type EncodeData =
    unsafe extern "C" fn(c_int, c_int, c_int, *mut c_uchar, *mut *mut c_uchar, *mut *mut c_uchar);

/// Whether the library is installed.
pub fn is_available() -> bool {
    library().is_some()
}

/// Which of ISA-L's functions encodes.
#[derive(Clone, Copy)]
pub(crate) enum Kernel {
    /// The one that ISA-L chooses for this processor.
    Chosen,
    /// The one for AVX2.
    Avx2,
}

/// A matrix that ISA-L has expanded into its tables.
pub(crate) struct Encoder {
    encode: EncodeData,
    inputs: usize,
    outputs: usize,
    tables: Vec<u8>,
    data: Vec<*mut c_uchar>,
    coding: Vec<*mut c_uchar>,
}

impl Encoder {
    /// `None` where ISA-L or the processor's support of the kernel is missing.
    pub(crate) fn new(kernel: Kernel, matrix: &Matrix) -> Option<Self> {
        let name: &[u8] = match kernel {
            Kernel::Chosen => b"ec_encode_data\0",
            Kernel::Avx2 if has_avx2() => b"ec_encode_data_avx2\0",
            Kernel::Avx2 => return None,
        };
        let library = library()?;
        // SAFETY: the types are those of the header for these names, and the library is never
        // unloaded.
        let (init_tables, encode) = unsafe {
            (
                *library.get::<InitTables>(b"ec_init_tables\0").ok()?,
                *library.get::<EncodeData>(name).ok()?,
            )
        };
        let (inputs, outputs) = (matrix.columns(), matrix.rows());
        let mut coefficients: Vec<u8> =
            (0..outputs).flat_map(|row| matrix.row(row).to_vec()).collect();
        let mut tables = vec![0; 32 * inputs * outputs];
        // SAFETY: the matrix has `outputs` rows of `inputs` bytes, and the header asks for 32 bytes
        // of tables for each coefficient.
        unsafe {
            init_tables(
                inputs as c_int,
                outputs as c_int,
                coefficients.as_mut_ptr(),
                tables.as_mut_ptr(),
            );
        }
        Some(Self { encode, inputs, outputs, tables, data: Vec::new(), coding: Vec::new() })
    }

    /// Overwrites `outputs` with the matrix times `inputs`.
    ///
    /// # Panics
    /// If the number of strips differs from the matrix, or one strip has another length.
    pub(crate) fn encode(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) {
        assert_eq!((inputs.len(), outputs.len()), (self.inputs, self.outputs), "strip counts");
        let len = outputs[0].len();
        assert!(inputs.iter().all(|strip| strip.len() == len), "input lengths");
        assert!(outputs.iter().all(|strip| strip.len() == len), "output lengths");
        self.data.clear();
        self.data.extend(inputs.iter().map(|strip| strip.as_ptr().cast_mut()));
        self.coding.clear();
        self.coding.extend(outputs.iter_mut().map(|strip| strip.as_mut_ptr()));
        // SAFETY: as many strips of `len` bytes as the tables were made for; the data is only read,
        // though the header does not say const.
        unsafe {
            (self.encode)(
                len as c_int,
                self.inputs as c_int,
                self.outputs as c_int,
                self.tables.as_mut_ptr(),
                self.data.as_mut_ptr(),
                self.coding.as_mut_ptr(),
            );
        }
    }
}

fn library() -> Option<&'static Library> {
    static LIBRARY: OnceLock<Option<Library>> = OnceLock::new();
    // SAFETY: ISA-L runs nothing when it is opened.
    LIBRARY.get_or_init(|| unsafe { Library::new("libisal.so.2") }.ok()).as_ref()
}

fn has_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx2");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}
