//! Guessing: what is drawn, told and refused is what plain drawing draws, tells and refuses.

use crate::sample::{self, Sample, draw, logits, open, recipe, tokens, windowed, write_with};
use inkstone_engine::format::SectionKind;
use inkstone_engine::{
    DRAFTERS, ErrorKind, Event, Finish, Full, Generation, KVS, Model, Options, Params, Piece,
    Session, SessionConfig, Speculation,
};
use inkstone_tests::tiny::Recipe;

/// Ways to draw, each with another part of the sampler; all repeat themselves sooner or later.
fn params() -> Vec<Params> {
    let warm = Params {
        temperature: 0.4,
        seed: 9,
        top_k: 4,
        ..Params::default()
    };
    vec![
        Params::default(),
        Params {
            repetition_penalty: 1.05,
            frequency_penalty: 0.02,
            dry_multiplier: 0.2,
            ..warm.clone()
        },
        Params {
            temperature: 0.3,
            mirostat_tau: 1.0,
            seed: 3,
            ..Params::default()
        },
        Params {
            xtc_probability: 0.2,
            min_p: 0.05,
            ..warm
        },
    ]
}

/// One worker: whether several give the same is not asked here.
fn configs() -> impl Iterator<Item = SessionConfig> {
    sample::configs().map(|config| SessionConfig {
        threads: Some(1),
        ..config
    })
}

/// Guessing by each drafter, always and where it pays.
fn speculating(sample: &Sample, config: &SessionConfig) -> Vec<SessionConfig> {
    let with = |speculation, draft| SessionConfig {
        speculation,
        draft,
        ..config.clone()
    };
    vec![
        with(Speculation::Auto, None),
        with(Speculation::Depth(7), None),
        // The model itself always guesses right.
        with(Speculation::Depth(3), Some(sample.model.clone())),
        with(Speculation::Depth(5), Some(other().model)),
    ]
}

fn plain(config: &SessionConfig) -> SessionConfig {
    SessionConfig {
        speculation: Speculation::Off,
        ..config.clone()
    }
}

/// Another model of the same vocabulary.
fn other() -> Sample {
    open(&Recipe {
        seed: 77,
        layers: 1,
        ..recipe()
    })
}

/// A prompt that says everything three times.
fn refrain(n: u32) -> Vec<u32> {
    tokens(n).repeat(3)
}

fn session(model: &Model, config: &SessionConfig, params: &Params) -> Session {
    let mut session = model.session(config).unwrap();
    session.set_sampling(params).unwrap();
    session
}

/// Does the same in a plain session and in each that guesses; what they have to tell must be equal. How many guesses
/// came true in all.
fn compare<T: PartialEq + core::fmt::Debug>(
    sample: &Sample,
    config: &SessionConfig,
    act: impl Fn(&mut Session) -> T,
) -> u64 {
    let mut accepted = 0;
    for params in params() {
        let mut expected = session(&sample.model, &plain(config), &params);
        let told = act(&mut expected);
        for config in speculating(sample, config) {
            let mut guessing = session(&sample.model, &config, &params);
            assert_eq!(act(&mut guessing), told, "{config:?} {params:?}");
            assert_eq!(guessing.tokens(), expected.tokens());
            assert_eq!(guessing.done(), expected.done());
            let guesses = guessing.guesses();
            assert!(guesses.accepted <= guesses.drafted);
            accepted += guesses.accepted;
        }
    }
    accepted
}

#[test]
fn guessing_never_changes_what_is_drawn() {
    for recipe in [recipe(), windowed()] {
        let sample = open(&recipe);
        for config in configs() {
            let accepted = compare(&sample, &config, |session| {
                session.feed(&refrain(8)).unwrap();
                draw(session, 60)
            });
            assert!(accepted > 50, "{accepted} guesses came true");
        }
    }
}

#[test]
fn every_form_of_the_cache_may_be_guessed_over() {
    let sample = open(&windowed());
    let config = configs().next().unwrap();
    for &(_, kv) in KVS {
        let config = SessionConfig {
            kv,
            threads: Some(2),
            ..config.clone()
        };
        compare(&sample, &config, |session| {
            session.feed(&refrain(8)).unwrap();
            let drawn = draw(session, 20);
            (drawn, logits(session))
        });
    }
}

#[test]
fn each_step_tells_the_same() {
    let sample = open(&windowed());
    for config in configs() {
        compare(&sample, &config, |session| {
            session.feed(&refrain(9)).unwrap();
            let mut told = Vec::new();
            for _ in 0..50 {
                let event = session.step().unwrap();
                session.go_on();
                let bits: Vec<u32> = session.logits(0).iter().map(|x| x.to_bits()).collect();
                let place = (session.done(), session.position(), session.mark());
                told.push((event, place, bits));
            }
            told
        });
    }
}

