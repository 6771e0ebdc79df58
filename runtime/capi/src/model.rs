//! Models and their text.

use core::ffi::{c_char, c_int, c_void};
use std::io;
use std::path::Path;

use inkstone_engine::{Adapter, Kv, Map, Mapped, Model, NUMERICS, SessionConfig, Speculation};

use crate::border::*;
use crate::host::Hosted;
use crate::types::*;

/// Where weights and arenas begin at a multiple of.
const ALIGNMENT: usize = 64;

/// The header's `ink_model`.
#[derive(Debug)]
pub struct InkModel(pub(crate) Model);

/// [`NUMERICS`] with a zero at its end.
static NUMERICS_TEXT: [u8; NUMERICS.len() + 1] = {
    let mut text = [0; NUMERICS.len() + 1];
    let mut at = 0;
    while at < NUMERICS.len() {
        text[at] = NUMERICS.as_bytes()[at];
        at += 1;
    }
    text
};

/// The names of statuses, in order.
static NAMES: &[&core::ffi::CStr] = &[
    c"ok",
    c"not found",
    c"not a model",
    c"damaged",
    c"unsupported",
    c"mismatch",
    c"context full",
    c"rewind too far",
    c"cancelled",
    c"out of memory",
    c"invalid",
    c"not finite",
    c"io",
    c"too small",
    c"internal",
];

/// The header's `enum ink_kv`, in order.
static KVS: &[Kv] = &[Kv::F16, Kv::Int8, Kv::Int4, Kv::F32];

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn ink_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn ink_numerics() -> *const c_char {
    NUMERICS_TEXT.as_ptr().cast()
}

/// See the header.
#[unsafe(no_mangle)]
pub extern "C" fn ink_status_name(status: Status) -> *const c_char {
    let index = usize::try_from(status).unwrap_or(usize::MAX);
    NAMES.get(index).map_or(c"unknown", |name| name).as_ptr()
}

/// Puts a model where the caller wants it, and what went wrong where he reads it.
///
/// # Safety
/// `model` is NULL or has room for a pointer, `error` is NULL or has room for `error_size` bytes.
unsafe fn opened(
    model: *mut *mut InkModel,
    error: *mut c_char,
    error_size: usize,
    open: impl FnOnce() -> Outcome<Model>,
) -> Status {
    let make = || Ok(Box::into_raw(Box::new(InkModel(open()?))));
    // SAFETY: the caller's promise.
    let call = || unsafe { put_new(model, "model", make) };
    // SAFETY: the caller's promise.
    unsafe { told(error, error_size, call) }
}

