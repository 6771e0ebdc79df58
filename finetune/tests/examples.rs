//! Files of examples in every shape, and what says the same.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

use inkstone_finetune::data::{Example, SHAPES, example, read};
use inkstone_finetune::duplicates::{between, within};
use inkstone_finetune::pack::first_fit;
use inkstone_finetune::random::Random;
use serde_json::{Value, json};

fn messages(record: Value) -> Vec<(String, String)> {
    let Example::Chat { messages, .. } = example(&record).unwrap() else {
        panic!("no conversation: {record}");
    };
    let said = |m: &Value| {
        let field = |name: &str| m[name].as_str().unwrap_or_default().to_owned();
        (field("role"), field("content"))
    };
    messages.iter().map(said).collect()
}

fn asked(question: &str, answer: &str) -> Vec<(String, String)> {
    let said = |role: &str, text: &str| (role.to_owned(), text.to_owned());
    vec![said("user", question), said("assistant", answer)]
}

#[test]
fn every_shape_is_read() {
    let records = [
        json!({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
        json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}),
        json!({"conversation": [{"system": "", "input": "q", "output": "a"}]}),
        json!({"instruction": "q", "input": "", "output": "a"}),
        json!({"prompt": "q", "completion": "a"}),
        json!({"prompt": "q", "response": "a"}),
        json!({"question": "q", "answer": "a"}),
        json!({"input": "q", "output": "a"}),
    ];
    for record in &records {
        assert_eq!(messages(record.clone()), asked("q", "a"), "{record}");
    }
    let texts = [json!({"text": "t"}), json!({"content": "t"})];
    for record in &texts {
        assert_eq!(example(record).unwrap(), Example::Text("t".to_owned()));
    }
    assert_eq!(
        records.len() + texts.len(),
        SHAPES.len(),
        "a shape is not tried"
    );
    let unlearnt =
        json!({"conversation": [{"input": "q", "output": "a", "output_with_loss": false}]});
    let Example::Chat {
        messages: turns, ..
    } = example(&unlearnt).unwrap()
    else {
        panic!("no conversation");
    };
    assert_eq!(turns[1]["loss"], false);
    let alpaca = json!({"instruction": "add", "input": "1 2", "output": "3"});
    assert_eq!(messages(alpaca), asked("add\n\n1 2", "3"));
}

#[test]
fn tools_and_their_turns_stay() {
    let call = json!({"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": {}}}]});
    let record = json!({
        "messages": [{"role": "user", "content": "q"}, call, {"role": "tool", "content": "r"}],
        "tools": [{"type": "function", "function": {"name": "f"}}],
    });
    let Example::Chat { messages, tools } = example(&record).unwrap() else {
        panic!("no conversation");
    };
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[1], call);
    assert_eq!(tools, Some(record["tools"].clone()));
}

#[test]
fn files_are_read_and_what_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let csv = "prompt,completion\n\"a, \"\"b\"\"\",c\n";
    let Example::Chat { messages, .. } = &read(&file("a.csv", csv)).unwrap()[0] else {
        panic!("no conversation");
    };
    assert_eq!(messages[0]["content"], "a, \"b\"");
    assert_eq!(
        read(&file("a.json", "[{\"text\": \"x\"}]")).unwrap().len(),
        1
    );
    assert_eq!(
        read(&file("a.jsonl", "{\"text\": \"x\"}\n\n{\"text\": \"y\"}\n"))
            .unwrap()
            .len(),
        2
    );
    assert_eq!(
        read(&file("a.txt", "x")).unwrap(),
        [Example::Text("x".to_owned())]
    );
    let wrong = [
        ("b.jsonl", "{\"text\": \"x\"}\n{\"txt\": \"y\"}\n", "line 2"),
        ("b.csv", "prompt,answer\nx,y\n", "fields are"),
        (
            "c.jsonl",
            "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}",
            "nothing to learn",
        ),
        ("b.json", "{}", "wanted an array"),
        ("d.json", "[]", "no examples"),
    ];
    for (name, text, told) in wrong {
        let error = format!("{:#}", read(&file(name, text)).unwrap_err());
        assert!(
            error.contains(told) && error.contains(name),
            "{name}: {error}"
        );
    }
}

#[test]
fn planted_duplicates_are_found_and_nothing_else() {
    let mut random = Random::new(1, "words");
    let mut text = || -> Vec<String> {
        (0..60)
            .map(|_| format!("w{}", random.below(4000)))
            .collect()
    };
    let originals: Vec<Vec<String>> = (0..400).map(|_| text()).collect();
    let mut texts: Vec<String> = originals.iter().map(|words| words.join(" ")).collect();
    // Exact but for case and marks; near: two words of sixty changed; far: every fourth word changed.
    for words in &originals[..50] {
        texts.push(words.join(", ").to_uppercase());
    }
    for words in &originals[50..100] {
        let mut words = words.clone();
        words[0] = "other".to_owned();
        words[59] = "words".to_owned();
        texts.push(words.join(" "));
    }
    for words in &originals[100..150] {
        let changed = words
            .iter()
            .enumerate()
            .map(|(i, w)| if i % 4 == 0 { "x" } else { w });
        texts.push(changed.collect::<Vec<_>>().join(" "));
    }
    let found = within(&texts, 0.8);
    let expected: Vec<(usize, usize)> = (0..100).map(|i| (i, 400 + i)).collect();
    let pairs: Vec<(usize, usize)> = found.iter().map(|near| (near.first, near.second)).collect();
    assert_eq!(pairs, expected, "precision and recall are 1");
    assert_eq!(found.iter().filter(|near| near.exact).count(), 50);
    let leaks = between(&texts[400..], &texts[..400], 0.8);
    assert_eq!(leaks.len(), 100);
}

#[test]
fn packs_hold_every_sample_once_and_no_more_than_fits() {
    let mut random = Random::new(2, "lengths");
    let lengths: Vec<usize> = (0..1000).map(|_| 1 + random.below(100)).collect();
    let packs = first_fit(&lengths, 128);
    let mut seen: Vec<usize> = packs.iter().flatten().copied().collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..1000));
    let used: Vec<usize> = packs
        .iter()
        .map(|p| p.iter().map(|i| lengths[*i]).sum())
        .collect();
    assert!(used.iter().all(|used| *used <= 128));
    let full = lengths.iter().sum::<usize>() as f64 / (128 * packs.len()) as f64;
    assert!(full > 0.9, "{full}");
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_is_read_as_other_tables_are() {
    // Two columns of text, two rows, Snappy: written by pyarrow.
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples.parquet");
    let examples = read(&path).unwrap();
    let wanted = [
        json!({"prompt": "q", "completion": "a"}),
        json!({"prompt": "茶", "completion": "tea"}),
    ];
    let wanted: Vec<Example> = wanted
        .iter()
        .map(|record| example(record).unwrap())
        .collect();
    assert_eq!(examples, wanted);
    let broken = tempfile::Builder::new()
        .suffix(".parquet")
        .tempfile()
        .unwrap();
    std::fs::write(broken.path(), b"PAR1 no PAR1").unwrap();
    assert!(read(broken.path()).is_err());
}
