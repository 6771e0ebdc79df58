//! Chat templates against recorded renderings of Python's Jinja2 and of huggingface.js.

use std::fs;
use std::path::Path;

use inkstone_tests::needs;
use inkstone_text::template::{Context, DateTime, ErrorKind, render};
use inkstone_text::turns;
use libtest_mimic::Failed;
use serde_json::Value as Json;

/// The date on which the goldens were made.
const NOW: DateTime = DateTime {
    year: 2024,
    month: 7,
    day: 26,
    hour: 0,
    minute: 0,
    second: 0,
};

fn main() {
    let materials = needs::materials("chat-templates");
    let folder = materials.clone().unwrap_or_default();
    let mut trials = Vec::new();
    for (name, check) in [
        (
            "goldens_of_39_templates_render_as_in_python",
            goldens as fn(&Path) -> Result<(), Failed>,
        ),
        (
            "templates_of_huggingface_js_render_as_in_python",
            end_to_end,
        ),
        ("turn_tables_write_what_their_templates_write", turn_tables),
        (
            "language_cases_of_huggingface_js_render_as_in_python",
            language,
        ),
    ] {
        let folder = folder.clone();
        trials.push(needs::trial(
            name,
            materials.is_some(),
            "materials",
            move || check(&folder),
        ));
    }
    needs::run(trials)
}

fn goldens(folder: &Path) -> Result<(), Failed> {
    let contexts: Json = serde_json::from_str(&fs::read_to_string(folder.join("contexts.json"))?)?;
    let mut tally = Tally::default();
    for case in lines(&folder.join("goldens.jsonl"))? {
        if case["reference_quirk"] == true {
            tally.skipped += 1;
            continue;
        }
        let (template, context) = (text(&case["template"]), text(&case["context"]));
        let source = fs::read_to_string(folder.join("templates").join(template))?;
        let result = render(&source, &context_of(&contexts[context]));
        let agrees = match (&result, case.get("expected")) {
            (Ok(rendered), Some(expected)) => rendered == text(expected),
            (Err(error), None) => error.kind() == ErrorKind::Raised,
            _ => false,
        };
        tally.count(agrees, &format!("{template} / {context}"), &result, &case);
    }
    tally.verdict()
}

/// Cases whose text `apply_chat_template` cannot give, with the reason.
const UNREACHABLE: [(&str, &str); 2] = [
    (
        "ai21labs/AI21-Jamba-Large-1.6",
        "leaves add_generation_prompt undefined, where the library passes False",
    ),
    (
        "SORT_UNDEFINED_VALUES",
        "prints a list of undefined values: `undefined` inside lists, not `Undefined`",
    ),
];

fn end_to_end(folder: &Path) -> Result<(), Failed> {
    let mut tally = Tally::default();
    for case in lines(&folder.join("hf-jinja-e2e.jsonl"))? {
        let result = render(text(&case["chat_template"]), &context_of(&case["data"]));
        if unreachable(&case) {
            tally.skipped += 1;
            continue;
        }
        let expected = case.get("python_expected").unwrap_or(&case["target"]);
        let agrees = result
            .as_ref()
            .is_ok_and(|rendered| rendered == text(expected));
        tally.count(agrees, text(&case["name"]), &result, expected);
    }
    tally.verdict()
}

fn language(folder: &Path) -> Result<(), Failed> {
    let mut tally = Tally::default();
    for case in lines(&folder.join("hf-jinja-unit.jsonl"))? {
        let expected = match text(&case["python_jinja2"]) {
            "agrees" => &case["expected"],
            "differs" => &case["python_expected"],
            _ => &Json::Null,
        };
        if expected.is_null() || unreachable(&case) {
            tally.skipped += 1;
            continue;
        }
        let result = render(text(&case["template"]), &context_of(&case["context"]));
        let agrees = result
            .as_ref()
            .is_ok_and(|rendered| rendered == text(expected));
        tally.count(agrees, text(&case["name"]), &result, &case);
    }
    tally.verdict()
}

fn unreachable(case: &Json) -> bool {
    UNREACHABLE.iter().any(|(name, _)| case["name"] == *name)
}

