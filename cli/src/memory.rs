//! The allocator: jemalloc, set to hold little more than what is in use.
//!
//! A machine runs for months, and what it keeps for long lies between what it keeps for a moment. glibc's
//! heap grows by that, also with one arena, without the caches of threads and trimmed every minute.

use tikv_jemallocator::Jemalloc;

// C libraries take it too, under the names of the C standard.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What jemalloc reads as the program starts (jemalloc(3), TUNING): one arena for all threads and no
/// caches of theirs, since each would keep what it once had; pages that nothing uses go back to the
/// system after a tenth of a second (at once costs transfers a fifth more CPU: the system clears them
/// again for each piece). `MALLOC_CONF` in the environment takes the place of any of it.
// SAFETY: jemalloc declares this symbol as `const char *malloc_conf` for programs to define, and reads a
// C string from it; a reference to an array is such a pointer.
#[unsafe(export_name = "malloc_conf")]
static SETTINGS: &[u8; 59] = b"narenas:1,tcache:false,dirty_decay_ms:100,muzzy_decay_ms:0\0";
