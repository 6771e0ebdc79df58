//! A tiny model does a task of one's own, through an interruption; answers are counted and compared; a file of texts is
//! cleaned.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::models::chatty;
use crate::run::Sandbox;

/// A task of twelve rows: which of three words is it.
fn task(sandbox: &Sandbox) -> String {
    let folder = sandbox.folder();
    let rows = |from: usize| -> String {
        let row = |i: usize| {
            format!(
                "{{\"n\": {i}, \"word\": \"{}\"}}\n",
                ["tea", "milk", "water"][i % 3]
            )
        };
        (from..from + 12).map(row).collect()
    };
    fs::write(folder.join("rows.jsonl"), rows(0)).unwrap();
    fs::write(folder.join("train.jsonl"), rows(6)).unwrap();
    fs::write(folder.join("words.json"), "[\"tea\", \"milk\", \"water\"]").unwrap();
    let path = folder.join("drinks.toml");
    let text = r#"
name = "drinks"
about = "Name a drink"
licence = "CC0-1.0"
source = "made up"
rows = "rows.jsonl"
macros = "{% macro all(words) %}{{ words | join(\"|\") }}{% endmacro %}"
[tables]
words = "words.json"
[prompt]
user = "number {{ n }}"
[answer]
kind = "exact"
wanted = "{{ word }}"
limit = 8
regex = "{{ all(words) }}"
[groups]
milky = "{% if word == 'milk' %}yes{% endif %}"
[train]
rows = "train.jsonl"
skip = "{% if n == 7 %}yes{% endif %}"
key = "{{ n }}"
"#;
    fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

fn path(sandbox: &Sandbox, name: &str) -> (PathBuf, String) {
    let path = sandbox.folder().join(name);
    let text = path.to_string_lossy().into_owned();
    (path, text)
}

#[test]
fn a_task_is_run_goes_on_where_it_stopped_and_is_compared() {
    let sandbox = Sandbox::new();
    let (model, task) = (chatty(&sandbox), task(&sandbox));
    let (first, first_name) = path(&sandbox, "first.jsonl");
    let arguments = ["eval", "run", &model, &task, "-o", &first_name, "--json"];
    let value = sandbox.run(&arguments).json();
    let scores = value["scores"].as_array().unwrap();
    let rows = |group: &str| {
        let score = scores.iter().find(|score| score["group"] == group).unwrap();
        score["rows"].as_u64().unwrap()
    };
    // Of twelve, training has six, one of which it skips.
    assert_eq!((rows("all"), rows("milky"), rows("unseen")), (12, 4, 7));
    let whole = fs::read_to_string(&first).unwrap();
    for line in whole.lines().skip(1) {
        let answer: Value = serde_json::from_str(line).unwrap();
        let said = answer["answer"].as_str().unwrap();
        assert!(["tea", "milk", "water"].contains(&said), "{said}");
        assert_eq!(answer["right"], answer["wanted"] == said);
    }
    // A crash in the middle of a line.
    fs::write(&first, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(sandbox.run(&arguments).code, Some(0));
    assert_eq!(fs::read_to_string(&first).unwrap(), whole);
    for otherwise in [&["--free"][..], &["--kv", "int8"]] {
        let command = [&arguments[..6], otherwise].concat();
        let other = sandbox.run(&command);
        assert_eq!(other.code, Some(1), "{otherwise:?}");
        assert!(other.stderr.contains("-y begins anew"), "{}", other.stderr);
    }
    let (_, second) = path(&sandbox, "second.jsonl");
    let free = sandbox.run(&[
        "eval", "run", &model, &task, "-o", &second, "--free", "--rows", "9",
    ]);
    assert_eq!(free.code, Some(0), "{}", free.stderr);
    let compared = sandbox
        .run(&["eval", "compare", &first_name, &second, "--json"])
        .json();
    assert_eq!(
        (&compared[0]["group"], &compared[0]["rows"]),
        (&"all".into(), &9.into())
    );
}

#[test]
fn training_rows_become_conversations_in_the_words_of_the_test() {
    let sandbox = Sandbox::new();
    let task = task(&sandbox);
    let (examples, name) = path(&sandbox, "examples.jsonl");
    let value = sandbox
        .run(&["eval", "examples", &task, "-o", &name, "--json"])
        .json();
    assert_eq!(value["examples"], 11);
    let text = fs::read_to_string(examples).unwrap();
    let first: Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    let wanted = serde_json::json!({"messages": [
        {"role": "user", "content": "number 6"},
        {"role": "assistant", "content": "tea"},
    ]});
    assert_eq!(first, wanted);
}

#[test]
fn tasks_that_come_along_are_listed_and_mistakes_are_named() {
    let sandbox = Sandbox::new();
    let listed = sandbox
        .run(&["eval", "list", "--materials", "nowhere", "--json"])
        .json();
    let names: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["home", "snips"]);
    assert_eq!(listed[0]["found"], false);
    let model = chatty(&sandbox);
    let unknown = sandbox.run(&["eval", "run", &model, "homes"]);
    assert!(unknown.stderr.contains("home, snips"), "{}", unknown.stderr);
    let missing = sandbox.run(&["eval", "run", &model, "home", "--materials", "nowhere"]);
    assert!(
        missing.stderr.contains("INKSTONE_MATERIALS"),
        "{}",
        missing.stderr
    );
}

#[test]
fn a_file_is_cleaned_and_what_was_dropped_is_told() {
    let sandbox = Sandbox::new();
    let (from, from_name) = path(&sandbox, "from.txt");
    let (to, to_name) = path(&sandbox, "to.txt");
    let (dropped, dropped_name) = path(&sandbox, "dropped.jsonl");
    fs::write(
        &from,
        "A cup of tea stood there.\n\nNo.\n\nA cup of tea stood there.\n",
    )
    .unwrap();
    let arguments = [
        "data",
        "clean",
        &from_name,
        "-o",
        &to_name,
        "--dropped",
        &dropped_name,
        "--json",
    ];
    let counts = sandbox.run(&arguments).json();
    assert_eq!(
        (&counts["records"], &counts["kept"]),
        (&3.into(), &1.into())
    );
    assert_eq!(counts["dropped"]["words"], 1);
    assert_eq!(
        fs::read_to_string(&to).unwrap(),
        "A cup of tea stood there.\n\n"
    );
    assert_eq!(fs::read_to_string(dropped).unwrap().lines().count(), 2);
    let rules = sandbox.run(&["data", "clean", "--rules", "--json"]).json();
    assert_eq!(rules[0]["rule"], "words");
    let again = sandbox.run(&arguments);
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("-y"), "{}", again.stderr);
    let model = chatty(&sandbox);
    let judged = [
        "data",
        "clean",
        &from_name,
        "-o",
        &to_name,
        "-m",
        &model,
        "--perplexity",
        "1",
        "-y",
        "--json",
    ];
    let counts = sandbox.run(&judged).json();
    assert_eq!(counts["dropped"]["perplexity"], 1);
}

