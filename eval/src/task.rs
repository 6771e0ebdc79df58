//! A task: one TOML file that says what is asked, what an answer may be and when it is right.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, ensure};
use inkstone_engine::Grammar;
use inkstone_engine::text::template::{self, Context};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::score::Kind;

/// The tasks that come with the program: name and file.
pub static TASKS: &[(&str, &str)] = &[
    ("home", include_str!("../tasks/home.toml")),
    ("snips", include_str!("../tasks/snips.toml")),
];

/// What a task's file says. Its texts are Jinja templates that see the fields of a row and the tables; one that is to
/// say yes or no says yes by rendering anything but white space.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// What it is called.
    pub name: String,
    /// What it is about, in a line.
    pub about: String,
    /// Licence of its rows.
    pub licence: String,
    /// Where they are from.
    pub source: String,
    /// JSONL, relative to the folder of the task.
    pub rows: PathBuf,
    /// Put before every template.
    #[serde(default)]
    macros: String,
    /// JSON files that templates see by these names.
    #[serde(default)]
    tables: BTreeMap<String, PathBuf>,
    prompt: Prompt,
    answer: Answer,
    /// Rows that are counted apart as well.
    #[serde(default)]
    groups: BTreeMap<String, String>,
    train: Option<Train>,
    /// The file itself.
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Prompt {
    system: Option<String>,
    user: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    kind: Kind,
    wanted: String,
    /// Tokens.
    #[serde(default = "limit")]
    limit: u32,
    schema: Option<String>,
    lark: Option<String>,
    regex: Option<String>,
}

fn limit() -> u32 {
    256
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Train {
    rows: PathBuf,
    /// Rows that are not trained on.
    skip: Option<String>,
    /// What rows share that are alike; test rows whose key no training row has are the group `unseen`.
    key: Option<String>,
}

/// A task with its data.
#[derive(Debug)]
pub struct Task {
    /// What its file says.
    pub definition: Definition,
    /// BLAKE3 of the file, of its rows and of its tables.
    pub hash: [u8; 32],
    folder: PathBuf,
    rows: Vec<Map<String, Value>>,
    tables: Map<String, Value>,
    seen: Option<HashSet<String>>,
}

/// A row, ready to be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// OpenAI's `messages`.
    pub messages: Value,
    /// The answer that is right.
    pub wanted: String,
    /// What every answer must be.
    pub grammar: Option<Grammar>,
    /// Groups it belongs to.
    pub groups: Vec<String>,
}

impl Definition {
    /// Reads one that comes with the program, or a file; and the folder its paths start from. `materials` is where the
    /// data of those that come with the program lies.
    ///
    /// # Errors
    /// There is none, or it is none.
    pub fn find(name: &str, materials: &Path) -> Result<(Definition, PathBuf)> {
        let inside = TASKS.iter().find(|(task, _)| *task == name);
        let (text, folder) = match inside {
            Some((_, text)) => ((*text).to_owned(), materials.to_owned()),
            None => {
                let path = Path::new(name);
                let text = fs::read_to_string(path).map_err(|_| {
                    let known: Vec<&str> = TASKS.iter().map(|(name, _)| *name).collect();
                    anyhow!("{name}: neither a task ({}) nor a file", known.join(", "))
                })?;
                (text, path.parent().unwrap_or(Path::new("")).to_owned())
            }
        };
        let mut definition: Definition = toml::from_str(&text).with_context(|| name.to_owned())?;
        let grammars = definition.grammars().count();
        ensure!(
            grammars < 2,
            "{name}: an answer has one of schema, lark and regex"
        );
        definition.text = text;
        Ok((definition, folder))
    }

    /// Tokens of an answer, at most.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.answer.limit
    }

    /// How answers are compared.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.answer.kind
    }

    /// Whether answers can be held to a grammar.
    #[must_use]
    pub fn is_constrained(&self) -> bool {
        self.grammars().next().is_some()
    }

    fn grammars(&self) -> impl Iterator<Item = &String> {
        let Answer {
            schema,
            lark,
            regex,
            ..
        } = &self.answer;
        [schema, lark, regex].into_iter().flatten()
    }
}

impl Task {
    /// Reads the data of a task.
    ///
    /// # Errors
    /// Names the file and the line that cannot be read.
    pub fn load(definition: Definition, folder: &Path) -> Result<Task> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(definition.text.as_bytes());
        let rows = text(&folder.join(&definition.rows))?;
        hasher.update(rows.as_bytes());
        let mut tables = Map::new();
        for (name, path) in &definition.tables {
            let path = folder.join(path);
            let table = text(&path)?;
            hasher.update(table.as_bytes());
            let table = serde_json::from_str(&table).with_context(|| path.display().to_string())?;
            tables.insert(name.clone(), table);
        }
        if let Some(train) = definition
            .train
            .as_ref()
            .filter(|train| train.key.is_some())
        {
            // It decides which rows are unseen.
            hasher.update(text(&folder.join(&train.rows))?.as_bytes());
        }
        let mut task = Task {
            rows: records(&rows, &folder.join(&definition.rows))?,
            hash: *hasher.finalize().as_bytes(),
            folder: folder.to_owned(),
            tables,
            seen: None,
            definition,
        };
        task.seen = task.keys()?;
        Ok(task)
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A row as its file has it.
    #[must_use]
    pub fn row(&self, index: usize) -> &Map<String, Value> {
        &self.rows[index]
    }

