//! Work that waits for the disk or takes long, off the threads that move packets.

/// Runs `work` on a thread of its own, in a simulated network at once; its panic is the caller's.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    #[cfg(feature = "testkit")]
    if crate::testkit::is_simulated() {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime ends before the work began, and its caller with it.
            Err(_) => std::future::pending().await,
        },
    }
}
