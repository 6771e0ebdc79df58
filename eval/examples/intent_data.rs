//! The rows of the task `intent`: a request, and the one call it means, its arguments in the words of the request. Made of
//! home-assistant (MIT) and of the English sentences of hass-intents (CC BY 4.0).
//!
//! `cargo run --release -p inkstone-eval --example intent_data [eval/data/intent]`
#![allow(clippy::print_stdout, reason = "an example reports on stdout")]

use core::fmt::Write as _;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

/// One row in ten is for the test.
const SHARE: u8 = 10;

fn main() -> Result<()> {
    let materials = env::var_os("INKSTONE_MATERIALS");
    let materials = materials.map_or_else(|| PathBuf::from("../shared/materials"), PathBuf::from);
    let to = env::args_os()
        .nth(1)
        .unwrap_or_else(|| "eval/data/intent".into());
    let mut rows = BTreeMap::new();
    for file in [
        "home-assistant/train.jsonl",
        "home-assistant/test.jsonl",
        "hass-intents/en.jsonl",
    ] {
        let read = if file.starts_with("hass") {
            sentence
        } else {
            request
        };
        for row in records(&materials.join("finetune").join(file))? {
            if let Some((text, call)) = read(&row) {
                rows.entry(text).or_insert((call, file));
            }
        }
    }
    let (mut train, mut test) = (String::new(), String::new());
    for (text, (call, file)) in &rows {
        let place = blake3::hash(text.as_bytes()).as_bytes()[0] % SHARE;
        let split = if place == 0 { &mut test } else { &mut train };
        let source = file.split('/').next();
        writeln!(
            split,
            "{}",
            json!({"text": text, "call": call, "source": source})
        )?;
    }
    fs::create_dir_all(&to)?;
    for (name, text) in [("train.jsonl", &train), ("test.jsonl", &test)] {
        fs::write(Path::new(&to).join(name), text)?;
        println!(
            "{name}: {} rows, {} bytes",
            text.lines().count(),
            text.len()
        );
    }
    Ok(())
}

fn records(path: &Path) -> Result<Vec<Map<String, Value>>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect()
}

/// Of hass-intents.
fn sentence(row: &Map<String, Value>) -> Option<(String, Value)> {
    let text = plain(row["text"].as_str()?);
    let slots = row["slots"].as_object()?.iter();
    let arguments: Map<String, Value> = slots
        .map(|(name, value)| (name.clone(), lower(value)))
        .collect();
    Some((text, json!({"name": row["intent"], "arguments": arguments})))
}

/// Of home-assistant: one call whose device the request names as it is called, or a question about such a device.
fn request(row: &Map<String, Value>) -> Option<(String, Value)> {
    let text = plain(row["user"].as_str()?);
    let calls = row["calls"].as_array()?;
    let call = match calls.as_slice() {
        [] => {
            let names = row["devices"]
                .as_array()?
                .iter()
                .filter_map(|d| called(d.as_str()?));
            let named = names
                .map(|name| plain(&name))
                .filter(|name| text.contains(name.as_str()));
            let name = named.max_by_key(String::len)?;
            json!({"name": "HassGetState", "arguments": {"name": name}})
        }
        [call] => {
            let arguments = call["arguments"].as_object()?;
            let arguments: Map<String, Value> = arguments
                .iter()
                .map(|(name, value)| (name.clone(), lower(value)))
                .collect();
            let said = |value: &Value| match value {
                Value::String(words) => text.contains(words.as_str()),
                value => text.contains(&value.to_string()),
            };
            if !arguments.values().all(said) {
                return None;
            }
            json!({"name": call["name"], "arguments": arguments})
        }
        _ => return None,
    };
    Some((text, call))
}

/// The name in `light.hall 'Hall Light' = on`.
fn called(device: &str) -> Option<String> {
    let (named, _) = device.split_once("' = ")?;
    Some(named.split_once(" '")?.1.to_owned())
}

fn lower(value: &Value) -> Value {
    value
        .as_str()
        .map_or_else(|| value.clone(), |text| plain(text).into())
}

/// Small letters, no signs at the end, single spaces.
fn plain(text: &str) -> String {
    let text = text.to_lowercase();
    let words: Vec<&str> = text.split_whitespace().collect();
    words
        .join(" ")
        .trim_end_matches(['.', '?', '!', '"'])
        .to_owned()
}
