//! Every sampler against the dullest form of its formula, in f64, on random logits.

use std::collections::{BTreeMap, BTreeSet};

use super::{Limits, ParamError, Params, Sampler, Stops, TABLE, candidates};

const LIMITS: Limits = Limits {
    vocabulary: 600,
    history: 256,
};

/// Numbers that look random and are the same everywhere (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: u32) -> u32 {
        (self.next() % u64::from(n)) as u32
    }

    /// Bell-shaped, of variance about 9, on a grid so that ties occur.
    fn logits(&mut self, count: usize) -> Vec<f32> {
        (0..count)
            .map(|_| {
                (0..12)
                    .map(|_| self.below(64) as f32 / 64.0 - 0.5)
                    .sum::<f32>()
                    * 3.0
            })
            .collect()
    }
}

fn sampler(params: &Params) -> Sampler {
    Sampler::new(params, LIMITS).expect("the parameters of the tests are in range")
}

fn warm() -> Params {
    Params {
        temperature: 1.0,
        ..Params::default()
    }
}

/// The tokens still in the running, and their logits, after the samplers have acted.
fn running(params: &Params, history: &[u32], logits: &[f32]) -> BTreeMap<u32, f32> {
    let mut sampler = sampler(params);
    history.iter().for_each(|&token| sampler.accept(token));
    sampler.sample(logits, 0);
    sampler
        .candidates
        .items()
        .iter()
        .map(|item| (item.id, item.logit))
        .collect()
}

