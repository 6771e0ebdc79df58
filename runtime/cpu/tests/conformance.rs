//! Whole small models give the bits of the reference backend: every format, stored form, instruction set, number of
//! threads and chunk size.
#![allow(clippy::unwrap_used)]

mod shared;

use inkstone_cpu::{Cpu, CpuError, ISAS, Isa, Team};
use inkstone_model::cache::KVS;
use inkstone_model::reference::Reference;
use inkstone_model::{Activations, Backend, Config, Fault, Kv, Op, Place, Places, Wanted};
use inkstone_quant::{FORMATS, Format};

use shared::{Arena, Noise, Shape, batch, plan};

const CONTEXT: u32 = 440;

fn config(batch: u32, threads: u32, kv: Kv, activations: Activations) -> Config {
    // WebAssembly has no threads.
    let threads = if cfg!(target_family = "wasm") {
        1
    } else {
        threads
    };
    Config {
        context: CONTEXT,
        sequences: 1,
        batch,
        logits: batch,
        streamed: false,
        threads,
        rewind: 8,
        kv,
        activations,
    }
}

fn cpu(file: &[u8], config: Config, isa: Isa) -> Cpu<Vec<u8>, Arena, Vec<Op>> {
    let (plan, ops) = plan(file, config);
    let team = Team::new(config.threads as usize).unwrap();
    Cpu::new(
        plan,
        ops,
        file.to_vec(),
        Arena::new(plan.memory.arena),
        isa,
        team,
    )
    .unwrap()
}

fn reference(file: &[u8], config: Config) -> Reference<Vec<u8>> {
    let (plan, ops) = plan(file, config);
    Reference::new(plan, ops, file.to_vec())
}

fn tokens(n: usize, vocabulary: u32) -> Vec<u32> {
    let mut noise = Noise(99);
    (0..n)
        .map(|_| (noise.next() % u64::from(vocabulary)) as u32)
        .collect()
}

/// Bits of the logits of every token, run in chunks.
fn run(backend: &mut dyn Backend, tokens: &[u32], chunk: usize) -> Vec<u32> {
    let mut bits = Vec::new();
    for (i, tokens) in tokens.chunks(chunk).enumerate() {
        backend
            .run(&batch(tokens, (i * chunk) as u32, Wanted::All))
            .unwrap();
        bits.extend(backend.logits(0..tokens.len()).iter().map(|x| x.to_bits()));
    }
    bits
}

fn isas() -> impl Iterator<Item = Isa> {
    ISAS.iter()
        .map(|(_, isa)| *isa)
        .filter(|isa| isa.available())
}

/// The same bits from every instruction set, some of the threads and chunks.
fn check(shape: &Shape, kv: Kv, activations: Activations, n: usize, ways: &[(u32, u32)]) {
    let file = shape.file(5);
    let tokens = tokens(n, shape.vocabulary);
    let want = run(
        &mut reference(&file, config(64, 1, kv, activations)),
        &tokens,
        64,
    );
    let distinct = want.iter().collect::<std::collections::HashSet<_>>().len();
    assert!(
        distinct > want.len() / 4,
        "logits that say something: {distinct} of {}",
        want.len()
    );
    for isa in isas() {
        for &(threads, chunk) in ways {
            let mut cpu = cpu(&file, config(chunk, threads, kv, activations), isa);
            let got = run(&mut cpu, &tokens, chunk as usize);
            let wrong = got.iter().zip(&want).position(|(a, b)| a != b);
            assert_eq!(
                wrong, None,
                "{isa:?}, {threads} threads, chunks of {chunk}, {kv:?}, {activations:?}, {shape:?}"
            );
        }
    }
}

fn format(name: &str) -> &'static Format {
    Format::by_name(name).unwrap()
}

#[test]
fn every_format_gives_the_bits_of_the_reference() {
    for format in FORMATS {
        check(
            &Shape::plain(format),
            Kv::F16,
            Activations::Int8,
            9,
            &[(2, 4)],
        );
    }
}

