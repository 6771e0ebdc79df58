//! `inkstone run`: one answer to one prompt.

use std::io::{self, IsTerminal, Read};

use anyhow::Context;
use clap::Args;
use inkstone_engine::{ErrorKind, Finish, Model};
use serde_json::json;

use super::chat;
use crate::answer::{answer, finish_name, options, stats_line, stats_value};
use crate::arguments::{self, Output, Sampling};
use crate::exit::{Interrupted, Usage};
use crate::interrupt;
use crate::terminal::{Stream, Terminal};

/// Answer a prompt, or continue a text
///
/// The prompt is PROMPT or stdin; without either, on a terminal, this is `chat`. A model with a chat template answers;
/// a base model continues. A name is pulled, and what is no .ink file is converted, once.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone run smollm2-135m \"Write one sentence about tea.\"")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: arguments::Model,
    /// What to say to the model
    prompt: Option<String>,
    /// What the model is told before
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Give the prompt as it is, without a chat template
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    /// Tell on stderr what it took
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    session: arguments::Session,
    #[command(flatten)]
    speculation: arguments::Speculation,
    #[command(flatten)]
    grammar: arguments::Grammar,
}

/// Runs.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let Arguments {
        model,
        prompt,
        system,
        raw,
        stats,
        output,
        sampling,
        session,
        speculation,
        grammar,
    } = arguments;
    let (name, prompt) = model.with_prompt(prompt);
    let Some(prompt) = prompt.map_or_else(prompt_of_stdin, |text| Ok(Some(text)))? else {
        grammar.refuse_chat()?;
        let config = speculation.add_to(session.config(), terminal)?;
        let model = session.model(terminal, name.name()?)?;
        return chat::talk(terminal, &model, system, &sampling, &config);
    };
    let model = session.model(terminal, name.name()?)?;
    let tokens = if raw {
        model.encode(&prompt)
    } else {
        tokens(terminal, &model, system.as_deref(), &prompt)?
    };
    let constraint = grammar.constraint(&model)?;
    let config = speculation.add_to(session.config(), terminal)?;
    let mut session = model.session(&config)?;
    interrupt::cancels(session.canceller());
    session.set_sampling(sampling.params())?;
    sampling.note_idle(terminal);
    session.feed(&tokens).map_err(|error| match error.kind() {
        ErrorKind::ContextFull => anyhow::Error::new(error).context("ask for a longer --context"),
        _ => error.into(),
    })?;
    let mut stream = Stream::new(output.output.as_deref())?;
    let streamed = (!terminal.json).then_some(&mut stream);
    let done = answer(
        terminal,
        &model,
        &mut session,
        &options(&sampling),
        constraint,
        streamed,
    )?;
    let value = json!({
        "text": String::from_utf8_lossy(&done.text),
        "finish": finish_name(done.finish),
        "stats": stats_value(&done.stats),
    });
    if terminal.json {
        stream.write(serde_json::to_string_pretty(&value)?.as_bytes())?;
    }
    stream.end()?;
    if stats {
        terminal.note(stats_line(&done.stats));
    }
    match done.finish {
        Finish::Cancelled => Err(Interrupted.into()),
        Finish::ContextFull => {
            terminal.note(format_args!(
                "the context of {} is full; ask for a longer --context",
                session.context()
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The prompt as the model wants to be asked: as a conversation, or the text itself.
fn tokens(
    terminal: &Terminal,
    model: &Model,
    system: Option<&str>,
    prompt: &str,
) -> anyhow::Result<Vec<u32>> {
    if !model.has_template() {
        if system.is_some() {
            return Err(Usage::error(format!(
                "{} is a base model: it has no chat template for --system",
                model.name()
            )));
        }
        terminal.note(format_args!(
            "{} is a base model without a chat template: it continues the text",
            model.name()
        ));
        return Ok(model.encode(prompt));
    }
    let mut messages = Vec::new();
    messages.extend(system.map(|text| json!({"role": "system", "content": text})));
    messages.push(json!({"role": "user", "content": prompt}));
    Ok(model.encode_chat(&model.render_chat(&messages.into(), None, true)?))
}

/// All of stdin, without the newline that ends it; `None` where a person sits there.
fn prompt_of_stdin() -> anyhow::Result<Option<String>> {
    if io::stdin().is_terminal() {
        return Ok(None);
    }
    let mut text = String::new();
    io::stdin()
        .lock()
        .read_to_string(&mut text)
        .context("stdin")?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.strip_suffix('\n').unwrap_or(text);
    if text.is_empty() {
        return Err(Usage::error(
            "there is no prompt: give PROMPT or text on stdin",
        ));
    }
    Ok(Some(text.to_owned()))
}
