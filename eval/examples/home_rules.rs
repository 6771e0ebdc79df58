//! The task `home` by rules: the device whose name shares most words with the request, and its verb. What a model must
//! beat. Beside it, what always declining gets.
//!
//! `cargo run --release -p inkstone-eval --example home_rules [answers.jsonl]`
#![allow(clippy::print_stdout, reason = "an example reports on stdout")]

use std::collections::HashSet;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::Result;
use inkstone_engine::hash::hex;
use inkstone_eval::record::scores;
use inkstone_eval::{Answer, Definition, Head, Record, Task};
use serde_json::{Map, Value, json};

/// Words that a question begins with: it is answered, nothing is done.
const QUESTIONS: &[&str] = &[
    "what", "whats", "what's", "is", "are", "how", "how's", "status", "tell", "check", "which",
];

/// A word of the request and the tool it means; the first that is there counts.
const VERBS: &[(&str, &str)] = &[
    ("toggle", "HassToggle"),
    ("flip", "HassToggle"),
    ("reverse", "HassToggle"),
    ("halt", "HassToggle"),
    ("volume", "HassSetVolume"),
    ("mute", "HassSetVolume"),
    ("louder", "HassSetVolume"),
    ("quieter", "HassSetVolume"),
    ("humidity", "HassHumidifierSetpoint"),
    ("temperature", "HassClimateSetTemperature"),
    ("hvac", "HassClimateSetTemperature"),
    ("climate", "HassClimateSetTemperature"),
    ("thermostat", "HassClimateSetTemperature"),
    ("previous", "HassMediaPrevious"),
    ("rewind", "HassMediaPrevious"),
    ("next", "HassMediaNext"),
    ("skip", "HassMediaNext"),
    ("pause", "HassMediaPause"),
    ("play", "HassMediaUnpause"),
    ("resume", "HassMediaUnpause"),
    ("base", "HassVacuumReturnToBase"),
    ("dock", "HassVacuumReturnToBase"),
    ("return", "HassVacuumReturnToBase"),
    ("cancel", "HassCancelTimer"),
    ("off", "HassTurnOff"),
    ("close", "HassTurnOff"),
    ("lower", "HassTurnOff"),
    ("unlock", "HassTurnOff"),
    ("deactivate", "HassTurnOff"),
    ("disable", "HassTurnOff"),
    ("slow", "HassTurnOff"),
    ("decrease", "HassTurnOff"),
];

fn main() -> Result<()> {
    let materials = env::var_os("INKSTONE_MATERIALS");
    let materials = materials.map_or_else(|| PathBuf::from("../shared/materials"), PathBuf::from);
    let (definition, folder) = Definition::find("home", &materials)?;
    let task = Task::load(definition, &folder)?;
    let rules = answers(&task, rules)?;
    report("rules", &rules);
    report("always decline", &answers(&task, |_| json!([]))?);
    if let Some(path) = env::args_os().nth(1) {
        let head = Head {
            task: task.definition.name.clone(),
            task_hash: hex(&task.hash),
            model: "rules".to_owned(),
            model_hash: String::new(),
            constrained: true,
            session: String::new(),
            rows: task.len(),
        };
        let mut record = Record::open(Path::new(&path), head, true)?;
        for answer in rules {
            record.push(answer)?;
        }
    }
    Ok(())
}

fn answers(task: &Task, answer: impl Fn(&Map<String, Value>) -> Value) -> Result<Vec<Answer>> {
    let rows = (0..task.len()).map(|row| {
        let question = task.question(row)?;
        let answer = answer(task.row(row)).to_string();
        Ok(Answer {
            row,
            right: task.definition.kind().is_right(&answer, &question.wanted),
            answer,
            wanted: question.wanted,
            groups: question.groups,
        })
    });
    rows.collect()
}

fn report(name: &str, answers: &[Answer]) {
    println!("{name}");
    for score in scores(answers) {
        println!(
            "  {:9} {:4} of {:4}  {:.1} % ({:.1} to {:.1})",
            score.group,
            score.right,
            score.rows,
            100.0 * score.share,
            100.0 * score.low,
            100.0 * score.high
        );
    }
}

/// One call at most: that of the verb on the device that fits best.
fn rules(row: &Map<String, Value>) -> Value {
    let request = row["user"].as_str().unwrap_or_default();
    let words = words(request);
    let asks = words
        .first()
        .is_some_and(|first| QUESTIONS.contains(&first.as_str()))
        || words.iter().any(|word| word == "status" || word == "check");
    if asks {
        return json!([]);
    }
    let devices = row["devices"].as_array().into_iter().flatten();
    let devices: Vec<(&str, &str)> = devices.filter_map(|d| named(d.as_str()?)).collect();
    let verb = VERBS
        .iter()
        .find(|(verb, _)| words.iter().any(|word| word == verb));
    let tool = verb.map_or("HassTurnOn", |(_, tool)| tool);
    let Some((kind, name)) = best(&devices, &words, tool) else {
        return json!([]);
    };
    let number = words.iter().find_map(|word| word.parse::<i64>().ok());
    let mut arguments = json!({"name": name});
    let tool = match (kind, tool) {
        ("todo", _) => {
            arguments["item"] = item(request).into();
            "HassListAddItem"
        }
        ("timer", "HassTurnOff" | "HassCancelTimer") => "HassCancelTimer",
        // What the data's generator makes of starting a timer.
        ("vacuum" | "timer", "HassTurnOn") => "HassVacuumStart",
        (_, "HassHumidifierSetpoint") => {
            arguments["humidity"] = number.into();
            tool
        }
        (_, "HassClimateSetTemperature") => {
            arguments["temperature"] = number.into();
            tool
        }
        _ => tool,
    };
    json!([{"name": tool, "arguments": arguments}])
}

/// Kind and name of `light.hall 'Hall Light' = on`.
fn named(device: &str) -> Option<(&str, &str)> {
    let (identifier, rest) = device.split_once(" '")?;
    Some((identifier.split_once('.')?.0, rest.split_once("' = ")?.0))
}

/// The device of which the largest share of the name's words is in the request; of climates, any.
fn best<'a>(
    devices: &[(&'a str, &'a str)],
    request: &[String],
    tool: &str,
) -> Option<(&'a str, &'a str)> {
    let request: HashSet<&str> = request.iter().map(String::as_str).collect();
    let share = |name: &str| {
        let words = words(name);
        let there = words
            .iter()
            .filter(|word| request.contains(word.as_str()))
            .count();
        (1000 * there / words.len().max(1), there)
    };
    let climate = matches!(tool, "HassHumidifierSetpoint" | "HassClimateSetTemperature");
    let fits = |(kind, name): &&(&str, &str)| {
        if climate {
            *kind == "climate"
        } else {
            share(name).1 > 0
        }
    };
    devices
        .iter()
        .filter(fits)
        .max_by_key(|(_, name)| share(name))
        .copied()
}

/// What stands between the verb and the list.
fn item(request: &str) -> String {
    let words: Vec<&str> = request.split_whitespace().collect();
    let begin = words
        .iter()
        .position(|word| ["add", "insert", "put", "input", "include", "that"].contains(word));
    let end = words
        .iter()
        .rposition(|word| ["to", "onto", "into", "in", "on"].contains(word));
    let (begin, end) = (begin.map_or(0, |at| at + 1), end.unwrap_or(words.len()));
    let text = words.get(begin..end).unwrap_or_default().join(" ");
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

fn words(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    let words = text.split(|c: char| !c.is_alphanumeric() && c != '\'');
    words
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}
