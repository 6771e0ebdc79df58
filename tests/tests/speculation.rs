//! Guessing on real models: the tokens are those of plain drawing, and guesses come true.

mod support;

use inkstone_engine::{Event, Guesses, Model, Params, SessionConfig, Speculation};
use inkstone_tests::needs;
use libtest_mimic::Failed;
use std::fs;

/// Said twice, it is longer than the windows of the models here.
const TEXT: &str = "The old man took the blue cup from the shelf, filled it with hot tea and sat down by \
    the window. The sea was grey that morning, and far out a small boat was going home. He counted: one, two, \
    three, four, five. Then he wrote a letter to his daughter, who lived beyond the mountains, and told her of \
    the garden, of the seven apple trees, of the dog that slept all day, and of the cup.\n";

fn main() {
    let trial = |name: &&'static str| {
        let name = *name;
        let present = needs::model(&format!("{name}.gguf")).is_some();
        let claim = format!("guessing_never_changes_what_{name}_draws");
        needs::trial(claim, present, "models", move || real(name))
    };
    needs::run(support::REAL.iter().map(trial).collect());
}

fn real(name: &str) -> Result<(), Failed> {
    let path = support::converted(name).ok_or("the model was there a moment ago")?;
    let model = Model::open(&path)?;
    let prompt = model.encode(&TEXT.repeat(6));
    let mut accepted = 0;
    for params in params() {
        let (expected, _) = drawn(&model, &config(Speculation::Off, None), &params, &prompt)?;
        for (speculation, draft) in [
            (Speculation::Depth(8), None),
            (Speculation::Auto, Some(model.clone())),
        ] {
            let config = config(speculation, draft);
            let (tokens, guesses) = drawn(&model, &config, &params, &prompt)?;
            if tokens != expected {
                let text = format!("{tokens:?} is not {expected:?}, {config:?}, {params:?}");
                return Err(text.into());
            }
            accepted += guesses.accepted;
        }
    }
    if accepted < 200 {
        return Err(format!("{accepted} guesses came true").into());
    }
    Ok(fs::remove_file(path)?)
}

/// Greedy; sampled; sampled with all that looks at the history.
fn params() -> Vec<Params> {
    let sampled = Params {
        temperature: 0.7,
        top_p: 0.9,
        seed: 4,
        ..Params::default()
    };
    vec![
        Params::default(),
        sampled.clone(),
        Params {
            repetition_penalty: 1.05,
            presence_penalty: 0.1,
            dry_multiplier: 0.1,
            dry_allowed_length: 40,
            ..sampled
        },
    ]
}

fn config(speculation: Speculation, draft: Option<Model>) -> SessionConfig {
    SessionConfig {
        device: support::DEVICE.into(),
        context: Some(1024),
        speculation,
        draft,
        ..SessionConfig::default()
    }
}

/// The tokens that follow the prompt, and follow again after going back.
fn drawn(
    model: &Model,
    config: &SessionConfig,
    params: &Params,
    prompt: &[u32],
) -> Result<(Vec<u32>, Guesses), Failed> {
    let mut session = model.session(config)?;
    session.set_sampling(params)?;
    session.feed(prompt)?;
    let mut tokens = Vec::new();
    for back in [0, 40, 7] {
        session.rewind(session.position() - back)?;
        let wanted = tokens.len() + 48;
        while tokens.len() < wanted {
            if let Event::Token(token) | Event::Stop(token) = session.step()? {
                session.go_on();
                tokens.push(token);
            }
        }
    }
    Ok((tokens, session.guesses()))
}
