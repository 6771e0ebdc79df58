//! Help, exit codes, errors, colours and JSON.

use std::process::Stdio;

use crate::run::Sandbox;

/// The commands that a help text lists.
fn commands(help: &str) -> Vec<String> {
    let block = help.split("Commands:\n").nth(1).unwrap_or_default();
    let lines = block.lines().take_while(|line| line.starts_with("  "));
    let words = lines.filter_map(|line| line.split_whitespace().next());
    words
        .filter(|word| *word != "help")
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_help_of_every_command_ends_with_an_example() {
    let sandbox = Sandbox::new();
    let mut paths = vec![vec![]];
    let mut seen = 0;
    while let Some(path) = paths.pop() {
        let mut arguments = path.clone();
        arguments.push("--help".to_owned());
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let ended = sandbox.run(&words);
        assert_eq!(ended.code, Some(0));
        let last = ended.stdout.trim_end().rsplit("\n\n").next().unwrap();
        let (title, examples) = last.split_once('\n').unwrap();
        assert!(
            ["Example:", "Examples:"].contains(&title),
            "{path:?}: {last}"
        );
        let start = format!("  inkstone {}", path.join(" "));
        assert!(
            examples.lines().all(|line| line.starts_with(&start)),
            "{path:?}: {last}"
        );
        seen += 1;
        for command in commands(&ended.stdout) {
            let mut deeper = path.clone();
            deeper.push(command);
            paths.push(deeper);
        }
    }
    assert!(seen > 5, "{seen}");
}

#[test]
fn exit_codes_tell_success_failure_and_misuse() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.run(&["list"]).code, Some(0));
    assert_eq!(sandbox.run(&["--version"]).code, Some(0));
    assert_eq!(
        sandbox.run(&["pull", "smollm2-135m", "--offline"]).code,
        Some(1)
    );
    for misuse in [
        &["nonsense"][..],
        &["list", "--nonsense"],
        &["pull"],
        &["pull", "a/b.gguf"],
        &[],
    ] {
        assert_eq!(sandbox.run(misuse).code, Some(2), "{misuse:?}");
    }
}

#[test]
fn errors_are_one_line_that_says_what_to_do() {
    let sandbox = Sandbox::new();
    for (arguments, advice) in [
        (&["nonsense"][..], "see `inkstone --help`"),
        (&["list", "--fits", "many", "--available"], "512M"),
        (&["list", "--fits", "1G"], "--available"),
        (&["pull", "smollm2-135m", "--offline"], "pull it first"),
        (&["pull", "hf:nobody"], "write hf:OWNER/REPO"),
        (&["pull", "gemma3-270m"], "--accept-license gemma"),
        (&["pull", "x", "-m", "y"], "not both"),
        (&["remove", "x", "-y"], "inkstone list"),
    ] {
        let ended = sandbox.run(arguments);
        assert!(
            ended.error().contains(advice),
            "{arguments:?}: {}",
            ended.stderr
        );
        assert_eq!(ended.stdout, "");
    }
}

#[test]
fn misspelt_names_are_suggested() {
    let sandbox = Sandbox::new();
    for (arguments, meant) in [
        (&["pul"][..], "`pull`"),
        (&["rnu"], "`run`"),
        (&["pull", "smolm2-135"], "`smollm2-135m`"),
        (&["list", "--availabel"], "`--available`"),
    ] {
        assert!(
            sandbox.run(arguments).error().contains(meant),
            "{arguments:?}"
        );
    }
}

#[test]
fn colour_is_off_in_a_pipe_and_with_no_color_and_on_when_forced() {
    let sandbox = Sandbox::new();
    let coloured = |arguments: &[&str], environment: &[(&str, &str)]| {
        sandbox
            .run_with(arguments, environment)
            .stderr
            .contains('\x1b')
    };
    assert!(!coloured(&["nonsense"], &[]));
    assert!(!coloured(&["nonsense"], &[("NO_COLOR", "1")]));
    assert!(!coloured(
        &["nonsense", "--color=never"],
        &[("CLICOLOR_FORCE", "1")]
    ));
    assert!(coloured(
        &["remove", "x", "--color=always"],
        &[("NO_COLOR", "1")]
    ));
}

#[test]
fn json_is_json() {
    let sandbox = Sandbox::new();
    assert_eq!(
        sandbox.run(&["list", "--json"]).json(),
        serde_json::json!([])
    );
    let available = sandbox.run(&["list", "--available", "--json"]).json();
    let names: Vec<_> = available
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["name"].clone())
        .collect();
    assert_eq!(names, ["stories", "smollm2-135m", "gemma3-270m"]);
    assert!(
        sandbox.run(&["doctor", "--json"]).json()["cores"]
            .as_u64()
            .unwrap()
            > 0
    );
}

#[test]
fn the_catalogue_can_be_narrowed_by_memory_and_context() {
    let sandbox = Sandbox::new();
    let names = |arguments: &[&str]| {
        let rows = sandbox.run(arguments).json();
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let fits = |size, context| {
        names(&[
            "list",
            "--json",
            "--available",
            "--fits",
            size,
            "--context",
            context,
        ])
    };
    assert_eq!(
        fits("512M", "512"),
        ["stories", "smollm2-135m", "gemma3-270m"]
    );
    assert_eq!(fits("512M", "4096"), ["smollm2-135m", "gemma3-270m"]);
    assert_eq!(fits("220M", "4096"), ["smollm2-135m"]);
    assert_eq!(fits("1G", "16384"), ["gemma3-270m"]);
    assert!(fits("10M", "512").is_empty());
}

#[test]
fn every_command_with_json_is_documented() {
    let path = inkstone_tests::needs::workspace().join("docs/json.md");
    let documented = std::fs::read_to_string(path).unwrap();
    for command in commands(&Sandbox::new().run(&["--help"]).stdout) {
        assert!(documented.contains(&format!("`{command}")), "{command}");
    }
}

#[test]
fn a_closed_pipe_is_success() {
    let sandbox = Sandbox::new();
    let mut child = sandbox
        .command(&["list", "--available"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn completions_name_the_commands() {
    let sandbox = Sandbox::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            sandbox.run(&["completions", shell]).stdout.contains("pull"),
            "{shell}"
        );
    }
}
