//! What a session promises, on the reference backend over tiny models of every format.
#![allow(clippy::unwrap_used)]

use inkstone_format::File;
use inkstone_model::reference::Reference;
use inkstone_model::{Activations, Config, Core, Kv, Model, ModelError, Plan, SessionError, Step};
use inkstone_quant::{FORMATS, Format};
use inkstone_tests::tiny::{self, Recipe};

fn config() -> Config {
    let (batch, kv) = (64, Kv::F16);
    Config {
        context: 256,
        sequences: 1,
        batch,
        logits: batch,
        threads: 1,
        rewind: 16,
        kv,
        activations: Activations::Int8,
        streamed: false,
    }
}

fn session(ink: &[u8], config: Config) -> Core<Reference<&[u8]>, Vec<u32>> {
    let model = Model::new(File::parse(ink).unwrap()).unwrap();
    let plan = Plan::new(&model, config).unwrap();
    Core::new(
        Reference::new(plan, plan.ops(&model), ink),
        vec![0; config.context as usize],
        plan,
    )
}

fn tokens(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 37 + i * i * 11) % 131).collect()
}

fn run(session: &mut Core<Reference<&[u8]>, Vec<u32>>, tokens: &[u32], chunk: usize) -> Vec<u32> {
    session.feed(tokens).unwrap();
    while session.step(chunk, None).unwrap() != Step::Ready {}
    session.logits(0).iter().map(|x| x.to_bits()).collect()
}

fn recipes() -> Vec<Recipe> {
    // K-quants come in blocks of 256.
    let of = |f: &'static Format| {
        let (width, heads) = if f.name.ends_with("_K") {
            (256, 16)
        } else {
            (96, 4)
        };
        Recipe {
            formats: vec![f],
            embed: f,
            width,
            ffn_width: width,
            heads,
            ..Recipe::default()
        }
    };
    let windowed = Recipe {
        windows: vec![Some(20), None],
        qk_norms: true,
        post_norms: true,
        ..of(&FORMATS[6])
    };
    let biased = Recipe {
        biases: true,
        cap: Some(5.0),
        head: Some(&FORMATS[3]),
        ..of(&FORMATS[4])
    };
    FORMATS.iter().map(of).chain([windowed, biased]).collect()
}

#[test]
fn chunking_never_changes_logits() {
    for recipe in recipes() {
        let ink = tiny::ink(&recipe);
        for kv in [Kv::F16, Kv::Int8] {
            let config = Config { kv, ..config() };
            let whole = run(&mut session(&ink, config), &tokens(24), 64);
            for chunk in [1, 17] {
                assert_eq!(
                    whole,
                    run(&mut session(&ink, config), &tokens(24), chunk),
                    "{recipe:?} {kv:?} {chunk}"
                );
            }
        }
    }
}

#[test]
fn int8_activations_stay_near_the_yardstick() {
    for recipe in recipes() {
        let ink = tiny::ink(&recipe);
        let rounded = run(&mut session(&ink, config()), &tokens(30), 64);
        let plain = Config {
            activations: Activations::F32,
            kv: Kv::F32,
            ..config()
        };
        let plain = run(&mut session(&ink, plain), &tokens(30), 64);
        let numbers = |bits: &[u32]| {
            bits.iter()
                .map(|&b| f64::from(f32::from_bits(b)))
                .collect::<Vec<_>>()
        };
        let (a, b) = (numbers(&rounded), numbers(&plain));
        let error: f64 = a.iter().zip(&b).map(|(a, b)| (a - b).powi(2)).sum();
        let size: f64 = b.iter().map(|b| b * b).sum();
        assert!(
            error <= 1e-2 * size && size > 0.0,
            "{recipe:?}: {error} of {size}"
        );
    }
}

