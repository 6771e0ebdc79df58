//! Ctrl-C: work that can be resumed ends at once, other work looks at a flag between its steps.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::exit::Interrupted;
use crate::terminal;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static RESUMABLE: AtomicBool = AtomicBool::new(false);

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
    });
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

/// Whether Ctrl-C was pressed since the last [`forget`].
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Takes note of a Ctrl-C that was dealt with.
pub(crate) fn forget() {
    REQUESTED.store(false, Ordering::Relaxed);
}

/// Fails once Ctrl-C was pressed.
pub(crate) fn check() -> anyhow::Result<()> {
    if requested() {
        return Err(Interrupted.into());
    }
    Ok(())
}