/// A path that must be there.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn path_of<'a>(path: *const c_char, name: &str) -> Outcome<&'a Path> {
    // SAFETY: the caller's promise.
    let path = unsafe { text(path, name)? };
    path.map(Path::new)
        .ok_or_else(|| Failure::new(INVALID, format!("{name} is NULL")))
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_open(
    path: *const c_char,
    model: *mut *mut InkModel,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    // SAFETY: the header asks for a text.
    let open = || Ok(Model::open(unsafe { path_of(path, "path")? })?);
    // SAFETY: the header asks for a place and for room.
    unsafe { opened(model, error, error_size, open) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_open_memory(
    bytes: *const c_void,
    size: usize,
    model: *mut *mut InkModel,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    let open = || {
        // SAFETY: the header asks for bytes that outlive the model and its sessions.
        let bytes: &'static [u8] = unsafe { slice(bytes.cast(), size, "bytes")? };
        if !bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            let text = format!("bytes do not begin at a multiple of {ALIGNMENT}");
            return Err(Failure::new(INVALID, text));
        }
        Ok(Model::of(Mapped::of(bytes, Path::new("memory"))?)?)
    };
    // SAFETY: the header asks for a place and for room.
    unsafe { opened(model, error, error_size, open) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_open_fd(
    fd: c_int,
    offset: u64,
    size: u64,
    model: *mut *mut InkModel,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    let open = || {
        let map = part_of(fd, offset, length(size)?)?;
        Ok(Model::of(Mapped::with(map, Path::new("fd"))?)?)
    };
    // SAFETY: the header asks for a place and for room.
    unsafe { opened(model, error, error_size, open) }
}

#[cfg(unix)]
fn part_of(fd: c_int, offset: u64, size: usize) -> Outcome<io::Result<Map>> {
    if fd < 0 {
        return Err(Failure::new(INVALID, format!("fd is {fd}")));
    }
    // SAFETY: the header asks for an open file; it is used within the call alone.
    let file = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
    Ok(Map::part(file, offset, size))
}

#[cfg(not(unix))]
fn part_of(_: c_int, _: u64, _: usize) -> Outcome<io::Result<Map>> {
    let text = "this system has no file descriptors";
    Err(Failure::new(UNSUPPORTED, text))
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_open_host(
    host: *const Host,
    size: u64,
    model: *mut *mut InkModel,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    let open = || {
        // SAFETY: the header asks for a host.
        let host = unsafe { Hosted::of(given(host, "host")?)? };
        let map = Map::read(length(size)?, |offset, to| host.read_at(offset, to));
        Ok(Model::of(Mapped::with(map, Path::new("host"))?)?)
    };
    // SAFETY: the header asks for a place and for room.
    unsafe { opened(model, error, error_size, open) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_open_stream(
    host: *const Host,
    size: u64,
    model: *mut *mut InkModel,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    let open = || {
        // SAFETY: the header asks for a host.
        let host = unsafe { Hosted::of(given(host, "host")?)? };
        let read = move |offset: u64, to: &mut [u8]| host.read_at(offset, to);
        let mapped = Mapped::stream(length(size)?, Box::new(read), Path::new("host"))?;
        Ok(Model::of(mapped)?)
    };
    // SAFETY: the header asks for a place and for room.
    unsafe { opened(model, error, error_size, open) }
}

fn length(size: u64) -> Outcome<usize> {
    let size = usize::try_from(size).ok().filter(|size| *size > 0);
    size.ok_or_else(|| Failure::new(INVALID, "size is zero, or beyond what there can be"))
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_attach(
    model: *const InkModel,
    adapter: *const c_char,
    scale: f32,
    attached: *mut *mut InkModel,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    let attach = || {
        // SAFETY: the header asks for a model.
        let model = &unsafe { given(model, "model")? }.0;
        // SAFETY: the header asks for a text.
        let adapter = Adapter::open(unsafe { path_of(adapter, "adapter")? })?;
        let scale = if scale == 0.0 { 1.0 } else { scale };
        Ok(model.attach(&[(adapter, scale)])?)
    };
    // SAFETY: the header asks for a place and for room.
    unsafe { opened(attached, error, error_size, attach) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_close(model: *mut InkModel) {
    if !model.is_null() {
        // SAFETY: `ink_open` gave it, and it is closed once.
        let model = unsafe { Box::from_raw(model) };
        let _ = guard(|| {
            drop(model);
            Ok(())
        });
    }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_verify(
    model: *const InkModel,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    // SAFETY: the header asks for a model.
    let call = || Ok(unsafe { given(model, "model")? }.0.verify(&mut |_, _| {})?);
    // SAFETY: the header asks for room.
    unsafe { told(error, error_size, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_model_info(model: *const InkModel, info: *mut Info) -> Status {
    let call = || {
        // SAFETY: the header asks for a model.
        let model = &unsafe { given(model, "model")? }.0;
        let spec = model.spec();
        let value = Info {
            vocabulary: spec.vocabulary,
            context: spec.context,
            layers: model.layers().len() as u32,
            width: spec.width,
            has_template: model.has_template().into(),
            bytes: model.plan(&SessionConfig::default())?.mapped,
            id: model.id(),
            ..Info::default()
        };
        // SAFETY: the header asks for a struct.
        unsafe { write(info, &value, "info") }
    };
    // SAFETY: no room is no room.
    unsafe { told(core::ptr::null_mut(), 0, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_plan(
    model: *const InkModel,
    config: *const Config,
    plan: *mut PlanBytes,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    let call = || {
        // SAFETY: the header asks for a model.
        let model = &unsafe { given(model, "model")? }.0;
        // SAFETY: the header asks for a struct.
        let found = model.plan(&session_config(&unsafe { read(config, "config")? })?)?;
        let value = PlanBytes {
            context: found.config.context,
            mapped: found.mapped,
            reserved: found.reserved(),
            kv: found.memory.kv as u64,
            arena: found.memory.arena as u64,
            ..PlanBytes::default()
        };
        // SAFETY: the header asks for a struct.
        unsafe { write(plan, &value, "plan") }
    };
    // SAFETY: the header asks for room.
    unsafe { told(error, error_size, call) }
}

/// The engine's configuration.
pub(crate) fn session_config(config: &Config) -> Outcome<SessionConfig> {
    let usual = SessionConfig::default();
    let or = |value: u32, usual: u32| if value == 0 { usual } else { value };
    let some = |value: u32| (value != 0).then_some(value);
    let kv = usize::try_from(config.kv).ok().and_then(|kv| KVS.get(kv));
    Ok(SessionConfig {
        context: some(config.context),
        threads: some(config.threads),
        batch: or(config.batch, usual.batch),
        rewind: or(config.rewind, usual.rewind),
        embeddings: config.embeddings != 0,
        kv: *kv
            .ok_or_else(|| Failure::new(INVALID, format!("kv is {}, not an ink_kv", config.kv)))?,
        speculation: if config.plain == 0 {
            usual.speculation
        } else {
            Speculation::Off
        },
        ..usual
    })
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_tokenize(
    model: *const InkModel,
    text: *const c_char,
    text_size: usize,
    special: u32,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> Status {
    let call = || {
        // SAFETY: the header asks for a model.
        let model = &unsafe { given(model, "model")? }.0;
        // SAFETY: the header asks for as many bytes.
        let bytes = unsafe { slice(text.cast::<u8>(), text_size, "text")? };
        let text =
            core::str::from_utf8(bytes).map_err(|_| Failure::new(INVALID, "text is no UTF-8"))?;
        let found = if special == 0 {
            model.encode(text)
        } else {
            model.encode_chat(text)
        };
        // SAFETY: the header asks for room.
        unsafe { fill(&found, tokens, capacity, count) }
    };
    // SAFETY: no room is no room.
    unsafe { told(core::ptr::null_mut(), 0, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_detokenize(
    model: *const InkModel,
    tokens: *const u32,
    count: usize,
    text: *mut c_char,
    capacity: usize,
    size: *mut usize,
) -> Status {
    let call = || {
        // SAFETY: the header asks for a model.
        let model = &unsafe { given(model, "model")? }.0;
        // SAFETY: the header asks for as many tokens.
        let tokens = unsafe { slice(tokens, count, "tokens")? };
        let found = model.tokenizer().decode(tokens);
        // SAFETY: the header asks for room.
        unsafe { fill(found.as_bytes(), text.cast(), capacity, size) }
    };
    // SAFETY: no room is no room.
    unsafe { told(core::ptr::null_mut(), 0, call) }
}

/// See the header.
///
/// # Safety
/// As the header says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ink_chat_render(
    model: *const InkModel,
    messages_json: *const c_char,
    tools_json: *const c_char,
    to: *mut c_char,
    capacity: usize,
    size: *mut usize,
    error: *mut c_char,
    error_size: usize,
) -> Status {
    let call = || {
        // SAFETY: the header asks for a model.
        let model = &unsafe { given(model, "model")? }.0;
        // SAFETY: the header asks for texts.
        let [messages, tools] = unsafe {
            [
                text(messages_json, "messages_json")?,
                text(tools_json, "tools_json")?,
            ]
        };
        let json = |text: &str, name: &str| {
            serde_json::from_str(text).map_err(|e| Failure::new(INVALID, format!("{name}: {e}")))
        };
        let messages = json(messages.unwrap_or("null"), "messages_json")?;
        let tools = tools.map(|tools| json(tools, "tools_json")).transpose()?;
        let found = model.render_chat(&messages, tools.as_ref(), true)?;
        // SAFETY: the header asks for room.
        unsafe { fill(found.as_bytes(), to.cast(), capacity, size) }
    };
    // SAFETY: the header asks for room.
    unsafe { told(error, error_size, call) }
}
