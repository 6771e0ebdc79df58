//! Asks a model the questions of a task.

use anyhow::{Context, Result, bail};
use inkstone_engine::{Finish, Generation, Grammars, Model, Options, Session};

use crate::record::{Answer, Record};
use crate::task::{Question, Task};

/// Asks from where the record ends up to its last row. `progress` hears how many rows are answered and ends the run by
/// returning false.
///
/// # Errors
/// A question does not fit the context, a template fails, or the record cannot be written.
pub fn ask(
    task: &Task,
    model: &Model,
    session: &mut Session,
    record: &mut Record,
    progress: &mut dyn FnMut(&[Answer]) -> bool,
) -> Result<()> {
    let grammars = record
        .head
        .constrained
        .then(|| Grammars::of(model))
        .transpose()?;
    let options = Options {
        limit: Some(task.definition.limit()),
        ..Options::default()
    };
    for row in record.answers.len()..record.head.rows {
        let question = task.question(row)?;
        let said = answer(model, session, &question, grammars.as_ref(), &options);
        let Some(answer) = said.with_context(|| format!("row {}", row + 1))? else {
            return Ok(());
        };
        record.push(Answer {
            row,
            right: task.definition.kind().is_right(&answer, &question.wanted),
            answer,
            wanted: question.wanted,
            groups: question.groups,
        })?;
        if !progress(&record.answers) {
            return Ok(());
        }
    }
    Ok(())
}

/// The most likely answer, token by token; nothing where it was cancelled.
fn answer(
    model: &Model,
    session: &mut Session,
    question: &Question,
    grammars: Option<&Grammars>,
    options: &Options,
) -> Result<Option<String>> {
    let prompt = model.render_chat(&question.messages, None, true)?;
    session.rewind(0)?;
    session
        .feed(&model.encode_chat(&prompt))
        .context("ask for a longer --context")?;
    let mut generation = Generation::new(model, options)?;
    if let (Some(grammars), Some(grammar)) = (grammars, &question.grammar) {
        generation = generation.within(grammars.constraint(grammar)?);
    }
    let mut text = Vec::new();
    match generation.finish(session, &mut text)? {
        Finish::Cancelled => Ok(None),
        Finish::ContextFull => bail!("the context is full; ask for a longer --context"),
        _ => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
    }
}
