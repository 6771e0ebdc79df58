//! The commands that compute, on a tiny model of the repository.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use crate::run::{Ended, Sandbox, ended};

/// A Hugging Face folder with 64-bit-small weights and a real tokenizer.
fn checkpoint(name: &str) -> PathBuf {
    inkstone_tests::needs::workspace()
        .join("tests/golden/archs")
        .join(name)
}

/// The same, converted.
fn converted(sandbox: &Sandbox) -> String {
    let to = sandbox
        .folder()
        .join("tiny.ink")
        .to_string_lossy()
        .into_owned();
    let from = checkpoint("llama").to_string_lossy().into_owned();
    let ended = sandbox.run(&["convert", &from, "-o", &to, "-q"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    to
}

/// A checkpoint with a chat template, which the tiny models lack.
pub(crate) fn chatty(sandbox: &Sandbox) -> String {
    let folder = sandbox.folder().join("chatty");
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(checkpoint("llama")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}";
    fs::write(folder.join("chat_template.jinja"), template).unwrap();
    folder.to_string_lossy().into_owned()
}

fn with_input(sandbox: &Sandbox, arguments: &[&str], input: &str) -> Ended {
    let mut command = sandbox.command(arguments);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    ended(child.wait_with_output().unwrap())
}

#[test]
fn a_conversion_is_reported_and_proved() {
    let sandbox = Sandbox::new();
    let from = checkpoint("qwen3").to_string_lossy().into_owned();
    let to = sandbox
        .folder()
        .join("x.ink")
        .to_string_lossy()
        .into_owned();
    let report = sandbox.run(&["convert", &from, "-o", &to, "--json"]).json();
    assert_eq!(report["bytes"], fs::metadata(&to).unwrap().len());
    let tensors = report["tensors"].as_array().unwrap().len();
    let compared = sandbox.run(&["compare", &from, &to, "--json"]).json();
    assert_eq!(compared["equal"], tensors);
    assert_eq!(compared["rounded"], 0);
    let other = checkpoint("qwen2").to_string_lossy().into_owned();
    assert_eq!(sandbox.run(&["compare", &other, &to]).code, Some(1));
}

#[test]
fn weights_without_a_tokenizer_are_converted_and_proved_but_not_run() {
    let sandbox = Sandbox::new();
    let folder = sandbox.folder().join("bare");
    fs::create_dir_all(&folder).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(checkpoint("llama").join(file), folder.join(file)).unwrap();
    }
    let from = folder.to_string_lossy();
    let to = sandbox.folder().join("x.ink");
    let to = to.to_string_lossy();
    assert_eq!(sandbox.run(&["convert", &from, "-o", &to]).code, Some(0));
    let compared = sandbox.run(&["compare", &from, &to, "--json"]).json();
    assert_eq!(compared["rounded"], 0);
    let run = sandbox.run(&["run", &to, "the"]);
    assert!(run.error().contains("tokenizer beside"), "{}", run.stderr);
}

#[test]
fn rounding_is_told_and_measured() {
    let sandbox = Sandbox::new();
    let from = checkpoint("llama").to_string_lossy().into_owned();
    let to = sandbox
        .folder()
        .join("x.ink")
        .to_string_lossy()
        .into_owned();
    let report = sandbox
        .run(&["convert", &from, "-o", &to, "--weights", "q4", "--json"])
        .json();
    assert!(report["formats"]["q4"]["tensors"].as_u64().unwrap() > 0);
    let compared = sandbox.run(&["compare", &from, &to, "--json"]).json();
    assert!(compared["rounded"].as_u64().unwrap() > 0);
}

#[test]
fn a_file_is_replaced_only_when_that_is_said() {
    let sandbox = Sandbox::new();
    let to = converted(&sandbox);
    let from = checkpoint("llama").to_string_lossy().into_owned();
    let before = fs::read(&to).unwrap();
    assert_eq!(
        sandbox
            .run(&["convert", &from, "-o", &to, "--weights", "q8"])
            .code,
        Some(2)
    );
    assert_eq!(fs::read(&to).unwrap(), before);
    assert_eq!(
        sandbox
            .run(&["convert", &from, "-o", &to, "--weights", "q8", "-y"])
            .code,
        Some(0)
    );
    assert_ne!(fs::read(&to).unwrap(), before);
}

#[test]
fn inspect_shows_licence_shape_and_right_hashes() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    let shown = sandbox
        .run(&["inspect", &model, "--verify", "--tensors", "--json"])
        .json();
    assert_eq!(shown["licence"], "unknown");
    assert_eq!(shown["verified"], true);
    assert!(shown["layers"].as_u64().unwrap() > 0);
    assert!(!shown["tensors"].as_array().unwrap().is_empty());
    let source = sandbox
        .run(&["inspect", &checkpoint("llama").to_string_lossy(), "--json"])
        .json();
    assert_eq!(source["layers"], shown["layers"]);
    let mut bytes = fs::read(&model).unwrap();
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    fs::write(&model, bytes).unwrap();
    assert_eq!(sandbox.run(&["inspect", &model, "--verify"]).code, Some(1));
}