/// Templates that have a table of turns.
const WITH_TABLE: &[&str] = &[
    "gguf__qwen2.5-coder-0.5b-instruct.jinja",
    "gguf__smollm2-135m-instruct.jinja",
    "llama.cpp__ByteDance-Seed-OSS.jinja",
    "llama.cpp__Cohere2MoE.jinja",
    "llama.cpp__CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja",
    "llama.cpp__GLM-4.7-Flash.jinja",
    "llama.cpp__GigaChat3.1-10B-A1.8B.jinja",
    "llama.cpp__Kimi-K2-Instruct.jinja",
    "llama.cpp__Kimi-K2-Thinking.jinja",
    "llama.cpp__LFM2-8B-A1B.jinja",
    "llama.cpp__LFM2.5-8B-A1B.jinja",
    "llama.cpp__MiniMax-M2.jinja",
    "llama.cpp__NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use.jinja",
    "llama.cpp__Qwen-QwQ-32B.jinja",
    "llama.cpp__Qwen-Qwen2.5-7B-Instruct.jinja",
    "llama.cpp__Qwen-Qwen3-0.6B.jinja",
    "llama.cpp__Reka-Edge.jinja",
    "llama.cpp__StepFun3.5-Flash.jinja",
    "llama.cpp__deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja",
    "llama.cpp__deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja",
    "llama.cpp__deepseek-ai-DeepSeek-V3.2.jinja",
    "llama.cpp__deepseek-ai-DeepSeek-V4-Flash-0731.jinja",
    "llama.cpp__google-gemma-2-2b-it.jinja",
    "llama.cpp__google-gemma-4-31B-it-interleaved.jinja",
    "llama.cpp__llama-cpp-deepseek-r1.jinja",
    "llama.cpp__llama-cpp-rwkv-world.jinja",
    "llama.cpp__meetkai-functionary-medium-v3.2.jinja",
    "llama.cpp__microsoft-Phi-3.5-mini-instruct.jinja",
    "llama.cpp__openbmb-MiniCPM5-1B.jinja",
    "llama.cpp__tencent-Hy3.jinja",
    "llama.cpp__unsloth-Apriel-1.5.jinja",
];

fn turn_tables(folder: &Path) -> Result<(), Failed> {
    let mut derived = Vec::new();
    for entry in fs::read_dir(folder.join("templates"))? {
        let path = entry?.path();
        let source = fs::read_to_string(&path)?;
        if let Some(table) = turns::derive(&source, "<|startoftext|>", "<|endoftext|>") {
            let bytes = table.to_bytes()?;
            if turns::Turns::parse(&bytes)? != table {
                return Err(format!("{path:?}: the table's bytes read differently").into());
            }
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            derived.push(name.into_owned());
        }
    }
    derived.sort();
    if derived == WITH_TABLE {
        return Ok(());
    }
    Err(format!("tables were derived for {derived:#?}").into())
}

/// A context of the materials; what [`Context`] has no field for goes to `extra`.
fn context_of(json: &Json) -> Context {
    let mut context = Context {
        now: NOW,
        ..Context::default()
    };
    for (name, value) in json.as_object().into_iter().flatten() {
        match name.as_str() {
            "messages" => context.messages = value.clone(),
            "add_generation_prompt" => context.add_generation_prompt = value == true,
            _ => {
                context.extra.insert(name.clone(), value.clone());
            }
        }
    }
    context
}

fn lines(path: &Path) -> Result<Vec<Json>, Failed> {
    fs::read_to_string(path)?
        .lines()
        .map(|line| serde_json::from_str(line).map_err(Failed::from))
        .collect()
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap_or_default()
}

#[derive(Default)]
struct Tally {
    agreed: usize,
    skipped: usize,
    failures: Vec<String>,
}

impl Tally {
    fn count<E: core::fmt::Display>(
        &mut self,
        agrees: bool,
        name: &str,
        result: &Result<String, E>,
        expected: &Json,
    ) {
        if agrees {
            self.agreed += 1;
            return;
        }
        let got = result.as_ref().map_or_else(
            |error| format!("error: {error}"),
            |rendered| format!("{rendered:?}"),
        );
        self.failures
            .push(format!("{name}\n   got {got}\n  want {expected}"));
    }

    fn verdict(self) -> Result<(), Failed> {
        let Self {
            agreed,
            skipped,
            failures,
        } = self;
        if failures.is_empty() && agreed > 0 {
            return Ok(());
        }
        Err(format!(
            "{agreed} agree, {} differ, {skipped} skipped\n{}",
            failures.len(),
            failures.join("\n")
        )
        .into())
    }
}
