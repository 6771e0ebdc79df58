//! `inkstone render`: a conversation as the text that a model is given.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::Args;
use inkstone_engine::text::template::{Context, DateTime, render};
use serde_json::{Map, Value, json};

use crate::exit::Usage;
use crate::files;
use crate::resolve;
use crate::terminal::Terminal;
use crate::text_side::template;

/// Render a conversation by a chat template
///
/// SOURCE is a model, a GGUF file, a Hugging Face folder or a .jinja file. The text comes out as it is, without a
/// newline at its end.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone render smollm2-135m --messages chat.json --add-generation-prompt"
)]
pub(crate) struct Arguments {
    /// Whose chat template
    source: String,
    /// The conversation: a JSON array of {"role", "content"}; `-` is stdin
    #[arg(long, value_name = "FILE")]
    messages: PathBuf,
    /// Tool definitions: a JSON array, as in OpenAI's interface
    #[arg(long, value_name = "FILE")]
    tools: Option<PathBuf>,
    /// End with the opening of the assistant's answer
    #[arg(long)]
    add_generation_prompt: bool,
    /// Text of the token that begins a sequence [default: the tokenizer's]
    #[arg(long, value_name = "TEXT")]
    bos_token: Option<String>,
    /// Text of the token that ends a sequence [default: the tokenizer's]
    #[arg(long, value_name = "TEXT")]
    eos_token: Option<String>,
    /// A further variable, such as enable_thinking=false
    #[arg(long = "set", value_name = "NAME=JSON", value_parser = variable)]
    variables: Vec<(String, Value)>,
    /// What the template takes for today [default: today, UTC]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    date: Option<DateTime>,
}

/// Renders.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let path = resolve::source(terminal, &arguments.source)?;
    let template = template(&path)?;
    let context = Context {
        messages: read_array(&arguments.messages)?,
        tools: arguments.tools.as_deref().map(read_array).transpose()?,
        add_generation_prompt: arguments.add_generation_prompt,
        bos_token: arguments.bos_token.unwrap_or(template.bos),
        eos_token: arguments.eos_token.unwrap_or(template.eos),
        extra: arguments.variables.into_iter().collect::<Map<_, _>>(),
        now: arguments.date.unwrap_or_else(today),
    };
    let text = render(&template.source, &context)
        .with_context(|| format!("{}: the chat template", arguments.source))?;
    terminal.result(&json!({ "text": text }), |out| {
        out.write_all(text.as_bytes())
    })
}

fn read_array(path: &Path) -> anyhow::Result<Value> {
    let named = || path.display().to_string();
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin()
            .lock()
            .read_to_string(&mut text)
            .context("stdin")?;
        text
    } else {
        files::text(path)?
    };
    let value: Value = serde_json::from_str(&text).with_context(named)?;
    if !value.is_array() {
        return Err(Usage::error(format!("{}: must hold a JSON array", named())));
    }
    Ok(value)
}

fn variable(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=JSON")?;
    let value =
        serde_json::from_str(value).map_err(|error| format!("`{value}` is not JSON: {error}"))?;
    Ok((name.to_owned(), value))
}

fn date(text: &str) -> Result<DateTime, String> {
    let mut parts = text.splitn(3, '-');
    let mut next = || parts.next().and_then(|part| part.parse::<u16>().ok());
    match (next(), next(), next()) {
        (Some(year @ 1..=9999), Some(month @ 1..=12), Some(day))
            if (1..=days(year, month)).contains(&day) =>
        {
            Ok(DateTime {
                year,
                month: month as u8,
                day: day as u8,
                ..DateTime::EPOCH
            })
        }
        _ => Err("write YYYY-MM-DD".to_owned()),
    }
}

/// Days of a month.
fn days(year: u16, month: u16) -> u16 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u16::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn today() -> DateTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    DateTime::from_unix(since.map_or(0, |time| time.as_secs()))
}
