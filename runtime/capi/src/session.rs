//! Sessions: a sequence of tokens, and the answer that is being drawn to it.

use core::cell::UnsafeCell;
use core::ffi::c_char;
use core::time::Duration;
use std::ffi::CString;

use inkstone_engine::{
    Canceller, Finish, Generation, Grammar, Grammars, Lent, Options, POOLINGS, Params, Piece,
    Session,
};

use crate::border::*;
use crate::host::Hosted;
use crate::model::{InkModel, path_of, session_config};
use crate::types::*;

/// The header's `ink_session`.
pub struct InkSession {
    /// What another thread may use while one is within a call.
    canceller: Canceller,
    inner: UnsafeCell<Inner>,
}

/// Bytes of text of an event for which there is room from the start.
const TEXT: usize = 4096;

struct Inner {
    /// The answer that is being drawn.
    answer: Option<Generation>,
    /// Whether its end was told: what is fed then asks for another.
    finished: bool,
    session: Session,
    /// Text of the last event.
    text: Vec<u8>,
    error: CString,
    host: Hosted,
}

impl Inner {
    /// Begins an answer.
    fn begin(&mut self, options: &Options, grammar: Option<&Grammar>) -> Outcome {
        let model = self.session.model();
        let mut answer = Generation::new(model, options)?;
        if let Some(grammar) = grammar {
            answer = answer.within(Grammars::of(model)?.constraint(grammar)?);
        }
        (self.answer, self.finished) = (Some(answer), false);
        Ok(())
    }

    /// What is fed behind an answer that is over asks for another.
    fn asked(&mut self) {
        if self.finished {
            (self.answer, self.finished) = (None, false);
        }
    }

    fn step(&mut self, budget: Duration) -> Outcome<Event> {
        if self.answer.is_none() {
            self.begin(&Options::default(), None)?;
        }
        let Some(answer) = &mut self.answer else {
            return Ok(Event::default());
        };
        self.text.clear();
        let elapsed = self.host.clock();
        loop {
            let piece = answer.next(&mut self.session, &mut self.text)?;
            self.finished = matches!(piece, Piece::Finished(_));
            if !matches!(piece, Piece::Prompt { .. }) || elapsed() >= budget {
                return Ok(event(piece, &self.text));
            }
        }
    }
}

fn event(piece: Piece, text: &[u8]) -> Event {
    let event = Event {
        text: Text(text.as_ptr().cast()),
        text_size: text.len(),
        ..Event::default()
    };
    match piece {
        Piece::Prompt { done, total } => Event {
            kind: PROGRESS,
            done,
            total,
            ..event
        },
        Piece::Token(token) => Event {
            kind: TOKEN,
            token,
            ..event
        },
        Piece::Shifted { dropped } => Event {
            kind: SHIFTED,
            done: dropped,
            ..event
        },
        Piece::Finished(finish) => Event {
            kind: FINISHED,
            finish: match finish {
                Finish::Stop(_) => 1,
                Finish::StopText(_) => 2,
                Finish::Limit => 3,
                Finish::ContextFull => 4,
                Finish::Cancelled => 5,
                Finish::Idle => 6,
            },
            ..event
        },
    }
}

/// Runs a call on a session, which keeps what went wrong.
///
/// # Safety
/// `session` is NULL or one that no other thread uses now.
unsafe fn on(session: *const InkSession, call: impl FnOnce(&mut Inner) -> Outcome) -> Status {
    // SAFETY: the caller's promise; others may look at the canceller, which is shared.
    let Ok(session) = (unsafe { given(session, "session") }) else {
        return INVALID;
    };
    // SAFETY: one thread at a time is within a call, by the header.
    let inner = unsafe { &mut *session.inner.get() };
    let Err(failure) = guard(|| call(inner)) else {
        return OK;
    };
    inner.host.log(LOG_ERROR, &failure.text);
    inner.error = CString::new(failure.text.replace('\0', " ")).unwrap_or_default();
    failure.status
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_session_new(
    model: *const InkModel,
    config: *const Config,
    session: *mut *mut InkSession,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    let call = || {
        // SAFETY: the header asks for a model.
        let model = &unsafe { given(model, "model")? }.0;
        // SAFETY: the header asks for a struct.
        let given = unsafe { read(config, "config")? };
        let config = session_config(&given)?;
        // SAFETY: the header asks for a host.
        let host = unsafe { Hosted::of(given.host.0)? };
        let make = || {
            let lent = Lent {
                // SAFETY: the header asks for room that the session alone uses until it is freed.
                memory: unsafe { arena(&given)? },
                parallel: host.parallel(),
            };
            let mut session = model.session_with(lent, &config)?;
            if let Some(thermal) = host.thermal() {
                session.govern(thermal);
            }
            let plan = session.plan();
            let (context, threads) = (plan.config.context, plan.config.threads);
            let reserved = plan.reserved();
            host.log(
                LOG_INFO,
                &format!(
                    "{}: {context} positions, {threads} threads, {reserved} bytes",
                    model.name()
                ),
            );
            Ok(boxed(session, host))
        };
        // SAFETY: the header asks for a place.
        unsafe { put_new(session, "session", make) }
    };
    // SAFETY: the header asks for room.
    unsafe { told(error, error_size, call) }
}

/// The caller's memory for a session, where there is any.
///
/// # Safety
/// What the configuration gives is the session's alone for as long as it lives.
unsafe fn arena(config: &Config) -> Outcome<Option<&'static mut [u8]>> {
    let Room(start) = config.arena;
    if start.is_null() {
        return Ok(None);
    }
    let size = usize::try_from(config.arena_size)
        .ok()
        .filter(|size| isize::try_from(*size).is_ok())
        .ok_or_else(|| Failure::new(INVALID, "arena_size is beyond what there can be"))?;
    // SAFETY: the caller's promise.
    Ok(Some(unsafe {
        core::slice::from_raw_parts_mut(start, size)
    }))
}

