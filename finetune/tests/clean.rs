//! Cleaning finds what was planted, drops nothing else, and leaves records as they stood.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

use std::fs;
use std::path::PathBuf;

use inkstone_finetune::clean::{Counts, Settings, Sinks, clean};
use inkstone_finetune::random::Random;
use serde_json::{Value, json};

/// Forty words of a made-up language.
fn text(random: &mut Random) -> Vec<String> {
    let syllables = [
        "ka", "lo", "mi", "re", "tu", "shan", "vi", "pon", "dar", "esk",
    ];
    let word = |random: &mut Random| -> String {
        (0..1 + random.below(3))
            .map(|_| syllables[random.below(syllables.len())])
            .collect()
    };
    (0..40).map(|_| word(random)).collect()
}

fn lines(texts: &[String]) -> String {
    texts
        .iter()
        .map(|text| format!("{}\n", json!({"text": text})))
        .collect()
}

/// Counts, what was kept and what was dropped why.
fn cleaned(files: &[PathBuf], settings: &Settings) -> (Counts, String, Vec<Value>) {
    let (mut kept, mut dropped) = (Vec::new(), Vec::new());
    let sinks = Sinks {
        kept: &mut kept,
        dropped: Some(&mut dropped),
        last: None,
    };
    let counts = clean(files, settings, sinks, &mut |_| true).unwrap();
    let dropped = String::from_utf8(dropped).unwrap();
    let dropped = dropped
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    (counts, String::from_utf8(kept).unwrap(), dropped.collect())
}

#[test]
fn planted_duplicates_and_leaks_are_found_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(1, "texts");
    let originals: Vec<Vec<String>> = (0..3000).map(|_| text(&mut random)).collect();
    let changed = |words: &[String], every: usize| {
        let words = words.iter().enumerate();
        let changed = words.map(|(i, word)| {
            if i % every == every - 1 {
                "other"
            } else {
                word
            }
        });
        changed.collect::<Vec<_>>().join(" ")
    };
    let mut texts: Vec<String> = originals.iter().map(|words| words.join(" ")).collect();
    // The same words in other dress, one word of forty changed (0.76 of the shingles or more), half of them changed.
    let exact = 100..400;
    let near = 500..800;
    let far = 900..1200;
    texts.extend(
        originals[exact]
            .iter()
            .map(|words| words.join(", ").to_uppercase()),
    );
    texts.extend(originals[near].iter().map(|words| changed(words, 40)));
    texts.extend(originals[far].iter().map(|words| changed(words, 6)));
    let leaks: Vec<String> = originals[2000..2050]
        .iter()
        .map(|words| words.join(" "))
        .collect();
    let (file, test) = (
        folder.path().join("a.jsonl"),
        folder.path().join("test.jsonl"),
    );
    fs::write(&file, lines(&texts)).unwrap();
    fs::write(&test, lines(&leaks)).unwrap();
    let settings = Settings {
        near: 0.7,
        test: vec![test],
        ..Settings::default()
    };
    let (counts, kept, dropped) = cleaned(&[file], &settings);
    let of = |reason: &str| counts.dropped.get(reason).copied().unwrap_or(0);
    assert_eq!(of("exact_duplicate"), 300);
    assert_eq!(of("near_duplicate"), 300);
    assert_eq!(of("in_test_set"), 50);
    assert_eq!(counts.records, 3900);
    assert_eq!(counts.kept, 3250, "{:?}", counts.dropped);
    assert_eq!(counts.kept, kept.lines().count());
    assert_eq!(dropped.len(), 650);
    let first: Vec<&str> = kept.lines().take(100).collect();
    assert_eq!(first.join("\n") + "\n", lines(&texts[..100]));
}

#[test]
fn records_of_every_kind_of_file_stay_as_they_stood() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let settings = Settings::default();
    let table = "prompt,completion\n\"Where is, say, tea?\",\"In the pot, I think\"\nxx,y\n\"Where is, say, tea?\",\"In the pot, I think\"\n";
    let (counts, kept, _) = cleaned(&[write("a.csv", table)], &settings);
    assert_eq!(
        kept,
        "prompt,completion\n\"Where is, say, tea?\",\"In the pot, I think\"\n"
    );
    assert_eq!(
        (counts.dropped["words"], counts.dropped["exact_duplicate"]),
        (1, 1)
    );
    let text = "A first paragraph\nof two lines.\n\n\nA second one of one line.\n\nA first paragraph of two lines.";
    let (counts, kept, _) = cleaned(&[write("a.txt", text)], &settings);
    assert_eq!(
        kept,
        "A first paragraph\nof two lines.\n\nA second one of one line.\n\n"
    );
    assert_eq!(counts.dropped["exact_duplicate"], 1);
    let (a, b) = (write("b.txt", text), write("c.txt", text));
    assert_eq!(cleaned(&[a, b], &settings).0.kept, 2);
    let marked = "\u{feff}{\"text\": \"words behind the mark of a file\"}\n";
    assert_eq!(cleaned(&[write("d.jsonl", marked)], &settings).0.kept, 1);
    let other = table.replacen("prompt,completion", "completion,prompt", 1);
    let files = [write("a.csv", table), write("e.csv", &other)];
    let mut kept = Vec::new();
    let sinks = Sinks {
        kept: &mut kept,
        dropped: None,
        last: None,
    };
    let mixed = clean(&files, &settings, sinks, &mut |_| true);
    assert!(format!("{:#}", mixed.unwrap_err()).contains("other columns"));
}

#[test]
fn what_costs_most_comes_last_and_rules_can_be_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    fs::write(
        &path,
        "One two.\n\nA text of some words.\n\nA text of other words.\n",
    )
    .unwrap();
    let mut settings = Settings::default();
    settings.set("words=off").unwrap();
    assert!(
        settings.set("words").is_err()
            && settings.set("worlds=1").is_err()
            && settings.set("words=x").is_err()
    );
    let mut heard = 0;
    let mut kept = Vec::new();
    let mut last = |text: &str| {
        heard += 1;
        Ok(text.contains("other").then_some("other"))
    };
    let sinks = Sinks {
        kept: &mut kept,
        dropped: None,
        last: Some(&mut last),
    };
    let counts = clean(&[path], &settings, sinks, &mut |_| true).unwrap();
    assert_eq!((counts.kept, counts.dropped["other"], heard), (2, 1, 3));
}
