//! Sequences side by side: each is what a session of its own would be.

use std::collections::HashMap;

use crate::sample::{self, EOS, open, recipe, tokens, windowed};
use inkstone_engine::{
    Drawn, ErrorKind, Event, Finish, KVS, Model, Params, Sequences, SessionConfig,
};

const COUNT: u32 = 3;

/// Prompts of several lengths, more than there is room for, each with its own way to draw.
fn asked() -> Vec<(Vec<u32>, Params)> {
    let warm = |seed| Params {
        temperature: 0.8,
        top_p: 0.9,
        repetition_penalty: 1.1,
        seed,
        ..Params::default()
    };
    vec![
        (tokens(1), Params::default()),
        (tokens(30), warm(1)),
        (tokens(9), warm(2)),
        (tokens(70), Params::default()),
        (tokens(2), warm(3)),
        (tokens(95), warm(4)),
    ]
}

/// The whole of a sequence by a session of its own, and how it ended.
fn alone(model: &Model, config: &SessionConfig, prompt: &[u32], params: &Params) -> Vec<u32> {
    let mut session = model.session(config).unwrap();
    session.set_sampling(params).unwrap();
    session.feed(prompt).unwrap();
    while session.position() < session.context() {
        if let Event::Stop(_) = session.step().unwrap() {
            break;
        }
    }
    session.tokens().to_vec()
}

/// As many at a time as there is room for, each place taken again when it is free.
fn together(sequences: &mut Sequences, asked: &[(Vec<u32>, Params)]) -> HashMap<usize, Vec<u32>> {
    let (mut next, mut of, mut done) = (0, HashMap::new(), HashMap::new());
    loop {
        while let (Some(place), Some((prompt, params))) = (sequences.idle(), asked.get(next)) {
            sequences.begin(place, prompt, params).unwrap();
            of.insert(place, next);
            next += 1;
        }
        let Some(drawn) = sequences.step().unwrap() else {
            return done;
        };
        let ended: Vec<Drawn> = drawn.iter().filter(|d| d.end.is_some()).copied().collect();
        for drawn in ended {
            let tokens = sequences.tokens(drawn.sequence).to_vec();
            let full = tokens.len() == 96;
            assert!(match drawn.end {
                Some(Finish::Stop(token)) => token == EOS && drawn.token == EOS,
                end => full && end == Some(Finish::ContextFull),
            });
            done.insert(of[&drawn.sequence], tokens);
        }
    }
}

#[test]
fn each_is_what_a_session_of_its_own_draws() {
    for recipe in [recipe(), windowed()] {
        let sample = open(&recipe);
        for config in sample::configs() {
            for (_, kv) in KVS {
                let config = SessionConfig {
                    kv: *kv,
                    ..config.clone()
                };
                let mut sequences = sample.model.sequences(&config, COUNT).unwrap();
                let done = together(&mut sequences, &asked());
                assert_eq!(done.len(), asked().len());
                for (index, (prompt, params)) in asked().iter().enumerate() {
                    let want = alone(&sample.model, &config, prompt, params);
                    assert_eq!(done[&index], want, "{index}, {config:?}");
                }
            }
        }
    }
}

#[test]
fn what_cannot_begin_changes_nothing() {
    let sample = open(&recipe());
    let config = sample::configs().next().unwrap();
    let mut sequences = sample.model.sequences(&config, COUNT).unwrap();
    let plain = Params::default();
    assert!(sequences.step().unwrap().is_none(), "nothing is queued");
    sequences.begin(1, &tokens(3), &plain).unwrap();
    let bad = Params {
        temperature: -1.0,
        ..Params::default()
    };
    for (tokens, params, kind) in [
        (vec![], &plain, ErrorKind::Invalid),
        (vec![9999], &plain, ErrorKind::Invalid),
        (tokens(4), &bad, ErrorKind::Invalid),
        (tokens(96), &plain, ErrorKind::ContextFull),
    ] {
        let refused = sequences.begin(1, &tokens, params).unwrap_err();
        assert_eq!(refused.kind(), kind);
    }
    assert_eq!(sequences.tokens(1), tokens(3));
    sequences.end(1);
    assert!(sequences.step().unwrap().is_none());
    let none = sample.model.sequences(&config, 0).map(|_| ()).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::Invalid);
}

#[test]
fn a_cancelled_step_is_taken_again() {
    let sample = open(&recipe());
    let config = sample::configs().next().unwrap();
    let mut sequences = sample.model.sequences(&config, COUNT).unwrap();
    let params = Params::default();
    sequences.begin(0, &tokens(20), &params).unwrap();
    sequences.canceller().cancel();
    let cancelled = sequences.step().map(|_| ()).unwrap_err();
    assert_eq!(cancelled.kind(), ErrorKind::Cancelled);
    while sequences.step().unwrap().is_some() {}
    assert_eq!(
        sequences.tokens(0),
        alone(&sample.model, &config, &tokens(20), &params)
    );
}
