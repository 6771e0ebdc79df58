//! `inkstone chat`: a conversation with history and a line editor.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use clap::Args;
use inkstone_engine::atomic;
use inkstone_engine::{ErrorKind, Finish, Model, Session, SessionConfig, Stats};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use serde_json::{Value, json};

use crate::answer::{answer, options, stats_line};
use crate::arguments::{self, Sampling};
use crate::exit::Usage;
use crate::files;
use crate::interrupt;
use crate::nearest::nearest;
use crate::store::Home;
use crate::terminal::{Stream, Terminal};

/// Talk with a model
///
/// Lines can be edited and called back. Ctrl-C stops the answer, Ctrl-D or /quit ends the talk, /help shows the rest.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone chat smollm2-135m --temp 0.7 --top-p 0.9")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: arguments::Model,
    /// What the model is told before
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    session: arguments::Session,
    #[command(flatten)]
    speculation: arguments::Speculation,
}

/// Talks until the person ends it.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let model = arguments.session.model(terminal, arguments.model.name()?)?;
    let config = arguments
        .speculation
        .add_to(arguments.session.config(), terminal)?;
    talk(
        terminal,
        &model,
        arguments.system,
        &arguments.sampling,
        &config,
    )
}

/// What `chat` and `run` without a prompt do.
pub(crate) fn talk(
    terminal: &Terminal,
    model: &Model,
    system: Option<String>,
    sampling: &Sampling,
    config: &SessionConfig,
) -> anyhow::Result<()> {
    if terminal.json {
        return Err(Usage::error(
            "a conversation has no --json; use `inkstone run MODEL PROMPT --json`",
        ));
    }
    if !model.has_template() {
        bail!(
            "{} is a base model: it has no chat template; `inkstone run MODEL TEXT` continues a text",
            model.name()
        );
    }
    let mut session = model.session(config)?;
    session.set_sampling(sampling.params())?;
    sampling.note_idle(terminal);
    interrupt::cancels(session.canceller());
    let talk = Talk {
        terminal,
        model,
        session,
        sampling,
        messages: Vec::new(),
        last: None,
    };
    terminal.note(format_args!(
        "{}; /help shows the commands, Ctrl-D ends",
        model.name()
    ));
    talk.begun_with(system).converse()
}

/// A conversation.
struct Talk<'a> {
    terminal: &'a Terminal,
    model: &'a Model,
    session: Session,
    sampling: &'a Sampling,
    /// As OpenAI's `messages`.
    messages: Vec<Value>,
    last: Option<Stats>,
}

/// What a line beginning with a slash does.
struct Verb {
    name: &'static str,
    about: &'static str,
    run: fn(&mut Talk<'_>, &str) -> anyhow::Result<Next>,
}

/// Whether the talk goes on.
enum Next {
    Go,
    End,
}

static VERBS: &[Verb] = &[
    Verb {
        name: "/reset",
        about: "forget the conversation",
        run: |talk, _| talk.reset(),
    },
    Verb {
        name: "/system",
        about: "TEXT: tell the model something first; forgets the conversation",
        run: |talk, text| talk.system(text),
    },
    Verb {
        name: "/save",
        about: "FILE: write the conversation, JSON",
        run: |talk, file| talk.save(file),
    },
    Verb {
        name: "/load",
        about: "FILE: take up a conversation",
        run: |talk, file| talk.load(file),
    },
    Verb {
        name: "/stats",
        about: "tell what the last answer took",
        run: |talk, _| talk.stats(),
    },
    Verb {
        name: "/help",
        about: "show this",
        run: |talk, _| talk.help(),
    },
    Verb {
        name: "/quit",
        about: "end",
        run: |_, _| Ok(Next::End),
    },
];

impl Talk<'_> {
    fn begun_with(mut self, system: Option<String>) -> Self {
        self.messages
            .extend(system.map(|text| message("system", &text)));
        self
    }

