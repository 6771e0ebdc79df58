//! Chat templates in Jinja, for hosts: set up as Hugging Face `transformers` sets Jinja2 up, with limits.
//!
//! The environment is that of `transformers.utils.chat_template_utils`: `trim_blocks` and
//! `lstrip_blocks`, loop controls, `{% generation %}` blocks, a `tojson` that is Python's
//! `json.dumps(ensure_ascii=False)`, `strftime_now`, `raise_exception` and Python's methods of `str`,
//! `dict` and `list` that do not change their object (the reference sandbox is immutable).

mod bounds;
mod date;
mod error;
mod filters;
mod json;
mod python;
mod tags;
mod value;

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Value};
use serde_json::Value as Json;

pub use date::DateTime;
pub use error::{Error, ErrorKind};

/// What a chat template is rendered with.
#[derive(Debug, Clone)]
pub struct Context {
    /// The conversation as OpenAI's `messages`: an array of objects with `role` and `content`.
    pub messages: Json,
    /// Tool definitions as OpenAI's `tools`, if the conversation has any.
    pub tools: Option<Json>,
    /// Whether the text ends with the opening of the assistant's answer.
    pub add_generation_prompt: bool,
    /// Text of the token that begins a sequence.
    pub bos_token: String,
    /// Text of the token that ends a sequence.
    pub eos_token: String,
    /// Further variables by name (`enable_thinking`, `documents` and the like); they win over the above.
    pub extra: serde_json::Map<String, Json>,
    /// What `strftime_now` reports.
    pub now: DateTime,
}

impl Default for Context {
    fn default() -> Self {
        Self {
            messages: Json::Array(Vec::new()),
            tools: None,
            add_generation_prompt: false,
            bos_token: String::new(),
            eos_token: String::new(),
            extra: serde_json::Map::new(),
            now: DateTime::EPOCH,
        }
    }
}

/// What one rendering may cost; a template is a program from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of template source.
    pub source_bytes: usize,
    /// Steps of the template engine; 64 bytes of produced data count as one step.
    pub steps: u64,
    /// Bytes of text that come out.
    pub output_bytes: usize,
    /// Nesting of macros, loops and includes.
    pub recursion: usize,
    /// Nesting of the values that go in, are stored or printed.
    pub depth: usize,
}

impl Limits {
    /// Far above what any published template needs for a conversation of a megabyte.
    pub const DEFAULT: Self = Self {
        source_bytes: 1 << 20,
        steps: 4 << 20,
        output_bytes: 16 << 20,
        recursion: 100,
        depth: 64,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Renders the Jinja source `template` with `context` under [`Limits::DEFAULT`].
///
/// # Errors
///
/// See [`ErrorKind`]; a conversation that the template itself refuses is [`ErrorKind::Raised`].
pub fn render(template: &str, context: &Context) -> Result<String, Error> {
    render_within(template, context, &Limits::DEFAULT)
}

/// [`render`] under limits of the caller's.
///
/// # Errors
///
/// As [`render`].
pub fn render_within(template: &str, context: &Context, limits: &Limits) -> Result<String, Error> {
    if template.len() > limits.source_bytes {
        return Err(Error::new(
            ErrorKind::SourceTooLong,
            limits.source_bytes.to_string(),
        ));
    }
    let Some(source) = tags::rewrite(template) else {
        return Err(Error::new(ErrorKind::TooDeep, String::new()));
    };
    let environment = environment(context.now, limits);
    let variables = variables(context, limits)?;
    let compiled = environment
        .template_from_named_str("chat_template", &source)
        .map_err(Error::from_engine)?;
    let mut sink = Sink {
        bytes: Vec::new(),
        limit: limits.output_bytes,
        full: false,
    };
    let rendered = compiled.render_captured_to(variables, &mut sink);
    if sink.full {
        return Err(Error::new(
            ErrorKind::OutputTooLong,
            limits.output_bytes.to_string(),
        ));
    }
    rendered.map_err(Error::from_engine)?;
    String::from_utf8(sink.bytes)
        .map_err(|_| Error::new(ErrorKind::Value, "output is not UTF-8".into()))
}

fn environment<'s>(now: DateTime, limits: &Limits) -> Environment<'s> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(syntax.expect("the default delimiters are valid"));
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(limits.steps));
    environment.set_recursion_limit(limits.recursion);
    environment.set_unknown_method_callback(python::call_method);
    environment.add_function("raise_exception", error::raise_exception);
    environment.add_function("strftime_now", move |format: &str| now.format(format));
    filters::install(&mut environment);
    bounds::install(&mut environment, limits.depth);
    let depth = limits.depth;
    environment.add_filter(
        "tojson",
        move |state: &mut minijinja::State, value: &Value, options| {
            json::to_json(state, value, options, depth)
        },
    );
    environment
}

/// The variables that `apply_chat_template` passes.
fn variables(context: &Context, limits: &Limits) -> Result<Value, Error> {
    let convert = |json: &Json| value::from_json(json, limits.depth);
    let mut variables = alloc::vec![
        ("messages", convert(&context.messages)?),
        (
            "tools",
            context
                .tools
                .as_ref()
                .map_or(Ok(Value::from(())), convert)?
        ),
        ("documents", Value::from(())),
        (
            "add_generation_prompt",
            Value::from(context.add_generation_prompt)
        ),
        ("bos_token", Value::from(context.bos_token.as_str())),
        ("eos_token", Value::from(context.eos_token.as_str())),
    ];
    for (name, json) in &context.extra {
        variables.push((name, convert(json)?));
    }
    Ok(Value::from_pairs(variables))
}

/// Collects the output up to the limit.
struct Sink {
    bytes: Vec<u8>,
    limit: usize,
    full: bool,
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.limit - self.bytes.len() {
            self.full = true;
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