    /// A row as it is asked.
    ///
    /// # Errors
    /// Names the template that fails on it.
    pub fn question(&self, index: usize) -> Result<Question> {
        let row = &self.rows[index];
        let ask = || -> Result<Question> {
            let mut groups = Vec::new();
            for (name, template) in &self.definition.groups {
                if self.says(row, template)? {
                    groups.push(name.clone());
                }
            }
            if let Some((key, seen)) = self.key().zip(self.seen.as_ref())
                && !seen.contains(&self.render(row, key)?)
            {
                groups.push("unseen".to_owned());
            }
            Ok(Question {
                messages: self.messages(row)?.into(),
                wanted: self.render(row, &self.definition.answer.wanted)?,
                grammar: self.grammar(row)?,
                groups,
            })
        };
        ask().with_context(|| format!("{}: row {}", self.definition.name, index + 1))
    }

    /// The training rows as conversations to learn from, in the words in which the test's are asked.
    ///
    /// # Errors
    /// The task has none, or a template fails.
    pub fn examples(&self) -> Result<Vec<Value>> {
        let name = &self.definition.name;
        ensure!(
            self.definition.train.is_some(),
            "{name}: has no rows to train on"
        );
        let mut examples = Vec::new();
        for (index, row) in self.training()?.iter().enumerate() {
            let example = || -> Result<Option<Value>> {
                if self.skips(row)? {
                    return Ok(None);
                }
                let mut messages = self.messages(row)?;
                let answer = self.render(row, &self.definition.answer.wanted)?;
                messages.push(json!({"role": "assistant", "content": answer}));
                Ok(Some(json!({"messages": messages})))
            };
            let example = example().with_context(|| format!("{name}: training row {}", index + 1));
            examples.extend(example?);
        }
        Ok(examples)
    }

    fn key(&self) -> Option<&str> {
        self.definition.train.as_ref()?.key.as_deref()
    }

    /// Keys of the training rows, but for those that are skipped.
    fn keys(&self) -> Result<Option<HashSet<String>>> {
        let Some(key) = self.key() else {
            return Ok(None);
        };
        let mut keys = HashSet::new();
        for row in self.training()? {
            if !self.skips(&row)? {
                keys.insert(self.render(&row, key)?);
            }
        }
        Ok(Some(keys))
    }

    /// Whether a training row is left out.
    fn skips(&self, row: &Map<String, Value>) -> Result<bool> {
        let train = self.definition.train.as_ref();
        match train.and_then(|train| train.skip.as_ref()) {
            Some(skip) => self.says(row, skip),
            None => Ok(false),
        }
    }

    fn training(&self) -> Result<Vec<Map<String, Value>>> {
        match &self.definition.train {
            Some(train) => {
                let path = self.folder.join(&train.rows);
                records(&text(&path)?, &path)
            }
            None => Ok(Vec::new()),
        }
    }

    fn messages(&self, row: &Map<String, Value>) -> Result<Vec<Value>> {
        let Prompt { system, user } = &self.definition.prompt;
        let mut messages = Vec::new();
        if let Some(system) = system {
            messages.push(json!({"role": "system", "content": self.render(row, system)?}));
        }
        messages.push(json!({"role": "user", "content": self.render(row, user)?}));
        Ok(messages)
    }

    fn grammar(&self, row: &Map<String, Value>) -> Result<Option<Grammar>> {
        let Answer {
            schema,
            lark,
            regex,
            ..
        } = &self.definition.answer;
        if let Some(schema) = schema {
            let schema = self.render(row, schema)?;
            let schema = serde_json::from_str(&schema).context("answer.schema")?;
            return Ok(Some(Grammar::JsonSchema(schema)));
        }
        if let Some(lark) = lark {
            return Ok(Some(Grammar::Lark(self.render(row, lark)?)));
        }
        match regex {
            Some(regex) => Ok(Some(Grammar::Regex(self.render(row, regex)?))),
            None => Ok(None),
        }
    }

    fn says(&self, row: &Map<String, Value>, template: &str) -> Result<bool> {
        Ok(!self.render(row, template)?.is_empty())
    }

    /// A template over a row; white space around what comes out is no part of it.
    fn render(&self, row: &Map<String, Value>, template: &str) -> Result<String> {
        let fields = self.tables.iter().chain(row);
        let context = Context {
            extra: fields
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            ..Context::default()
        };
        let source = format!("{}{template}", self.definition.macros);
        Ok(template::render(&source, &context)?.trim().to_owned())
    }
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| {
        format!(
            "{}: cannot be read; tasks that come with the program look for their data in INKSTONE_MATERIALS",
            path.display()
        )
    })
}

fn records(text: &str, path: &Path) -> Result<Vec<Map<String, Value>>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate();
    let rows = lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| {
            serde_json::from_str(line)
                .with_context(|| format!("{}: line {}", path.display(), index + 1))
        });
    let rows: Vec<_> = rows.collect::<Result<_>>()?;
    ensure!(!rows.is_empty(), "{}: no rows", path.display());
    Ok(rows)
}
