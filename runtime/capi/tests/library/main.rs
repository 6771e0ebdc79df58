//! The C library from outside: its header, its symbols, and what it makes of hostile callers and files.
#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    reason = "these are C callers, who write no sentences; a test may panic"
)]

use core::ffi::{CStr, c_char};
use core::ptr::{null, null_mut};
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Barrier, OnceLock};
use std::thread;

use inkstone_c::types::*;
use inkstone_c::*;
use inkstone_engine::format::SectionKind;
use inkstone_engine::text::{
    Algorithm, Kind, PRETOKENIZERS, SpacePrefix, Token, Vocabulary, build,
};
use inkstone_tests::tiny::{self, Recipe};
use tempfile::TempDir;

mod abi;
mod host;

const HEADER: &str = include_str!("../../include/inkstone.h");
const SYMBOLS: &str = include_str!("../../symbols.txt");

/// A model whose tokens are bytes, and where it lies.
fn sample() -> &'static (TempDir, PathBuf) {
    static SAMPLE: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.ink");
        let byte = |byte: u8| Token::new(vec![byte], 0.0, Kind::Normal);
        let mut tokens: Vec<Token> = (0..=255).map(byte).collect();
        tokens.extend(["<s>", "</s>"].map(|mark| Token::new(mark.into(), 0.0, Kind::Control)));
        let vocabulary = Vocabulary {
            algorithm: Algorithm::Bytes(Vec::new()),
            tokens,
            pretokenizer: &PRETOKENIZERS[0],
            nfc: false,
            fold_spaces: false,
            collapse_spaces: false,
            space_prefix: SpacePrefix::Never,
            ignore_merges: false,
            byte_fallback: false,
            fuse_unknown: false,
            bos: Some(256),
            eos: Some(257),
            unknown: None,
            add_bos: true,
            add_eos: false,
        };
        let tokenizer = build(&vocabulary).unwrap();
        let stops = 257_u32.to_le_bytes();
        let sections = [
            (SectionKind::Tokenizer, &tokenizer[..]),
            (SectionKind::Stops, &stops),
        ];
        let recipe = Recipe {
            vocabulary: 258,
            ..Recipe::default()
        };
        tiny::write_with(&recipe, &path, &sections);
        (folder, path)
    })
}

fn c(text: impl Into<Vec<u8>>) -> CString {
    CString::new(text).unwrap()
}

fn path_of(path: &Path) -> CString {
    c(path.to_str().unwrap())
}

/// Opens; the status and the line where it fails.
fn open(path: &Path) -> Result<*mut InkModel, (Status, String)> {
    let (mut model, mut error) = (null_mut(), [0_u8; 200]);
    let path = path_of(path);
    let status = unsafe {
        ink_open(
            path.as_ptr(),
            &raw mut model,
            error.as_mut_ptr().cast(),
            200,
        )
    };
    if status == OK {
        return Ok(model);
    }
    let line = CStr::from_bytes_until_nul(&error).unwrap();
    Err((status, line.to_str().unwrap().to_owned()))
}

fn sized<T: Sized32>(set: impl FnOnce(&mut T)) -> T {
    let mut value = T::default();
    set(&mut value);
    // Every struct begins with its size.
    unsafe { (&raw mut value).cast::<u32>().write(size_of::<T>() as u32) };
    value
}

fn session(model: *const InkModel) -> *mut InkSession {
    let config = sized(|config: &mut Config| {
        config.context = 200;
        config.batch = 8;
        config.threads = 2;
    });
    let mut session = null_mut();
    let status = unsafe { ink_session_new(model, &config, &raw mut session, null_mut(), 0) };
    assert_eq!(status, OK);
    session
}

fn error_of(session: *const InkSession) -> String {
    let text = unsafe { CStr::from_ptr(ink_error(session)) };
    text.to_str().unwrap().to_owned()
}

/// Draws to the end: tokens, text, how it ended.
fn drawn(session: *mut InkSession) -> (Vec<u32>, Vec<u8>, i32) {
    let (mut tokens, mut text) = (Vec::new(), Vec::new());
    loop {
        let mut event = sized(|_: &mut Event| ());
        assert_eq!(
            unsafe { ink_step(session, 0, &raw mut event) },
            OK,
            "{}",
            error_of(session)
        );
        let piece =
            unsafe { core::slice::from_raw_parts(event.text.0.cast::<u8>(), event.text_size) };
        text.extend_from_slice(piece);
        match event.kind {
            TOKEN => tokens.push(event.token),
            FINISHED => return (tokens, text, event.finish),
            _ => {}
        }
    }
}