#[test]
fn going_back_amid_guesses_is_as_without_them() {
    let sample = open(&windowed());
    for config in configs() {
        let config = SessionConfig {
            context: Some(300),
            ..config
        };
        compare(&sample, &config, |session| {
            session.feed(&refrain(60)).unwrap();
            let mut told = draw(session, 20);
            for (back, more) in [(1, 3), (16, 25), (2, 1), (0, 4), (5, 20), (16, 2)] {
                session.rewind(session.position() - back).unwrap();
                told.extend(draw(session, more));
                session.feed(&tokens(2)).unwrap();
                told.extend(draw(session, 1));
            }
            // How far back it can go, too, is the same.
            let mut refused = |back: u32| {
                let to = session.position() - back;
                session
                    .rewind(to)
                    .is_err_and(|error| error.kind() == ErrorKind::RewindTooFar)
            };
            told.extend(
                (0..60)
                    .rev()
                    .map_while(|back| refused(back).then_some(back)),
            );
            told.extend(logits(session));
            told
        });
    }
}

#[test]
fn a_full_context_is_met_at_the_same_token() {
    let sample = open(&windowed());
    for config in configs() {
        for full in [Full::Error, Full::Shift { keep: 5 }] {
            let config = SessionConfig {
                full,
                ..config.clone()
            };
            compare(&sample, &config, |session| {
                session.feed(&refrain(20)).unwrap();
                let mut told = Vec::new();
                for _ in 0..150 {
                    let step = session.step();
                    session.go_on();
                    told.push(step.map_err(|error| error.kind()));
                }
                told
            });
        }
    }
}

#[test]
fn cancelling_leaves_no_guess_behind() {
    let sample = open(&windowed());
    for config in configs() {
        compare(&sample, &config, |session| {
            session.feed(&refrain(8)).unwrap();
            let mut told = Vec::new();
            for _ in 0..12 {
                told.extend(draw(session, 3));
                session.canceller().cancel();
                assert_eq!(session.step().unwrap_err().kind(), ErrorKind::Cancelled);
                told.push(session.done());
            }
            told
        });
    }
}

#[test]
fn a_state_saved_amid_guesses_is_the_plain_one() {
    let sample = open(&windowed());
    for config in configs() {
        let path = sample.folder.path().join("guessed");
        compare(&sample, &config, |session| {
            session.feed(&refrain(10)).unwrap();
            let mut told = draw(session, 11);
            session.save(&path).unwrap();
            told.extend(draw(session, 10));
            // What guesses, and what does not, take each other's states.
            let mut other = sample.model.session(&plain(&config)).unwrap();
            other.set_sampling(session.sampling()).unwrap();
            other.load(&path).unwrap();
            told.extend(draw(&mut other, 10));
            session.load(&path).unwrap();
            told.extend(draw(session, 10));
            let mut fork = session.fork().unwrap();
            told.extend(draw(&mut fork, 10));
            told
        });
    }
}

#[test]
fn changing_how_to_draw_amid_guesses_counts_at_once() {
    let sample = open(&recipe());
    for config in configs() {
        compare(&sample, &config, |session| {
            session.feed(&refrain(8)).unwrap();
            let mut told = draw(session, 9);
            let hot = Params {
                temperature: 2.0,
                seed: 1,
                ..Params::default()
            };
            session.set_sampling(&hot).unwrap();
            told.extend(draw(session, 9));
            session.set_sampling(&Params::default()).unwrap();
            told.extend(draw(session, 9));
            told
        });
    }
}

#[test]
fn an_answer_ends_at_the_same_place() {
    let sample = open(&recipe());
    for config in configs() {
        let options = [
            Options {
                limit: Some(23),
                ignore_stops: true,
                ..Options::default()
            },
            Options {
                stops: vec!["ab".into(), "\u{1}".into(), "q".into()],
                limit: Some(40),
                ..Options::default()
            },
            Options {
                stop_ids: (0..40).collect(),
                ..Options::default()
            },
        ];
        for options in options {
            compare(&sample, &config, |session| {
                session.feed(&refrain(8)).unwrap();
                let mut answer = Generation::new(&sample.model, &options).unwrap();
                let (mut text, mut pieces) = (Vec::new(), Vec::new());
                loop {
                    let piece = answer.next(session, &mut text).unwrap();
                    pieces.push((piece, text.len()));
                    if let Piece::Finished(finish) = piece {
                        assert_ne!(finish, Finish::Idle);
                        break;
                    }
                }
                (text, pieces, session.step().ok())
            });
        }
    }
}

#[test]
fn the_model_as_its_own_draft_is_always_right() {
    let sample = open(&windowed());
    for config in configs() {
        for params in params() {
            let config = SessionConfig {
                speculation: Speculation::Depth(3),
                draft: Some(sample.model.clone()),
                ..config.clone()
            };
            let mut session = session(&sample.model, &config, &params);
            // Nothing stands in it twice, so that the draft is asked.
            session.feed(&tokens(20)).unwrap();
            draw(&mut session, 1);
            draw(&mut session, 4);
            let guesses = session.guesses();
            assert_eq!((guesses.drafted, guesses.accepted), (3, 3), "{params:?}");
        }
    }
}

