//! A team of threads that outlive the jobs: started once, asleep in between. Running a job allocates nothing.
#![allow(unsafe_code)]

#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "place/linux.rs"]
mod place;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "place/other.rs"]
mod place;

use core::cell::UnsafeCell;
use core::hint::spin_loop;
use core::panic::AssertUnwindSafe;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::boxed::Box;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::vec::Vec;
use std::{format, io};

use place::Bound;

/// Turns of a waiting loop before a worker sleeps. It does not yield instead: among other programs each turn would cost a
/// round of them all, while who was asleep is run soon after it is woken.
const SPINS: usize = 2_000;

/// Workers for a backend. Dropping it ends its threads.
#[derive(Default)]
pub struct Team {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    limit: Limit,
    /// The processor of the caller, while a job runs.
    place: Option<u32>,
    /// Who runs jobs instead of threads, and how many take part.
    host: Option<(Parallel, usize)>,
}

/// Runs a function with each index below a number, all at the same time, each on a thread of its own; returns when all
/// have returned.
pub type Parallel = Box<dyn Fn(usize, &(dyn Fn(usize) + Sync)) + Send>;

impl core::fmt::Debug for Team {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Team of {}", self.threads())
    }
}

/// How many workers of a team take part in its jobs; clones are of the same team. Numbers do not depend on it.
#[derive(Debug, Clone)]
pub struct Limit(Arc<AtomicUsize>);

impl Limit {
    /// Lets at most `workers` take part from the next job on, at least one.
    pub fn set(&self, workers: usize) {
        self.0.store(workers.max(1), Ordering::Relaxed);
    }
}

impl Default for Limit {
    fn default() -> Limit {
        Limit(Arc::new(AtomicUsize::new(usize::MAX)))
    }
}

#[derive(Debug, Default)]
struct Shared {
    barrier: Barrier,
    /// Counts jobs; a change wakes the workers.
    turn: AtomicUsize,
    /// Threads that have not finished the current job.
    busy: AtomicUsize,
    leave: AtomicBool,
    job: Slot,
}

/// A job of all workers: their index and where they meet.
type Job<'a> = dyn Fn(usize, &Barrier) + Sync + 'a;

/// The current job. The caller writes it before it moves `turn` on; workers read it after they have seen that.
#[derive(Default)]
struct Slot(UnsafeCell<Option<*const Job<'static>>>);

// SAFETY: see the type: writes and reads are ordered by `turn` and `busy`.
unsafe impl Sync for Slot {}
// SAFETY: the pointer is to a `Sync` job, and is followed only while the caller waits.
unsafe impl Send for Slot {}

impl core::fmt::Debug for Slot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Slot")
    }
}

/// Where workers meet. Each round has a number, so that the barrier is ready again as soon as it opens.
#[derive(Debug, Default)]
pub(super) struct Barrier {
    arrived: AtomicUsize,
    round: AtomicUsize,
    /// Pieces of work taken since the barrier opened last.
    taken: AtomicUsize,
    /// A worker has panicked and will not come.
    broken: AtomicBool,
    bed: Bed,
}

/// Where workers sleep that have waited for long. What they wait for is stored and looked at in one order with `asleep`.
#[derive(Debug, Default)]
struct Bed {
    asleep: AtomicUsize,
    door: Mutex<()>,
    bell: Condvar,
}

impl Bed {
    /// Spins for a moment, then sleeps until it is woken: waits inside a job are short.
    fn wait_until(&self, done: impl Fn() -> bool) {
        for _ in 0..SPINS {
            if done() {
                return;
            }
            spin_loop();
        }
        let mut door = self.door.lock().unwrap_or_else(PoisonError::into_inner);
        self.asleep.fetch_add(1, Ordering::SeqCst);
        while !done() {
            door = self.bell.wait(door).unwrap_or_else(PoisonError::into_inner);
        }
        self.asleep.fetch_sub(1, Ordering::SeqCst);
    }

    /// After what is waited for was stored.
    fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst) > 0 {
            // Who is about to sleep has the door until it sleeps.
            drop(self.door.lock());
            self.bell.notify_all();
        }
    }
}

impl Barrier {
    pub(super) fn wait(&self, count: usize) {
        if count == 1 {
            self.taken.store(0, Ordering::Relaxed);
            return;
        }
        let round = self.round.load(Ordering::Relaxed);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == count {
            self.arrived.store(0, Ordering::Relaxed);
            self.taken.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::SeqCst);
            self.bed.wake();
            return;
        }
        let open = || self.round.load(Ordering::SeqCst) != round;
        self.bed
            .wait_until(|| open() || self.broken.load(Ordering::SeqCst));
        assert!(open(), "another worker has panicked");
    }

    /// A worker has panicked: nobody waits for it.
    fn break_up(&self) {
        self.broken.store(true, Ordering::SeqCst);
        self.bed.wake();
    }

    pub(super) fn take(&self) -> usize {
        self.taken.fetch_add(1, Ordering::Relaxed)
    }
}