fn asked(session: *mut InkSession, limit: u32) {
    let options = sized(|options: &mut AnswerOptions| options.limit = limit);
    let tokens: Vec<u32> = (60..90).collect();
    unsafe {
        assert_eq!(ink_feed(session, tokens.as_ptr(), tokens.len()), OK);
        assert_eq!(ink_answer(session, &options), OK);
    }
}

#[test]
fn answers_are_drawn_forked_saved_and_gone_back_in() {
    let model = open(&sample().1).unwrap();
    let first = session(model);
    asked(first, 20);
    let mut mark = sized(|_: &mut Mark| ());
    unsafe {
        assert_eq!(ink_get_mark(first, &raw mut mark), OK);
        let (tokens, text, finish) = drawn(first);
        assert!(finish == 3 && tokens.len() == 20 || finish == 1, "{finish}");
        assert!(core::str::from_utf8(&text).is_ok());
        let mut stats = sized(|_: &mut Stats| ());
        assert_eq!(ink_get_stats(first, &raw mut stats), OK);
        assert_eq!(stats.prompt_tokens, 30);

        // The same again from the mark, from a fork and from a file.
        assert_eq!(ink_rewind(first, &mark), OK);
        let mut fork = null_mut();
        assert_eq!(ink_fork(first, &raw mut fork), OK);
        let file = path_of(&sample().0.path().join("state"));
        assert_eq!(ink_save(first, file.as_ptr()), OK, "{}", error_of(first));
        let loaded = session(model);
        assert_eq!(ink_load(loaded, file.as_ptr()), OK, "{}", error_of(loaded));
        ink_close(model);
        for again in [first, fork, loaded] {
            let options = sized(|options: &mut AnswerOptions| options.limit = 20);
            assert_eq!(ink_answer(again, &options), OK);
            assert_eq!(drawn(again).0, tokens);
            ink_session_free(again);
        }
    }
}

#[test]
fn what_is_fed_behind_an_answer_is_answered() {
    let model = open(&sample().1).unwrap();
    let session = session(model);
    for _ in 0..3 {
        asked(session, 2);
        assert!(drawn(session).0.len() <= 2);
        let before = unsafe { ink_position(session) };
        assert_eq!(unsafe { ink_feed(session, [60].as_ptr(), 1) }, OK);
        let mut event = sized(|_: &mut Event| ());
        while event.kind == PROGRESS {
            assert_eq!(unsafe { ink_step(session, 0, &raw mut event) }, OK);
        }
        assert!(
            unsafe { ink_position(session) } > before + 1,
            "nothing was drawn"
        );
    }
    unsafe {
        ink_session_free(session);
        ink_close(model);
    }
}

#[test]
fn an_answer_holds_to_its_grammar() {
    let model = open(&sample().1).unwrap();
    let session = session(model);
    asked(session, 20);
    let (lark, schema) = (c("start: \"yes\" | \"no\""), c("{\"enum\": [17]}"));
    for (lark, schema, wanted) in [
        (lark.as_ptr(), null(), vec!["yes", "no"]),
        (null(), schema.as_ptr(), vec!["17"]),
    ] {
        let options = sized(|options: &mut AnswerOptions| {
            options.lark = Text(lark);
            options.json_schema = Text(schema);
        });
        assert_eq!(
            unsafe { ink_answer(session, &options) },
            OK,
            "{}",
            error_of(session)
        );
        let text = String::from_utf8(drawn(session).1).unwrap();
        assert!(wanted.contains(&text.as_str()), "{text}");
        let position = sized(|mark: &mut Mark| mark.position = 30);
        assert_eq!(unsafe { ink_rewind(session, &position) }, OK);
    }
    let options =
        sized(|options: &mut AnswerOptions| options.lark = Text(c"begin: \"a\"".as_ptr()));
    assert_eq!(unsafe { ink_answer(session, &options) }, INVALID);
    assert!(error_of(session).contains("start"), "{}", error_of(session));
    unsafe {
        ink_session_free(session);
        ink_close(model);
    }
}

