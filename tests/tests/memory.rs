//! Memory: all of it is known before a session, reserved when it starts, and nothing is allocated until it ends.
#![allow(unsafe_code)]

mod support;

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use core::time::Duration;
use inkstone_engine::{
    Event, Generation, KVS, Kv, Model, Options, Piece, SessionConfig, Speculation,
};
use inkstone_tests::needs;
use libtest_mimic::{Arguments, Failed, Trial};
use std::alloc::System;
use std::fs;
use std::time::Instant;

/// Counts what it passes on to the system.
struct Counting;

/// Calls that gave memory.
static CALLS: AtomicU64 = AtomicU64::new(0);
/// Bytes given and not taken back.
static LIVE: AtomicI64 = AtomicI64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: usize, calls: u64) {
    CALLS.fetch_add(calls, Relaxed);
    LIVE.fetch_add(bytes as i64, Relaxed);
}

// SAFETY: every method passes its arguments on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size, 1);
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(old, layout) }
    }
}

fn main() {
    let mut trials = vec![
        Trial::test("nothing_is_allocated_while_a_tiny_session_works", || {
            each_tiny(works_without_allocating)
        }),
        Trial::test("a_plan_tells_what_a_tiny_session_allocates", || {
            each_tiny(plan_is_true)
        }),
        Trial::test("nothing_is_allocated_while_a_session_guesses", || {
            each_guessing(works_without_allocating)
        }),
        Trial::test("a_plan_tells_what_a_session_that_guesses_allocates", || {
            each_guessing(plan_is_true)
        }),
        Trial::test("a_tiny_file_opens_at_once", || {
            let (_, recipe) = support::recipes().next().ok_or("FORMATS is not empty")?;
            opens_at_once(&support::tiny("open", &recipe))
        }),
    ];
    for name in support::REAL {
        let present = needs::model(&format!("{name}.gguf")).is_some();
        trials.push(needs::trial(
            format!("memory_of {name}"),
            present,
            "models",
            || real(name),
        ));
    }
    // One trial after the other on one thread: whatever is counted, the engine did.
    let arguments = Arguments {
        test_threads: Some(1),
        ..Arguments::from_args()
    };
    libtest_mimic::run(&arguments, trials).exit()
}

fn each_tiny(claim: impl Fn(&Model, &SessionConfig) -> Result<(), Failed>) -> Result<(), Failed> {
    for (name, recipe) in support::recipes() {
        let model = support::tiny(name, &recipe);
        for &(_, kv) in KVS {
            for threads in [1, 2] {
                claim(&model, &config(kv, threads, 256))?;
            }
        }
    }
    Ok(())
}

/// With guesses from the sequence alone, and from a draft too.
fn each_guessing(
    claim: impl Fn(&Model, &SessionConfig) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let (name, recipe) = support::recipes().next().ok_or("FORMATS is not empty")?;
    let model = support::tiny(name, &recipe);
    let draft = support::tiny("draft", &recipe);
    for speculation in [Speculation::Auto, Speculation::Depth(7)] {
        for draft in [None, Some(draft.clone())] {
            for threads in [1, 2] {
                let config = SessionConfig {
                    speculation,
                    draft: draft.clone(),
                    ..config(Kv::F16, threads, 256)
                };
                claim(&model, &config)?;
            }
        }
    }
    Ok(())
}

fn real(name: &str) -> Result<(), Failed> {
    let path = support::converted(name).ok_or("the model was there a moment ago")?;
    let model = Model::open(&path)?;
    for &(_, kv) in KVS {
        let config = config(kv, 2, 2048);
        plan_is_true(&model, &config)?;
        works_without_allocating(&model, &config)?;
    }
    opens_at_once(&model)?;
    Ok(fs::remove_file(path)?)
}

fn config(kv: Kv, threads: u32, context: u32) -> SessionConfig {
    SessionConfig {
        device: support::DEVICE.into(),
        context: Some(context),
        threads: Some(threads),
        batch: 32,
        kv,
        ..SessionConfig::default()
    }
}

/// Feeds, steps, streams, marks and rewinds; no thread allocates or maps anything meanwhile.
fn works_without_allocating(model: &Model, config: &SessionConfig) -> Result<(), Failed> {
    // Said twice, so that there is something to guess.
    let tokens = support::tokens(50, model.spec().vocabulary).repeat(2);
    let again = support::tokens(120, model.spec().vocabulary);
    let options = Options {
        limit: Some(20),
        ignore_stops: true,
        ..Options::default()
    };
    let mut text = Vec::with_capacity(1 << 16);
    let resident = status("RssAnon:");
    let mut session = model.session(config)?;
    let mut answer = Generation::new(model, &options)?;
    let mut more = Generation::new(model, &options)?;
    let mapped = status("VmSize:");
    let calls = CALLS.load(Relaxed);

    session.feed(&tokens)?;
    let mark = session.mark();
    while !matches!(answer.next(&mut session, &mut text)?, Piece::Finished(_)) {}
    session.rewind(mark)?;
    session.prompt(&again)?;
    while !matches!(more.next(&mut session, &mut text)?, Piece::Finished(_)) {}
    while matches!(session.step()?, Event::Progress { .. }) {}

    let guesses = session.guesses();
    let calls = CALLS.load(Relaxed) - calls;
    let mapped = status("VmSize:") - mapped;
    let resident = status("RssAnon:") - resident;
    drop(session);
    let wanted = matches!(config.speculation, Speculation::Depth(_));
    claim(guesses.accepted > 0 || !wanted, || {
        format!("no guess came true: {guesses:?}, {config:?}")
    })?;
    claim(calls == 0, || {
        format!("{calls} allocations while a session worked, {config:?}")
    })?;
    claim(mapped <= 0, || {
        format!("{mapped} KiB were mapped while a session worked, {config:?}")
    })?;
    let planned = model.plan(config)?.reserved() as i64 / 1024;
    claim(resident <= planned + 4096, || {
        format!("{resident} KiB resident, {planned} planned, {config:?}")
    })
}

/// What the allocator is asked for is what the plan says, but for threads' handles and names.
fn plan_is_true(model: &Model, config: &SessionConfig) -> Result<(), Failed> {
    let planned = model.plan(config)?.reserved() as i64;
    let before = LIVE.load(Relaxed);
    let session = model.session(config)?;
    let taken = LIVE.load(Relaxed) - before;
    drop(session);
    let kept = LIVE.load(Relaxed) - before;
    claim((taken - planned).abs() <= 8192, || {
        format!("{taken} bytes allocated, {planned} planned, {config:?}")
    })?;
    claim(kept == 0, || {
        format!("{kept} bytes outlive the session, {config:?}")
    })
}

fn opens_at_once(model: &Model) -> Result<(), Failed> {
    let copy = support::folder().join("opening.ink");
    fs::write(&copy, model.file().bytes())?;
    let mut best = Duration::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        drop(Model::open(&copy)?);
        best = best.min(start.elapsed());
    }
    fs::remove_file(&copy)?;
    claim(best < Duration::from_millis(5), || {
        format!("opening took {best:?}")
    })
}

/// A line of this process's status in KiB; 0 where the system has no such file.
fn status(line: &str) -> i64 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = text.lines().find_map(|l| {
        l.strip_prefix(line)?
            .trim()
            .strip_suffix(" kB")?
            .trim()
            .parse()
            .ok()
    });
    value.unwrap_or(0)
}

fn claim(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Failed> {
    if holds {
        Ok(())
    } else {
        Err(otherwise().into())
    }
}
