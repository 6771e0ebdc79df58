//! Adapters that are attached while a model is open.

use crate::sample::{configs, logits, open, recipe, tokens, windowed};
use inkstone_engine::{Adapter, ErrorKind, Model, Pair, SessionConfig};
use inkstone_model::weights::{DOWN, GATE, K, O, Q, UP, V};

/// The matrices of a tiny model: role, outputs, inputs.
const MATRICES: [(u16, usize, usize); 7] = [
    (Q, 32, 32),
    (K, 16, 32),
    (V, 16, 32),
    (O, 32, 32),
    (GATE, 48, 32),
    (UP, 48, 32),
    (DOWN, 32, 48),
];

/// Thin matrices over every matrix, of numbers that `seed` begins.
fn pairs(rank: usize, seed: u32) -> Vec<Pair> {
    let mut state = seed;
    let mut numbers = |n: usize| -> Vec<f32> {
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / 16_777_216.0 - 0.5
        };
        (0..n).map(|_| next()).collect()
    };
    let places = (0..2).flat_map(|layer| MATRICES.map(|matrix| (layer, matrix)));
    places
        .map(|(layer, (role, rows, inputs))| Pair {
            layer,
            role,
            rows,
            inputs,
            rank,
            a: numbers(rank * inputs),
            b: numbers(rows * rank),
        })
        .collect()
}

fn adapter(rank: usize, seed: u32) -> Adapter {
    Adapter::of("adapter", pairs(rank, seed)).unwrap()
}

/// What a model computes of some tokens.
fn computed(model: &Model, config: &SessionConfig) -> Vec<u32> {
    let mut session = model.session(config).unwrap();
    session.feed(&tokens(40)).unwrap();
    logits(&mut session)
}

#[test]
fn every_device_computes_the_same() {
    let sample = open(&recipe());
    for adapters in [
        vec![(adapter(3, 1), 1.0)],
        vec![(adapter(17, 2), 0.5), (adapter(8, 3), -1.0)],
    ] {
        let taught = sample.model.attach(&adapters).unwrap();
        let all: Vec<_> = configs().map(|config| computed(&taught, &config)).collect();
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
        let config = configs().next().unwrap();
        assert_ne!(all[0], computed(&sample.model, &config));
    }
}

#[test]
fn several_are_one_of_their_ranks_together() {
    let sample = open(&windowed());
    let (first, second) = (pairs(5, 7), pairs(12, 8));
    let stacked = first.iter().zip(&second).map(|(p, q)| {
        let rank = p.rank + q.rank;
        let rows = p.b.chunks(p.rank).zip(q.b.chunks(q.rank));
        Pair {
            rank,
            a: [p.a.as_slice(), &q.a].concat(),
            b: rows.flat_map(|(p, q)| [p, q].concat()).collect(),
            ..p.clone()
        }
    });
    let stacked = Adapter::of("stacked", stacked.collect()).unwrap();
    let first = Adapter::of("first", first).unwrap();
    let second = Adapter::of("second", second).unwrap();
    let together = sample.model.attach(&[(stacked, 1.0)]).unwrap();
    let at_once = sample
        .model
        .attach(&[(first.clone(), 1.0), (second.clone(), 1.0)]);
    let one_by_one = sample.model.attach(&[(first, 1.0)]).unwrap();
    let one_by_one = one_by_one.attach(&[(second, 1.0)]).unwrap();
    let config = configs().next().unwrap();
    let expected = computed(&together, &config);
    let at_once = at_once.unwrap();
    assert_eq!(at_once.id(), one_by_one.id());
    assert_eq!(computed(&at_once, &config), expected);
    assert_eq!(computed(&one_by_one, &config), expected);
}

#[test]
fn models_stay_apart() {
    let sample = open(&recipe());
    let config = configs().next().unwrap();
    let plain = computed(&sample.model, &config);
    let taught = sample.model.attach(&[(adapter(4, 5), 1.0)]).unwrap();
    let other = sample.model.attach(&[(adapter(4, 5), 2.0)]).unwrap();
    assert_ne!(taught.id(), sample.model.id());
    assert_ne!(taught.id(), other.id());
    let path = sample.folder.path().join("state");
    let mut session = taught.session(&config).unwrap();
    session.feed(&tokens(9)).unwrap();
    session.save(&path).unwrap();
    let refused = other.session(&config).unwrap().load(&path).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Mismatch);
    session.fork().unwrap().load(&path).unwrap();
    drop((taught, other));
    assert_eq!(computed(&sample.model, &config), plain);
    let nothing = sample.model.attach(&[(adapter(4, 5), 0.0)]).unwrap();
    assert_eq!(computed(&nothing, &config), plain);
}

#[test]
fn what_does_not_fit_is_refused() {
    let sample = open(&recipe());
    let refused = |pair: Pair, scale: f32| {
        let adapter = Adapter::of("adapter", vec![pair]).unwrap();
        sample.model.attach(&[(adapter, scale)]).unwrap_err().kind()
    };
    let sound = pairs(2, 1).remove(0);
    let elsewhere = |layer, role| Pair {
        layer,
        role,
        ..sound.clone()
    };
    assert_eq!(refused(elsewhere(2, Q), 1.0), ErrorKind::Mismatch);
    assert_eq!(refused(elsewhere(u16::MAX, Q), 1.0), ErrorKind::Mismatch);
    assert_eq!(refused(elsewhere(0, K), 1.0), ErrorKind::Mismatch);
    assert_eq!(refused(sound.clone(), f32::NAN), ErrorKind::Invalid);
    let many = pairs(4000, 1).remove(0);
    let twice = Adapter::of("many", vec![many.clone(), many]).unwrap();
    let error = sample.model.attach(&[(twice, 1.0)]).unwrap_err();
    assert!(error.to_string().contains("4096"), "{error}");
    for unsound in [
        Pair {
            rank: 3,
            ..sound.clone()
        },
        Pair {
            rank: 0,
            ..sound.clone()
        },
        Pair {
            role: 5,
            ..sound.clone()
        },
        Pair {
            b: vec![f32::INFINITY; 64],
            ..sound
        },
    ] {
        let error = Adapter::of("adapter", vec![unsound]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
    }
    let path = sample.folder.path().join("tiny.ink");
    let error = Adapter::open(&path).unwrap_err();
    assert!(error.to_string().contains("no adapter"), "{error}");
}
