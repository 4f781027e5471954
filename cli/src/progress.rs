//! Progress bars on standard error: on a terminal only, and never with `--json`.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

/// A bar that counts bytes, with rate and time left.
pub(crate) fn bytes(output: Output, what: &'static str) -> ProgressBar {
    bar(output, what, "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} left")
}

/// A bar that counts objects.
pub(crate) fn objects(output: Output, what: &'static str) -> ProgressBar {
    bar(output, what, "{msg} {wide_bar} {pos}/{len} objects {per_sec} {eta} left")
}

fn bar(output: Output, what: &'static str, template: &str) -> ProgressBar {
    // Standard error that is no terminal hides the bar by indicatif's own rule.
    let bar = if output.is_json() { ProgressBar::hidden() } else { ProgressBar::new(0) };
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
