//! Examples from files as people have them: OpenAI's `messages`, ShareGPT, Alpaca, XTuner's `conversation`, prompts and
//! completions, plain text; in JSON, JSONL, CSV, Parquet or text files.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value, json};

use crate::columns;

/// Something to learn from.
#[derive(Debug, Clone, PartialEq)]
pub enum Example {
    /// A conversation: messages with `role` and `content`, and the tools it may use. Assistants' turns are learnt.
    Chat {
        /// OpenAI's `messages`.
        messages: Vec<Value>,
        /// OpenAI's `tools`.
        tools: Option<Value>,
    },
    /// Text, all of which is learnt.
    Text(String),
}

/// A shape that records have.
#[derive(Debug)]
pub struct Shape {
    /// What it is called.
    pub name: &'static str,
    /// The fields that tell it.
    pub fields: &'static [&'static str],
    read: fn(&Map<String, Value>) -> Result<Example>,
}

/// Every shape; the first whose fields are all there counts.
pub static SHAPES: &[Shape] = &[
    shape("openai", &["messages"], openai),
    shape("sharegpt", &["conversations"], sharegpt),
    shape("xtuner", &["conversation"], xtuner),
    shape("alpaca", &["instruction", "output"], |r| {
        pair(r, "instruction", "output")
    }),
    shape("prompt and completion", &["prompt", "completion"], |r| {
        pair(r, "prompt", "completion")
    }),
    shape("prompt and response", &["prompt", "response"], |r| {
        pair(r, "prompt", "response")
    }),
    shape("question and answer", &["question", "answer"], |r| {
        pair(r, "question", "answer")
    }),
    shape("input and output", &["input", "output"], |r| {
        pair(r, "input", "output")
    }),
    shape("text", &["text"], |r| Ok(Example::Text(text(r, "text")?))),
    shape("content", &["content"], |r| {
        Ok(Example::Text(text(r, "content")?))
    }),
];

const fn shape(
    name: &'static str,
    fields: &'static [&'static str],
    read: fn(&Map<String, Value>) -> Result<Example>,
) -> Shape {
    Shape { name, fields, read }
}

/// Reads every example of a file.
///
/// # Errors
/// Names the file, the record and what it lacks.
pub fn read(path: &Path) -> Result<Vec<Example>> {
    let named = || path.display().to_string();
    let extension = path.extension().and_then(|e| e.to_str());
    let bytes = fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => anyhow!("{}: no such file; check the path", named()),
        _ => anyhow!(error).context(named()),
    })?;
    if extension == Some("parquet") {
        return numbered("row", &columns::rows(bytes).with_context(named)?).with_context(named);
    }
    let text = String::from_utf8(bytes).map_err(|e| {
        anyhow!(
            "{}: not UTF-8 at byte {}",
            named(),
            e.utf8_error().valid_up_to()
        )
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let examples = match extension.unwrap_or_default() {
        "csv" => table(text, b','),
        "tsv" => table(text, b'\t'),
        "jsonl" | "ndjson" => lines(text),
        "json" => list(text),
        _ => Ok(vec![Example::Text(text.to_owned())]),
    };
    let examples = examples.with_context(named)?;
    ensure!(!examples.is_empty(), "{}: no examples", named());
    Ok(examples)
}

/// Makes an example of a record.
///
/// # Errors
/// The record has none of the shapes of [`SHAPES`], or lacks something.
pub fn example(record: &Value) -> Result<Example> {
    let Some(fields) = record.as_object() else {
        bail!("a record is a {}, wanted an object", kind(record));
    };
    let fits = |shape: &&Shape| shape.fields.iter().all(|field| fields.contains_key(*field));
    match SHAPES.iter().find(fits) {
        Some(shape) => (shape.read)(fields),
        None => {
            let wanted: Vec<String> = SHAPES
                .iter()
                .map(|shape| shape.fields.join(" + "))
                .collect();
            let has: Vec<&str> = fields.keys().map(String::as_str).take(8).collect();
            bail!(
                "fields are {}; wanted one of: {}",
                has.join(", "),
                wanted.join("; ")
            )
        }
    }
}

fn list(text: &str) -> Result<Vec<Example>> {
    let value: Value = serde_json::from_str(text)?;
    let Some(records) = value.as_array() else {
        bail!("holds a {}, wanted an array of records", kind(&value));
    };
    numbered("record", records)
}

fn numbered(name: &str, records: &[Value]) -> Result<Vec<Example>> {
    let records = records.iter().enumerate();
    records
        .map(|(index, record)| example(record).with_context(|| format!("{name} {}", index + 1)))
        .collect()
}

fn lines(text: &str) -> Result<Vec<Example>> {
    let numbered = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    numbered
        .map(|(index, line)| {
            let read = || example(&serde_json::from_str(line)?);
            read().with_context(|| format!("line {}", index + 1))
        })
        .collect()
}

fn table(text: &str, delimiter: u8) -> Result<Vec<Example>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .from_reader(text.as_bytes());
    let names: Vec<String> = reader
        .headers()?
        .iter()
        .map(|name| name.trim().to_lowercase())
        .collect();
    let rows = reader.records().enumerate().map(|(index, row)| {
        let row = row?;
        let fields = names
            .iter()
            .cloned()
            .zip(row.iter().map(Value::from))
            .collect();
        example(&Value::Object(fields)).with_context(|| format!("row {}", index + 2))
    });
    rows.collect()
}

