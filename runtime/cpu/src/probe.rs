//! What memory and processor do at most: the limits that measured speeds are held against.

#[cfg(not(target_arch = "x86_64"))]
#[path = "probe/other.rs"]
mod products;
#[cfg(target_arch = "x86_64")]
#[path = "probe/x86.rs"]
mod products;

use core::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;
use std::vec::Vec;

use crate::isa::{Isa, Ready};
use crate::simd::{self, Simd, Task};

/// Passes over the memory, and runs of products; the best counts.
const PASSES: usize = 5;

/// Words that no cache holds.
const WORDS: usize = 1 << 26;

/// Bytes a second that `threads` threads read together from memory.
///
/// # Panics
/// The system gives no threads.
pub fn read_bandwidth(threads: usize) -> f64 {
    let isa = Ready::new(Isa::detect()).expect("it was detected");
    let memory: Vec<u64> = (0..WORDS as u64).collect();
    let part = WORDS.div_ceil(threads.max(1));
    let seconds = best_of(threads, |thread| {
        let words = &memory[(part * thread).min(WORDS)..(part * (thread + 1)).min(WORDS)];
        black_box(simd::run(isa, Sum(words)));
    });
    size_of_val(&memory[..]) as f64 / seconds
}

/// Integer operations a second, products and additions of bytes both counted, that `threads` threads do together on an
/// instruction set with all operands in registers; `None` where no probe was written for it.
///
/// # Panics
/// The system gives no threads.
pub fn int8_rate(isa: Isa, threads: usize) -> Option<f64> {
    const TURNS: u64 = 1 << 22;
    let products = products::probe(Ready::new(isa).ok()?)?;
    let seconds = best_of(threads, |_| {
        black_box((products.run)(TURNS));
    });
    Some((TURNS * products.each) as f64 * threads as f64 / seconds)
}

/// A loop of products.
pub(super) struct Products {
    /// Operations of a turn.
    each: u64,
    run: fn(u64) -> i32,
}

/// Seconds of the fastest pass, from the moment the first worker begins until the last is done. The caller is one.
fn best_of(threads: usize, work: impl Fn(usize) + Sync) -> f64 {
    let (meeting, work) = (&Barrier::new(threads), &work);
    let passes = move |index: usize| {
        let mut times = [None; PASSES];
        for time in &mut times {
            meeting.wait();
            let start = Instant::now();
            work(index);
            *time = Some((start, Instant::now()));
        }
        times
    };
    let all: Vec<_> = thread::scope(|scope| {
        let others: Vec<_> = (1..threads)
            .map(|index| scope.spawn(move || passes(index)))
            .collect();
        let own = passes(0);
        let others = others
            .into_iter()
            .map(|other| other.join().expect("a probe does not panic"));
        others.chain([own]).collect()
    });
    (0..PASSES)
        .filter_map(|pass| {
            let times = || all.iter().filter_map(|times| times[pass]);
            let start = times().map(|time| time.0).min()?;
            let end = times().map(|time| time.1).max()?;
            Some((end - start).as_secs_f64())
        })
        .fold(f64::INFINITY, f64::min)
}

/// Adds words up, as many streams side by side as hide the latency of an addition.
struct Sum<'a>(&'a [u64]);

impl Task for Sum<'_> {
    type Out = u64;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> u64 {
        let (lines, _) = self.0.as_chunks::<64>();
        let mut sums = [0u64; 64];
        for line in lines {
            for (sum, word) in sums.iter_mut().zip(line) {
                *sum = sum.wrapping_add(*word);
            }
        }
        sums.iter().fold(0, |sum, x| sum.wrapping_add(*x))
    }
}