fn boxed(session: Session, host: Hosted) -> *mut InkSession {
    let inner = Inner {
        answer: None,
        finished: false,
        text: Vec::with_capacity(TEXT),
        error: CString::default(),
        host,
        session,
    };
    Box::into_raw(Box::new(InkSession {
        canceller: inner.session.canceller(),
        inner: UnsafeCell::new(inner),
    }))
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_session_free(session: *mut InkSession) {
    if !session.is_null() {
        // SAFETY: `ink_session_new` or `ink_fork` gave it, and it is freed once.
        let session = unsafe { Box::from_raw(session) };
        let _ = guard(|| {
            drop(session);
            Ok(())
        });
    }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_error(session: *const InkSession) -> *const c_char {
    // SAFETY: the header asks for a session.
    let Ok(session) = (unsafe { given(session, "session") }) else {
        return c"session is NULL".as_ptr();
    };
    // SAFETY: one thread at a time is within a call, by the header.
    unsafe { (*session.inner.get()).error.as_ptr() }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_set_sampling(
    session: *mut InkSession,
    sampling: *const Sampling,
) -> Status {
    let call = |inner: &mut Inner| {
        // SAFETY: the header asks for a struct.
        let given = unsafe { read(sampling, "sampling")? };
        let or = |value: f32, usual: f32| if value == 0.0 { usual } else { value };
        let usual = Params::default();
        Ok(inner.session.set_sampling(&Params {
            seed: given.seed,
            temperature: given.temperature,
            top_k: given.top_k,
            top_p: or(given.top_p, usual.top_p),
            min_p: given.min_p,
            repetition_penalty: or(given.repetition_penalty, usual.repetition_penalty),
            ..usual
        })?)
    };
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_feed(
    session: *mut InkSession,
    tokens: *const u32,
    count: usize,
) -> Status {
    let call = |inner: &mut Inner| {
        // SAFETY: the header asks for as many tokens.
        let tokens = unsafe { slice(tokens, count, "tokens")? };
        inner.session.feed(tokens)?;
        inner.asked();
        Ok(())
    };
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_prompt(
    session: *mut InkSession,
    tokens: *const u32,
    count: usize,
    kept: *mut u32,
) -> Status {
    let call = |inner: &mut Inner| {
        // SAFETY: the header asks for as many tokens.
        let same = inner
            .session
            .prompt(unsafe { slice(tokens, count, "tokens")? })?;
        inner.asked();
        if kept.is_null() {
            return Ok(());
        }
        // SAFETY: the header asks for a place.
        unsafe { put(kept, same, "kept") }
    };
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_answer(
    session: *mut InkSession,
    options: *const AnswerOptions,
) -> Status {
    let call = |inner: &mut Inner| {
        // SAFETY: the header asks for a struct.
        let given = unsafe { read(options, "options")? };
        // SAFETY: the header asks for texts.
        let [stop, schema, lark] = unsafe {
            [
                text(given.stop.0, "stop")?,
                text(given.json_schema.0, "json_schema")?,
                text(given.lark.0, "lark")?,
            ]
        };
        let grammar = match (schema, lark) {
            (Some(_), Some(_)) => {
                return Err(Failure::new(INVALID, "an answer has one grammar at most"));
            }
            (Some(schema), None) => {
                let schema = serde_json::from_str(schema);
                let wrong = |e| Failure::new(INVALID, format!("json_schema: {e}"));
                Some(Grammar::JsonSchema(schema.map_err(wrong)?))
            }
            (None, Some(lark)) => Some(Grammar::Lark(lark.to_owned())),
            (None, None) => None,
        };
        let options = Options {
            limit: (given.limit != 0).then_some(given.limit),
            stops: stop.map(str::to_owned).into_iter().collect(),
            ..Options::default()
        };
        inner.begin(&options, grammar.as_ref())
    };
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_step(
    session: *mut InkSession,
    budget_us: u64,
    event: *mut Event,
) -> Status {
    let call = |inner: &mut Inner| {
        // SAFETY: the header asks for a struct; one that cannot take what happens must not cost a token.
        unsafe { read(given(event, "event")?, "event")? };
        let value = inner.step(Duration::from_micros(budget_us))?;
        // SAFETY: the header asks for a struct.
        unsafe { write(event, &value, "event") }
    };
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_cancel(session: *const InkSession) {
    // SAFETY: the header asks for a session; the canceller is shared between threads.
    if let Ok(session) = unsafe { given(session, "session") } {
        session.canceller.cancel();
    }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_uncancel(session: *mut InkSession) -> Status {
    let call = |inner: &mut Inner| {
        inner.session.canceller().reset();
        Ok(())
    };
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_position(session: *const InkSession) -> u32 {
    let mut position = 0;
    let call = |inner: &mut Inner| {
        position = inner.session.position();
        Ok(())
    };
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) };
    position
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_get_stats(session: *const InkSession, stats: *mut Stats) -> Status {
    let call = |inner: &mut Inner| {
        let answer = inner.answer.as_ref();
        let found = answer.map(Generation::stats).unwrap_or_default();
        let value = Stats {
            prompt_tokens: found.prompt_tokens,
            tokens: found.tokens,
            guessed: found.drafted,
            accepted: found.accepted,
            seconds_to_first: found.first.as_secs_f64(),
            seconds_after_first: found.rest.as_secs_f64(),
            ..Stats::default()
        };
        // SAFETY: the header asks for a struct.
        unsafe { write(stats, &value, "stats") }
    };
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_get_mark(session: *const InkSession, mark: *mut Mark) -> Status {
    let call = |inner: &mut Inner| {
        let value = Mark {
            position: inner.session.position(),
            ..Mark::default()
        };
        // SAFETY: the header asks for a struct.
        unsafe { write(mark, &value, "mark") }
    };
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_rewind(session: *mut InkSession, mark: *const Mark) -> Status {
    let call = |inner: &mut Inner| {
        // SAFETY: the header asks for a struct.
        let mark = unsafe { read(given(mark, "mark")?, "mark")? };
        inner.session.rewind(mark.position)?;
        (inner.answer, inner.finished) = (None, false);
        Ok(())
    };
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_fork(session: *mut InkSession, other: *mut *mut InkSession) -> Status {
    let call = |inner: &mut Inner| {
        let make = || Ok(boxed(inner.session.fork()?, Hosted::default()));
        // SAFETY: the header asks for a place.
        unsafe { put_new(other, "other", make) }
    };
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_save(session: *mut InkSession, path: *const c_char) -> Status {
    // SAFETY: the header asks for a text.
    let call = |inner: &mut Inner| Ok(inner.session.save(unsafe { path_of(path, "path")? })?);
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_load(session: *mut InkSession, path: *const c_char) -> Status {
    let call = |inner: &mut Inner| {
        inner.answer = None;
        // SAFETY: the header asks for a text.
        Ok(inner.session.load(unsafe { path_of(path, "path")? })?)
    };
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_embed(
    session: *mut InkSession,
    tokens: *const u32,
    tokens_count: usize,
    pooling: i32,
    vector: *mut f32,
    capacity: usize,
    count: *mut usize,
) -> Status {
    let call = |inner: &mut Inner| {
        // SAFETY: the header asks for as many tokens.
        let tokens = unsafe { slice(tokens, tokens_count, "tokens")? };
        let pooling = usize::try_from(pooling)
            .ok()
            .and_then(|at| POOLINGS.get(at));
        let (_, pooling) =
            pooling.ok_or_else(|| Failure::new(INVALID, "pooling is not an ink_pooling"))?;
        let width = inner.session.model().spec().width as usize;
        // SAFETY: the header asks for a place.
        unsafe { put(count, width, "count")? };
        if capacity < width {
            let text = format!("{width} are needed, there is room for {capacity}");
            return Err(Failure::new(TOO_SMALL, text));
        }
        // SAFETY: the header asks for room, which is the library's alone meanwhile.
        let out = unsafe { room(vector, width, "vector")? };
        Ok(inner.session.embed(tokens, *pooling, true, out)?)
    };
    // SAFETY: the header asks for a session.
    unsafe { on(session, call) }
}
