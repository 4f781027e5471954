//! `kakera demo`: a folder is stored on a network of processes, machines are lost, repaired and
//! lost again, and everything is read back by a machine that has never seen it.

mod client;
mod patients;
mod report;
mod scan;
mod tour;
mod tree;

use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::DemoOptions;
use crate::failure::{Failure, Kind};
use crate::output::Output;

use tour::Tour;

/// Runs the tour on a temporary folder; whatever happens, nothing is left behind.
pub(crate) async fn run(output: Output, options: &DemoOptions) -> Result<(), Failure> {
    let report = tokio::select! {
        report = go(output, options) => report?,
        stopped = stopped() => return Err(stopped),
    };
    output.conclude(&report, report.failure())
}

async fn go(output: Output, options: &DemoOptions) -> Result<report::DemoReport, Failure> {
    // Dropped with this future, be it finished, failed, cancelled or unwound.
    Tour::prepare(output, options)?.go().await
}

/// Completes when someone wants the tour to end.
async fn stopped() -> Failure {
    let watch = || {
        Ok::<_, std::io::Error>((
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        ))
    };
    match watch() {
        Ok((mut terminate, mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            Failure::new(Kind::Failure, "the demonstration was stopped", "kakera demo")
        }
        Err(error) => {
            let message = format!("cannot watch signals: {error}");
            Failure::new(Kind::Failure, message, "repeat the command")
        }
    }
}