#[test]
fn a_plan_adds_up_and_grows_with_the_context() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    let plan = |context: &str, kv: &str| {
        sandbox
            .run(&["plan", &model, "-c", context, "--kv", kv, "--json"])
            .json()
    };
    let small = plan("64", "f16");
    let bytes = small["bytes"].as_object().unwrap();
    let all: u64 = bytes.values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(
        all,
        small["mapped"].as_u64().unwrap() + small["reserved"].as_u64().unwrap()
    );
    assert_eq!(small["mapped"], fs::metadata(&model).unwrap().len());
    let reserved = |plan: &serde_json::Value| plan["reserved"].as_u64().unwrap();
    assert!(reserved(&plan("128", "f16")) > reserved(&small));
    assert!(reserved(&plan("64", "int8")) < reserved(&small));
}

#[test]
fn an_answer_is_the_same_however_it_is_guessed() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    let run = |more: &[&str]| {
        let mut arguments = vec!["run", &model, "the the the the the", "-n", "40", "--json"];
        arguments.extend(more);
        sandbox.run(&arguments).json()
    };
    let plain = run(&["--speculate", "off"]);
    assert_eq!(plain["stats"]["drafted"], 0);
    for more in [
        &[][..],
        &["--speculate", "auto"],
        &["--speculate", "5", "--threads", "auto"],
        &["--speculate", "3", "--draft", &model, "--threads", "1"],
    ] {
        let guessed = run(more);
        assert_eq!(guessed["text"], plain["text"], "{more:?}");
        let count = |name: &str| guessed["stats"][name].as_u64().unwrap();
        assert!(count("accepted") <= count("drafted"));
        assert!(count("accepted") > 0 || !more.contains(&"3"), "{more:?}");
    }
}

#[test]
fn what_guesses_take_is_planned() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    let plan = |more: &[&str]| {
        let mut arguments = vec!["plan", &model, "-c", "64", "--json"];
        arguments.extend(more);
        sandbox.run(&arguments).json()
    };
    assert_eq!(plan(&["--speculate", "off"])["guesses"], 0);
    assert_eq!(plan(&["--speculate", "5"])["guesses"], 5);
    let draft = plan(&["--draft", &model])["bytes"]["draft"].as_u64();
    assert!(draft.unwrap() > 0);
}

#[test]
fn workers_are_bound_where_the_system_can() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    let run = |more: &[&str]| {
        let mut arguments = vec!["run", &model, "the", "-n", "4", "-q"];
        arguments.extend(more);
        sandbox.run(&arguments)
    };
    let free = run(&[]);
    let devices = sandbox.run(&["devices", "--json"]).json();
    let places = devices[0]["properties"]["order of pinning"].as_str();
    let count = places.unwrap().split_whitespace().count();
    let bound = run(&["--pin"]);
    if count > 0 && cfg!(target_os = "linux") {
        assert_eq!((bound.code, &bound.stdout), (Some(0), &free.stdout));
    }
    let many = (count + 1).to_string();
    let error = run(&["--pin", "--threads", &many]);
    assert_eq!(error.code, Some(1));
    assert!(error.error().contains("processors"), "{}", error.stderr);
}

