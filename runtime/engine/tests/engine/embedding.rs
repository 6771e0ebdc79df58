//! Texts as vectors.

use crate::sample::{configs, open, tokens, windowed};
use inkstone_engine::{ErrorKind, Pooling, SessionConfig};

const WIDTH: usize = 32;

fn config(base: SessionConfig, batch: u32) -> SessionConfig {
    SessionConfig {
        embeddings: true,
        batch,
        ..base
    }
}

#[test]
fn every_device_and_batch_gives_the_same() {
    let sample = open(&windowed());
    for pooling in [Pooling::Mean, Pooling::Last, Pooling::First] {
        let mut all = Vec::new();
        for base in configs() {
            for batch in [1, 7, 64] {
                let mut session = sample.model.session(&config(base.clone(), batch)).unwrap();
                let mut out = [0.0; WIDTH];
                // What was embedded before leaves nothing behind.
                session.embed(&[1, 2], pooling, false, &mut out).unwrap();
                session
                    .embed(&tokens(60), pooling, false, &mut out)
                    .unwrap();
                all.push(out);
            }
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{pooling:?}");
    }
}

#[test]
fn poolings_are_what_they_say() {
    let sample = open(&windowed());
    let mut session = sample
        .model
        .session(&config(SessionConfig::default(), 8))
        .unwrap();
    let mut embed = |tokens: &[u32], pooling, normalise| {
        let mut out = [0.0; WIDTH];
        session.embed(tokens, pooling, normalise, &mut out).unwrap();
        out
    };
    let text = tokens(20);
    let last: Vec<[f32; WIDTH]> = (1..=20)
        .map(|n| embed(&text[..n], Pooling::Last, false))
        .collect();
    assert_eq!(embed(&text, Pooling::First, false), last[0]);
    let mut mean = [0.0; WIDTH];
    for row in &last {
        mean.iter_mut().zip(row).for_each(|(to, x)| *to += x);
    }
    assert_eq!(embed(&text, Pooling::Mean, false), mean.map(|x| x / 20.0));
    let unit = embed(&text, Pooling::Mean, true);
    let length: f64 = unit.iter().map(|x| f64::from(*x).powi(2)).sum();
    assert!((length - 1.0).abs() < 1e-6, "{length}");
}

#[test]
fn sessions_are_for_one_or_the_other() {
    let sample = open(&windowed());
    let mut out = [0.0; WIDTH];
    let mut usual = sample.model.session(&SessionConfig::default()).unwrap();
    let error = usual
        .embed(&[1], Pooling::Mean, true, &mut out)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let config = config(SessionConfig::default(), 8);
    let plan = sample.model.plan(&config).unwrap();
    assert_eq!(plan.memory.logits, 0);
    let mut session = sample.model.session(&config).unwrap();
    session.feed(&[1, 2, 3]).unwrap();
    assert_eq!(session.step().unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(session.advance().unwrap_err().kind(), ErrorKind::Invalid);
    let context = session.context();
    let mut embed = |tokens: &[u32], out: &mut [f32]| {
        let embedded = session.embed(tokens, Pooling::Mean, true, out);
        embedded.unwrap_err().kind()
    };
    assert_eq!(embed(&[], &mut out), ErrorKind::Invalid);
    assert_eq!(embed(&[1], &mut [0.0; 3]), ErrorKind::Invalid);
    assert_eq!(embed(&[258], &mut out), ErrorKind::Invalid);
    let long = vec![1; context as usize + 1];
    assert_eq!(embed(&long, &mut out), ErrorKind::ContextFull);
    session.canceller().cancel();
    let error = session
        .embed(&[1], Pooling::Mean, true, &mut out)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    session.embed(&[1], Pooling::Mean, true, &mut out).unwrap();
}
