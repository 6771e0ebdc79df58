//! The header's structs and numbers.
#![allow(missing_docs, reason = "the header says it")]

use core::ffi::{c_char, c_void};

/// One row of the header's `enum ink_status`.
pub type Status = i32;

pub const OK: Status = 0;
pub const NOT_FOUND: Status = 1;
pub const NOT_A_MODEL: Status = 2;
pub const DAMAGED: Status = 3;
pub const UNSUPPORTED: Status = 4;
pub const MISMATCH: Status = 5;
pub const CONTEXT_FULL: Status = 6;
pub const REWIND_TOO_FAR: Status = 7;
pub const CANCELLED: Status = 8;
pub const OUT_OF_MEMORY: Status = 9;
pub const INVALID: Status = 10;
pub const NOT_FINITE: Status = 11;
pub const IO: Status = 12;
pub const TOO_SMALL: Status = 13;
pub const INTERNAL: Status = 14;

/// A struct of the header: it begins with its size, and zeros are the usual choices.
///
/// # Safety
/// The type is `repr(C)`, begins with the `u32` of its size, and any bytes are a value of it.
pub unsafe trait Sized32: Copy + Default {}

/// A struct as both languages must have it: its name in the header, its size, its members and where each stands.
pub type Layout = (&'static str, usize, &'static [(&'static str, usize)]);

macro_rules! structs {
    ($($name:ident = $c:literal { $($field:ident: $type:ty),* $(,)? })*) => {
    /// Every struct of the header.
    pub static LAYOUTS: &[Layout] = &[$(($c, size_of::<$name>(), &[
        ("struct_size", 0),
        $((stringify!($field), core::mem::offset_of!($name, $field)),)*
    ])),*];
    $(
        #[repr(C)]
        #[derive(Debug, Clone, Copy, Default)]
        pub struct $name {
            pub struct_size: u32,
            $(pub $field: $type,)*
        }
        // SAFETY: as the trait wants, by this very definition: members are numbers and pointers, those to functions as the
        // caller made them.
        unsafe impl Sized32 for $name {}
    )*};
}

structs! {
    Info = "ink_info" { vocabulary: u32, context: u32, layers: u32, width: u32, has_template: u32, bytes: u64, id: [u8; 32] }
    Config = "ink_config" { context: u32, threads: u32, batch: u32, rewind: u32, kv: i32, plain: u32, arena: Room,
        arena_size: u64, host: HostAt, embeddings: u32, reserved: u32 }
    Host = "ink_host" { reserved: u32, context: Room, log: Option<Log>, clock: Option<Clock>, read_at: Option<ReadAt>,
        parallel: Option<Parallel>, thermal: Option<Thermal> }
    PlanBytes = "ink_plan_bytes" { context: u32, mapped: u64, reserved: u64, kv: u64, arena: u64 }
    Sampling = "ink_sampling" { top_k: u32, seed: u64, temperature: f32, top_p: f32, min_p: f32, repetition_penalty: f32 }
    AnswerOptions = "ink_answer_options" { limit: u32, stop: Text, json_schema: Text, lark: Text }
    Event = "ink_event" { kind: i32, token: u32, finish: i32, done: u32, total: u32, text: Text, text_size: usize }
    Stats = "ink_stats" { prompt_tokens: u32, tokens: u32, guessed: u32, accepted: u32, reserved: u32, seconds_to_first: f64,
        seconds_after_first: f64 }
    Mark = "ink_mark" { position: u32 }
}

/// `ink_host.log`.
pub type Log = unsafe extern "C" fn(Room, i32, *const c_char);
/// `ink_host.clock`.
pub type Clock = unsafe extern "C" fn(Room) -> u64;
/// `ink_host.read_at`.
pub type ReadAt = unsafe extern "C" fn(Room, u64, *mut u8, usize) -> i32;
/// What `ink_host.parallel` runs.
pub type Work = unsafe extern "C" fn(*const c_void, u32);
/// `ink_host.parallel`.
pub type Parallel = unsafe extern "C" fn(Room, u32, Work, *const c_void);
/// `ink_host.thermal`.
pub type Thermal = unsafe extern "C" fn(Room) -> i32;

/// A `const ink_host *`; NULL where there is none.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub struct HostAt(pub *const Host);

impl Default for HostAt {
    fn default() -> HostAt {
        HostAt(core::ptr::null())
    }
}

/// A `const char *`; NULL where there is none.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub struct Text(pub *const c_char);

impl Default for Text {
    fn default() -> Text {
        Text(core::ptr::null())
    }
}

/// A `void *`; NULL where there is none.
#[repr(transparent)]
#[derive(Debug, Clone, Copy)]
pub struct Room(pub *mut u8);

impl Default for Room {
    fn default() -> Room {
        Room(core::ptr::null_mut())
    }
}

pub const LOG_ERROR: i32 = 0;
pub const LOG_INFO: i32 = 1;

pub const PROGRESS: i32 = 0;
pub const TOKEN: i32 = 1;
pub const FINISHED: i32 = 2;
pub const SHIFTED: i32 = 3;
