//! The backward pass against differences of the forward pass, and what must not change it.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

use inkstone_cpu::train::{Form, Precision};
use inkstone_finetune::random::Random;
use inkstone_finetune::{Method, Net, Options, Pack, Sample, adapter, written};
use inkstone_format::File;
use inkstone_model::reference::Reference;
use inkstone_model::spec::Activation;
use inkstone_model::{Activations, Backend, Batch, Config, Kv, Model, Plan, Wanted};
use inkstone_quant::Format;
use inkstone_tests::tiny::{Recipe, ink};

const LORA: Method = Method::Lora {
    rank: 4,
    alpha: 8.0,
    packed: false,
};

/// Models with every optional part, and without any.
fn recipes() -> Vec<Recipe> {
    let q8 = Format::by_name("q8").expect("a row of FORMATS");
    vec![
        Recipe::default(),
        Recipe {
            biases: true,
            qk_norms: true,
            post_norms: true,
            windows: vec![Some(5), None],
            cap: Some(20.0),
            activation: Activation::GeluTanh,
            head: Some(q8),
            formats: vec![q8],
            layers: 3,
            ..Recipe::default()
        },
    ]
}

fn options(method: Method) -> Options {
    Options {
        method,
        form: Precision::F32.into(),
        checkpointing: false,
        seed: 7,
    }
}

/// Three sequences; some of their tokens are not learnt, among them all of a tile of tokens.
fn pack(vocabulary: u32) -> Pack {
    let mut random = Random::new(3, "pack");
    let mut pack = Pack::default();
    for length in [19, 1, 70] {
        let tokens: Vec<u32> = (0..length)
            .map(|_| random.below(vocabulary as usize) as u32)
            .collect();
        let learnt = (0..length).map(|i| i % 3 != 1 && !(8..55).contains(&i));
        let learnt = learnt.collect();
        pack.push(&Sample { tokens, learnt });
    }
    pack
}

/// A net whose adapters do something.
fn net<'a>(model: &Model<'a>, bytes: &'a [u8], options: Options) -> Net<'a> {
    let mut net = Net::new(model, bytes, options);
    for tensor in net
        .trained
        .iter_mut()
        .filter(|t| t.name.ends_with("lora_b"))
    {
        let mut random = Random::new(5, &tensor.name);
        tensor
            .values
            .iter_mut()
            .for_each(|x| *x = random.normal(0.05));
    }
    net
}

#[test]
fn gradients_are_slopes_of_the_loss() {
    for recipe in recipes() {
        let bytes = ink(&recipe);
        let model = Model::new(File::parse(&bytes).unwrap()).unwrap();
        let pack = pack(recipe.vocabulary);
        for method in [Method::Full, LORA] {
            let mut net = net(&model, &bytes, options(method));
            let mut gradients = net.gradients();
            net.step(&pack, 1.0, &mut gradients);
            for (index, gradient) in gradients.iter().enumerate() {
                slope(&mut net, &pack, index, gradient);
            }
        }
    }
}

/// The loss along a random direction of one tensor, against the gradient's share in it.
fn slope(net: &mut Net<'_>, pack: &Pack, index: usize, gradient: &[f32]) {
    let held = net.trained[index].values.clone();
    let name = net.trained[index].name.clone();
    let mut random = Random::new(11, &name);
    // Along the gradient, and a little beside it: a direction in which the loss moves more than it is rounded.
    let length = gradient.iter().map(|g| g * g).sum::<f32>().sqrt();
    assert!(length > 0.0, "{name} has no gradient");
    let spread = length / (held.len() as f32).sqrt();
    let direction: Vec<f32> = gradient
        .iter()
        .map(|g| (g + random.normal(spread)) / length)
        .collect();
    let predicted: f64 = direction
        .iter()
        .zip(gradient)
        .map(|(d, g)| f64::from(*d) * f64::from(*g))
        .sum();
    let size = held.iter().map(|x| x * x).sum::<f32>().sqrt().max(1e-3);
    let mut best = f64::INFINITY;
    for share in [3e-2, 1e-2, 3e-3, 1e-3, 3e-4] {
        let step = share * size;
        let mut loss = |sign: f32| {
            let moved = held
                .iter()
                .zip(&direction)
                .map(|(x, d)| x + sign * step * d);
            net.trained[index].values = moved.collect();
            net.evaluate(pack).sum
        };
        let seen = (loss(1.0) - loss(-1.0)) / (2.0 * f64::from(step));
        best = best.min((seen - predicted).abs() / predicted.abs());
    }
    net.trained[index].values = held;
    assert!(best < 5e-3, "{name}: {best:.2e} off");
}

