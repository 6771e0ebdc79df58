//! Perplexity against its definition, run token by token.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../../runtime/engine/tests/engine/sample.rs"]
mod sample;

use inkstone_eval::{Error, Options, perplexity};
use sample::{BOS, configs, fresh, open, recipe, windowed};

#[test]
fn it_is_what_the_definition_says() {
    let sample = open(&windowed());
    let text: String = ('a'..='z').cycle().step_by(7).take(100).collect();
    let config = configs().next().unwrap();
    let mut heard = Vec::new();
    let options = Options {
        context: 20,
        chunks: Some(3),
    };
    let report = perplexity(&sample.model, &config, &text, &options, &mut |c| {
        heard.push(*c)
    })
    .unwrap();
    let mut tokens = vec![BOS];
    tokens.extend(text.bytes().map(u32::from));
    let mut costs = Vec::new();
    for chunk in tokens.chunks(20).take(3) {
        let mut chunk = chunk.to_vec();
        chunk[0] = BOS;
        for place in 11..20 {
            let logits: Vec<f64> = fresh(&sample.model, &config, &chunk[..place])
                .into_iter()
                .map(|x| f32::from_bits(x).into())
                .collect();
            let total: f64 = logits.iter().map(|x| x.exp()).sum();
            costs.push(total.ln() - logits[chunk[place] as usize]);
        }
    }
    let nll = costs.iter().sum::<f64>() / costs.len() as f64;
    assert_eq!((report.tokens, report.chunks, report.context), (27, 3, 20));
    assert!((report.nll - nll).abs() < 1e-5, "{} {nll}", report.nll);
    assert_eq!(report.perplexity, report.nll.exp());
    // A token is a byte here.
    let bits = report.nll / core::f64::consts::LN_2;
    assert!((report.bits_per_byte - bits).abs() < 1e-12);
    assert_eq!(
        heard.iter().map(|c| (c.done, c.total)).collect::<Vec<_>>(),
        [(1, 3), (2, 3), (3, 3)]
    );
    assert_eq!(heard[2].perplexity, report.perplexity);
}

#[test]
fn texts_and_chunks_that_cannot_be_scored_are_typed_errors() {
    let sample = open(&recipe());
    let config = configs().next().unwrap();
    let run = |text: &str, context, chunks| {
        let options = Options { context, chunks };
        perplexity(&sample.model, &config, text, &options, &mut |_| {}).unwrap_err()
    };
    assert!(matches!(
        run("tea", 4, None),
        Error::TooShort {
            tokens: 4,
            wanted: 8
        }
    ));
    assert!(matches!(run("tea", 3, None), Error::Context(3)));
    assert!(matches!(run("tea and tea", 4, Some(0)), Error::Chunks));
}