impl Team {
    /// A team of the caller alone.
    pub fn alone() -> Team {
        Team::default()
    }

    /// A team of `threads` workers, the caller among them; at least one.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn new(threads: usize) -> io::Result<Team> {
        let mut team = Team::alone();
        for index in 1..threads {
            let shared = Arc::clone(&team.shared);
            let named = thread::Builder::new().name(format!("inkstone {index}"));
            team.threads.push(named.spawn(move || shared.work(index))?);
        }
        // A thread's start-up allocates; it is over once the thread has done a job.
        team.crew(&|_, _| ());
        Ok(team)
    }

    /// A team of one worker for each of `processors`, bound to it: threads for good, the caller while a job runs.
    ///
    /// # Errors
    /// The system gives no more threads, or does not bind threads, or not to these.
    pub fn bound(processors: &[u32]) -> io::Result<Team> {
        let mut team = Team::new(processors.len())?;
        let failed = AtomicBool::new(false);
        team.crew(&|index, _| {
            if index > 0 && place::bind(processors[index]).is_err() {
                failed.store(true, Ordering::Relaxed);
            }
        });
        if let Some(&first) = processors.first() {
            Bound::enter(first)?;
        }
        if failed.into_inner() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        team.place = processors.first().copied();
        Ok(team)
    }

    /// A team of `threads` workers, at least one, on threads of the host's own: they meet at barriers, so that all must
    /// run at the same time.
    pub fn hosted(threads: usize, parallel: Parallel) -> Team {
        let mut team = Team::alone();
        team.host = Some((parallel, threads.max(1)));
        team
    }

    /// Workers, the caller among them.
    pub fn threads(&self) -> usize {
        match &self.host {
            Some((_, threads)) => *threads,
            None => 1 + self.threads.len(),
        }
    }

    /// What limits how many of them take part.
    pub fn limit(&self) -> Limit {
        self.limit.clone()
    }

    /// Workers that take part in jobs.
    pub(super) fn used(&self) -> usize {
        self.threads().min(self.limit.0.load(Ordering::Relaxed))
    }

    pub(super) fn crew(&mut self, job: &Job<'_>) {
        // A processor that was there and is gone leaves the caller where it is.
        let _bound = self.place.map(Bound::enter);
        // Workers may have left the last job with pieces untaken.
        self.shared.barrier.taken.store(0, Ordering::Relaxed);
        if self.threads() == 1 {
            return job(0, &self.shared.barrier);
        }
        if let Some((parallel, threads)) = &self.host {
            parallel(*threads, &|index| drop(self.shared.take_part(index, job)));
            return self.shared.rest();
        }
        let (own, job): (_, *const Job<'_>) = (job, job);
        // SAFETY: only the lifetime changes, and this function returns after all workers are done with the job.
        let lasting = unsafe { core::mem::transmute::<*const Job<'_>, *const Job<'static>>(job) };
        // SAFETY: `busy` was waited to zero by the last call, so that no worker reads the slot before `turn` moves.
        unsafe { *self.shared.job.0.get() = Some(lasting) };
        self.shared
            .busy
            .store(self.threads.len(), Ordering::Relaxed);
        self.shared.turn.fetch_add(1, Ordering::Release);
        self.threads.iter().for_each(|t| t.thread().unpark());
        let own = self.shared.take_part(0, own);
        let rested = || self.shared.busy.load(Ordering::SeqCst) == 0;
        self.shared.barrier.bed.wait_until(rested);
        if let Err(panic) = own {
            self.shared.barrier.reset();
            resume_unwind(panic);
        }
        self.shared.rest();
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.leave.store(true, Ordering::Relaxed);
        self.shared.turn.fetch_add(1, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A worker catches what its job panics with, so that there is nothing to hear.
            let _ = thread.join();
        }
    }
}

impl Barrier {
    /// Ready for another job; whether a worker broke it.
    fn reset(&self) -> bool {
        self.arrived.store(0, Ordering::Relaxed);
        self.broken.swap(false, Ordering::Relaxed)
    }
}

impl Shared {
    /// Behind a job that all workers have left.
    fn rest(&self) {
        assert!(!self.barrier.reset(), "a worker has panicked");
    }

