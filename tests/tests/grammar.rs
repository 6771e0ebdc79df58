//! Answers held to grammars: what is accepted and what is not, and that what is drawn is what was asked for.

mod support;

use inkstone_engine::text::Options as Plain;
use inkstone_engine::{
    Constraint, Finish, Generation, Grammar, Grammars, Model, Options, Params, SessionConfig,
};
use inkstone_tests::needs;
use libtest_mimic::{Failed, Trial};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

fn main() {
    let mut trials = vec![
        Trial::test("a_grammar_leaves_only_its_texts", simple),
        Trial::test("what_cannot_be_held_to_is_refused_in_a_line", refused),
        Trial::test("drawn_documents_are_what_the_schema_accepts", drawn),
    ];
    let gbnf = needs::materials("conformance/gbnf");
    let maskbench = needs::materials("conformance/maskbench");
    let (has_gbnf, has_bench) = (gbnf.is_some(), maskbench.is_some());
    trials.push(needs::trial(
        "grammars_of_llama_cpp_accept_what_it_accepts",
        has_gbnf,
        "materials",
        move || llama(&gbnf.ok_or("absent")?),
    ));
    trials.push(needs::trial(
        "schemas_of_maskbench_are_held_to_or_refused",
        has_bench,
        "materials",
        move || bench(&maskbench.ok_or("absent")?),
    ));
    needs::run(trials);
}

/// A model whose tokens are bytes.
fn model() -> Result<Model, Failed> {
    static MODEL: OnceLock<Option<Model>> = OnceLock::new();
    let tiny = || {
        support::recipes()
            .last()
            .map(|(name, recipe)| support::tiny(name, &recipe))
    };
    Ok(MODEL
        .get_or_init(tiny)
        .clone()
        .ok_or("FORMATS is not empty")?)
}

/// Whether a text is one of the grammar's.
fn accepts(model: &Model, constraint: &mut Constraint, text: &str) -> Result<bool, Failed> {
    let mut tokens = Vec::new();
    model.tokenizer().encode(text, Plain::PLAIN, &mut tokens);
    Ok(constraint.follow(&tokens)? == tokens.len() && constraint.may_end()?)
}

fn check(
    grammars: &Grammars,
    model: &Model,
    grammar: &Grammar,
    text: &str,
    wanted: bool,
) -> Result<(), Failed> {
    if accepts(model, &mut grammars.constraint(grammar)?, text)? == wanted {
        return Ok(());
    }
    Err(format!("{text:?}: accepted is not {wanted}, {grammar:?}").into())
}

