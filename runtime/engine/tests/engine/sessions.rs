//! Feeding, stepping, going back, stopping.

use crate::sample::{configs, draw, fresh, logits, open, recipe, tokens, windowed};
use inkstone_engine::{Activations, ErrorKind, Event, Full, KVS, Params, SessionConfig, Step};

#[test]
fn chunking_never_changes_logits() {
    let sample = open(&windowed());
    for config in configs() {
        for &(_, kv) in KVS {
            let whole = SessionConfig {
                kv,
                batch: 64,
                ..config.clone()
            };
            let expected = fresh(&sample.model, &whole, &tokens(60));
            for batch in [1, 7, 17] {
                let config = SessionConfig {
                    batch,
                    ..whole.clone()
                };
                assert_eq!(
                    fresh(&sample.model, &config, &tokens(60)),
                    expected,
                    "{config:?}"
                );
            }
        }
    }
}

#[test]
fn all_logits_are_those_of_each_prefix() {
    let sample = open(&recipe());
    for config in configs() {
        let config = SessionConfig {
            logits: 5,
            ..config
        };
        let mut session = sample.model.session(&config).unwrap();
        let all = tokens(13);
        session.feed(&all).unwrap();
        let mut done = 0;
        loop {
            let rows = session.advance_all().unwrap();
            if rows == 0 {
                break;
            }
            assert!(rows <= 5);
            for row in 0..rows {
                done += 1;
                let bits: Vec<u32> = session.logits(row).iter().map(|x| x.to_bits()).collect();
                assert_eq!(bits, fresh(&sample.model, &config, &all[..done]));
            }
        }
        assert_eq!(done, 13);
        assert!(matches!(
            session.step().unwrap(),
            Event::Token(_) | Event::Stop(_)
        ));
    }
}

#[test]
fn rewinding_is_as_a_fresh_session() {
    let sample = open(&windowed());
    for config in configs() {
        let all = tokens(60);
        let mut session = sample.model.session(&config).unwrap();
        session.feed(&all).unwrap();
        logits(&mut session);
        for position in [59, 50, 44, 0] {
            session.rewind(position).unwrap();
            assert_eq!(session.tokens(), &all[..position as usize]);
            if position > 0 {
                let expected = fresh(&sample.model, &config, &all[..position as usize]);
                assert_eq!(logits(&mut session), expected, "{position}");
            }
        }
        session.feed(&all[30..]).unwrap();
        assert_eq!(
            logits(&mut session),
            fresh(&sample.model, &config, &all[30..])
        );
    }
}

#[test]
fn rewinding_beyond_what_windows_hold_is_a_typed_error() {
    let sample = open(&windowed());
    for config in configs() {
        let config = SessionConfig {
            context: Some(400),
            rewind: 16,
            ..config
        };
        let mut session = sample.model.session(&config).unwrap();
        session.feed(&tokens(300)).unwrap();
        let before = logits(&mut session);
        let error = session.rewind(200).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RewindTooFar);
        assert_eq!(session.position(), 300);
        session.rewind(session.mark()).unwrap();
        assert_eq!(session.rewind(301).unwrap_err().kind(), ErrorKind::Invalid);
        session.rewind(284).unwrap();
        session.feed(&tokens(300)[284..]).unwrap();
        assert_eq!(logits(&mut session), before);
    }
}

#[test]
fn drawing_after_a_rewind_repeats_itself() {
    let sample = open(&recipe());
    let params = Params {
        temperature: 0.9,
        seed: 7,
        repetition_penalty: 1.2,
        mirostat_tau: 4.0,
        ..Params::default()
    };
    for config in configs() {
        let mut session = sample.model.session(&config).unwrap();
        session.set_sampling(&params).unwrap();
        session.feed(&tokens(20)).unwrap();
        draw(&mut session, 5);
        let mark = session.mark();
        let first = draw(&mut session, 10);
        session.rewind(mark).unwrap();
        assert_eq!(draw(&mut session, 10), first);
        assert_eq!(session.position(), 35);
    }
}

