//! A team of one.

/// Workers for a backend: without threads, the caller alone.
#[derive(Debug, Default)]
pub struct Team(());

/// Nobody to wait for.
pub(super) struct Barrier;

impl Barrier {
    pub(super) fn wait(&self, _: usize) {}
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
        job(0, &Barrier);
    }
}