#[test]
fn guesses_are_planned_to_the_byte() {
    let sample = open(&recipe());
    let config = plain(&configs().next().unwrap());
    let reserved = |config: &SessionConfig| sample.model.plan(config).unwrap();
    let off = reserved(&config);
    let row = u64::from(sample.model.spec().vocabulary) * 4;
    for depth in 1..8 {
        let on = SessionConfig {
            speculation: Speculation::Depth(depth),
            ..config.clone()
        };
        let more = reserved(&on).reserved() - off.reserved();
        assert!(more.abs_diff(row * u64::from(depth)) < 128, "{more}");
        let drafted = SessionConfig {
            draft: Some(other().model),
            ..on.clone()
        };
        let plan = reserved(&drafted);
        assert!(plan.draft > 0 && plan.mapped > off.mapped);
        assert_eq!(plan.reserved() - plan.draft, reserved(&on).reserved());
    }
    assert_eq!(reserved(&config).depth, 0);
}

#[test]
fn what_cannot_be_guessed_with_is_a_typed_error() {
    let sample = open(&recipe());
    let config = configs().next().unwrap();
    let refused = |speculation, draft| {
        let config = SessionConfig {
            speculation,
            draft,
            ..config.clone()
        };
        sample
            .model
            .session(&config)
            .err()
            .map(|error| error.kind())
    };
    for depth in [8, 65, u32::MAX] {
        assert_eq!(
            refused(Speculation::Depth(depth), None),
            Some(ErrorKind::Invalid)
        );
    }
    let path = sample.folder.path().join("foreign.ink");
    let tokenizer = crate::sample::foreign();
    write_with(&recipe(), &path, &[(SectionKind::Tokenizer, &tokenizer)]);
    let foreign = Model::open(&path).unwrap();
    assert_eq!(
        refused(Speculation::Auto, Some(foreign.clone())),
        Some(ErrorKind::Mismatch)
    );
    assert_eq!(refused(Speculation::Off, Some(foreign)), None);
}

#[test]
fn drafters_have_names_of_their_own() {
    let names: Vec<&str> = DRAFTERS.iter().map(|drafter| drafter.name).collect();
    assert_eq!(names, ["lookup", "draft"]);
    assert!(DRAFTERS.iter().all(|drafter| !drafter.doc.is_empty()));
}

#[test]
fn a_stop_token_among_the_guesses_stops() {
    let sample = open(&recipe());
    for config in configs() {
        compare(&sample, &config, |session| {
            let mut prompt = refrain(6);
            prompt.extend([crate::sample::EOS, 1, 2, crate::sample::EOS, 1]);
            session.feed(&prompt).unwrap();
            let mut told = Vec::new();
            for step in 0..40 {
                let event = session.step().unwrap();
                told.push(event);
                if matches!(event, Event::Stop(_)) {
                    assert_eq!(session.step().unwrap(), Event::Idle);
                    assert!(session.go_on());
                }
                if step % 10 == 9 {
                    session.feed(&[crate::sample::EOS]).unwrap();
                }
            }
            told
        });
    }
}

#[test]
fn a_guess_that_breaks_the_model_is_as_if_it_had_not_been_made() {
    let plain_format = inkstone_quant::Format::by_name("F32").unwrap();
    let recipe = Recipe {
        embed: plain_format,
        head: Some(plain_format),
        ..recipe()
    };
    let draft = other().model;
    for config in configs() {
        let sound = open(&recipe);
        let config = plain(&config);
        let mut session = sound.model.session(&config).unwrap();
        session.feed(&tokens(20)).unwrap();
        let drawn = draw(&mut session, 6);
        // What the draft will guess behind the first token.
        let mut guesser = draft.session(&config).unwrap();
        guesser.feed(&tokens(20)).unwrap();
        guesser.feed(&drawn[..1]).unwrap();
        let guess = draw(&mut guesser, 1)[0];
        assert!(!drawn.contains(&guess) && !tokens(20).contains(&guess));

        let broken = break_token(&sound, guess);
        let guessing = SessionConfig {
            speculation: Speculation::Depth(3),
            draft: Some(draft.clone()),
            ..config
        };
        let mut session = broken.session(&guessing).unwrap();
        session.feed(&tokens(20)).unwrap();
        assert_eq!(draw(&mut session, 6), drawn);
        session.feed(&[guess]).unwrap();
        assert_eq!(session.step().unwrap_err().kind(), ErrorKind::NotFinite);
    }
}

/// The model with an infinite embedding of one token.
fn break_token(sample: &Sample, token: u32) -> Model {
    let mut bytes = std::fs::read(sample.model.path()).unwrap();
    let file = sample.model.file();
    let embed = file
        .tensors()
        .find(|tensor| tensor.rows == sample.model.spec().vocabulary && tensor.panel_rows == 1)
        .unwrap();
    let row = embed.inputs as usize * 4;
    let start = embed.offset as usize + token as usize * row;
    for number in bytes[start..start + row].chunks_mut(4) {
        number.copy_from_slice(&f32::INFINITY.to_le_bytes());
    }
    let path = sample.folder.path().join("broken.ink");
    std::fs::write(&path, bytes).unwrap();
    Model::open(&path).unwrap()
}
