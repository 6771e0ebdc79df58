//! A model learns: from a file of examples to an adapter that answers, through kills, on a tiny model.

use core::time::Duration;
use std::fs;

use serde_json::Value;

use crate::models::chatty;
use crate::run::{Ended, Sandbox};

/// A recipe for a tiny model that chats, and its path.
fn recipe(sandbox: &Sandbox, output: &str, more: &[(&str, &str)]) -> String {
    let folder = sandbox.folder();
    let examples = folder.join("examples.csv");
    let rows: Vec<String> = (0..60)
        .map(|i| format!("\"say {} {i}, please\",\"it is {}\"", i % 7, (i * 5) % 11))
        .collect();
    fs::write(
        &examples,
        format!("prompt,completion\n{}\n", rows.join("\n")),
    )
    .unwrap();
    let to = folder.join(format!("{output}.toml"));
    let (model, examples) = (chatty(sandbox), examples.to_string_lossy().into_owned());
    let to = to.to_string_lossy().into_owned();
    succeeds(
        sandbox,
        &["finetune", "init", &model, "--data", &examples, "-o", &to],
    );
    let text = fs::read_to_string(&to).unwrap();
    // Packs are longer, and fewer, on machines of more processors.
    let line = |line: &str| match line.split(" = ").next() {
        Some("length") => "length = 64".to_owned(),
        Some("batch") => "batch = 4".to_owned(),
        _ => line.to_owned(),
    };
    let mut text = text.lines().map(line).collect::<Vec<_>>().join("\n");
    let output = folder.join(output).to_string_lossy().into_owned();
    let settings = [
        ("output = \"finetuned\"", format!("output = \"{output}\"")),
        ("save_every = 50", "save_every = 2".to_owned()),
    ];
    let more = more.iter().map(|(from, to)| (*from, (*to).to_owned()));
    for (from, to) in settings.into_iter().chain(more) {
        assert!(text.contains(from), "{from} is a default of the recipe");
        text = text.replace(from, &to);
    }
    fs::write(&to, text).unwrap();
    to
}

fn succeeds(sandbox: &Sandbox, arguments: &[&str]) -> Ended {
    let ended = sandbox.run(arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.stderr);
    ended
}

/// What a run's log says of each step, times aside.
fn log(sandbox: &Sandbox, output: &str) -> Vec<Value> {
    let text = fs::read_to_string(sandbox.folder().join(output).join("log.jsonl")).unwrap();
    let events = text.lines().map(|line| {
        let mut event: Value = serde_json::from_str(line).unwrap();
        // What no two runs have alike.
        for measured in ["seconds", "memory"] {
            assert!(event.as_object_mut().unwrap().remove(measured).is_some());
        }
        event
    });
    events.collect()
}

#[test]
fn examples_become_an_adapter_that_can_be_attached_detached_and_merged() {
    let sandbox = Sandbox::new();
    let recipe = recipe(
        &sandbox,
        "taught",
        &[("prompts = []", "prompts = [\"say 3\"]")],
    );
    let plan = succeeds(&sandbox, &["finetune", "plan", &recipe, "--json"]);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(plan["counts"]["samples"], 60);
    let run = succeeds(&sandbox, &["finetune", "run", &recipe, "--json"]);
    let run: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(run["steps"], plan["steps"]);
    let events = log(&sandbox, "taught");
    let loss = |event: &Value| event["loss"].as_f64().unwrap();
    for event in &events {
        assert_eq!(event["held_out"].is_null(), event["answers"].is_null());
    }
    assert!(events.last().unwrap()["answers"][0].is_string());
    assert!(
        loss(events.last().unwrap()) < loss(&events[0]),
        "nothing was learnt"
    );
    let output = sandbox.folder().join("taught");
    assert!(
        fs::read_to_string(output.join("loss.svg"))
            .unwrap()
            .contains("held out")
    );

    let base = sandbox
        .folder()
        .join("chatty")
        .to_string_lossy()
        .into_owned();
    let path = |name: &str| sandbox.folder().join(name).to_string_lossy().into_owned();
    let (adapter, model) = (path("taught/adapter"), path("taught/model.ink"));
    let (attached, detached, merged) = (path("a.ink"), path("d.ink"), path("m.ink"));
    succeeds(
        &sandbox,
        &["adapter", "attach", &base, &adapter, "-o", &attached],
    );
    succeeds(&sandbox, &["adapter", "detach", &attached, "-o", &detached]);
    succeeds(
        &sandbox,
        &["merge", &base, &adapter, "-o", &merged, "--weights", "F32"],
    );
    let hash =
        |model: &str| succeeds(&sandbox, &["logits", model, "--text", "say 3", "--hash"]).stdout;
    assert_eq!(hash(&attached), hash(&model));
    assert_eq!(hash(&detached), hash(&base));
    assert_ne!(hash(&attached), hash(&base));
    let again = sandbox.run(&[
        "adapter",
        "attach",
        &attached,
        &adapter,
        "-o",
        &path("b.ink"),
    ]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("detach it first"), "{}", again.stderr);
    let again = sandbox.run(&["merge", &attached, &adapter, "-o", &path("b.ink")]);
    assert_eq!(again.code, Some(1));
    assert!(again.stderr.contains("detach it first"), "{}", again.stderr);
    succeeds(&sandbox, &["run", &merged, "say 3", "-n", "4"]);
    adapters_at_once(&sandbox, &base, &adapter, &attached);
}

