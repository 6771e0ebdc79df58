//! Ctrl-C: work that can be resumed ends at once, a running answer is cancelled, other work looks at a flag.

use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use inkstone_engine::Canceller;

use crate::exit::Interrupted;
use crate::terminal;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static RESUMABLE: AtomicBool = AtomicBool::new(false);
static ANSWER: Mutex<Option<Canceller>> = Mutex::new(None);

/// From here on Ctrl-C sets a flag; a second one, before anybody looked, ends the program.
pub(crate) fn watch() {
    // A second call finds the handler in place, which is what it wanted.
    let _ = ctrlc::set_handler(|| {
        if RESUMABLE.load(Ordering::Relaxed) {
            terminal::error("interrupted; run the same command again to go on where it stopped");
            std::process::exit(130);
        }
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        if let Some(canceller) = &*ANSWER.lock().unwrap_or_else(PoisonError::into_inner) {
            canceller.cancel();
        }
    });
}

/// From here on Ctrl-C also cancels what this stops.
pub(crate) fn cancels(canceller: Canceller) {
    watch();
    *ANSWER.lock().unwrap_or_else(PoisonError::into_inner) = Some(canceller);
}

/// While the guard lives, whatever is on disk can be taken up by the next run: Ctrl-C ends at once.
pub(crate) fn resumable() -> Resumable {
    watch();
    RESUMABLE.store(true, Ordering::Relaxed);
    Resumable
}

/// See [`resumable`].
pub(crate) struct Resumable;

impl Drop for Resumable {
    fn drop(&mut self) {
        RESUMABLE.store(false, Ordering::Relaxed);
    }
}

/// Takes note of a Ctrl-C; whether there was one.
pub(crate) fn take() -> bool {
    REQUESTED.swap(false, Ordering::Relaxed)
}

/// Fails once Ctrl-C was pressed.
pub(crate) fn check() -> anyhow::Result<()> {
    if take() {
        return Err(Interrupted.into());
    }
    Ok(())
}