#[test]
fn text_becomes_tokens_and_text_again_in_buffers_as_long_as_needed() {
    let model = open(&sample().1).unwrap();
    let (mut count, mut tokens) = (0, [0_u32; 8]);
    let text = "tea";
    let tokenize = |to: *mut u32, room: usize, count: &mut usize| unsafe {
        ink_tokenize(model, text.as_ptr().cast(), text.len(), 0, to, room, count)
    };
    assert_eq!(tokenize(null_mut(), 0, &mut count), TOO_SMALL);
    assert_eq!(count, 4);
    assert_eq!(tokenize(tokens.as_mut_ptr(), 8, &mut count), OK);
    let (mut size, mut back) = (0, [0_u8; 8]);
    let status = unsafe {
        ink_detokenize(
            model,
            tokens.as_ptr(),
            count,
            back.as_mut_ptr().cast(),
            8,
            &raw mut size,
        )
    };
    assert_eq!((status, &back[..size]), (OK, text.as_bytes()));
    let status =
        unsafe { ink_tokenize(model, c"\xff".as_ptr(), 1, 0, null_mut(), 0, &raw mut count) };
    assert_eq!(status, INVALID);
    unsafe { ink_close(model) };
}

#[test]
fn broken_files_get_a_status_and_a_line() {
    let (folder, path) = sample();
    assert_eq!(open(Path::new("/nowhere/at.all")).unwrap_err().0, NOT_FOUND);
    let whole = fs::read(path).unwrap();
    let broken = folder.path().join("broken.ink");
    let mut opened = 0;
    for cut in (0..whole.len()).step_by(whole.len() / 97) {
        fs::write(&broken, &whole[..cut]).unwrap();
        let (status, line) = open(&broken).unwrap_err();
        assert!(
            status != OK && !line.is_empty() && !line.contains('\n'),
            "{cut}: {status} {line}"
        );
    }
    for at in (0..4096).step_by(13) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&broken, &bytes).unwrap();
        // What the header does not cover, `ink_verify` finds; either way nothing breaks.
        match open(&broken) {
            Err((status, line)) => assert!(status != OK && status != INTERNAL, "{at}: {line}"),
            Ok(model) => {
                opened += 1;
                let mut session = null_mut();
                unsafe {
                    if ink_session_new(model, null(), &raw mut session, null_mut(), 0) == OK {
                        ink_session_free(session);
                    }
                    ink_close(model);
                }
            }
        }
    }
    assert!(opened < 4096 / 13, "no flipped bit was found");
}

#[test]
fn broken_callers_get_a_status_and_a_line() {
    let path = &sample().1;
    unsafe {
        assert_eq!(ink_open(null(), null_mut(), null_mut(), 0), INVALID);
        assert_eq!(ink_feed(null_mut(), null(), 1), INVALID);
        assert_eq!(ink_step(null_mut(), 0, null_mut()), INVALID);
        let mut left = core::ptr::dangling_mut();
        assert_eq!(
            ink_open(c"/nowhere".as_ptr(), &raw mut left, null_mut(), 0),
            NOT_FOUND
        );
        assert!(left.is_null(), "what was not made is NULL");
        ink_cancel(null());
        ink_close(null_mut());
        ink_session_free(null_mut());
    }
    let model = open(path).unwrap();
    let session = session(model);
    unsafe {
        assert_eq!(ink_feed(session, null(), 3), INVALID);
        assert_eq!(error_of(session), "tokens is NULL");
        assert_eq!(ink_feed(session, [9_999].as_ptr(), 1), INVALID);
        assert_eq!(ink_feed(session, [60, 61].as_ptr(), 2), OK);
        assert_eq!(ink_step(session, 0, null_mut()), INVALID);
        assert_eq!(ink_rewind(session, null()), INVALID);
        let mut unset = Event::default();
        assert_eq!(ink_step(session, 0, &raw mut unset), INVALID);
        assert_eq!(ink_position(session), 2, "a call that failed drew a token");
        assert!(error_of(session).contains("struct_size"));
        assert_eq!(
            ink_load(session, path_of(path).as_ptr()),
            DAMAGED,
            "{}",
            error_of(session)
        );
        for place in [c"/nowhere/state", c"/dev/full", c"/"] {
            let status = ink_save(session, place.as_ptr());
            assert!(
                [IO, NOT_FOUND, INVALID].contains(&status),
                "{}",
                error_of(session)
            );
        }
        ink_session_free(session);
        ink_close(model);
    }
}

