//! Workers that run one job together and meet at barriers.

#[cfg(not(feature = "std"))]
#[path = "team/alone.rs"]
mod crew;
#[cfg(feature = "std")]
#[path = "team/threads.rs"]
mod crew;

pub use crew::Team;
#[cfg(feature = "std")]
pub use crew::{Limit, Parallel};

use crate::environment::Defined;

/// One of the workers that run a job.
pub(crate) struct Worker<'a> {
    /// 0 is the caller's own thread.
    pub(crate) index: usize,
    /// How many there are.
    pub(crate) count: usize,
    barrier: &'a crew::Barrier,
}

impl Worker<'_> {
    /// Waits until every worker is here; then all see what any has written before.
    pub(crate) fn meet(&self) {
        self.barrier.wait(self.count);
    }

    /// The next of `pieces` that no worker has taken since all met: who is faster takes more.
    pub(crate) fn take(&self, pieces: usize) -> Option<usize> {
        let piece = self.barrier.take();
        (piece < pieces).then_some(piece)
    }
}

impl Team {
    /// Runs `job` on every worker, the caller's thread among them, and returns when all are done.
    ///
    /// Workers compute in the defined floating-point environment. Those beyond the team's limit do nothing.
    pub(crate) fn run(&mut self, job: &(dyn Fn(&Worker<'_>) + Sync)) {
        let count = self.used();
        self.crew(&|index, barrier| {
            if index >= count {
                return;
            }
            let _environment = Defined::enter();
            job(&Worker {
                index,
                count,
                barrier,
            });
        });
    }
}