#[test]
fn losses_are_those_of_the_runtime() {
    for recipe in recipes() {
        let bytes = ink(&recipe);
        let model = Model::new(File::parse(&bytes).unwrap()).unwrap();
        let pack = pack(recipe.vocabulary);
        let net = Net::new(&model, &bytes, options(LORA));
        let seen = net.evaluate(&pack);
        let expected = reference_loss(&model, &bytes, &pack);
        let off = (seen.sum - expected).abs() / expected;
        assert!(off < 1e-5, "{} instead of {expected}", seen.sum);
    }
}

/// The sum of the losses of a pack by the reference backend.
fn reference_loss(model: &Model<'_>, bytes: &[u8], pack: &Pack) -> f64 {
    let mut loss = 0.0;
    for sequence in &pack.sequences {
        let logits = logits(model, bytes, &pack.tokens[sequence.clone()]);
        let counts = |(row, _): &&(usize, u32)| sequence.contains(row);
        for (row, label) in pack.targets.iter().filter(counts) {
            let row = &logits[row - sequence.start];
            let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            loss += sum.ln() - f64::from(row[*label as usize]);
        }
    }
    loss
}

/// The reference backend's logits of every position, with exact activations and keys.
fn logits(model: &Model<'_>, bytes: &[u8], tokens: &[u32]) -> Vec<Vec<f32>> {
    let n = tokens.len() as u32;
    let config = Config {
        context: n,
        sequences: 1,
        batch: n,
        logits: n,
        threads: 1,
        rewind: 1,
        kv: Kv::F32,
        activations: Activations::F32,
        streamed: false,
    };
    let plan = Plan::new(model, config).unwrap();
    let mut reference = Reference::new(plan, plan.ops(model), bytes);
    reference
        .run(&Batch {
            tokens,
            places: 0.into(),
            wanted: Wanted::All,
            stop: None,
        })
        .unwrap();
    (0..tokens.len())
        .map(|row| reference.logits(row..row + 1).to_vec())
        .collect()
}

#[test]
fn neither_threads_nor_checkpointing_change_a_bit() {
    for recipe in recipes() {
        let bytes = ink(&recipe);
        let model = Model::new(File::parse(&bytes).unwrap()).unwrap();
        let pack = pack(recipe.vocabulary);
        for method in [Method::Full, LORA] {
            for (precision, integers) in [
                (Precision::F32, false),
                (Precision::Bf16, false),
                (Precision::F32, true),
                (Precision::Bf16, true),
            ] {
                let run = |threads: usize, checkpointing: bool| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                    pool.unwrap().install(|| {
                        let options = Options {
                            form: Form::new(precision, integers),
                            checkpointing,
                            ..options(method)
                        };
                        let net = net(&model, &bytes, options);
                        let mut gradients = net.gradients();
                        let losses = net.step(&pack, 0.1, &mut gradients);
                        (losses, gradients)
                    })
                };
                let once = run(1, false);
                assert!(once == run(2, false), "two threads");
                assert!(once == run(3, true), "three threads and checkpointing");
            }
        }
    }
}

#[test]
fn what_a_step_leaves_changes_no_later_one() {
    for recipe in recipes() {
        let bytes = ink(&recipe);
        let model = Model::new(File::parse(&bytes).unwrap()).unwrap();
        let [mut long, mut short] = [pack(recipe.vocabulary), Pack::default()];
        short.push(&Sample::whole(long.tokens[..9].to_vec()));
        long.targets.pop();
        let fresh = || net(&model, &bytes, options(LORA));
        let step = |net: &Net<'_>, pack: &Pack| {
            let mut gradients = net.gradients();
            let losses = net.step(pack, 0.1, &mut gradients);
            (losses, gradients)
        };
        let used = fresh();
        for pack in [&long, &short, &long] {
            assert!(step(&used, pack) == step(&fresh(), pack));
        }
    }
}