/// Memory at a multiple of 64 that is never freed.
fn aligned(bytes: usize) -> &'static mut [u8] {
    let memory = vec![0xa5_u8; bytes + 63].leak();
    let start = memory.as_ptr().align_offset(64);
    &mut memory[start..][..bytes]
}

/// The configuration of [`session`] with memory for its arena.
fn in_arena(arena: &mut [u8]) -> Config {
    sized(|config: &mut Config| {
        config.context = 200;
        config.batch = 8;
        config.threads = 2;
        config.arena = Room(arena.as_mut_ptr());
        config.arena_size = arena.len() as u64;
    })
}

#[test]
fn a_model_in_memory_computes_in_the_callers_memory() {
    let file = fs::read(&sample().1).unwrap();
    let memory = aligned(file.len());
    memory.copy_from_slice(&file);
    let (mut model, mut error) = (null_mut(), [0_u8; 200]);
    let mut open_at = |at: usize, size: usize| unsafe {
        let bytes = memory.as_ptr().add(at).cast();
        ink_open_memory(bytes, size, &raw mut model, error.as_mut_ptr().cast(), 200)
    };
    assert_eq!(open_at(1, file.len() - 1), INVALID);
    assert_eq!(open_at(0, file.len() / 2), DAMAGED);
    assert_eq!(open_at(0, 0), INVALID);
    assert_eq!(open_at(0, file.len()), OK);

    let mut plan = sized(|_: &mut PlanBytes| ());
    let own = in_arena(&mut []);
    let status = unsafe { ink_plan(model, &own, &raw mut plan, null_mut(), 0) };
    assert_eq!(status, OK);
    assert!(plan.arena > 0 && plan.arena <= plan.reserved);
    let arena = aligned(plan.arena as usize + 64);
    let mut make = |config: &Config| {
        let mut new = null_mut();
        let error = error.as_mut_ptr().cast();
        let status = unsafe { ink_session_new(model, config, &raw mut new, error, 200) };
        (status, new)
    };
    let short = in_arena(&mut arena[..plan.arena as usize - 1]);
    assert_eq!(make(&short), (OUT_OF_MEMORY, null_mut()));
    let beside = in_arena(&mut arena[4..]);
    assert_eq!(make(&beside), (INVALID, null_mut()));
    let (status, lent) = make(&in_arena(&mut arena[..plan.arena as usize]));
    assert_eq!(status, OK);

    // The same as in memory of its own, from a file.
    let model_of_file = open(&sample().1).unwrap();
    let usual = session(model_of_file);
    for session in [lent, usual] {
        asked(session, 30);
    }
    assert_eq!(drawn(lent), drawn(usual));
    let end = plan.arena as usize;
    assert!(arena[end..].iter().all(|&b| b == 0xa5), "written behind");
    unsafe {
        ink_session_free(lent);
        ink_session_free(usual);
        ink_close(model);
        ink_close(model_of_file);
    }
}

#[test]
fn a_cancel_before_any_step_ends_the_answer_and_nothing_else() {
    struct Shared(*mut InkSession);
    unsafe impl Send for Shared {}
    let model = open(&sample().1).unwrap();
    let (first, other) = (session(model), session(model));
    asked(first, 24);
    let (tokens, ..) = drawn(first);
    asked(other, 24);
    let mut boundaries = 0;
    for steps in 0.. {
        let again = session(model);
        asked(again, 24);
        let mut event = sized(|_: &mut Event| ());
        let mut seen = Vec::new();
        for _ in 0..steps {
            assert_eq!(unsafe { ink_step(again, 0, &raw mut event) }, OK);
            seen.extend((event.kind == TOKEN).then_some(event.token));
        }
        if seen.len() == tokens.len() {
            // What is left is to tell how it ended.
            unsafe { ink_session_free(again) };
            break;
        }
        let shared = Shared(again);
        thread::spawn(move || {
            let Shared(session) = { shared };
            unsafe { ink_cancel(session) };
        })
        .join()
        .unwrap();
        assert_eq!(unsafe { ink_step(again, 0, &raw mut event) }, OK);
        assert_eq!((event.kind, event.finish), (FINISHED, 5), "step {steps}");
        let options = sized(|options: &mut AnswerOptions| {
            options.limit = 24 - seen.len() as u32;
        });
        assert_eq!(unsafe { ink_answer(again, &options) }, OK);
        seen.extend(drawn(again).0);
        assert_eq!(seen, tokens, "cancelled before step {steps}");
        unsafe { ink_session_free(again) };
        boundaries += 1;
    }
    assert!(boundaries > 24, "{boundaries} boundaries");
    assert_eq!(drawn(other).0, tokens, "another session was changed");
    unsafe {
        ink_session_free(first);
        ink_session_free(other);
        ink_close(model);
    }
}

