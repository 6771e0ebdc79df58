//! What a host does for the library, models that come by other ways, adapters, vectors.

use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, AtomicU64};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::sync::Mutex;

use inkstone_engine::format::{self, Declaration, Writer};

use super::*;

/// What a host was asked.
#[derive(Default)]
struct Asked {
    lines: Mutex<Vec<(i32, String)>>,
    time: AtomicU64,
    jobs: AtomicU32,
    heat: AtomicU32,
    questions: AtomicU32,
    file: Vec<u8>,
    /// Reads that succeed before one fails.
    reads: AtomicU32,
}

unsafe fn asked_of<'a>(context: Room) -> &'a Asked {
    unsafe { &*context.0.cast::<Asked>() }
}

unsafe extern "C" fn log(context: Room, level: i32, text: *const c_char) {
    let text = unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned();
    let lines = &unsafe { asked_of(context) }.lines;
    lines.lock().unwrap().push((level, text));
}

/// A second passes between any two looks.
unsafe extern "C" fn clock(context: Room) -> u64 {
    let time = &unsafe { asked_of(context) }.time;
    time.fetch_add(1_000_000, Ordering::Relaxed)
}

unsafe extern "C" fn read_at(context: Room, offset: u64, to: *mut u8, size: usize) -> i32 {
    let asked = unsafe { asked_of(context) };
    if asked.reads.fetch_sub(1, Ordering::Relaxed) == 0 {
        return -5;
    }
    let from = &asked.file[offset as usize..][..size];
    unsafe { to.copy_from_nonoverlapping(from.as_ptr(), size) };
    0
}

unsafe extern "C" fn parallel(context: Room, workers: u32, work: Work, task: *const c_void) {
    let jobs = &unsafe { asked_of(context) }.jobs;
    jobs.fetch_add(1, Ordering::Relaxed);
    let task = task.expose_provenance();
    thread::scope(|scope| {
        for index in 0..workers {
            let start = move || unsafe { work(core::ptr::with_exposed_provenance(task), index) };
            scope.spawn(start);
        }
    });
}

unsafe extern "C" fn thermal(context: Room) -> i32 {
    let asked = unsafe { asked_of(context) };
    asked.questions.fetch_add(1, Ordering::Relaxed);
    asked.heat.load(Ordering::Relaxed) as i32
}

/// A host that does everything.
fn host(asked: &Asked) -> Host {
    sized(|host: &mut Host| {
        host.context = Room((&raw const *asked).cast_mut().cast());
        host.log = Some(log);
        host.clock = Some(clock);
        host.read_at = Some(read_at);
        host.parallel = Some(parallel);
        host.thermal = Some(thermal);
    })
}

fn new_session(model: *const InkModel, set: impl FnOnce(&mut Config)) -> *mut InkSession {
    let config = sized(|config: &mut Config| {
        config.context = 200;
        config.batch = 8;
        config.threads = 2;
        set(config);
    });
    let (mut session, mut error) = (null_mut(), [0_u8; 200]);
    let line = error.as_mut_ptr().cast();
    let status = unsafe { ink_session_new(model, &config, &raw mut session, line, 200) };
    assert_eq!(status, OK, "{}", String::from_utf8_lossy(&error));
    session
}

#[test]
fn a_host_listens_counts_time_runs_work_and_tells_heat() {
    let model = open(&sample().1).unwrap();
    let usual = session(model);
    asked(usual, 30);
    let expected = drawn(usual);
    let told = Asked::default();
    let host = host(&told);
    let hosted = new_session(model, |config| config.host = HostAt(&raw const host));
    let said = told.lines.lock().unwrap().remove(0);
    assert_eq!(said.0, LOG_INFO);
    assert!(said.1.contains("200 positions, 2 threads"), "{}", said.1);
    told.heat.store(3, Ordering::Relaxed);
    asked(hosted, 30);
    assert_eq!(drawn(hosted), expected, "heat and threads change no token");
    assert!(told.jobs.load(Ordering::Relaxed) > 0);
    assert!(told.questions.load(Ordering::Relaxed) > 0);
    assert!(told.time.load(Ordering::Relaxed) > 0);
    let status = unsafe { ink_feed(hosted, [999].as_ptr(), 1) };
    assert_eq!(status, INVALID);
    let said = told.lines.lock().unwrap().remove(0);
    assert_eq!((said.0, said.1), (LOG_ERROR, error_of(hosted)));
    unsafe {
        ink_session_free(hosted);
        ink_session_free(usual);
        ink_close(model);
    }
}

#[test]
fn budgets_are_of_the_hosts_clock() {
    let model = open(&sample().1).unwrap();
    let told = Asked::default();
    let host = host(&told);
    let hosted = new_session(model, |config| config.host = HostAt(&raw const host));
    asked(hosted, 1);
    let mut event = sized(|_: &mut Event| ());
    // Two looks are two seconds: one chunk fits a budget of one, though little time passes here.
    let status = unsafe { ink_step(hosted, 1_000_000, &raw mut event) };
    assert_eq!((status, event.kind), (OK, PROGRESS));
    unsafe {
        ink_session_free(hosted);
        ink_close(model);
    }
}