#[test]
fn an_attached_adapter_computes_what_was_trained() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base.ink");
    let golden = inkstone_tests::needs::workspace().join("tests/golden/archs/gemma3");
    let source = inkstone_converter::Source::open(&golden).unwrap();
    let keep = inkstone_converter::convert::Options::default();
    inkstone_converter::convert(&source, &base, &keep, &mut |_| true).unwrap();
    let engine = inkstone_engine::Model::open(&base).unwrap();
    let pack = pack(engine.spec().vocabulary);
    let net = net(&engine.view(), engine.file_bytes(), options(LORA));
    let adapter = folder.path().join("adapter");
    adapter::save(&net, "base", &adapter).unwrap();
    let to = folder.path().join("attached.ink");
    written::attach(&engine, &adapter, &to).unwrap();
    let bytes = std::fs::read(&to).unwrap();
    let attached = Model::new(File::parse(&bytes).unwrap()).unwrap();
    let (trained, expected) = (
        net.evaluate(&pack).sum,
        reference_loss(&attached, &bytes, &pack),
    );
    assert!(
        (trained - expected).abs() < 1e-5 * expected,
        "{trained} instead of {expected}"
    );
    let attached = inkstone_engine::Model::open(&to).unwrap();
    let loaded = adapter::Loaded::open(&adapter).unwrap();
    let at_once = loaded.adapter("adapter").unwrap();
    let file = folder.path().join("adapter.ink");
    written::import(&engine, &adapter, &file).unwrap();
    let imported = inkstone_engine::Adapter::open(&file).unwrap();
    assert_eq!(imported.made_for(), Some(engine.id()));
    assert_eq!(imported.pairs(), at_once.pairs());
    for adapter in [at_once, imported] {
        let model = engine.attach(&[(adapter, 1.0)]).unwrap();
        assert_eq!(last_logits(&model), last_logits(&attached));
    }
    let error = inkstone_engine::Model::open(&file).unwrap_err();
    assert!(error.to_string().contains("is an adapter"), "{error}");
    let plain = reference_loss(&engine.view(), engine.file_bytes(), &pack);
    assert!(
        (plain - expected).abs() > 1e-3 * expected,
        "the adapter does nothing"
    );
}

/// The logits behind some tokens.
fn last_logits(model: &inkstone_engine::Model) -> Vec<f32> {
    let mut session = model.session(&Default::default()).unwrap();
    session.feed(&[1, 2, 3, 4, 5]).unwrap();
    assert_eq!(session.advance().unwrap(), inkstone_engine::Step::Ready);
    session.logits(0).to_vec()
}

#[test]
fn packing_changes_no_loss() {
    let recipe = &recipes()[1];
    let bytes = ink(recipe);
    let model = Model::new(File::parse(&bytes).unwrap()).unwrap();
    let whole = pack(recipe.vocabulary);
    let net = net(&model, &bytes, options(LORA));
    let mut together = net.gradients();
    let mut apart = net.gradients();
    let packed = net.step(&whole, 1.0, &mut together);
    let mut sum = 0.0;
    for sequence in &whole.sequences {
        let learnt = |row: &usize| whole.targets.iter().any(|(target, _)| target + 1 == *row);
        let mut single = Pack::default();
        single.push(&Sample {
            tokens: whole.tokens[sequence.clone()].to_vec(),
            learnt: sequence.clone().map(|row| learnt(&row)).collect(),
        });
        sum += net.step(&single, 1.0, &mut apart).sum;
    }
    assert!(
        (packed.sum - sum).abs() < 1e-4 * sum,
        "{} {sum}",
        packed.sum
    );
    for ((together, apart), tensor) in together.iter().zip(&apart).zip(&net.trained) {
        let off = distance(together, apart);
        assert!(off < 1e-4, "{}: {off:.1e}", tensor.name);
    }
}

#[test]
fn packed_weights_bf16_and_integers_are_close_to_f32() {
    for recipe in recipes() {
        let bytes = ink(&recipe);
        let ships = recipe.formats.iter().all(|format| format.is_integer());
        close_to_f32(&bytes, &pack(recipe.vocabulary), ships);
    }
}

fn close_to_f32(bytes: &[u8], pack: &Pack, ships: bool) {
    let model = Model::new(File::parse(bytes).unwrap()).unwrap();
    let run = |precision, integers, packed| {
        let method = Method::Lora {
            rank: 4,
            alpha: 8.0,
            packed,
        };
        let options = Options {
            form: Form::new(precision, integers),
            ..options(method)
        };
        let net = net(&model, bytes, options);
        let mut gradients = net.gradients();
        let losses = net.step(pack, 1.0, &mut gradients);
        (losses, gradients)
    };
    let plain = run(Precision::F32, false, false);
    let as_integers = run(Precision::F32, true, false);
    assert_eq!(
        ships,
        as_integers != plain,
        "what ships as integers, and nothing else"
    );
    for (precision, integers) in [
        (Precision::F32, false),
        (Precision::F32, true),
        (Precision::Bf16, false),
        (Precision::Bf16, true),
    ] {
        let rounded = run(precision, integers, false);
        let again = run(precision, integers, true);
        assert!(rounded == again, "unpacked at each use");
        assert!((plain.0.sum - rounded.0.sum).abs() < 1e-2 * plain.0.sum);
        for (plain, rounded) in plain.1.iter().zip(&rounded.1) {
            let off = distance(plain, rounded);
            assert!(off < 5e-2, "{precision:?}, integers {integers}: {off:.1e}");
        }
    }
}

/// The length of the difference, in lengths of the first.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    let square = |x: f32| x * x;
    let difference: f32 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
    let length: f32 = a.iter().map(|a| square(*a)).sum();
    (difference / length.max(1e-12)).sqrt()
}