/// The model, for a child that may write no file of more than a few blocks.
const SMALL_DISK: &str = "INKSTONE_SMALL_DISK";

#[test]
fn a_disk_that_is_full_fails_a_save_and_keeps_what_was_there() {
    let name = "a_disk_that_is_full_fails_a_save_and_keeps_what_was_there";
    let Some(path) = std::env::var_os(SMALL_DISK) else {
        // A limit of this process would be one of all tests; the signal would end the child.
        let mut child = Command::new("sh");
        child.args([
            "-c",
            "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact \"$1\"",
        ]);
        child.arg(std::env::current_exe().unwrap()).arg(name);
        let output = child.env(SMALL_DISK, &sample().1).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
        return;
    };
    let model = open(Path::new(&path)).unwrap();
    let session = session(model);
    asked(session, 40);
    let (tokens, ..) = drawn(session);
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::write(&state, "what was there").unwrap();
    let status = unsafe { ink_save(session, path_of(&state).as_ptr()) };
    assert_eq!(status, IO, "{}", error_of(session));
    assert_eq!(fs::read(&state).unwrap(), b"what was there");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "a part was left");
    unsafe {
        // The session stands where it stood.
        let mark = sized(|mark: &mut Mark| mark.position = 30);
        assert_eq!(ink_rewind(session, &mark), OK);
        let options = sized(|options: &mut AnswerOptions| options.limit = 40);
        assert_eq!(ink_answer(session, &options), OK);
        assert_eq!(drawn(session).0, tokens);
        ink_session_free(session);
        ink_close(model);
    }
}

#[test]
fn states_of_another_definition_or_damaged_are_refused() {
    let model = open(&sample().1).unwrap();
    let first = session(model);
    asked(first, 5);
    let (tokens, ..) = drawn(first);
    let place = sample().0.path().join("other-state");
    let path = path_of(&place);
    assert_eq!(unsafe { ink_save(first, path.as_ptr()) }, OK);
    let whole = fs::read(&place).unwrap();
    let name = whole.windows(2).position(|two| two == b"n1").unwrap();
    let loaded = |bytes: &[u8]| {
        fs::write(&place, bytes).unwrap();
        let status = unsafe { ink_load(first, path.as_ptr()) };
        (status, error_of(first))
    };
    let mut other = whole.clone();
    other[name + 1] = b'2';
    let (status, line) = loaded(&other);
    assert_eq!(status, MISMATCH, "{line}");
    for cut in (0..whole.len()).step_by(whole.len() / 50) {
        let (status, line) = loaded(&whole[..cut]);
        assert!(status != OK && status != INTERNAL, "{cut}: {line}");
    }
    for at in (0..whole.len()).step_by(whole.len() / 200) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        let (status, line) = loaded(&bytes);
        assert!(status != OK && status != INTERNAL, "{at}: {line}");
    }
    assert_eq!(loaded(&whole).0, OK, "the session can still be used");
    assert!(!tokens.is_empty());
    unsafe {
        ink_session_free(first);
        ink_close(model);
    }
}

/// Runs one test alone, in a process of its own, which sees this variable.
fn alone(name: &str, variable: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name]).env(variable, "1");
    let output = child.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

/// Pages of this process in memory, where the system tells.
fn resident_pages() -> Option<usize> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse().ok()
}

#[test]
fn a_thousand_sessions_come_and_go_and_leave_nothing() {
    const ALONE: &str = "INKSTONE_CYCLES_ALONE";
    if std::env::var_os(ALONE).is_none() {
        return alone("a_thousand_sessions_come_and_go_and_leave_nothing", ALONE);
    }
    let cycle = || {
        let model = open(&sample().1).unwrap();
        let session = session(model);
        asked(session, 2);
        drawn(session);
        unsafe {
            ink_close(model);
            ink_session_free(session);
        }
    };
    (0..100).for_each(|_| cycle());
    let before = resident_pages();
    (0..1000).for_each(|_| cycle());
    if let (Some(before), Some(after)) = (before, resident_pages()) {
        // Half a page a cycle would be 2 MB.
        assert!(after < before + 256, "{before} pages became {after}");
    }
}