/// The same adapter, attached while the model runs.
fn adapters_at_once(sandbox: &Sandbox, base: &str, adapter: &str, attached: &str) {
    let file = sandbox.folder().join("adapter.ink");
    let file = file.to_string_lossy();
    let import = ["adapter", "import", adapter, "--base", base, "-o", &file];
    succeeds(sandbox, &import);
    let hash = |model: &str, adapters: &[&str]| {
        let mut line = vec!["logits", model, "--text", "say 3", "--hash"];
        for adapter in adapters {
            line.extend(["--adapter", adapter]);
        }
        succeeds(sandbox, &line).stdout
    };
    let expected = hash(attached, &[]);
    assert_eq!(hash(base, &[adapter]), expected);
    assert_eq!(hash(base, &[&file]), expected);
    assert_eq!(hash(base, &[&format!("{file}=0")]), hash(base, &[]));
    let halves = format!("{file}=0.5");
    assert_ne!(hash(base, &[&halves]), expected);
    // A second half beside the first is a sum of other roundings, which says the same.
    assert_ne!(hash(base, &[&halves, &halves]), hash(base, &[&halves]));
    for (wrong, why) in [
        ("nowhere", "there is no such file"),
        ("nowhere=x", "no number"),
        (base, "adapter_config.json"),
    ] {
        let run = sandbox.run(&["run", base, "say 3", "--adapter", wrong]);
        assert_ne!(run.code, Some(0));
        assert!(run.stderr.contains(why), "{}", run.stderr);
    }
    let vectors = [
        "embed",
        base,
        "say 3",
        "say 4",
        "--adapter",
        &file,
        "--json",
    ];
    let value = succeeds(sandbox, &vectors).json();
    let vectors = value["embeddings"].as_array().unwrap();
    let length = |vector: &serde_json::Value| -> f64 {
        let numbers = vector["embedding"].as_array().unwrap().iter();
        numbers.map(|x| x.as_f64().unwrap().powi(2)).sum()
    };
    assert_eq!(vectors.len(), 2);
    assert!(vectors.iter().all(|v| (length(v) - 1.0).abs() < 1e-5));
    assert_ne!(vectors[0]["embedding"], vectors[1]["embedding"]);
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_with_the_same_bits() {
    let sandbox = Sandbox::new();
    let long = [("epochs = 3.0", "epochs = 20.0")];
    let whole = recipe(&sandbox, "whole", &long);
    succeeds(&sandbox, &["finetune", "run", &whole, "-t", "1"]);
    let killed = recipe(&sandbox, "killed", &long);
    let checkpoint = sandbox.folder().join("killed/checkpoint.safetensors");
    let mut kills = 0;
    let mut random = 7_u64;
    for attempt in 0.. {
        assert!(attempt < 200, "it does not end");
        let step = if checkpoint.exists() { "resume" } else { "run" };
        let arguments = ["finetune", step, &killed, "-t", "2", "-q"];
        let mut child = sandbox.command(&arguments).spawn().unwrap();
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        // Until ten kills are done; then it may end.
        if kills < 10 {
            std::thread::sleep(Duration::from_millis(40 + (random >> 33) % 160));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                kills += 1;
            }
        }
        if child.wait().unwrap().success() {
            break;
        }
    }
    assert!(kills >= 3, "it was too fast to be killed: {kills}");
    assert_eq!(log(&sandbox, "killed"), log(&sandbox, "whole"));
    let adapter = |output: &str| {
        let folder = sandbox.folder().join(output);
        fs::read(folder.join("adapter/adapter_model.safetensors")).unwrap()
    };
    assert!(adapter("killed") == adapter("whole"));
}