#[test]
fn rewinding_equals_a_fresh_start() {
    let ink = tiny::ink(&Recipe {
        windows: vec![Some(20), None],
        ..Recipe::default()
    });
    let mut s = session(&ink, config());
    run(&mut s, &tokens(60), 64);
    s.rewind(47).unwrap();
    let again = run(&mut s, &[5, 6, 7], 2);
    let fresh = run(
        &mut session(&ink, config()),
        &[&tokens(47)[..], &[5, 6, 7]].concat(),
        64,
    );
    assert_eq!(again, fresh);
}

#[test]
fn rings_refuse_to_go_back_further_than_they_hold() {
    let ink = tiny::ink(&Recipe {
        windows: vec![Some(20), None],
        ..Recipe::default()
    });
    let mut s = session(
        &ink,
        Config {
            context: 1024,
            ..config()
        },
    );
    run(&mut s, &tokens(400), 64);
    assert_eq!(
        s.rewind(300),
        Err(SessionError::RewindTooFar {
            to: 300,
            earliest: 384
        })
    );
    s.rewind(384).unwrap();
    s.rewind(0).unwrap();
    assert_eq!(
        run(&mut s, &tokens(400), 64),
        run(
            &mut session(
                &ink,
                Config {
                    context: 1024,
                    ..config()
                }
            ),
            &tokens(400),
            1
        )
    );
}

#[test]
fn a_saved_session_goes_on_as_if_nothing_had_happened() {
    for kv in [Kv::F32, Kv::F16, Kv::Int8] {
        let config = Config { kv, ..config() };
        let ink = tiny::ink(&Recipe {
            windows: vec![Some(20), None],
            ..Recipe::default()
        });
        let mut s = session(&ink, config);
        run(&mut s, &tokens(40), 64);
        let mut saved = Vec::new();
        assert!(inkstone_model::Backend::save(
            s.backend(),
            40,
            &mut |bytes| {
                saved.extend_from_slice(bytes);
                true
            }
        ));
        let mut other = session(&ink, config);
        let mut at = 0;
        let restored = other.restore(&tokens(40), &mut |to| {
            let n = to.len();
            match saved.get(at..at + n) {
                Some(bytes) => to.copy_from_slice(bytes),
                None => return false,
            }
            at += n;
            true
        });
        assert_eq!(restored, Ok(true));
        assert_eq!(run(&mut s, &[9], 1), run(&mut other, &[9], 1));
    }
}

#[test]
fn a_full_context_and_a_strange_token_are_errors() {
    let ink = tiny::ink(&Recipe::default());
    let mut s = session(&ink, config());
    assert_eq!(
        s.feed(&[0; 257]),
        Err(SessionError::ContextFull {
            context: 256,
            wanted: 257
        })
    );
    assert_eq!(
        s.feed(&[131]),
        Err(SessionError::NoSuchToken {
            token: 131,
            vocabulary: 131
        })
    );
    assert_eq!(s.step(1, None), Ok(Step::Idle));
}

#[test]
fn a_missing_tensor_is_named() {
    let mut ink = tiny::ink(&Recipe::default());
    let model = Model::new(File::parse(&ink).unwrap());
    assert!(model.is_ok());
    // One more layer than there are tensors for: the spec's record is inside a hashed section, not a checked one.
    let at = ink
        .windows(8)
        .position(|w| w == [48, 0, 0, 0, 40, 0, 0, 0])
        .unwrap();
    ink[at + 12] += 32;
    match Model::new(File::parse(&ink).unwrap()) {
        Err(ModelError::Shape {
            role: "embed",
            found: (131, 96),
            wanted: (131, 128),
            ..
        }) => {}
        other => panic!("{:?}", other.err()),
    }
}

#[test]
fn the_plan_adds_up() {
    let ink = tiny::ink(&Recipe::default());
    let model = Model::new(File::parse(&ink).unwrap()).unwrap();
    let m = Plan::new(&model, config()).unwrap().memory;
    assert_eq!(m.arena, m.slots + m.logits + m.scratch + m.kv);
    // Two layers, K and V of 2 heads × 16 × 256 positions × 2 bytes.
    assert_eq!(m.kv, 2 * 2 * 2 * 16 * 256 * 2);
}
