//! Text as it comes.

use crate::sample::{BOS, EOS, configs, draw, open, recipe, tokens, write};
use inkstone_engine::{
    ErrorKind, Finish, Generation, Model, Options, Params, Piece, Session, SessionConfig,
};
use inkstone_tests::tiny::Recipe;

/// A model whose every token is a letter or ends the answer, so that its text is text.
fn letters() -> (Recipe, Params) {
    let only = |id: u32| (0x61..0x7b).contains(&id);
    let logit_bias = (0..258)
        .filter(|&id| !only(id))
        .map(|id| (id, -100.0))
        .collect();
    (
        recipe(),
        Params {
            temperature: 1.5,
            seed: 5,
            logit_bias,
            ..Params::default()
        },
    )
}

fn session(model: &Model, config: &SessionConfig, params: &Params) -> Session {
    let mut session = model.session(config).unwrap();
    session.set_sampling(params).unwrap();
    session.feed(&model.encode("tea")).unwrap();
    session
}

#[test]
fn text_is_that_of_the_tokens() {
    let (recipe, params) = letters();
    let sample = open(&recipe);
    for config in configs() {
        let expected = draw(&mut session(&sample.model, &config, &params), 20);
        let mut session = session(&sample.model, &config, &params);
        let options = Options {
            limit: Some(20),
            ..Options::default()
        };
        let mut answer = Generation::new(&sample.model, &options).unwrap();
        let mut text = Vec::new();
        assert_eq!(
            answer.finish(&mut session, &mut text).unwrap(),
            Finish::Limit
        );
        assert_eq!(
            text,
            expected.iter().map(|&id| id as u8).collect::<Vec<u8>>()
        );
        let stats = answer.stats();
        assert_eq!((stats.prompt_tokens, stats.tokens), (4, 20));
        assert!(stats.prompt_rate() > 0.0 && stats.token_rate() > 0.0);
        assert_eq!(
            answer.next(&mut session, &mut text).unwrap(),
            Piece::Finished(Finish::Limit)
        );
    }
}

#[test]
fn a_stop_text_ends_the_answer_and_is_not_shown() {
    let (recipe, params) = letters();
    let sample = open(&recipe);
    for config in configs() {
        let drawn = draw(&mut session(&sample.model, &config, &params), 20);
        let whole: String = drawn.iter().map(|&id| id as u8 as char).collect();
        let options = Options {
            stops: vec![whole[9..12].to_owned()],
            limit: Some(40),
            ..Options::default()
        };
        let end = whole.find(&options.stops[0]).unwrap();
        let mut answer = Generation::new(&sample.model, &options).unwrap();
        let mut text = Vec::new();
        let mut session = session(&sample.model, &config, &params);
        assert_eq!(
            answer.finish(&mut session, &mut text).unwrap(),
            Finish::StopText(0)
        );
        assert_eq!(text, &whole.as_bytes()[..end]);
    }
}

#[test]
fn what_only_began_as_a_stop_text_is_shown_at_the_end() {
    let (recipe, params) = letters();
    let sample = open(&recipe);
    let config = configs().next().unwrap();
    let drawn = draw(&mut session(&sample.model, &config, &params), 5);
    let whole: String = drawn.iter().map(|&id| id as u8 as char).collect();
    let options = Options {
        stops: vec![format!("{}!", &whole[3..])],
        limit: Some(5),
        ..Options::default()
    };
    let mut answer = Generation::new(&sample.model, &options).unwrap();
    let mut text = Vec::new();
    answer
        .finish(&mut session(&sample.model, &config, &params), &mut text)
        .unwrap();
    assert_eq!(text, whole.as_bytes());
}