#[test]
fn every_format_gives_the_bits_of_the_reference_with_plain_activations() {
    for format in FORMATS {
        check(
            &Shape::plain(format),
            Kv::F32,
            Activations::F32,
            9,
            &[(2, 4)],
        );
    }
}

#[test]
fn every_stored_form_of_keys_threads_and_chunks_give_the_same_bits() {
    for (_, kv) in KVS {
        let ways = [(1, 1), (2, 7), (3, 64), (1, 17)];
        check(
            &Shape::rich(format("Q4_1")),
            *kv,
            Activations::Int8,
            150,
            &ways,
        );
    }
}

#[test]
fn every_number_of_heads_over_a_key_head_and_every_width_give_the_bits_of_the_reference() {
    for (heads, kv_heads, head_width) in [
        (1, 1, 2),
        (2, 2, 6),
        (2, 1, 16),
        (3, 1, 32),
        (4, 1, 34),
        (5, 1, 64),
        (9, 3, 64),
        (7, 1, 96),
        (1, 1, 256),
    ] {
        for (_, kv) in KVS {
            let shape = Shape {
                heads,
                kv_heads,
                head_width,
                ..Shape::plain(format("q8"))
            };
            check(&shape, *kv, Activations::Int8, 70, &[(2, 64), (1, 1)]);
        }
    }
}

#[test]
fn workers_that_share_the_tiles_of_one_token_give_the_bits_of_the_reference() {
    // Five tiles, and within the window too.
    const PROMPT: usize = 260;
    let threes = KVS.iter().map(|(_, kv)| ((9, 3, 64), *kv, 3));
    let others = [((5, 1, 34), Kv::F16, 2), ((2, 2, 6), Kv::Int4, 2)];
    for ((heads, kv_heads, head_width), kv, threads) in threes.chain(others) {
        let shape = Shape {
            heads,
            kv_heads,
            head_width,
            windows: vec![Some(230), None],
            ..Shape::rich(format("q8"))
        };
        let (file, tokens) = (shape.file(5), tokens(PROMPT + 6, shape.vocabulary));
        let config = |threads| config(64, threads, kv, Activations::Int8);
        let want = run(&mut reference(&file, config(1)), &tokens, 64);
        for isa in isas() {
            let mut cpu = cpu(&file, config(threads), isa);
            let mut got = run(&mut cpu, &tokens[..PROMPT], 64);
            for (token, position) in tokens[PROMPT..].iter().zip(PROMPT as u32..) {
                cpu.run(&batch(&[*token], position, Wanted::All)).unwrap();
                got.extend(cpu.logits(0..1).iter().map(|x| x.to_bits()));
            }
            assert!(got == want, "{isa:?}, {threads} threads, {kv:?}, {shape:?}");
        }
    }
}

#[test]
fn mixed_formats_and_odd_widths_give_the_bits_of_the_reference() {
    let mut shape = Shape::rich(format("F32"));
    shape.formats = FORMATS.iter().collect();
    for width in [31, 33, 48, 100] {
        shape.width = width;
        check(&shape, Kv::F16, Activations::Int8, 20, &[(1, 1), (3, 7)]);
    }
}

#[test]
fn a_host_that_flushes_denormals_changes_nothing_and_gets_its_environment_back() {
    let shape = Shape::plain(format("F16"));
    let mut file = shape.file(5);
    // Denormal weights: the smallest f16 become f32 whose products with small activations are denormal.
    let model = inkstone_model::Model::new(inkstone_format::File::parse(&file).unwrap()).unwrap();
    let m = model.layer(0).ffn.up.weight;
    for byte in file[m.offset..][..m.panel_bytes].chunks_exact_mut(2) {
        byte.copy_from_slice(&[1, 0]);
    }
    let tokens = tokens(5, shape.vocabulary);
    let config = config(5, 2, Kv::F32, Activations::Int8);
    let want = run(&mut reference(&file, config), &tokens, 5);
    for isa in isas() {
        let mut cpu = cpu(&file, config, isa);
        let before = host::flush();
        let got = run(&mut cpu, &tokens, 5);
        let after = host::state();
        host::restore(before);
        assert_eq!(
            after & host::FLUSHING,
            host::FLUSHING,
            "the host's environment is its own"
        );
        assert_eq!(got, want, "{isa:?}");
    }
}

