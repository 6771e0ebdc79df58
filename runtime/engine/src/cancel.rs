//! Stopping a session from another thread or a signal handler.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// Stops a session's step, from any thread; clones stop the same session.
///
/// A cancelled step leaves the session as it stood before that step, within a layer's time.
#[derive(Debug, Clone, Default)]
pub struct Canceller(Arc<AtomicBool>);

impl Canceller {
    /// Stops the running step, or else the next one. A lone atomic store.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Takes a [`Self::cancel`] back that no step has seen yet; whether there was one.
    pub fn reset(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.0
    }
}