#[test]
fn stop_tokens_end_the_answer_and_stand_in_the_sequence() {
    let sample = open(&recipe());
    for config in configs() {
        let params = Params {
            logit_bias: vec![(EOS, 100.0)],
            ..Params::default()
        };
        let mut session = session(&sample.model, &config, &params);
        let mut text = Vec::new();
        let mut answer = Generation::new(&sample.model, &Options::default()).unwrap();
        assert_eq!(
            answer.finish(&mut session, &mut text).unwrap(),
            Finish::Stop(EOS)
        );
        assert_eq!(
            (session.tokens().last(), text.as_slice()),
            (Some(&EOS), &[][..])
        );
        assert_eq!(answer.stats().tokens, 1);
        let options = Options {
            ignore_stops: true,
            limit: Some(4),
            ..Options::default()
        };
        let mut on = Generation::new(&sample.model, &options).unwrap();
        session.feed(&tokens(2)).unwrap();
        assert_eq!(on.finish(&mut session, &mut text).unwrap(), Finish::Limit);
        let options = Options {
            stop_ids: vec![0x61],
            ..Options::default()
        };
        let mut by_id = Generation::new(&sample.model, &options).unwrap();
        session
            .set_sampling(&Params {
                logit_bias: vec![(0x61, 100.0)],
                ..Params::default()
            })
            .unwrap();
        assert_eq!(
            by_id.finish(&mut session, &mut text).unwrap(),
            Finish::Stop(0x61)
        );
    }
}

#[test]
fn characters_come_whole() {
    let sample = open(&recipe());
    let config = configs().next().unwrap();
    let euro = "€".as_bytes();
    let mut session = sample.model.session(&config).unwrap();
    session.feed(&tokens(3)).unwrap();
    let mut answer = Generation::new(
        &sample.model,
        &Options {
            limit: Some(4),
            ..Options::default()
        },
    )
    .unwrap();
    let mut lengths = Vec::new();
    let mut text = Vec::new();
    for byte in [euro[0], euro[1], euro[2], euro[0]] {
        session
            .set_sampling(&Params {
                logit_bias: vec![(byte.into(), 100.0)],
                ..Params::default()
            })
            .unwrap();
        answer.next(&mut session, &mut text).unwrap();
        lengths.push(text.len());
    }
    assert_eq!(lengths, [0, 0, 3, 3]);
    answer.next(&mut session, &mut text).unwrap();
    assert_eq!(text, "€\u{fffd}".as_bytes());
}

#[test]
fn a_full_context_and_cancelling_are_ends_not_errors() {
    let (recipe, params) = letters();
    let sample = open(&recipe);
    for config in configs() {
        let mut session = session(&sample.model, &config, &params);
        let mut text = Vec::new();
        let mut answer = Generation::new(&sample.model, &Options::default()).unwrap();
        assert_eq!(
            answer.finish(&mut session, &mut text).unwrap(),
            Finish::ContextFull
        );
        assert_eq!(text.len(), 92);
        session.rewind(10).unwrap();
        let mut answer = Generation::new(&sample.model, &Options::default()).unwrap();
        session.canceller().cancel();
        assert_eq!(
            answer.finish(&mut session, &mut text).unwrap(),
            Finish::Cancelled
        );
        session.rewind(0).unwrap();
        let mut answer = Generation::new(&sample.model, &Options::default()).unwrap();
        assert_eq!(
            answer.finish(&mut session, &mut text).unwrap(),
            Finish::Idle
        );
    }
}

#[test]
fn stop_texts_are_checked() {
    let sample = open(&recipe());
    let options = Options {
        stops: vec![String::new()],
        ..Options::default()
    };
    assert_eq!(
        Generation::new(&sample.model, &options)
            .err()
            .map(|e| e.kind()),
        Some(ErrorKind::Invalid)
    );
}

#[test]
fn a_conversation_is_rendered_and_begun_once() {
    let sample = open(&recipe());
    let messages = serde_json::json!([{"role": "user", "content": "hi"}]);
    let text = sample.model.render_chat(&messages, None, true).unwrap();
    assert_eq!(text, "<s>[user]hi</s>[assistant]");
    let tokens = sample.model.encode_chat(&text);
    assert_eq!(tokens.iter().filter(|&&id| id == BOS).count(), 1);
    assert_eq!(tokens.iter().filter(|&&id| id == EOS).count(), 1);
    assert_eq!(sample.model.encode_chat("x"), [BOS, 0x78]);
    let plain = sample.model.encode("<s>");
    assert_eq!(plain, [BOS, 0x3c, 0x73, 0x3e]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("base.ink");
    write(&recipe(), &path, &[]);
    assert!(Model::open(&path).unwrap().has_template());
}