#[cfg(target_arch = "x86_64")]
mod host {
    //! The environment of a host built with fast mathematics.
    #![allow(unsafe_code)]

    use core::arch::asm;

    pub(crate) const FLUSHING: u32 = 0x8040;

    pub(crate) fn state() -> u32 {
        let mut state = 0_u32;
        // SAFETY: stores four bytes to `state`.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut state) };
        state
    }

    pub(crate) fn restore(state: u32) {
        // SAFETY: a state of the register.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const state) };
    }

    pub(crate) fn flush() -> u32 {
        let before = state();
        restore(before | FLUSHING);
        before
    }
}

#[cfg(target_arch = "aarch64")]
mod host {
    //! The environment of a host built with fast mathematics.
    #![allow(unsafe_code)]

    use core::arch::asm;

    pub(crate) const FLUSHING: u64 = 1 << 24;

    pub(crate) fn state() -> u64 {
        let state: u64;
        // SAFETY: reads a register that every thread has.
        unsafe { asm!("mrs {}, fpcr", out(reg) state) };
        state
    }

    pub(crate) fn restore(state: u64) {
        // SAFETY: a state of the register.
        unsafe { asm!("msr fpcr, {}", in(reg) state) };
    }

    pub(crate) fn flush() -> u64 {
        let before = state();
        restore(before | FLUSHING);
        before
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod host {
    //! Hosts whose environment is not touched here.
    pub(crate) const FLUSHING: u32 = 0;

    pub(crate) fn state() -> u32 {
        0
    }

    pub(crate) fn restore(_: u32) {}

    pub(crate) fn flush() -> u32 {
        0
    }
}

/// What a backend saves of its first `n` positions.
fn saved(backend: &dyn Backend, n: u32) -> Vec<u8> {
    let mut saved = Vec::new();
    assert!(backend.save(n, &mut |bytes| {
        saved.extend(bytes);
        true
    }));
    saved
}

#[test]
fn saved_caches_are_loaded_back() {
    for (_, kv) in KVS {
        let shape = Shape::rich(format("Q5_0"));
        let file = shape.file(5);
        let config = config(32, 2, *kv, Activations::Int8);
        let tokens = tokens(120, shape.vocabulary);
        let mut first = cpu(&file, config, Isa::detect());
        run(&mut first, &tokens[..115], 32);
        let bytes = saved(&first, 115);
        let mut second = cpu(&file, config, Isa::Portable);
        let mut rest = &bytes[..];
        assert!(second.load(115, &mut |to| {
            to.copy_from_slice(&rest[..to.len()]);
            rest = &rest[to.len()..];
            true
        }));
        assert!(rest.is_empty());
        for backend in [&mut first, &mut second] {
            backend
                .run(&batch(&tokens[115..], 115, Wanted::All))
                .unwrap();
        }
        assert_eq!(first.logits(0..5), second.logits(0..5));
    }
}

#[test]
fn a_sink_or_source_that_ends_ends_saving_and_loading() {
    let file = Shape::plain(format("Q5_0")).file(5);
    let mut cpu = cpu(
        &file,
        config(32, 1, Kv::F16, Activations::Int8),
        Isa::detect(),
    );
    let mut calls = 0;
    let mut thrice = || {
        calls += 1;
        calls < 3
    };
    assert!(!cpu.save(20, &mut |_| thrice()));
    assert!(!cpu.load(20, &mut |_| false));
    assert_eq!(calls, 3);
}

#[test]
fn what_is_saved_does_not_depend_on_what_was_there_before() {
    for (_, kv) in KVS {
        let shape = Shape {
            windows: vec![None, None],
            ..Shape::rich(format("Q5_0"))
        };
        let file = shape.file(5);
        let tokens = tokens(120, shape.vocabulary);
        let mut first = cpu(&file, config(32, 2, *kv, Activations::Int8), Isa::detect());
        run(&mut first, &tokens[..70], 32);
        let mut second = cpu(&file, config(7, 1, *kv, Activations::Int8), Isa::Portable);
        run(&mut second, &tokens, 7);
        run(&mut second, &tokens[..70], 7);
        assert_eq!(saved(&first, 70), saved(&second, 70));
    }
}

#[test]
fn what_is_wanted_decides_which_logits_are_kept() {
    let shape = Shape::rich(format("Q4_0"));
    let file = shape.file(5);
    let tokens = tokens(10, shape.vocabulary);
    let mut cpu = cpu(
        &file,
        config(10, 2, Kv::F16, Activations::Int8),
        Isa::detect(),
    );
    cpu.run(&batch(&tokens, 0, Wanted::All)).unwrap();
    let last = cpu.logits(9..10).to_vec();
    cpu.run(&batch(&tokens, 0, Wanted::Last)).unwrap();
    assert_eq!(cpu.logits(0..1), last);
    cpu.run(&batch(&tokens, 0, Wanted::None)).unwrap();
    assert_eq!(cpu.logits(0..1), last, "nothing is written");
}

#[test]
fn batches_that_do_not_fit_are_refused() {
    let shape = Shape::plain(format("Q4_0"));
    let file = shape.file(5);
    let narrow = Config {
        logits: 2,
        ..config(10, 1, Kv::F16, Activations::Int8)
    };
    let mut cpu = cpu(&file, narrow, Isa::detect());
    let tokens = tokens(11, shape.vocabulary);
    for (tokens, start, wanted) in [
        (&tokens[..0], 0, Wanted::Last),
        (&tokens[..11], 0, Wanted::Last),
        (&tokens[..3], 0, Wanted::All),
        (&tokens[..1], CONTEXT, Wanted::Last),
        (&tokens[..1], u32::MAX, Wanted::Last),
        (&[77], 0, Wanted::Last),
    ] {
        assert_eq!(cpu.run(&batch(tokens, start, wanted)), Err(Fault::BadBatch));
    }
    assert_eq!(cpu.run(&batch(&tokens[..10], 0, Wanted::Last)), Ok(()));
}

#[cfg(not(target_family = "wasm"))]
#[test]
fn a_stop_is_heard_and_the_next_run_is_unharmed() {
    let shape = Shape::plain(format("Q4_0"));
    let file = shape.file(5);
    let mut cpu = cpu(
        &file,
        config(10, 3, Kv::F16, Activations::Int8),
        Isa::detect(),
    );
    let tokens = tokens(10, shape.vocabulary);
    let stop = core::sync::atomic::AtomicBool::new(true);
    let stopped = inkstone_model::Batch {
        stop: Some(&stop),
        ..batch(&tokens, 0, Wanted::Last)
    };
    assert_eq!(cpu.run(&stopped), Err(Fault::Cancelled));
    // Set at any moment: all workers leave together, or the run is whole.
    for pause in 0..200 {
        stop.store(false, core::sync::atomic::Ordering::Relaxed);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..pause * 20).for_each(|_| core::hint::spin_loop());
                stop.store(true, core::sync::atomic::Ordering::Relaxed);
            });
            assert!(matches!(cpu.run(&stopped), Ok(()) | Err(Fault::Cancelled)));
        });
    }
    assert_eq!(cpu.run(&batch(&tokens, 0, Wanted::Last)), Ok(()));
}