#[test]
fn a_model_makes_examples_up_and_goes_on_where_it_stopped() {
    let sandbox = Sandbox::new();
    let model = chatty(&sandbox);
    let (recipe, recipe_name) = path(&sandbox, "recipe.toml");
    let text = "prompts = ['a {what}?', 'the {what}']
begin = ['one']
tokens = 40
[words]
what = ['hen', 'cow']
[sampling]
temperature = 50.0";
    fs::write(&recipe, text).unwrap();
    let make = |records: &str, sequences: &str, to: &str| {
        sandbox.run(&[
            "data",
            "generate",
            &recipe_name,
            "-m",
            &model,
            "-n",
            records,
            "--sequences",
            sequences,
            "-c",
            "64",
            "-o",
            to,
            "--json",
        ])
    };
    let (whole, whole_name) = path(&sandbox, "whole.jsonl");
    let counts = make("100", "7", &whole_name).json();
    let made = fs::read_to_string(&whole).unwrap();
    assert_eq!(counts["written"], made.lines().count());
    assert!(counts["written"].as_u64().unwrap() > 1, "{counts}");
    assert!(counts["left_out"].as_u64().unwrap() > 1, "{counts}");
    for line in made.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        let said = record["messages"][1]["content"].as_str().unwrap();
        assert!(said.starts_with("one"), "{line}");
    }
    let (parts, parts_name) = path(&sandbox, "parts.jsonl");
    make("50", "1", &parts_name).json();
    let mut cut = fs::read_to_string(&parts).unwrap();
    assert!(made.starts_with(&cut) && cut.len() < made.len());
    cut.push_str("{\"index\": 77, \"mess");
    fs::write(&parts, cut).unwrap();
    make("100", "3", &parts_name).json();
    assert_eq!(fs::read_to_string(&parts).unwrap(), made);
    let (letter, letter_name) = path(&sandbox, "letter.json");
    for text in [
        "a line without an end",
        "{\"index\": 0, \"x\": 1}\nand more",
    ] {
        fs::write(&letter, text).unwrap();
        let other = make("9", "3", &letter_name);
        assert!(other.error().contains("-y"), "{}", other.stderr);
        assert_eq!(fs::read_to_string(&letter).unwrap(), text);
    }
    fs::write(&recipe, text.replace("one", "two")).unwrap();
    let other = make("120", "3", &parts_name);
    assert!(other.error().contains("this recipe"), "{}", other.stderr);
    assert_eq!(fs::read_to_string(&parts).unwrap(), made);
}