#[test]
fn guesses_asked_for_wrongly_are_refused() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    for (more, code, advice) in [
        (&["--speculate", "maybe"][..], 2, "neither auto nor off"),
        (&["--speculate", "off", "--draft", &model], 2, "--draft"),
        (&["--speculate", "65"], 1, "more than 64"),
        (&["--speculate", "4", "--batch", "3"], 1, "more than 2"),
        (&["--threads", "some"], 2, "neither auto nor a number"),
    ] {
        let mut arguments = vec!["run", &model, "the"];
        arguments.extend(more);
        let ended = sandbox.run(&arguments);
        assert_eq!(ended.code, Some(code), "{more:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(advice), "{more:?}: {}", ended.stderr);
    }
}

#[test]
fn logits_have_one_hash_whatever_the_chunks_and_threads() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    let hash = |more: &[&str]| {
        let mut arguments = vec![
            "logits",
            &model,
            "--tokens",
            "3,1,4,1,5,9,2,6,5,3,5",
            "--all",
            "--hash",
        ];
        arguments.extend(more);
        sandbox.run(&arguments).stdout
    };
    let first = hash(&[]);
    assert!(first.starts_with("n1:"), "{first}");
    for more in [
        &["--batch", "1"][..],
        &["--batch", "4", "-t", "1"],
        &["--device", "reference"],
        &["-t", "3"],
    ] {
        assert_eq!(hash(more), first, "{more:?}");
    }
    let value = sandbox
        .run(&["logits", &model, "--tokens", "3,1", "--all", "--json"])
        .json();
    assert_eq!(value["tokens"], serde_json::json!([3, 1]));
    assert_eq!(value["logits"].as_array().unwrap().len(), 2);
    assert_eq!(
        sandbox
            .run(&["logits", &model, "--tokens", "99999999"])
            .code,
        Some(1)
    );
    assert_eq!(sandbox.run(&["logits", &model]).code, Some(2));
}

#[test]
fn an_answer_is_the_same_twice_and_seeds_change_it() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    let run = |more: &[&str]| {
        let mut arguments = vec!["run", &model, "the", "-n", "12", "-q"];
        arguments.extend(more);
        let ended = sandbox.run(&arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        ended.stdout
    };
    assert_eq!(run(&[]), run(&[]));
    assert_eq!(
        run(&["--temp", "2", "--seed", "7"]),
        run(&["--temp", "2", "--seed", "7"])
    );
    assert_ne!(
        run(&["--temp", "2", "--seed", "7"]),
        run(&["--temp", "2", "--seed", "8"])
    );
    let json = sandbox
        .run(&["run", "-m", &model, "the", "-n", "12", "--json"])
        .json();
    assert_eq!(format!("{}\n", json["text"].as_str().unwrap()), run(&[]));
    assert_eq!(json["stats"]["tokens"], 12);
    let piped = with_input(&sandbox, &["run", &model, "-n", "12", "-q"], "the\n");
    assert_eq!(piped.stdout, run(&[]));
    assert_eq!(
        sandbox.run(&["run", &model, "x", "--temp", "-1"]).code,
        Some(2)
    );
}

#[test]
fn what_a_model_cannot_take_is_told_in_a_line_that_says_what_to_do() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    let from = checkpoint("llama").to_string_lossy().into_owned();
    let talks = chatty(&sandbox);
    let nowhere = sandbox.folder().join("no/such");
    let nowhere = nowhere.to_string_lossy();
    for (arguments, advice) in [
        (&["run", &model, "x", "-c", "0"][..], "from 1 to"),
        (&["run", &model, "x", "--batch", "0"], "from 1 to"),
        (&["run", &model, "x", "--stop-id", "99999999"], "vocabulary"),
        (&["run", &model, "x", "-o", &nowhere], "make it first"),
        (&["convert", &from, "-o", &nowhere], "make it first"),
        (&["inspect", &nowhere], "check the path"),
        (
            &["eval", "ppl", &model, "--text", &nowhere],
            "check the path",
        ),
        (&["eval", "ppl", &model, "--text", &model], "UTF-8"),
        (&["render", &talks, "--messages", &talks], "name a file"),
    ] {
        let ended = sandbox.run(arguments);
        assert!(
            ended.error().contains(advice),
            "{arguments:?}: {}",
            ended.stderr
        );
        assert!(matches!(ended.code, Some(1 | 2)), "{arguments:?}");
    }
}