fn simple() -> Result<(), Failed> {
    let model = model()?;
    let grammars = Grammars::of(&model)?;
    let schema = Grammar::JsonSchema(
        json!({"type": "object", "properties": {"n": {"type": "integer", "minimum": 3}},
        "required": ["n"], "additionalProperties": false}),
    );
    let lark = Grammar::Lark("start: \"a\" (\"b\" | /[0-9]{2}/)*".into());
    let regex = Grammar::Regex("[a-c]+!".into());
    for (grammar, text, wanted) in [
        (&schema, r#"{"n": 7}"#, true),
        (&schema, r#"{"n": 2}"#, false),
        (&schema, r#"{"m": 7}"#, false),
        (&schema, r#"{"n": 7"#, false),
        (&lark, "ab12b", true),
        (&lark, "ab1", false),
        (&regex, "cab!", true),
        (&regex, "cab", false),
    ] {
        check(&grammars, &model, grammar, text, wanted)?;
    }
    Ok(())
}

fn refused() -> Result<(), Failed> {
    let model = model()?;
    let grammars = Grammars::of(&model)?;
    for (grammar, part) in [
        (Grammar::Regex("[a".into()), "grammar: "),
        (Grammar::Lark("begin: \"a\"".into()), "start"),
        (
            Grammar::JsonSchema(json!({"type": "object", "dependencies": {"a": ["b"]}})),
            "dependencies",
        ),
        (Grammar::Regex("a".repeat(1 << 19)), "524288 bytes"),
    ] {
        let error = grammars
            .constraint(&grammar)
            .err()
            .ok_or("it was not refused")?;
        let text = error.to_string();
        if !text.contains(part) || text.contains('\n') {
            return Err(format!("{text:?} does not name {part:?} in a line").into());
        }
    }
    // Followed by recursion, this chain would take more than the stack of this thread; whether it is refused is no matter.
    let rule = |i: usize| format!("r{i}: r{} r{}\n", i + 1, i + 1);
    let chain: String = (0..4000).map(rule).collect();
    let chain = Grammar::Lark(format!("start: r0\n{chain}r4000: \"a\"\n"));
    let _ = grammars.constraint(&chain);
    Ok(())
}

/// Random answers of a model that knows nothing.
fn drawn() -> Result<(), Failed> {
    let model = model()?;
    let grammars = Grammars::of(&model)?;
    let schema = json!({"type": "object", "required": ["device", "on", "level"], "additionalProperties": false,
        "properties": {"device": {"enum": ["lamp", "fan"]}, "on": {"type": "boolean"},
        "level": {"type": "integer", "minimum": 0, "maximum": 100}}});
    let validator = jsonschema::validator_for(&schema)?;
    for seed in 0..20 {
        let text = answer(
            &model,
            grammars.constraint(&Grammar::JsonSchema(schema.clone()))?,
            seed,
        )?;
        let document = serde_json::from_str(&text)?;
        if !validator.is_valid(&document) {
            return Err(format!("{text} is not what the schema accepts").into());
        }
    }
    Ok(())
}

fn answer(model: &Model, constraint: Constraint, seed: u64) -> Result<String, Failed> {
    let config = SessionConfig {
        device: support::DEVICE.into(),
        context: Some(600),
        ..SessionConfig::default()
    };
    let mut session = model.session(&config)?;
    session.set_sampling(&Params {
        temperature: 1.0,
        seed,
        ..Params::default()
    })?;
    session.feed(&[1, 2, 3])?;
    let mut text = Vec::new();
    let finish = Generation::new(model, &Options::default())?
        .within(constraint)
        .finish(&mut session, &mut text)?;
    match finish {
        Finish::Stop(_) => Ok(String::from_utf8(text)?),
        other => Err(format!("ended by {other:?}").into()),
    }
}

fn llama(folder: &Path) -> Result<(), Failed> {
    let model = model()?;
    let grammars = Grammars::of(&model)?;
    for line in fs::read_to_string(folder.join("grammar-accept-reject.jsonl"))?.lines() {
        let case: Value = serde_json::from_str(line)?;
        let text = |name: &str| case[name].as_str().unwrap_or_default();
        let grammar = if case["kind"] == "schema" {
            Grammar::JsonSchema(serde_json::from_str(text("schema"))?)
        } else {
            Grammar::gbnf(text("grammar"))?
        };
        for (list, wanted) in [("accept", true), ("reject", false)] {
            for text in case[list].as_array().ok_or("a list")? {
                let text = text.as_str().ok_or("a text")?;
                // It is stricter than schemas are: on members that are not named, on digits.
                let valid = |schema: &Value| {
                    let document = serde_json::from_str(text);
                    document.is_ok_and(|document| jsonschema::is_valid(schema, &document))
                };
                if !wanted && matches!(&grammar, Grammar::JsonSchema(schema) if valid(schema)) {
                    continue;
                }
                check(&grammars, &model, &grammar, text, wanted)?;
            }
        }
    }
    for entry in fs::read_dir(folder.join("grammars"))? {
        let path = entry?.path();
        let grammar = Grammar::gbnf(&fs::read_to_string(&path)?)?;
        grammars
            .constraint(&grammar)
            .map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

/// What became of the schemas.
#[derive(Debug, Default)]
struct Count {
    schemas: u32,
    refused: u32,
    /// Documents that the schema accepts, and those of them that the grammar does not.
    valid: u32,
    missed: u32,
    /// Documents that the schema does not accept, and those of them that the grammar does.
    invalid: u32,
    let_through: Vec<String>,
}

fn bench(folder: &Path) -> Result<(), Failed> {
    let model = model()?;
    let grammars = Grammars::of(&model)?;
    let mut count = Count::default();
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    files.sort();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|e| e == "xz"))
    {
        let mut text = Vec::new();
        lzma_rs::xz_decompress(&mut BufReader::new(Cursor::new(fs::read(file)?)), &mut text)
            .map_err(|error| format!("{error:?}"))?;
        for line in String::from_utf8(text)?.lines() {
            case(&model, &grammars, &serde_json::from_str(line)?, &mut count)?;
        }
    }
    eprintln!("maskbench: {count:?}");
    // The engine of the grammars refuses what it cannot hold to; what it takes, it must hold to.
    if !count.let_through.is_empty()
        || count.refused * 4 > count.schemas
        || count.missed * 50 > count.valid
    {
        return Err(format!("{count:?}").into());
    }
    Ok(())
}

fn case(model: &Model, grammars: &Grammars, case: &Value, count: &mut Count) -> Result<(), Failed> {
    count.schemas += 1;
    let schema = &case["schema"];
    let grammar = Grammar::JsonSchema(schema.clone());
    if let Err(error) = grammars.constraint(&grammar) {
        if !error.to_string().starts_with("grammar: ") {
            return Err(error.into());
        }
        count.refused += 1;
        return Ok(());
    }
    for test in case["tests"].as_array().ok_or("tests")? {
        let text = serde_json::to_string(&test["data"])?;
        let accepted = accepts(model, &mut grammars.constraint(&grammar)?, &text)?;
        if test["valid"] == true {
            count.valid += 1;
            count.missed += u32::from(!accepted);
        } else {
            count.invalid += 1;
            if accepted {
                count.let_through.push(format!("{} {text}", case["file"]));
            }
        }
    }
    Ok(())
}