#[test]
fn another_thread_cancels_and_the_answer_goes_on() {
    struct Shared(*mut InkSession);
    unsafe impl Sync for Shared {}
    let model = open(&sample().1).unwrap();
    let shared = &Shared(session(model));
    asked(shared.0, 100);
    let (done, begun) = (&AtomicBool::new(false), &Barrier::new(2));
    let (tokens, cancelled) = thread::scope(|scope| {
        scope.spawn(move || {
            // Once before the first step, which is then sure to be cancelled; on a busy machine all may be over sooner.
            unsafe { ink_cancel(shared.0) };
            begun.wait();
            while !done.load(Ordering::Relaxed) {
                unsafe { ink_cancel(shared.0) };
                thread::sleep(Duration::from_micros(300));
            }
        });
        begun.wait();
        let (mut tokens, mut cancelled) = (0, 0);
        while tokens < 60 && cancelled < 10_000 {
            let mut event = sized(|_: &mut Event| ());
            assert_eq!(unsafe { ink_step(shared.0, 0, &raw mut event) }, OK);
            match event.kind {
                TOKEN => tokens += 1,
                FINISHED if event.finish == 5 => {
                    cancelled += 1;
                    let options = sized(|options: &mut AnswerOptions| options.limit = 100);
                    assert_eq!(unsafe { ink_answer(shared.0, &options) }, OK);
                }
                FINISHED => break,
                _ => {}
            }
        }
        done.store(true, Ordering::Relaxed);
        (tokens, cancelled)
    });
    assert!(cancelled > 0, "nothing was cancelled in {tokens} tokens");
    unsafe {
        ink_session_free(shared.0);
        ink_close(model);
    }
}

/// Names of functions that the header declares.
fn declared() -> Vec<&'static str> {
    let lines = HEADER
        .lines()
        .filter(|line| !line.starts_with([' ', '/', '*', '#']));
    let mut names: Vec<_> = lines
        .filter_map(|line| {
            let (before, _) = line.split_once('(')?;
            let name = before.rsplit([' ', '*']).next()?;
            name.starts_with("ink_").then_some(name)
        })
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn header_list_and_library_have_the_same_functions() {
    let listed: Vec<&str> = SYMBOLS.lines().collect();
    assert_eq!(
        declared(),
        listed,
        "functions are only ever added, here and there"
    );
    let Ok(nm) = Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(library())
        .output()
    else {
        return;
    };
    let text = String::from_utf8(nm.stdout).unwrap();
    let exported = text.lines().filter_map(|line| line.rsplit(' ').next());
    let mut exported: Vec<&str> = exported.collect();
    exported.sort_unstable();
    assert_eq!(exported, listed);
}

/// Where cargo puts the shared library for tests.
fn library() -> PathBuf {
    let folder = std::env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .to_path_buf();
    let name = format!(
        "{}inkstone_c{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    folder.join(name)
}

fn cc(source: &Path, to: &Path, more: &[&str]) {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let output = Command::new("cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(include)
        .arg(source)
        .arg("-o")
        .arg(to)
        .args(more)
        .output()
        .expect("a C compiler is what Rust links with");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_example_in_c_answers() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("answer");
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/c");
    let library = library();
    let place = library.parent().unwrap().to_str().unwrap();
    cc(
        &examples.join("answer.c"),
        &program,
        &["-L", place, "-linkstone_c"],
    );
    let run = |model: &Path| {
        let mut command = Command::new(&program);
        command
            .arg(model)
            .arg("say \"hi\"")
            .env("LD_LIBRARY_PATH", place);
        command.env("DYLD_LIBRARY_PATH", place).output().unwrap()
    };
    let output = run(&sample().1);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains(" tokens, first after"),
        "{said}"
    );
    let output = run(Path::new("nowhere.ink"));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "nowhere.ink: there is no such file\n"
    );
}

#[test]
fn names_are_texts() {
    let text = |pointer: *const c_char| unsafe { CStr::from_ptr(pointer) }.to_str().unwrap();
    assert_eq!(text(ink_version()), env!("CARGO_PKG_VERSION"));
    assert_eq!(text(ink_numerics()), "n1");
    assert_eq!(text(ink_status_name(CANCELLED)), "cancelled");
    assert_eq!(text(ink_status_name(-1)), "unknown");
}