#[test]
fn a_fork_goes_its_own_way() {
    let sample = open(&windowed());
    let params = Params {
        temperature: 1.0,
        seed: 3,
        ..Params::default()
    };
    for config in configs() {
        let mut session = sample.model.session(&config).unwrap();
        session.set_sampling(&params).unwrap();
        session.feed(&tokens(40)).unwrap();
        draw(&mut session, 3);
        let mut fork = session.fork().unwrap();
        assert_eq!(fork.tokens(), session.tokens());
        assert_eq!(draw(&mut fork, 6), draw(&mut session, 6));
        fork.rewind(42).unwrap();
        fork.feed(&[1, 2, 3]).unwrap();
        let mut all = session.tokens()[..42].to_vec();
        all.extend([1, 2, 3]);
        assert_eq!(logits(&mut fork), fresh(&sample.model, &config, &all));
        assert_eq!(session.position(), 49);
    }
}

#[test]
fn a_prompt_keeps_what_it_shares_with_the_sequence() {
    let sample = open(&windowed());
    for config in configs() {
        let mut session = sample.model.session(&config).unwrap();
        let (mut first, mut second) = (tokens(30), tokens(25));
        assert_eq!(session.prompt(&first).unwrap(), 0);
        logits(&mut session);
        second.extend([9, 8, 7]);
        assert_eq!(session.prompt(&second).unwrap(), 25);
        assert_eq!(logits(&mut session), fresh(&sample.model, &config, &second));
        assert_eq!(session.prompt(&second[..20]).unwrap(), 20);
        assert_eq!(
            logits(&mut session),
            fresh(&sample.model, &config, &second[..20])
        );
        first.resize(97, 1);
        let error = session.prompt(&first).unwrap_err();
        assert_eq!(
            (error.kind(), session.position()),
            (ErrorKind::ContextFull, 20)
        );
    }
}

#[test]
fn a_cancelled_step_leaves_the_session_as_it_was() {
    let sample = open(&recipe());
    for config in configs() {
        let mut session = sample.model.session(&config).unwrap();
        let canceller = session.canceller();
        session.feed(&tokens(30)).unwrap();
        assert_eq!(
            session.step().unwrap(),
            Event::Progress { done: 8, total: 30 }
        );
        canceller.cancel();
        let error = session.step().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!((session.done(), session.position()), (8, 30));
        assert_eq!(
            logits(&mut session),
            fresh(&sample.model, &config, &tokens(30))
        );
        canceller.cancel();
        assert!(canceller.reset());
        assert!(session.step().is_ok());
    }
}