    fn work(&self, index: usize) {
        let mut turn = 0;
        loop {
            turn = self.next_turn(turn);
            if self.leave.load(Ordering::Relaxed) {
                return;
            }
            // SAFETY: `turn` has moved, so that the caller has written the slot and waits until `busy` is zero.
            let job = unsafe { *self.job.0.get() };
            let job = job.expect("a job is set before `turn` moves");
            // SAFETY: the caller of `Team::crew` keeps the job alive until every worker is done.
            let job = unsafe { &*job };
            // What it panics with has been reported by the hook; the caller hears of it through the barrier.
            let _ = self.take_part(index, job);
            if self.busy.fetch_sub(1, Ordering::SeqCst) == 1 {
                self.barrier.bed.wake();
            }
        }
    }

    /// Waits for another turn than `last`: spinning, then asleep.
    fn next_turn(&self, last: usize) -> usize {
        let mut tries = 0;
        loop {
            let turn = self.turn.load(Ordering::Acquire);
            if turn != last {
                return turn;
            }
            match tries {
                0..SPINS => spin_loop(),
                _ => thread::park(),
            }
            tries += 1;
        }
    }

    fn take_part(&self, index: usize, job: &Job<'_>) -> thread::Result<()> {
        let result = catch_unwind(AssertUnwindSafe(|| job(index, &self.barrier)));
        if result.is_err() {
            self.barrier.break_up();
        }
        result
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use super::super::Worker;
    use super::*;
    use std::vec;

    #[test]
    fn barriers_order_what_workers_write() {
        for threads in 1..5 {
            let mut team = Team::new(threads).unwrap();
            for _ in 0..20 {
                let counts: Vec<AtomicUsize> = vec::from_elem((), threads)
                    .into_iter()
                    .map(|()| AtomicUsize::new(0))
                    .collect();
                team.run(&|w: &Worker<'_>| {
                    for round in 1..100 {
                        counts[w.index].store(round, Ordering::Relaxed);
                        w.meet();
                        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == round));
                        w.meet();
                    }
                });
            }
        }
    }

    #[test]
    fn a_limit_keeps_workers_out_and_lets_them_in_again() {
        let mut team = Team::new(4).unwrap();
        let limit = team.limit();
        for (set, expected) in [(3, 3), (1, 1), (0, 1), (9, 4), (2, 2), (usize::MAX, 4)] {
            limit.set(set);
            for _ in 0..50 {
                let met = AtomicUsize::new(0);
                team.run(&|w: &Worker<'_>| {
                    assert_eq!(w.count, expected);
                    met.fetch_add(1, Ordering::Relaxed);
                    w.meet();
                    assert_eq!(met.load(Ordering::Relaxed), expected);
                });
            }
        }
    }

    #[test]
    fn bound_workers_work_and_the_caller_is_let_go() {
        let before = place::allowed();
        let Some(first) = before.first() else {
            return assert!(Team::bound(&[0]).is_err(), "nothing is bound here");
        };
        let mut team = Team::bound(&[*first, *before.last().unwrap_or(first)]).unwrap();
        let met = AtomicUsize::new(0);
        team.run(&|w: &Worker<'_>| {
            let at = if w.index == 0 {
                first
            } else {
                before.last().unwrap()
            };
            assert_eq!(place::allowed(), [*at]);
            met.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(met.into_inner(), 2);
        assert_eq!(place::allowed(), before);
        assert!(Team::bound(&[1023]).is_err() || before.contains(&1023));
        assert!(Team::bound(&[*first, u32::MAX]).is_err());
    }

    /// Threads for one job, as a host would have them.
    fn scoped(count: usize, part: &(dyn Fn(usize) + Sync)) {
        thread::scope(|scope| {
            (1..count).for_each(|index| drop(scope.spawn(move || part(index))));
            part(0);
        });
    }

    #[test]
    fn a_host_runs_jobs_on_its_own_threads() {
        let mut team = Team::hosted(3, Box::new(scoped));
        assert_eq!(team.threads(), 3);
        for bad in [usize::MAX, 1, usize::MAX, 0] {
            let met = AtomicUsize::new(0);
            let job = |w: &Worker<'_>| {
                assert!(w.index != bad, "as the test wants");
                met.fetch_add(1, Ordering::Relaxed);
                w.meet();
                assert_eq!(met.load(Ordering::Relaxed), 3);
            };
            let ran = catch_unwind(AssertUnwindSafe(|| team.run(&job)));
            assert_eq!(ran.is_ok(), bad == usize::MAX);
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let mut team = Team::new(3).unwrap();
        for bad in 0..3 {
            let job = |w: &Worker<'_>| {
                w.meet();
                assert!(w.index != bad, "as the test wants");
                w.meet();
            };
            assert!(catch_unwind(AssertUnwindSafe(|| team.run(&job))).is_err());
            let met = AtomicUsize::new(0);
            team.run(&|w: &Worker<'_>| {
                w.meet();
                met.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(met.into_inner(), 3);
        }
    }
}