#[test]
fn a_model_that_begins_with_random_weights_learns_texts_and_runs() {
    let sandbox = Sandbox::new();
    let path = |name: &str| sandbox.folder().join(name).to_string_lossy().into_owned();
    let (scratch, recipe) = (path("scratch"), path("scratch.toml"));
    let init = |data: &str| {
        let arguments = [
            "finetune", "init", &scratch, "--new", "280k", "--data", data, "-o", &recipe, "-y",
        ];
        sandbox.run(&arguments)
    };
    fs::write(path("few.txt"), "Once upon a time.").unwrap();
    let few = init(&path("few.txt"));
    assert_eq!(few.code, Some(1));
    assert!(few.stderr.contains("give more text"), "{}", few.stderr);
    let readme = inkstone_tests::needs::workspace().join("README.md");
    assert_eq!(init(&readme.to_string_lossy()).code, Some(0));
    let text = fs::read_to_string(&recipe).unwrap();
    let output = format!("output = \"{}\"", path("learnt"));
    let text = text
        .replace("output = \"finetuned\"", &output)
        .replace("epochs = 10.0", "epochs = 40.0");
    fs::write(&recipe, text).unwrap();
    succeeds(&sandbox, &["finetune", "run", &recipe]);
    let events = log(&sandbox, "learnt");
    let losses: Vec<f64> = events
        .iter()
        .filter_map(|event| event["loss"].as_f64())
        .collect();
    let (first, last) = (losses[0], losses[losses.len() - 1]);
    // Of 512 tokens, all equally likely.
    assert!((first - 512_f64.ln()).abs() < 0.2, "{first}");
    assert!(last < 0.8 * first, "{first} to {last}");
    let model = path("learnt/model.ink");
    let inspected = succeeds(&sandbox, &["inspect", &model, "--json"]);
    let inspected: Value = serde_json::from_str(&inspected.stdout).unwrap();
    assert!(inspected["formats"]["q8"]["tensors"].as_u64().unwrap() > 0);
    assert_eq!(inspected["chat_template"], false, "of texts alone");
    succeeds(&sandbox, &["run", &model, "Inkstone", "-n", "8"]);
}

#[test]
fn what_a_run_cannot_take_is_told_in_a_line() {
    let sandbox = Sandbox::new();
    let recipe = recipe(&sandbox, "told", &[]);
    let text = fs::read_to_string(&recipe).unwrap();
    let cases = [
        ("rank = 16", "rank = 0", "method.rank is 0"),
        ("rank = 16", "rnk = 16", "unknown field `rnk`"),
        ("rate = 0.0005", "rate = \"fast\"", "invalid type"),
        ("clip = 1.0", "clip = 0.0", "optimizer.clip is 0"),
        (
            "examples.csv",
            "absent.csv",
            "absent.csv: no such file; check the path",
        ),
    ];
    for (from, to, told) in cases {
        fs::write(&recipe, text.replace(from, to)).unwrap();
        let ended = sandbox.run(&["finetune", "run", &recipe, "-q"]);
        assert_ne!(ended.code, Some(0), "{to}");
        assert!(ended.stderr.contains(told), "{to}: {}", ended.stderr);
        assert_eq!(
            ended.stderr.trim_end().lines().count(),
            1,
            "{}",
            ended.stderr
        );
    }
    fs::write(&recipe, &text).unwrap();
    succeeds(&sandbox, &["finetune", "run", &recipe]);
    let again = sandbox.run(&["finetune", "run", &recipe]);
    assert_eq!(again.code, Some(2));
    assert!(again.stderr.contains("resume"), "{}", again.stderr);
    let examples = sandbox.folder().join("examples.csv");
    let others = fs::read_to_string(&examples).unwrap();
    fs::write(&examples, others.replace("please", "now")).unwrap();
    let resumed = sandbox.run(&["finetune", "resume", &recipe, "-q"]);
    assert_eq!(resumed.code, Some(1));
    assert!(
        resumed.stderr.contains("other examples"),
        "{}",
        resumed.stderr
    );
}

#[test]
fn data_is_shown_with_what_is_learnt_and_checked_for_leaks() {
    let sandbox = Sandbox::new();
    let model = chatty(&sandbox);
    let path = |name: &str| sandbox.folder().join(name).to_string_lossy().into_owned();
    let row = |question: &str, answer: &str| {
        format!(
            "{}\n",
            serde_json::json!({"prompt": question, "completion": answer})
        )
    };
    let words = "one two three four five six seven eight nine ten";
    let train = [
        row(words, "eleven"),
        row(&words.to_uppercase(), "Eleven!"),
        row("what is it", "a tree"),
        row("where is it", "far away"),
    ];
    fs::write(path("train.jsonl"), train.concat()).unwrap();
    fs::write(path("test.jsonl"), row("Where is it?", "far, away")).unwrap();
    fs::write(
        path("clean.jsonl"),
        row("who is it", "nobody that you know"),
    )
    .unwrap();
    let show = succeeds(
        &sandbox,
        &[
            "data",
            "show",
            &path("train.jsonl"),
            "-m",
            &model,
            "--from",
            "3",
        ],
    );
    assert!(
        show.stdout.contains("«[assistant] a tree"),
        "{}",
        show.stdout
    );
    let check = |test: &str| {
        let test = path(test);
        sandbox.run(&[
            "data",
            "check",
            &path("train.jsonl"),
            "-m",
            &model,
            "--test",
            &test,
            "--json",
        ])
    };
    let leaky = check("test.jsonl");
    assert_eq!(leaky.code, Some(1));
    let found: Value = serde_json::from_str(&leaky.stdout).unwrap();
    assert_eq!(found["exact_duplicates"], 1);
    assert_eq!(found["leaks"][0]["second"], 3);
    assert_eq!(check("clean.jsonl").code, Some(0));
}
