//! An answer of a model, streamed as it comes.

use inkstone_engine::{Constraint, Finish, Generation, Model, Options, Piece, Session, Stats};
use serde_json::{Value, json};

use crate::arguments::Sampling;
use crate::terminal::{Stream, Terminal};

/// How an answer ended and what it took.
pub(crate) struct Answer {
    pub(crate) text: Vec<u8>,
    pub(crate) finish: Finish,
    pub(crate) stats: Stats,
}

/// Draws the answer to what was fed; each piece goes to `stream` at once, where there is one.
pub(crate) fn answer(
    terminal: &Terminal,
    model: &Model,
    session: &mut Session,
    options: &Options,
    constraint: Option<Constraint>,
    mut stream: Option<&mut Stream>,
) -> anyhow::Result<Answer> {
    let mut generation = Generation::new(model, options)?;
    if let Some(constraint) = constraint {
        generation = generation.within(constraint);
    }
    let (mut text, mut piece) = (Vec::new(), Vec::new());
    loop {
        let step = generation.next(session, &mut piece)?;
        if let Some(stream) = stream.as_mut().filter(|_| !piece.is_empty()) {
            stream.write(&piece)?;
        }
        text.append(&mut piece);
        match step {
            Piece::Shifted { dropped } => terminal.note(format_args!(
                "the context was full: {dropped} tokens were dropped"
            )),
            Piece::Finished(finish) => {
                return Ok(Answer {
                    text,
                    finish,
                    stats: generation.stats(),
                });
            }
            Piece::Prompt { .. } | Piece::Token(_) => {}
        }
    }
}

/// What the engine is told of how answers end.
pub(crate) fn options(sampling: &Sampling) -> Options {
    Options {
        limit: sampling.limit,
        stops: sampling.stop.clone(),
        stop_ids: sampling.stop_ids.clone(),
        ..Options::default()
    }
}

/// One word for why an answer is over.
pub(crate) fn finish_name(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop(_) => "stop",
        Finish::StopText(_) => "stop_text",
        Finish::Limit => "limit",
        Finish::ContextFull => "context_full",
        Finish::Cancelled => "cancelled",
        Finish::Idle => "idle",
    }
}

/// The figures of an answer as JSON.
pub(crate) fn stats_value(stats: &Stats) -> Value {
    json!({
        "prompt_tokens": stats.prompt_tokens,
        "tokens": stats.tokens,
        "seconds_to_first": stats.first.as_secs_f64(),
        "seconds_after_first": stats.rest.as_secs_f64(),
        "prompt_tokens_per_second": stats.prompt_rate(),
        "tokens_per_second": stats.token_rate(),
        "drafted": stats.drafted,
        "accepted": stats.accepted,
        "grammar_seconds": stats.grammar.as_secs_f64(),
        "joules": stats.joules,
    })
}

/// The figures of an answer in a line.
pub(crate) fn stats_line(stats: &Stats) -> String {
    let guesses = match stats.drafted {
        0 => String::new(),
        drafted => format!("; {} of {drafted} guesses were right", stats.accepted),
    };
    let energy = stats
        .joules
        .map_or(String::new(), |joules| format!("; {joules:.1} J"));
    let grammar = match stats.grammar.is_zero() {
        true => String::new(),
        false => format!(
            "; {:.2} s of them by the grammar",
            stats.grammar.as_secs_f64()
        ),
    };
    format!(
        "prompt {} tokens, {:.1}/s; answer {} tokens, {:.1}/s; first after {:.2} s{grammar}{guesses}{energy}",
        stats.prompt_tokens,
        stats.prompt_rate(),
        stats.tokens,
        stats.token_rate(),
        stats.first.as_secs_f64(),
    )
}