fn openai(record: &Map<String, Value>) -> Result<Example> {
    let Some(messages) = record["messages"].as_array() else {
        bail!(
            "`messages` is a {}, wanted an array",
            kind(&record["messages"])
        );
    };
    for message in messages {
        ensure!(message["role"].is_string(), "a message has no `role`");
    }
    chat(
        messages.clone(),
        record.get("tools").filter(|t| !t.is_null()).cloned(),
    )
}

fn sharegpt(record: &Map<String, Value>) -> Result<Example> {
    let turns = record["conversations"].as_array();
    let turns = turns.context("`conversations` is no array")?;
    let mut messages: Vec<Value> = system(record).into_iter().collect();
    for turn in turns {
        let from = turn["from"].as_str().context("a turn has no `from`")?;
        let role = match from {
            "human" | "user" => "user",
            "gpt" | "assistant" | "function_call" => "assistant",
            "system" => "system",
            "tool" | "observation" => "tool",
            other => bail!("a turn is from `{other}`, known are human, gpt, system, tool"),
        };
        messages.push(said(
            role,
            turn["value"].as_str().context("a turn has no `value`")?,
        ));
    }
    chat(messages, None)
}

fn xtuner(record: &Map<String, Value>) -> Result<Example> {
    let turns = record["conversation"].as_array();
    let mut messages = Vec::new();
    for turn in turns.context("`conversation` is no array")? {
        let part = |name: &str| turn[name].as_str().filter(|text| !text.is_empty());
        if let Some(system) = part("system") {
            messages.push(said("system", system));
        }
        match (part("input"), part("output")) {
            // Text to be continued, as XTuner writes what a model is pre-trained on.
            (None, Some(output)) if turns.map_or(0, Vec::len) == 1 && messages.is_empty() => {
                return Ok(Example::Text(output.to_owned()));
            }
            (input, output) => {
                messages.extend(input.map(|text| said("user", text)));
                messages.extend(output.map(|text| {
                    let mut answer = said("assistant", text);
                    if let Some(loss) = turn.get("output_with_loss") {
                        answer["loss"] = loss.clone();
                    }
                    answer
                }));
            }
        }
    }
    chat(messages, None)
}

fn pair(record: &Map<String, Value>, asked: &str, answered: &str) -> Result<Example> {
    let mut question = text(record, asked)?;
    let input = record
        .get("input")
        .and_then(Value::as_str)
        .filter(|_| asked != "input");
    if let Some(input) = input.filter(|input| !input.is_empty()) {
        question.push_str("\n\n");
        question.push_str(input);
    }
    let mut messages: Vec<Value> = system(record).into_iter().collect();
    messages.push(said("user", &question));
    messages.push(said("assistant", &text(record, answered)?));
    chat(messages, None)
}

fn chat(messages: Vec<Value>, tools: Option<Value>) -> Result<Example> {
    let answers = messages
        .iter()
        .any(|message| message["role"] == "assistant");
    ensure!(
        answers,
        "no turn is the assistant's, so that there is nothing to learn"
    );
    Ok(Example::Chat { messages, tools })
}

/// The system's turn, where the record has one beside the others.
fn system(record: &Map<String, Value>) -> Option<Value> {
    let text = record.get("system")?.as_str()?;
    (!text.is_empty()).then(|| said("system", text))
}

fn said(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

fn text(record: &Map<String, Value>, field: &str) -> Result<String> {
    match &record[field] {
        Value::String(text) => Ok(text.clone()),
        other => bail!("`{field}` is a {}, wanted text", kind(other)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    }
}
