//! Binding threads to processors by their masks.

use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Binds the calling thread.
pub(super) fn bind(processor: u32) -> io::Result<()> {
    let processor = processor as usize;
    if processor >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut mask = CpuSet::new();
    mask.set(processor);
    Ok(sched_setaffinity(None, &mask)?)
}

/// While it lives, the calling thread is bound; then it may run where it might before.
pub(super) struct Bound {
    before: CpuSet,
}

impl Bound {
    pub(super) fn enter(processor: u32) -> io::Result<Bound> {
        let before = sched_getaffinity(None)?;
        bind(processor)?;
        Ok(Bound { before })
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // A mask that was in force a moment ago; if it cannot be any more, the thread stays where it is.
        let _ = sched_setaffinity(None, &self.before);
    }
}

/// The processors that the calling thread may run on.
#[cfg(test)]
pub(super) fn allowed() -> std::vec::Vec<u32> {
    let mask = sched_getaffinity(None).expect("a thread may ask for its mask");
    let ids = (0..CpuSet::MAX_CPU).filter(|&id| mask.is_set(id));
    ids.map(|id| id as u32).collect()
}