#[test]
fn options_that_greedy_choice_makes_idle_are_told() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    let told = |more: &[&str]| {
        let mut arguments = vec!["run", &model, "the", "-n", "1", "--top-p", "0.9"];
        arguments.extend(more);
        let told = sandbox.run(&arguments).stderr;
        told.matches("does nothing").count()
    };
    assert_eq!(told(&[]), 1);
    assert_eq!(told(&["--temp", "1"]), 0);
}

#[test]
fn a_base_model_says_that_it_has_no_template() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    assert!(
        sandbox
            .run(&["run", &model, "the", "-n", "1"])
            .stderr
            .contains("base model")
    );
    assert!(
        sandbox
            .run(&["chat", &model])
            .error()
            .contains("base model")
    );
    assert!(
        sandbox
            .run(&["run", &model, "x", "--system", "y"])
            .error()
            .contains("base model")
    );
}

#[test]
fn what_is_no_ink_file_is_converted_once() {
    let sandbox = Sandbox::new();
    let from = checkpoint("llama").to_string_lossy().into_owned();
    let first = sandbox.run(&["run", &from, "the", "-n", "4"]);
    assert!(first.stderr.contains("once, into"), "{}", first.stderr);
    let second = sandbox.run(&["run", &from, "the", "-n", "4"]);
    assert!(!second.stderr.contains("converting"), "{}", second.stderr);
    assert_eq!(first.stdout, second.stdout);
    let name = sandbox.run(&["list", "--json"]).json()[0]["name"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(sandbox.run(&["remove", &name, "-y"]).code, Some(0));
    assert!(
        checkpoint("llama").join("config.json").exists(),
        "the source stays"
    );
}

#[test]
fn a_context_that_is_full_ends_the_answer_or_shifts() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    let full = sandbox
        .run(&[
            "run",
            &model,
            "the",
            "-c",
            "64",
            "--json",
            "--logit-bias",
            "2=-100",
        ])
        .json();
    assert_eq!(full["finish"], "context_full");
    let long = "the ".repeat(200);
    assert!(
        sandbox
            .run(&["run", &model, &long, "-c", "64"])
            .error()
            .contains("--context")
    );
    let shifted = sandbox.run(&[
        "run",
        &model,
        "the",
        "-c",
        "64",
        "-n",
        "100",
        "--shift",
        "1",
        "--json",
        "--logit-bias",
        "2=-100",
    ]);
    assert_eq!(shifted.json()["finish"], "limit");
}

#[test]
fn a_conversation_keeps_saves_and_forgets() {
    let sandbox = Sandbox::new();
    let model = chatty(&sandbox);
    let file = sandbox
        .folder()
        .join("talk.json")
        .to_string_lossy()
        .into_owned();
    let talk = format!(
        "hello\n/stats\n/system be kind\nhow are you\n/save {file}\n/reset\n/load {file}\n/nonsense\n/quit\n"
    );
    let ended = with_input(&sandbox, &["chat", &model, "-n", "5"], &talk);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("answer 5 tokens"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("there is no /nonsense"),
        "{}",
        ended.stderr
    );
    let saved: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let roles: Vec<_> = saved
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["role"].as_str().unwrap())
        .collect();
    assert_eq!(roles, ["system", "user", "assistant"]);
    assert_eq!(saved[1]["content"], "how are you");
    let rendered = sandbox.run(&["render", &model, "--messages", &file]);
    assert!(
        rendered
            .stdout
            .starts_with("[system] be kind\n[user] how are you\n"),
        "{}",
        rendered.stdout
    );
}

#[test]
fn tokens_become_the_text_again() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    let text = "tea is a drink\n";
    for source in [
        model,
        checkpoint("llama")
            .join("tokenizer.json")
            .to_string_lossy()
            .into_owned(),
    ] {
        let ids = with_input(&sandbox, &["tokenize", &source, "--json"], text);
        assert!(
            ids.json()["ids"]
                .as_array()
                .is_some_and(|ids| !ids.is_empty())
        );
        assert_eq!(
            with_input(&sandbox, &["tokenize", &source, "--decode"], &ids.stdout).stdout,
            text
        );
        let words = with_input(&sandbox, &["tokenize", &source], text).stdout;
        assert_eq!(
            with_input(&sandbox, &["tokenize", &source, "--decode"], &words).stdout,
            text
        );
    }
    let source = checkpoint("llama").to_string_lossy().into_owned();
    assert_eq!(
        with_input(&sandbox, &["tokenize", &source, "--decode"], "what").code,
        Some(2)
    );
    assert_eq!(
        with_input(&sandbox, &["tokenize", &source, "--decode"], "9999999").code,
        Some(1)
    );
}