fn kept(params: &Params, logits: &[f32]) -> BTreeSet<u32> {
    running(params, &[], logits).into_keys().collect()
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::MIN, f32::max);
    let weights: Vec<f64> = logits
        .iter()
        .map(|&logit| f64::from(logit - highest).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

/// Ids by descending logit, then ascending id.
fn ranked(logits: &[f32]) -> Vec<usize> {
    let mut ids: Vec<usize> = (0..logits.len()).collect();
    ids.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    ids
}

/// The shortest front of `order` whose probability reaches `wanted`; none where rounding decides.
fn front(order: &[usize], probability: &[f64], wanted: f64) -> Option<BTreeSet<u32>> {
    let mut sum = 0.0;
    let mut set = BTreeSet::new();
    for &id in order {
        set.insert(id as u32);
        sum += probability[id];
        if (sum - wanted).abs() < 1e-5 {
            return None;
        }
        if sum >= wanted {
            break;
        }
    }
    Some(set)
}

/// Runs `check` on logits of many seeds.
fn over_logits(check: impl Fn(&mut Random, &[f32])) {
    for seed in 0..60 {
        let mut random = Random(seed);
        let logits = random.logits(LIMITS.vocabulary);
        check(&mut random, &logits);
    }
}

#[test]
fn greedy_takes_the_lowest_id_of_the_highest_logit() {
    over_logits(|_, logits| {
        let best = ranked(logits)[0] as u32;
        assert_eq!(sampler(&Params::default()).sample(logits, 0), best);
        let mut biased = Params {
            logit_bias: vec![(3, 0.0)],
            ..Params::default()
        };
        assert_eq!(
            sampler(&biased).sample(logits, 0),
            best,
            "the slow path agrees"
        );
        biased.logit_bias[0].1 = 100.0;
        assert_eq!(sampler(&biased).sample(logits, 0), 3);
    });
    assert_eq!(
        sampler(&Params::default()).sample(&[1.0, f32::NAN, 2.0, 2.0], 0),
        2
    );
}

#[test]
fn top_k_keeps_the_k_best() {
    over_logits(|random, logits| {
        let top_k = 1 + random.below(500);
        let expected = ranked(logits)[..top_k as usize]
            .iter()
            .map(|&id| id as u32)
            .collect();
        assert_eq!(kept(&Params { top_k, ..warm() }, logits), expected);
    });
}

#[test]
fn top_p_keeps_the_smallest_front_that_reaches_p() {
    over_logits(|_, logits| {
        for top_p in [0.01_f32, 0.3, 0.5, 0.9, 0.999] {
            if let Some(expected) = front(&ranked(logits), &softmax(logits), top_p.into()) {
                assert_eq!(
                    kept(&Params { top_p, ..warm() }, logits),
                    expected,
                    "p = {top_p}"
                );
            }
        }
    });
}

#[test]
fn min_p_keeps_what_reaches_a_part_of_the_best() {
    over_logits(|_, logits| {
        let probability = softmax(logits);
        let best = probability.iter().copied().fold(0.0, f64::max);
        for min_p in [0.011_f32, 0.1003, 0.5007] {
            let reaches = |&id: &u32| probability[id as usize] >= f64::from(min_p) * best;
            let expected = (0..LIMITS.vocabulary as u32).filter(reaches).collect();
            assert_eq!(
                kept(&Params { min_p, ..warm() }, logits),
                expected,
                "p = {min_p}"
            );
        }
    });
}

#[test]
fn typical_keeps_what_surprises_about_as_much_as_the_entropy() {
    over_logits(|_, logits| {
        let probability = softmax(logits);
        let entropy: f64 = probability.iter().map(|p| -p * p.ln()).sum();
        let distance = |id: usize| (-probability[id].ln() - entropy).abs();
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
        for typical_p in [0.2_f32, 0.5, 0.9] {
            let got = kept(
                &Params {
                    typical_p,
                    ..warm()
                },
                logits,
            );
            let Some(expected) = front(&order, &probability, typical_p.into()) else {
                continue;
            };
            // Equal logits are equally typical: which of them is taken is the lower id's right, in both.
            let apart: Vec<f64> = got
                .symmetric_difference(&expected)
                .map(|&id| distance(id as usize))
                .collect();
            assert!(
                apart
                    .windows(2)
                    .all(|pair| (pair[0] - pair[1]).abs() < 1e-4),
                "p = {typical_p}"
            );
            assert!(got.len().abs_diff(expected.len()) <= 1);
        }
    });
}

#[test]
fn xtc_keeps_the_least_likely_of_the_likely() {
    let logits = [2.0, 1.9, -5.0, 1.5, 0.2];
    let params = Params {
        xtc_probability: 1.0,
        xtc_threshold: 0.2,
        ..warm()
    };
    assert_eq!(kept(&params, &logits), BTreeSet::from([2, 3, 4]));
    let alone = Params {
        xtc_threshold: 0.36,
        ..params
    };
    assert_eq!(
        kept(&alone, &logits).len(),
        5,
        "a single likely token stays"
    );
}

#[test]
fn xtc_acts_as_often_as_it_should() {
    let params = Params {
        xtc_probability: 0.25,
        xtc_threshold: 0.2,
        seed: 7,
        ..warm()
    };
    let mut sampler = sampler(&params);
    let acted = (0..20_000).filter(|&position| {
        sampler.sample(&[2.0, 1.9, -5.0], position);
        sampler.candidates.items().len() == 2
    });
    let share = acted.count() as f64 / 20_000.0;
    assert!((share - 0.25).abs() < 0.01, "{share}");
}

#[test]
fn temperature_divides() {
    over_logits(|_, logits| {
        let got = running(
            &Params {
                temperature: 0.7,
                ..warm()
            },
            &[],
            logits,
        );
        assert!(
            got.iter()
                .all(|(&id, &logit)| logit == logits[id as usize] / 0.7)
        );
    });
    let cold = Params {
        temperature: 1e-38,
        ..warm()
    };
    assert_eq!(sampler(&cold).sample(&[1.0, 3.0, -2.0], 5), 1);
}

#[test]
fn penalties_follow_their_formulas() {
    let params = Params {
        repetition_penalty: 1.3,
        frequency_penalty: 0.4,
        presence_penalty: 0.25,
        penalty_last_n: 20,
        ..warm()
    };
    over_logits(|random, logits| {
        let history: Vec<u32> = (0..40).map(|_| random.below(12)).collect();
        let got = running(&params, &history, logits);
        for (id, &logit) in logits.iter().enumerate() {
            let count = history[20..]
                .iter()
                .filter(|&&token| token == id as u32)
                .count();
            let repeated = if logit > 0.0 {
                logit / 1.3
            } else {
                logit * 1.3
            };
            let expected = if count > 0 {
                repeated - (count as f32 * 0.4 + 0.25)
            } else {
                logit
            };
            assert_eq!(got[&(id as u32)], expected + 0.0);
        }
    });
}

#[test]
fn dry_penalises_what_lengthens_a_repetition() {
    let params = Params {
        dry_multiplier: 0.8,
        dry_last_n: 60,
        dry_breakers: vec![4],
        ..warm()
    };
    over_logits(|random, logits| {
        let history: Vec<u32> = (0..80).map(|_| random.below(3) + random.below(3)).collect();
        let got = running(&params, &history, logits);
        let seen = &history[20..];
        let mut longest = BTreeMap::new();
        for next in 1..seen.len() {
            let earlier = seen[..next].iter().rev();
            let same = earlier
                .zip(seen.iter().rev())
                .take_while(|(a, b)| a == b && **b != 4)
                .count();
            let length = longest.entry(seen[next]).or_insert(0);
            *length = same.max(*length);
        }
        for (id, &logit) in logits.iter().enumerate() {
            let length = longest
                .get(&(id as u32))
                .copied()
                .filter(|_| id != 4)
                .unwrap_or(0);
            let less = if length >= 2 {
                0.8 * 1.75_f64.powi(length as i32 - 2)
            } else {
                0.0
            };
            let error = (f64::from(got[&(id as u32)]) - (f64::from(logit) - less)).abs();
            assert!(
                error <= 1e-6 * (1.0 + less),
                "token {id}: {length}, off by {error}"
            );
        }
    });
}

#[test]
fn dry_survives_a_history_of_one_token() {
    let params = Params {
        dry_multiplier: 5.0,
        dry_base: 10.0,
        ..Params::default()
    };
    let mut sampler = sampler(&params);
    (0..1000).for_each(|_| sampler.accept(1));
    assert_eq!(sampler.sample(&[-1e9, 1e9], 0), 0);
}

#[test]
fn mirostat_cuts_at_mu_and_steers_the_surprise_to_tau() {
    let params = Params {
        mirostat_tau: 3.0,
        mirostat_eta: 0.1,
        seed: 1,
        ..warm()
    };
    let mut sampler = sampler(&params);
    let mut random = Random(5);
    let mut mu = 6.0_f64;
    let mut sum = 0.0;
    for position in 0..3000 {
        let logits = random.logits(LIMITS.vocabulary);
        let token = sampler.sample(&logits, position);
        assert!((f64::from(sampler.mirostat_mu()) - mu).abs() < 1e-2);
        let surprise = |id: usize| -softmax(&logits)[id].log2();
        let surprise_of_token = surprise(token as usize);
        if position % 100 == 0 {
            let bound = f64::from(sampler.mirostat_mu());
            let stays = |id: &u32| surprise(*id as usize) <= bound + 1e-4;
            assert!(
                sampler
                    .candidates
                    .items()
                    .iter()
                    .all(|item| stays(&item.id) || sampler.candidates.items().len() == 1)
            );
        }
        sampler.accept(token);
        mu -= 0.1 * (surprise_of_token - 3.0);
        sum += surprise_of_token;
    }
    let mean = sum / 3000.0;
    assert!((mean - 3.0).abs() < 0.1, "{mean}");
}

#[test]
fn drawn_tokens_have_the_frequencies_of_the_softmax() {
    let logits = [0.0, 1.0, -1.0, 2.0, f32::NEG_INFINITY];
    let expected = softmax(&logits);
    for (seed, top_k) in [(1, 0), (2, 4)] {
        let mut sampler = sampler(&Params {
            seed,
            top_k,
            ..warm()
        });
        let mut counts = [0_u32; 5];
        (0..100_000).for_each(|position| counts[sampler.sample(&logits, position) as usize] += 1);
        let chi_square: f64 = (0..4)
            .map(|id| {
                let mean = expected[id] * 100_000.0;
                (f64::from(counts[id]) - mean).powi(2) / mean
            })
            .sum();
        assert!(
            chi_square < 16.3,
            "{chi_square} is beyond the 0.1 % point of 3 degrees of freedom"
        );
        assert_eq!(counts[4], 0);
    }
}

#[test]
fn a_draw_depends_on_seed_position_logits_and_history_alone() {
    let params = Params {
        top_p: 0.95,
        repetition_penalty: 1.1,
        seed: 42,
        ..warm()
    };
    let logits = Random(9).logits(LIMITS.vocabulary);
    let mut one = sampler(&params);
    let mut other = sampler(&params);
    let forwards: Vec<u32> = (0..50)
        .map(|position| one.sample(&logits, position))
        .collect();
    let mut backwards: Vec<u32> = (0..50)
        .rev()
        .map(|position| other.sample(&logits, position))
        .collect();
    backwards.reverse();
    assert_eq!(forwards, backwards);
    assert!(
        forwards.iter().collect::<BTreeSet<_>>().len() > 10,
        "positions differ"
    );
    one.accept(3);
    one.reset();
    assert_eq!(one.sample(&logits, 7), forwards[7]);
    let mut reseeded = sampler(&Params { seed: 43, ..params });
    assert_ne!(
        (0..50)
            .map(|position| reseeded.sample(&logits, position))
            .collect::<Vec<_>>(),
        forwards
    );
}

#[test]
fn the_same_tokens_come_out_on_every_machine() {
    let chain = Params {
        temperature: 0.8,
        top_k: 100,
        top_p: 0.95,
        min_p: 0.02,
        typical_p: 0.97,
        repetition_penalty: 1.1,
        dry_multiplier: 0.8,
        xtc_probability: 0.3,
        seed: 2024,
        ..Params::default()
    };
    let mirostat = Params {
        mirostat_tau: 4.0,
        ..Params {
            seed: 2024,
            ..warm()
        }
    };
    let said = [chain, mirostat].map(|params| {
        let mut sampler = sampler(&params);
        let mut random = Random(77);
        let tokens = (0..12).map(|position| {
            let token = sampler.sample(&random.logits(LIMITS.vocabulary), position);
            sampler.accept(token);
            token
        });
        tokens.collect::<Vec<_>>()
    });
    assert_eq!(said, GOLDEN);
}

/// Recorded once; a change here changes what users' seeds give.
const GOLDEN: [[u32; 12]; 2] = [
    [335, 532, 163, 456, 5, 493, 177, 48, 133, 77, 321, 445],
    [570, 335, 163, 277, 28, 438, 177, 259, 426, 77, 539, 445],
];

#[test]
fn a_saved_state_goes_on_as_the_original() {
    let params = Params {
        mirostat_tau: 4.0,
        presence_penalty: 1.0,
        seed: 3,
        ..warm()
    };
    let mut original = sampler(&params);
    let mut random = Random(1);
    let step = |sampler: &mut Sampler, logits: &[f32], position| {
        let token = sampler.sample(logits, position);
        sampler.accept(token);
        token
    };
    for position in 0..300 {
        step(&mut original, &random.logits(600), position);
    }
    let mut copy = sampler(&params);
    copy.restore(
        original.history().collect::<Vec<_>>(),
        original.mirostat_mu(),
    );
    for position in 300..350 {
        let logits = random.logits(600);
        assert_eq!(
            step(&mut original, &logits, position),
            step(&mut copy, &logits, position)
        );
    }
}

#[test]
fn odd_logits_are_survived() {
    let mut params = Params {
        top_p: 0.9,
        min_p: 0.1,
        typical_p: 0.9,
        xtc_probability: 1.0,
        ..warm()
    };
    for mirostat_tau in [0.0, 5.0] {
        params.mirostat_tau = mirostat_tau;
        let mut sampler = sampler(&params);
        assert_eq!(sampler.sample(&[], 0), 0);
        assert_eq!(sampler.sample(&[f32::NAN; 4], 0), 0);
        assert_eq!(sampler.sample(&[f32::NEG_INFINITY; 4], 0), 0);
        assert_eq!(sampler.sample(&[f32::NEG_INFINITY, f32::NAN, -3.0], 0), 2);
        assert_eq!(sampler.sample(&[0.0, f32::INFINITY], 0), 1);
        assert!(sampler.sample(&[f32::MIN, f32::MIN], 0) < 2);
        assert!(
            sampler.sample(&vec![0.0; 5000], 0) < 600,
            "beyond the vocabulary nothing is looked at"
        );
    }
    assert_eq!(candidates::best(&[]), 0);
}

#[test]
fn parameters_outside_their_range_are_refused_by_name() {
    for parameter in TABLE.iter().flat_map(|row| row.parameters) {
        for value in [
            parameter.min - 1.0,
            parameter.max + 1.0,
            f64::NAN,
            f64::INFINITY,
        ] {
            let error = Params::default()
                .set(parameter.name, value)
                .expect_err(parameter.name);
            let ParamError::OutOfRange {
                parameter: name,
                min,
                max,
                ..
            } = error
            else {
                panic!("{error}")
            };
            assert_eq!(
                (name, min, max),
                (parameter.name, parameter.min, parameter.max)
            );
        }
        let mut params = Params::default();
        for value in [parameter.min, parameter.max] {
            assert_eq!(params.set(parameter.name, value), Ok(()));
            assert!((params.get(parameter.name).unwrap() - value).abs() < 1e-6);
            assert_eq!(params.check(600), Ok(()));
        }
        assert_eq!(parameter.check(parameter.default), Ok(()));
    }
    let error = Sampler::new(
        &Params {
            top_p: 1.5,
            ..warm()
        },
        LIMITS,
    )
    .expect_err("1.5 is no probability");
    assert_eq!(error.to_string(), "top_p is 1.5, it must be from 0 to 1");
    let error = Params::default()
        .set("top_k", 1.5)
        .expect_err("half a token");
    assert_eq!(error.to_string(), "top_k is 1.5, it must be a whole number");
    let error = Sampler::new(
        &Params {
            logit_bias: vec![(600, 1.0)],
            ..warm()
        },
        LIMITS,
    )
    .expect_err("no such token");
    assert_eq!(
        error.to_string(),
        "logit_bias names token 600, the vocabulary has 600; `inkstone tokenize` tells a text's tokens"
    );
    assert_eq!(
        Params::default().set("temprature", 1.0),
        Err(ParamError::Unknown)
    );
}

#[test]
fn the_default_is_greedy_and_nothing_else() {
    let params = Params::default();
    let active: Vec<&str> = TABLE
        .iter()
        .filter(|row| (row.active)(&params))
        .map(|row| row.name)
        .collect();
    assert_eq!(active, ["greedy"]);
    let active = TABLE.iter().filter(|row| (row.active)(&warm())).count();
    assert_eq!(active, 0, "temperature 1 draws from the whole distribution");
}

#[test]
fn sampling_moves_no_buffer() {
    let params = Params {
        top_p: 0.9,
        dry_multiplier: 1.0,
        presence_penalty: 1.0,
        typical_p: 0.9,
        ..warm()
    };
    let mut sampler = sampler(&params);
    let places = |sampler: &Sampler| {
        let past = &sampler.past;
        (
            sampler.candidates.items().as_ptr(),
            past.tokens.capacity(),
            past.pairs.as_ptr(),
            past.newest_first.as_ptr(),
        )
    };
    let before = places(&sampler);
    let mut random = Random(3);
    for position in 0..600 {
        let token = sampler.sample(&random.logits(600), position);
        sampler.accept(token);
    }
    assert_eq!(places(&sampler), before);
}

/// Everything emitted for `pieces`, and the string that was met.
fn stream(stops: &mut Stops, pieces: &[&str]) -> (String, Option<usize>) {
    let mut out = Vec::new();
    let mut met = None;
    for piece in pieces {
        met = stops.push(piece.as_bytes(), |bytes| out.extend_from_slice(bytes));
        if met.is_some() {
            break;
        }
    }
    if met.is_none() {
        stops.finish(|bytes| out.extend_from_slice(bytes));
    }
    (String::from_utf8(out).unwrap(), met)
}

#[test]
fn stop_strings_are_found_however_the_text_is_cut() {
    let mut stops = Stops::new(&[7, 2], &["</s>", "User:", "\n\n\n"]).unwrap();
    let text = "a < b</ s> Use\n\nr: é User: never";
    for size in 1..text.len() {
        let mut out = Vec::new();
        let met = text
            .as_bytes()
            .chunks(size)
            .find_map(|piece| stops.push(piece, |bytes| out.extend_from_slice(bytes)));
        assert_eq!(met, Some(1));
        assert_eq!(String::from_utf8(out).unwrap(), "a < b</ s> Use\n\nr: é ");
    }
    assert!(stops.is_stop_id(2) && stops.is_stop_id(7) && !stops.is_stop_id(3));
}

#[test]
fn what_may_become_a_stop_string_is_held_back_and_given_in_the_end() {
    let mut stops = Stops::new::<&str>(&[], &["abab!", "b?"]).unwrap();
    let mut out = String::new();
    let mut emit = |stops: &mut Stops, text: &str| {
        out.clear();
        assert_eq!(
            stops.push(text.as_bytes(), |bytes| out
                .push_str(core::str::from_utf8(bytes).unwrap())),
            None
        );
        out.clone()
    };
    assert_eq!(emit(&mut stops, "xaba"), "x");
    assert_eq!(emit(&mut stops, "b"), "");
    assert_eq!(emit(&mut stops, "a"), "ab");
    assert_eq!(emit(&mut stops, "c"), "aba".to_owned() + "c");
    assert_eq!(stream(&mut stops, &["ab", "ab"]), ("abab".into(), None));
    assert_eq!(
        stream(&mut stops, &["ab", "ab", "?"]),
        ("aba".into(), Some(1))
    );
    assert_eq!(
        stream(&mut Stops::new::<&str>(&[], &[]).unwrap(), &["ab", ""]),
        ("ab".into(), None)
    );
    assert_eq!(
        stream(&mut Stops::new(&[], &["b", "ab"]).unwrap(), &["a", "b"]),
        (String::new(), Some(1))
    );
}

#[test]
fn stop_strings_of_bad_length_are_refused() {
    let refused = |strings: &[String]| Stops::new(&[], strings).expect_err("refused").to_string();
    assert_eq!(
        refused(&[String::new()]),
        "stop has length 0, it must be from 1 to 1024"
    );
    assert_eq!(
        refused(&["a".repeat(1025)]),
        "stop has length 1025, it must be from 1 to 1024"
    );
    assert_eq!(
        refused(&vec!["a".into(); 65]),
        "stop has length 65, it must be from 0 to 64"
    );
}
