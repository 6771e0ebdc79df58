//! What Linux tells of a process, and which processors its threads run on. Elsewhere nothing is known or pinned.
#![allow(unsafe_code)]

use crate::protocol::Memory;
use core::mem;
use std::fs;

/// Ticks of a process's clock in a second, as every Linux architecture shows them.
const TICKS: f64 = 100.0;

/// The first `count` processors that this process may use.
pub fn processors(count: usize) -> Vec<usize> {
    // SAFETY: all zeros is an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the set is as long as is said, and the process is this one.
    let result = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if result != 0 {
        return Vec::new();
    }
    let all = 0..8 * size_of_val(&set);
    // SAFETY: `cpu` is below the number of bits of the set.
    let mine = all.filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) });
    mine.take(count).collect()
}

/// Lets a thread, 0 for the caller, run on some processors only; whether the system agreed.
pub fn pin(thread: i32, processors: &[usize]) -> bool {
    // SAFETY: all zeros is an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    for &cpu in processors {
        // SAFETY: `processors` gave the number, so that the set has the bit.
        unsafe { libc::CPU_SET(cpu, &mut set) };
    }
    // SAFETY: the set is as long as is said.
    unsafe { libc::sched_setaffinity(thread, size_of_val(&set), &raw const set) == 0 }
}

/// Gives each thread of this process one of the processors, in the order in which they were started.
pub fn spread(processors: &[usize]) {
    for (&thread, cpu) in threads("self").iter().zip(processors.iter().cycle()) {
        pin(thread, &[*cpu]);
    }
}

/// The threads of a process, the first first.
fn threads(process: &str) -> Vec<i32> {
    let entries = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
        .flatten();
    let mut threads: Vec<i32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    threads.sort_unstable();
    threads
}

/// Ends this process when the one that started it ends.
pub fn end_with_parent() {
    // SAFETY: the call changes a number that the system keeps of this process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Memory that this process uses now.
pub fn memory() -> Memory {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(1024 * kilobytes)
    };
    Memory {
        private: field("RssAnon:").unwrap_or_default(),
        shared: field("RssFile:").unwrap_or_default(),
    }
}

/// Whether all threads of a process wait for something.
pub fn waits(process: u32) -> bool {
    let threads = threads(&process.to_string());
    threads.iter().all(|thread| {
        let stat = fs::read_to_string(format!("/proc/{process}/task/{thread}/stat"));
        let stat = stat.unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, fields)| fields);
        state.is_none_or(|state| state.starts_with('S'))
    })
}

/// Seconds that the processors have spent on a process.
pub fn processor_seconds(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name in parentheses may hold blanks; behind it stand the state and 10 numbers, then the two wanted.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = fields.split(' ').skip(11).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS
}
