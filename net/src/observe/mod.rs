//! What a running machine shows to whoever looks after it, over plain HTTP.
//!
//! `/metrics` has its figures in the OpenMetrics text format 1.0, `/livez` says that the process answers,
//! `/readyz` whether it can do its work, and if not, why (503). The address is its operator's choice and
//! meant for this machine or a management network: whoever reaches it sees sizes and counts, but no name,
//! patient, object or submitter. Without an address nothing listens.
//!
//! Every figure is documented in `docs/metrics.md`; a test compares.

mod figure;
mod http;
mod machine;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::info;

pub(crate) use figure::Figure;
pub(crate) use machine::{of_fabric, of_view};

use crate::listening;
use crate::store::disk::Disk;

/// The file in a machine's folder that tells where it is observed while it runs.
pub const OBSERVED_FILE: &str = "observed";

/// A machine as seen from outside.
pub(crate) trait Observed: Send + Sync + 'static {
    /// Its figures now.
    fn figures(&self) -> Vec<Figure>;

    /// Why it cannot do its work now; `None` if it can.
    fn hindrance(&self) -> Option<String>;
}

/// Answers on an address, if there is one, until the handle is aborted.
pub(crate) async fn show(
    disk: &impl Disk,
    address: Option<SocketAddr>,
    machine: Arc<impl Observed>,
) -> io::Result<Option<JoinHandle<()>>> {
    let Some(address) = address else { return Ok(None) };
    let listener = TcpListener::bind(address).await.map_err(|error| {
        io::Error::new(error.kind(), format!("cannot be observed at {address}: {error}"))
    })?;
    let address = listener.local_addr()?;
    listening::announce(disk, OBSERVED_FILE, address)?;
    info!(%address, "observed");
    Ok(Some(tokio::spawn(http::serve(listener, machine))))
}