    fn converse(mut self) -> anyhow::Result<()> {
        let mut editor = DefaultEditor::new().context("the terminal cannot be used")?;
        let history = Home::find()?.history();
        // A history that is not there yet, or not readable, is none.
        let _ = editor.load_history(&history);
        loop {
            match editor.readline("> ") {
                Ok(line) if line.trim().is_empty() => {}
                Ok(line) => {
                    let _ = editor.add_history_entry(line.as_str());
                    match self.line(line.trim()) {
                        Ok(Next::Go) => {}
                        Ok(Next::End) => break,
                        // What fails within a conversation does not end it.
                        Err(error)
                            if error.is::<inkstone_engine::Error>() || error.is::<Usage>() =>
                        {
                            crate::terminal::error(&format!("{error:#}"));
                        }
                        Err(error) => return Err(error),
                    }
                }
                Err(ReadlineError::Interrupted) => self.terminal.note("/quit or Ctrl-D ends"),
                Err(ReadlineError::Eof) => break,
                Err(error) => return Err(error).context("reading a line"),
            }
        }
        if let Some(folder) = history.parent() {
            // Without a history the next talk begins without one.
            let _ = fs::create_dir_all(folder).map(|()| editor.save_history(&history));
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> anyhow::Result<Next> {
        if !line.starts_with('/') {
            return self.say(line);
        }
        let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match VERBS.iter().find(|verb| verb.name == name) {
            Some(verb) => (verb.run)(self, rest.trim()),
            None => {
                let near = nearest(name, VERBS.iter().map(|verb| verb.name)).unwrap_or("/help");
                Err(Usage::error(format!(
                    "there is no {name}; did you mean {near}?"
                )))
            }
        }
    }

    fn say(&mut self, text: &str) -> anyhow::Result<Next> {
        self.messages.push(message("user", text));
        if let Err(error) = self.prompt() {
            self.messages.pop();
            return Err(error);
        }
        // A Ctrl-C from before this answer is not meant for it.
        interrupt::take();
        self.session.canceller().reset();
        let mut stream = Stream::new(None)?;
        let options = options(self.sampling);
        let done = answer(
            self.terminal,
            self.model,
            &mut self.session,
            &options,
            None,
            Some(&mut stream),
        )?;
        stream.end()?;
        interrupt::take();
        match done.finish {
            Finish::Cancelled => self.terminal.note("(stopped)"),
            Finish::ContextFull => self
                .terminal
                .note("(the context is full; /reset, or begin with a longer --context)"),
            _ => {}
        }
        self.messages
            .push(message("assistant", &String::from_utf8_lossy(&done.text)));
        self.last = Some(done.stats);
        Ok(Next::Go)
    }

    /// Makes the conversation the session's sequence; where it is too long, its oldest turns go.
    fn prompt(&mut self) -> anyhow::Result<()> {
        loop {
            let rendered = self
                .model
                .render_chat(&self.messages.clone().into(), None, true)?;
            let tokens = self.model.encode_chat(&rendered);
            // One place at least must be left for the answer.
            let fits = tokens.len() < self.session.context() as usize;
            match self.session.prompt(&tokens) {
                Ok(_) if fits => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ContextFull => {}
                Err(error) => return Err(error.into()),
            }
            let oldest = self.messages.iter().position(|m| m["role"] != "system");
            let later = self
                .messages
                .iter()
                .skip(oldest.unwrap_or(0) + 1)
                .position(|m| m["role"] == "user");
            let (Some(oldest), Some(later)) = (oldest, later) else {
                return Err(Usage::error(format!(
                    "the context of {} is too short for this; begin with a longer --context",
                    self.session.context()
                )));
            };
            self.messages.drain(oldest..=oldest + later);
            self.terminal
                .note("(the context is full: the oldest turn is forgotten)");
        }
    }

    fn reset(&mut self) -> anyhow::Result<Next> {
        self.messages.retain(|message| message["role"] == "system");
        self.session.rewind(0)?;
        Ok(Next::Go)
    }

    fn system(&mut self, text: &str) -> anyhow::Result<Next> {
        self.messages.clear();
        if !text.is_empty() {
            self.messages.push(message("system", text));
        }
        self.session.rewind(0)?;
        Ok(Next::Go)
    }

    fn save(&mut self, file: &str) -> anyhow::Result<Next> {
        let path = named(file)?;
        let text = serde_json::to_string_pretty(&self.messages)?;
        files::has_folder(path)?;
        atomic::write(path, |file| file.write_all(text.as_bytes()))
            .with_context(|| path.display().to_string())?;
        self.terminal.note(format_args!(
            "{} messages are in {file}",
            self.messages.len()
        ));
        Ok(Next::Go)
    }

    fn load(&mut self, file: &str) -> anyhow::Result<Next> {
        let path = named(file)?;
        let text = files::text(path)?;
        self.messages = serde_json::from_str(&text)
            .map_err(|error| Usage::error(format!("{file}: {error}")))?;
        self.terminal
            .note(format_args!("{} messages", self.messages.len()));
        Ok(Next::Go)
    }

    fn stats(&mut self) -> anyhow::Result<Next> {
        match &self.last {
            Some(stats) => self.terminal.note(stats_line(stats)),
            None => self.terminal.note("there was no answer yet"),
        }
        let (used, all) = (self.session.position(), self.session.context());
        self.terminal.note(format_args!("context {used} of {all}"));
        Ok(Next::Go)
    }

    fn help(&mut self) -> anyhow::Result<Next> {
        for verb in VERBS {
            self.terminal
                .note(format_args!("{:8} {}", verb.name, verb.about));
        }
        Ok(Next::Go)
    }
}

fn named(file: &str) -> anyhow::Result<&Path> {
    if file.is_empty() {
        return Err(Usage::error("name a file"));
    }
    Ok(Path::new(file))
}

fn message(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}