#[test]
fn a_host_reads_the_file_or_fails() {
    let told = Asked {
        file: fs::read(&sample().1).unwrap(),
        ..Asked::default()
    };
    let host = host(&told);
    let size = told.file.len() as u64;
    let open_with = |host: *const Host, size: u64, reads: u32| {
        told.reads.store(reads, Ordering::Relaxed);
        let (mut model, mut error) = (null_mut(), [0_u8; 200]);
        let line = error.as_mut_ptr().cast();
        let status = unsafe { ink_open_host(host, size, &raw mut model, line, 200) };
        let line = CStr::from_bytes_until_nul(&error).unwrap();
        (status, model, line.to_str().unwrap().to_owned())
    };
    let (status, model, line) = open_with(&host, size, 0);
    assert_eq!((status, model), (IO, null_mut()));
    assert!(line.contains("read_at gave -5"), "{line}");
    assert_eq!(open_with(&host, 0, 9).0, INVALID);
    assert_eq!(open_with(null(), size, 9).0, INVALID);
    assert_eq!(open_with(&host, size / 2, 9).0, DAMAGED);
    assert_eq!(open_with(&host, u64::MAX, 9).0, OUT_OF_MEMORY);
    let deaf = sized(|_: &mut Host| ());
    assert_eq!(open_with(&deaf, size, 9).0, IO);

    let (status, model, _) = open_with(&host, size, u32::MAX);
    assert_eq!(status, OK);
    let of_file = open(&sample().1).unwrap();
    let sessions = [session(model), session(of_file)];
    let [read, mapped] = sessions.map(|session| {
        asked(session, 30);
        drawn(session)
    });
    assert_eq!(read, mapped);
    unsafe {
        sessions
            .into_iter()
            .for_each(|session| ink_session_free(session));
        ink_close(model);
        ink_close(of_file);
    }
}

#[test]
fn a_host_streams_weights_or_fails_while_they_are_used() {
    let told = Asked {
        file: fs::read(&sample().1).unwrap(),
        reads: AtomicU32::new(u32::MAX),
        ..Asked::default()
    };
    let host = host(&told);
    let size = told.file.len() as u64;
    let open_with = |size: u64| {
        let mut model = null_mut();
        let status = unsafe { ink_open_stream(&host, size, &raw mut model, null_mut(), 0) };
        (status, model)
    };
    assert_eq!(open_with(0).0, INVALID);
    assert_eq!(open_with(size - 1).0, DAMAGED);
    assert_eq!(open_with(100).0, DAMAGED);
    for reads in 0..3 {
        told.reads.store(reads, Ordering::Relaxed);
        assert_eq!(open_with(size).0, IO, "the read after {reads} fails");
    }
    told.reads.store(u32::MAX, Ordering::Relaxed);
    let (status, model) = open_with(size);
    assert_eq!(status, OK);
    let of_file = open(&sample().1).unwrap();
    let sessions = [session(model), session(of_file)];
    let [streamed, mapped] = sessions.map(|session| {
        asked(session, 30);
        drawn(session)
    });
    assert_eq!(streamed, mapped);

    // A read that fails fails its step; the session then stands where it stood.
    let [session, other] = sessions;
    let tokens = [1, 2, 3];
    let mut event = sized(|_: &mut Event| ());
    assert_eq!(unsafe { ink_feed(session, tokens.as_ptr(), 3) }, OK);
    assert_eq!(unsafe { ink_feed(other, tokens.as_ptr(), 3) }, OK);
    for reads in [0, 5, 20] {
        told.reads.store(reads, Ordering::Relaxed);
        assert_eq!(unsafe { ink_step(session, 0, &raw mut event) }, IO);
        assert_eq!(error_of(session), "weights could not be read");
    }
    told.reads.store(u32::MAX, Ordering::Relaxed);
    assert_eq!(drawn(session), drawn(other));
    unsafe {
        ink_session_free(session);
        ink_session_free(other);
        ink_close(model);
        ink_close(of_file);
    }
}

#[test]
fn a_part_of_an_open_file_is_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("package");
    let bytes = fs::read(&sample().1).unwrap();
    fs::write(
        &path,
        [&[7; 4096 + 64], bytes.as_slice(), &[7; 10]].concat(),
    )
    .unwrap();
    let file = File::open(&path).unwrap();
    let open_at = |fd: i32, offset: u64, size: u64| {
        let mut model = null_mut();
        let status = unsafe { ink_open_fd(fd, offset, size, &raw mut model, null_mut(), 0) };
        (status, model)
    };
    let (fd, size) = (file.as_raw_fd(), bytes.len() as u64);
    assert_eq!(open_at(-1, 4160, size).0, INVALID);
    assert_eq!(open_at(fd, 4160, 0).0, INVALID);
    assert_eq!(open_at(fd, 4161, size).0, NOT_A_MODEL);
    assert_eq!(open_at(fd, 64, size).0, NOT_A_MODEL);
    assert_eq!(open_at(fd, 4160, size + 11).0, IO);
    assert_eq!(open_at(fd, u64::MAX - 63, size).0, IO);
    assert_eq!(open_at(fd, 4160, size / 2).0, DAMAGED);
    let (status, model) = open_at(fd, 4160, size);
    assert_eq!(status, OK);
    drop(file);
    let session = session(model);
    asked(session, 5);
    assert!(!drawn(session).0.is_empty());
    unsafe {
        ink_session_free(session);
        ink_close(model);
    }
}