#[test]
fn a_step_is_cancelled_from_another_thread() {
    let sample = open(&recipe());
    for config in configs() {
        let config = SessionConfig {
            context: Some(2000),
            batch: 1000,
            ..config
        };
        let mut session = sample.model.session(&config).unwrap();
        session.feed(&tokens(2000)).unwrap();
        let canceller = session.canceller();
        let thread = std::thread::spawn(move || canceller.cancel());
        let result = loop {
            match session.advance() {
                Ok(Step::Idle) => session
                    .rewind(0)
                    .and_then(|()| session.feed(&tokens(2000)))
                    .unwrap(),
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(result.kind(), ErrorKind::Cancelled);
        thread.join().unwrap();
    }
}

#[test]
fn a_full_context_is_a_typed_error() {
    let sample = open(&recipe());
    for config in configs() {
        let mut session = sample.model.session(&config).unwrap();
        let error = session.feed(&tokens(97)).unwrap_err();
        assert_eq!(
            (error.kind(), session.position()),
            (ErrorKind::ContextFull, 0)
        );
        session.feed(&tokens(94)).unwrap();
        draw(&mut session, 2);
        for _ in 0..2 {
            assert_eq!(session.step().unwrap_err().kind(), ErrorKind::ContextFull);
        }
        assert_eq!(session.position(), 96);
        assert_eq!(
            session.feed(&[1]).unwrap_err().kind(),
            ErrorKind::ContextFull
        );
        session.rewind(90).unwrap();
        draw(&mut session, 6);
    }
}

#[test]
fn a_shift_is_as_a_fresh_session_of_what_stays() {
    for recipe in [recipe(), windowed()] {
        let sample = open(&recipe);
        for config in configs() {
            let config = SessionConfig {
                full: Full::Shift { keep: 10 },
                ..config
            };
            let mut session = sample.model.session(&config).unwrap();
            let all = tokens(96);
            session.feed(&all).unwrap();
            while session.advance().unwrap() != Step::Ready {}
            assert_eq!(session.step().unwrap(), Event::Shifted { dropped: 43 });
            let mut stays = all[..10].to_vec();
            stays.extend(&all[53..]);
            assert_eq!(session.tokens(), stays);
            assert_eq!(logits(&mut session), fresh(&sample.model, &config, &stays));
            draw(&mut session, 200);
            assert_eq!(session.tokens()[..10], all[..10]);
            assert_eq!(
                session.feed(&tokens(87)).unwrap_err().kind(),
                ErrorKind::ContextFull
            );
            session.feed(&tokens(86)).unwrap();
            assert_eq!(session.tokens()[10..], tokens(86));
        }
    }
}

#[test]
fn a_mark_from_before_a_shift_is_refused() {
    let sample = open(&recipe());
    let config = configs().next().unwrap();
    let config = SessionConfig {
        full: Full::Shift { keep: 4 },
        ..config
    };
    let mut session = sample.model.session(&config).unwrap();
    session.feed(&tokens(20)).unwrap();
    let mark = session.mark();
    session.feed(&tokens(80)).unwrap();
    assert_eq!(session.rewind(mark).unwrap_err().kind(), ErrorKind::Invalid);
}

#[test]
fn foreign_tokens_are_refused_whole() {
    let sample = open(&recipe());
    for config in configs() {
        let mut session = sample.model.session(&config).unwrap();
        assert_eq!(
            session.feed(&[1, 258]).unwrap_err().kind(),
            ErrorKind::Invalid
        );
        assert_eq!(
            session.prompt(&[1, u32::MAX]).unwrap_err().kind(),
            ErrorKind::Invalid
        );
        assert_eq!(session.position(), 0);
        assert_eq!(session.step().unwrap(), Event::Idle);
    }
}

#[test]
fn greedy_choice_takes_the_likeliest_token() {
    let sample = open(&recipe());
    for config in configs() {
        let mut session = sample.model.session(&config).unwrap();
        session.feed(&tokens(9)).unwrap();
        let bits = logits(&mut session);
        let best = (0..bits.len())
            .max_by(|&a, &b| f32::from_bits(bits[a]).total_cmp(&f32::from_bits(bits[b])));
        assert_eq!(draw(&mut session, 1), [best.unwrap() as u32]);
    }
}

#[test]
fn every_device_gives_the_same_bits() {
    let sample = open(&windowed());
    for activations in [Activations::Int8, Activations::F32] {
        for &(_, kv) in KVS {
            let each = configs().map(|config| {
                let config = SessionConfig {
                    activations,
                    kv,
                    ..config
                };
                fresh(&sample.model, &config, &tokens(70))
            });
            let each: Vec<_> = each.collect();
            assert!(
                each.windows(2).all(|pair| pair[0] == pair[1]),
                "{activations:?} {kv:?}"
            );
        }
    }
}

#[test]
fn bad_configurations_are_typed_errors() {
    let sample = open(&recipe());
    let good = configs().next().unwrap();
    let refused = |change: fn(&mut SessionConfig)| {
        let mut config = good.clone();
        change(&mut config);
        let error = sample.model.session(&config).err();
        error.expect("it is refused").kind()
    };
    assert_eq!(
        refused(|c| c.device = "abacus".into()),
        ErrorKind::Unsupported
    );
    assert_eq!(
        refused(|c| c.isa = Some("abacus".into())),
        ErrorKind::Unsupported
    );
    assert_eq!(refused(|c| c.context = Some(0)), ErrorKind::Invalid);
    assert_eq!(refused(|c| c.context = Some(u32::MAX)), ErrorKind::Invalid);
    assert_eq!(refused(|c| c.batch = 0), ErrorKind::Invalid);
    assert_eq!(refused(|c| c.logits = 9), ErrorKind::Invalid);
    assert_eq!(refused(|c| c.threads = Some(0)), ErrorKind::Invalid);
    assert_eq!(refused(|c| c.rewind = u32::MAX), ErrorKind::Invalid);
    assert_eq!(
        refused(|c| c.full = Full::Shift { keep: 90 }),
        ErrorKind::Invalid
    );
    let mut session = sample.model.session(&good).unwrap();
    let params = Params {
        temperature: -1.0,
        ..Params::default()
    };
    assert_eq!(
        session.set_sampling(&params).unwrap_err().kind(),
        ErrorKind::Invalid
    );
}