#[test]
fn a_template_renders_with_what_is_given() {
    let sandbox = Sandbox::new();
    let file = |name: &str, text: &str| {
        let path = sandbox.folder().join(name);
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let jinja = file(
        "t.jinja",
        "{{ bos_token }}{{ messages[0].content }}{{ tools|length }}{{ flag }}{% if add_generation_prompt %}>{% endif %}{{ eos_token }}{{ strftime_now('%Y') }}",
    );
    let (messages, tools) = (
        file("m.json", r#"[{"role":"user","content":"hi"}]"#),
        file("t.json", "[{}]"),
    );
    let arguments = [
        "render",
        &jinja,
        "--messages",
        &messages,
        "--tools",
        &tools,
        "--add-generation-prompt",
        "--bos-token",
        "<s>",
        "--eos-token",
        "</s>",
        "--set",
        "flag=false",
        "--date",
        "2024-07-26",
    ];
    assert_eq!(sandbox.run(&arguments).stdout, "<s>hi1False></s>2024");
    let refuses = file("r.jinja", "{{ raise_exception('no system') }}");
    assert!(
        sandbox
            .run(&["render", &refuses, "--messages", &messages])
            .error()
            .contains("no system")
    );
    let model = checkpoint("llama").to_string_lossy().into_owned();
    assert!(
        sandbox
            .run(&["render", &model, "--messages", &messages])
            .error()
            .contains("base model")
    );
}

#[test]
fn perplexity_and_speed_are_measured() {
    let sandbox = Sandbox::new();
    let model = converted(&sandbox);
    let text = sandbox.folder().join("text.txt");
    fs::write(
        &text,
        "the tea is a drink and a drink is the tea. ".repeat(60),
    )
    .unwrap();
    let text = text.to_string_lossy().into_owned();
    let arguments = [
        "eval",
        "ppl",
        &model,
        "--text",
        &text,
        "--context",
        "64",
        "--chunks",
        "3",
        "--json",
    ];
    let measured = sandbox.run(&arguments).json();
    assert!(measured["perplexity"].as_f64().unwrap() > 1.0);
    assert_eq!(measured["chunks"], 3);
    let arguments = [
        "bench",
        &model,
        "--prefill",
        "8,16",
        "--decode",
        "4",
        "--repeat",
        "1",
        "--sustain",
        "1",
        "--json",
    ];
    let bench = sandbox.run(&arguments).json();
    assert_eq!(bench["rows"].as_array().unwrap().len(), 3);
    assert!(
        bench["rows"][2]["limit_tokens_per_second"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    let sustained = &bench["sustained"];
    let least = sustained["least_tokens_per_second"].as_f64().unwrap();
    assert!(least <= sustained["first_tokens_per_second"].as_f64().unwrap());
    assert!(sustained["tokens"].as_u64().unwrap() >= 4);
}

#[test]
fn stories_are_told_without_a_network() {
    let sandbox = Sandbox::new();
    let told = sandbox.run(&[
        "run",
        "stories",
        "Once upon a time",
        "--offline",
        "--temp",
        "0",
        "-n",
        "8",
    ]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(
        told.stdout.contains("there was a little"),
        "{}",
        told.stdout
    );
    // Once more, from where it has been put.
    let again = sandbox.run(&[
        "run",
        "stories",
        "Once upon a time",
        "--temp",
        "0",
        "-n",
        "8",
    ]);
    assert_eq!(again.stdout, told.stdout);
}

#[test]
fn lines_of_stdin_become_vectors() {
    let sandbox = Sandbox::new();
    let model = chatty(&sandbox);
    let embedded = with_input(&sandbox, &["embed", &model], "one\n\ntwo\n");
    assert_eq!(embedded.code, Some(0), "{}", embedded.stderr);
    let given = sandbox.run(&["embed", &model, "one", "two"]);
    assert_eq!(embedded.stdout, given.stdout);
    assert_eq!(embedded.stdout.lines().count(), 2);
    let nothing = with_input(&sandbox, &["embed", &model], "\n");
    assert!(nothing.error().contains("no TEXT"), "{}", nothing.stderr);
}
