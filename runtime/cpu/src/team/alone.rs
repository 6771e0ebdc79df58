//! A team of one.

use core::cell::Cell;

/// Workers for a backend: without threads, the caller alone.
#[derive(Debug, Default)]
pub struct Team(());

/// Nobody to wait for.
#[derive(Default)]
pub(super) struct Barrier {
    taken: Cell<usize>,
}

impl Barrier {
    pub(super) fn wait(&self, _: usize) {
        self.taken.set(0);
    }

    pub(super) fn take(&self) -> usize {
        self.taken.replace(self.taken.get() + 1)
    }
}

impl Team {
    /// A team of the caller alone.
    pub fn alone() -> Team {
        Team(())
    }

    /// Workers, the caller among them.
    pub fn threads(&self) -> usize {
        1
    }

    /// Workers that take part in jobs.
    pub(super) fn used(&self) -> usize {
        1
    }

    pub(super) fn crew(&mut self, job: &(dyn Fn(usize, &Barrier) + Sync)) {
        job(0, &Barrier::default());
    }
}