#[test]
fn logits_that_are_not_finite_are_a_fault() {
    let shape = Shape::plain(format("F32"));
    let mut file = shape.file(5);
    let model = inkstone_model::Model::new(inkstone_format::File::parse(&file).unwrap()).unwrap();
    let embed = model.weights().embed;
    // Input 0 of row 3, in all of `[input][row]`.
    file[embed.offset + 3 * 4..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    let mut cpu = cpu(
        &file,
        config(4, 2, Kv::F16, Activations::Int8),
        Isa::detect(),
    );
    assert_eq!(cpu.run(&batch(&[1, 2], 0, Wanted::None)), Ok(()));
    assert_eq!(
        cpu.run(&batch(&[1, 2], 0, Wanted::All)),
        Err(Fault::NotFinite { row: 0 })
    );
}

#[test]
fn what_is_too_small_or_absent_is_refused() {
    let file = Shape::plain(format("Q4_0")).file(5);
    let (plan, ops) = plan(&file, config(4, 1, Kv::F16, Activations::Int8));
    let make = |bytes: usize, threads: usize| {
        let team = Team::new(threads).unwrap();
        Cpu::new(
            plan,
            ops.clone(),
            file.clone(),
            Arena::new(bytes),
            Isa::Portable,
            team,
        )
        .err()
    };
    let wanted = plan.memory.arena;
    assert_eq!(make(wanted, 1), None);
    assert_eq!(
        make(wanted - 1, 1),
        Some(CpuError::Arena {
            bytes: wanted - 1,
            wanted
        })
    );
    if !cfg!(target_family = "wasm") {
        assert_eq!(
            make(wanted, 2),
            Some(CpuError::Threads { team: 2, plan: 1 })
        );
    }
}

#[test]
fn sequences_side_by_side_are_as_if_alone() {
    let way = |kv| Config {
        sequences: 3,
        ..config(24, 2, kv, Activations::Int8)
    };
    for (_, kv) in KVS {
        let shape = Shape::rich(format("Q5_0"));
        let file = shape.file(5);
        let texts: Vec<Vec<u32>> = [(70, 0), (90, 1), (23, 2)]
            .map(|(n, skip)| tokens(n + skip, shape.vocabulary)[skip..].to_vec())
            .to_vec();
        let alone = |text: &[u32]| {
            run(
                &mut reference(&file, config(24, 1, *kv, Activations::Int8)),
                text,
                24,
            )
        };
        let want: Vec<Vec<u32>> = texts.iter().map(|text| alone(text)).collect();
        let mut backends: Vec<Box<dyn Backend>> = vec![Box::new(reference(&file, way(*kv)))];
        backends.extend(isas().map(|isa| Box::new(cpu(&file, way(*kv), isa)) as Box<dyn Backend>));
        for backend in &mut backends {
            beside(&mut **backend, &texts, &want);
        }
    }
}

/// The first half of each text alone, the rest a token at a time of all that are not over.
fn beside(backend: &mut dyn Backend, texts: &[Vec<u32>], want: &[Vec<u32>]) {
    let place = |sequence: usize, position: usize| Place {
        sequence: sequence as u32,
        position: position as u32,
    };
    let check = |backend: &mut dyn Backend, row: usize, place: Place| {
        let logits: Vec<u32> = backend
            .logits(row..row + 1)
            .iter()
            .map(|x| x.to_bits())
            .collect();
        let (all, at) = (&want[place.sequence as usize], place.position as usize);
        assert_eq!(
            logits,
            all[at * logits.len()..][..logits.len()],
            "{place:?}"
        );
    };
    for (sequence, text) in texts.iter().enumerate() {
        for start in (0..text.len() / 2).step_by(24) {
            let tokens = &text[start..(start + 24).min(text.len() / 2)];
            placed(backend, tokens, Places::From(place(sequence, start)));
            check(
                backend,
                tokens.len() - 1,
                place(sequence, start + tokens.len() - 1),
            );
        }
    }
    for step in 0.. {
        let going = (0..texts.len())
            .rev()
            .map(|s| place(s, texts[s].len() / 2 + step));
        let left = |place: &Place| (place.position as usize) < texts[place.sequence as usize].len();
        let places: Vec<Place> = going.filter(left).collect();
        if places.is_empty() {
            break;
        }
        let token = |place: &Place| texts[place.sequence as usize][place.position as usize];
        let tokens: Vec<u32> = places.iter().map(token).collect();
        placed(backend, &tokens, Places::Each(&places));
        for (row, place) in places.iter().enumerate() {
            check(backend, row, *place);
        }
    }
}

fn placed(backend: &mut dyn Backend, tokens: &[u32], places: Places<'_>) {
    let batch = inkstone_model::Batch {
        tokens,
        places,
        wanted: Wanted::All,
        stop: None,
    };
    backend.run(&batch).unwrap();
}