/// An adapter over the values of the first layer.
fn adapter(path: &Path) {
    let bytes = fs::read(&sample().1).unwrap();
    let v = format::File::parse(&bytes).unwrap().tensor(0, 19).unwrap();
    let declare = |role, rows, inputs| Declaration {
        layer: 0,
        role,
        format: v.format,
        panel_rows: 16,
        rows,
        inputs,
    };
    let tensors = [declare(52, 4, v.inputs), declare(53, v.rows, 4)];
    let mut writer = Writer::create(path, &[], &tensors).unwrap();
    for (index, tensor) in tensors.iter().enumerate() {
        let numbers = tensor.bytes().unwrap() / 4;
        let numbers = (0..numbers).flat_map(|i| ((i % 13) as f32 - 6.0).to_le_bytes());
        let numbers: Vec<u8> = numbers.collect();
        writer.tensor(index).unwrap().write_all(&numbers).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn adapters_are_attached_to_a_model_that_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("adapter.ink");
    adapter(&path);
    let model = open(&sample().1).unwrap();
    let attach = |path: &Path, scale: f32| {
        let (mut attached, path) = (null_mut(), path_of(path));
        let place = &raw mut attached;
        let status = unsafe { ink_attach(model, path.as_ptr(), scale, place, null_mut(), 0) };
        (status, attached)
    };
    assert_eq!(attach(Path::new("nowhere"), 1.0), (NOT_FOUND, null_mut()));
    assert_eq!(attach(&sample().1, 1.0), (NOT_A_MODEL, null_mut()));
    assert_eq!(attach(&path, f32::NAN), (INVALID, null_mut()));
    let told = |model: *const InkModel| {
        let session = session(model);
        asked(session, 30);
        let told = drawn(session);
        unsafe { ink_session_free(session) };
        told
    };
    let plain = told(model);
    let [(_, once), (_, twice), (_, little)] = [0.0, 2.0, 1e-30].map(|scale| attach(&path, scale));
    assert_ne!(told(once), plain);
    assert_ne!(told(twice), told(once));
    assert_eq!(told(little), plain);
    assert_eq!(told(model), plain);
    unsafe { ink_close(model) };
    // It keeps what it shares.
    assert_eq!(told(little), plain);
    for model in [once, twice, little] {
        unsafe { ink_close(model) };
    }
}

#[test]
fn texts_become_vectors() {
    let model = open(&sample().1).unwrap();
    let session = new_session(model, |config| config.embeddings = 1);
    let (mut vector, mut count) = ([9.0_f32; 97], 0);
    let mut embed = |pooling: i32, room: usize| {
        let (tokens, place) = ([1, 2, 3], vector.as_mut_ptr());
        let status = unsafe {
            ink_embed(
                session,
                tokens.as_ptr(),
                3,
                pooling,
                place,
                room,
                &raw mut count,
            )
        };
        (status, count, vector)
    };
    assert_eq!(embed(3, 96).0, INVALID);
    assert_eq!(embed(-1, 96).0, INVALID);
    assert_eq!(embed(0, 95).0, TOO_SMALL);
    let (status, width, mean) = embed(0, 97);
    assert_eq!((status, width, mean[96]), (OK, 96, 9.0));
    let length: f32 = mean[..96].iter().map(|x| x * x).sum();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
    let (last, first) = (embed(1, 96).2, embed(2, 96).2);
    assert!(last != mean && first != mean && first != last);
    let mut event = sized(|_: &mut Event| ());
    let status = unsafe { ink_step(session, 0, &raw mut event) };
    assert_eq!(status, INVALID);
    unsafe {
        ink_session_free(session);
        ink_close(model);
    }
}

/// A program that counts what is allocated: with a caller's arena, nothing behind `ink_session_new`.
#[cfg(target_os = "linux")]
#[test]
fn nothing_is_allocated_behind_a_session_in_the_callers_memory() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("count");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/library/count.c");
    let library = library();
    let place = library.parent().unwrap().to_str().unwrap();
    let static_library = library.with_file_name("libinkstone_c.a");
    let of_cargo = if static_library.exists() {
        static_library.to_str().unwrap().to_owned()
    } else {
        "-linkstone_c".to_owned()
    };
    cc(
        &source,
        &program,
        &["-L", place, &of_cargo, "-lm", "-lpthread", "-ldl"],
    );
    let mut run = Command::new(&program);
    run.arg(&sample().1).env("LD_LIBRARY_PATH", place);
    let output = run.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{why}");
    assert!(said.contains(" 0 allocations"), "{said}");
}
