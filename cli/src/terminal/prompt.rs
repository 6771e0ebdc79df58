//! A question that is answered with yes or no.

use std::io::{self, BufRead, Write};

use anyhow::Context;

use super::interactive;

/// Asks `question`; `Ok(None)` where nobody is there to answer.
pub(crate) fn confirm(question: &str) -> anyhow::Result<Option<bool>> {
    if !interactive() {
        return Ok(None);
    }
    let mut err = anstream::stderr();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin()
        .lock()
        .read_line(&mut answer)
        .context("reading the answer")?;
    let answer = answer.trim().to_ascii_lowercase();
    Ok(Some(answer == "y" || answer == "yes"))
}
