//! What crosses the border: pointers become references here, errors and panics become numbers.

use core::ffi::{CStr, c_char};
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use inkstone_engine::{Error, ErrorKind};

use crate::types::*;

/// Why a call failed: its number and its line.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: Status,
    pub(crate) text: String,
}

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(status: Status, text: impl Into<String>) -> Failure {
        let text = text.into();
        Failure { status, text }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        let status = match error.kind() {
            ErrorKind::NotFound => NOT_FOUND,
            ErrorKind::NotAModel => NOT_A_MODEL,
            ErrorKind::Damaged => DAMAGED,
            ErrorKind::Unsupported => UNSUPPORTED,
            ErrorKind::Mismatch => MISMATCH,
            ErrorKind::ContextFull => CONTEXT_FULL,
            ErrorKind::RewindTooFar => REWIND_TOO_FAR,
            ErrorKind::Cancelled => CANCELLED,
            ErrorKind::OutOfMemory => OUT_OF_MEMORY,
            ErrorKind::Invalid => INVALID,
            ErrorKind::NotFinite => NOT_FINITE,
            ErrorKind::Io => IO,
            _ => INTERNAL,
        };
        Failure::new(status, error.to_string())
    }
}

/// Runs a call; a panic is a failure like any other.
pub(crate) fn guard<T>(call: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(Failure::new(INTERNAL, "a defect of the library")))
}

/// As [`guard`], for a function that tells its failure in the caller's buffer.
///
/// # Safety
/// `error` is NULL or has room for `size` bytes.
pub(crate) unsafe fn told(
    error: *mut c_char,
    size: usize,
    call: impl FnOnce() -> Outcome,
) -> Status {
    let Err(failure) = guard(call) else { return OK };
    if !error.is_null() && size > 0 {
        // SAFETY: the caller's promise.
        let room = unsafe { core::slice::from_raw_parts_mut(error.cast::<u8>(), size) };
        let mut n = failure.text.len().min(size - 1);
        while !failure.text.is_char_boundary(n) {
            n -= 1;
        }
        room[..n].copy_from_slice(&failure.text.as_bytes()[..n]);
        room[n] = 0;
    }
    failure.status
}

/// What a pointer points to.
///
/// # Safety
/// It is NULL or points to a value that lives as long as the reference is used, and is not written meanwhile.
pub(crate) unsafe fn given<'a, T>(pointer: *const T, name: &str) -> Outcome<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| Failure::new(INVALID, format!("{name} is NULL")))
}

/// Puts a result where the caller wants it.
///
/// # Safety
/// `to` is NULL or has room for a value.
pub(crate) unsafe fn put<T>(to: *mut T, value: T, name: &str) -> Outcome {
    if to.is_null() {
        return Err(Failure::new(INVALID, format!("{name} is NULL")));
    }
    // SAFETY: the caller's promise.
    unsafe { to.write(value) };
    Ok(())
}

/// Puts a new object where the caller wants it, NULL where making it fails; nothing is made where there is no place.
///
/// # Safety
/// `to` is NULL or has room for a pointer.
pub(crate) unsafe fn put_new<T>(
    to: *mut *mut T,
    name: &str,
    make: impl FnOnce() -> Outcome<*mut T>,
) -> Outcome {
    // SAFETY: the caller's promise.
    unsafe { put(to, core::ptr::null_mut(), name)? };
    let new = make()?;
    // SAFETY: the caller's promise.
    unsafe { put(to, new, name) }
}

/// A slice that may be empty at NULL.
///
/// # Safety
/// `count` values lie there while the slice is used.
pub(crate) unsafe fn slice<'a, T>(from: *const T, count: usize, name: &str) -> Outcome<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    // SAFETY: the caller's promise; there is at least one.
    let first = unsafe { given(from, name)? };
    // SAFETY: the caller's promise.
    Ok(unsafe { core::slice::from_raw_parts(first, count) })
}

/// Room for numbers, which are zeroed first.
///
/// # Safety
/// `count` values have room there, which nobody else uses while the slice is used.
pub(crate) unsafe fn room<'a>(to: *mut f32, count: usize, name: &str) -> Outcome<&'a mut [f32]> {
    // SAFETY: the caller's promise.
    unsafe { given(to, name)? };
    // SAFETY: the caller's promise; zeros are numbers.
    unsafe { to.write_bytes(0, count) };
    // SAFETY: the caller's promise; all are written.
    Ok(unsafe { core::slice::from_raw_parts_mut(to, count) })
}

/// A text that a zero ends; `None` at NULL.
///
/// # Safety
/// A zero ends what lies there, while the text is used.
pub(crate) unsafe fn text<'a>(from: *const c_char, name: &str) -> Outcome<Option<&'a str>> {
    if from.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(from) }.to_str();
    text.map(Some)
        .map_err(|_| Failure::new(INVALID, format!("{name} is no UTF-8")))
}

/// A struct of the caller's version: members that it has not got are zeros. NULL is all zeros.
///
/// # Safety
/// `from` is NULL or points to as many bytes as the `u32` there says.
pub(crate) unsafe fn read<T: Sized32>(from: *const T, name: &str) -> Outcome<T> {
    let mut value = T::default();
    if from.is_null() {
        return Ok(value);
    }
    // SAFETY: the struct begins with its size.
    let size = unsafe { from.cast::<u32>().read() } as usize;
    let size = own(size, size_of::<T>(), name)?;
    // SAFETY: as many bytes are there, and any bytes are a value.
    unsafe { core::ptr::copy_nonoverlapping(from.cast::<u8>(), (&raw mut value).cast(), size) };
    Ok(value)
}

/// Writes a struct as far as the caller's version has it.
///
/// # Safety
/// As [`read`], and the bytes may be written.
pub(crate) unsafe fn write<T: Sized32>(to: *mut T, value: &T, name: &str) -> Outcome {
    // SAFETY: the caller's promise: the struct begins with its size.
    let size = *unsafe { given(to.cast::<u32>(), name)? };
    let n = own(size as usize, size_of::<T>(), name)?;
    // SAFETY: as many bytes are there.
    unsafe { core::ptr::copy_nonoverlapping((&raw const *value).cast::<u8>(), to.cast(), n) };
    // SAFETY: the size is the caller's own.
    unsafe { to.cast::<u32>().write(size) };
    Ok(())
}

/// Bytes that both versions have.
fn own(size: usize, whole: usize, name: &str) -> Outcome<usize> {
    if size < size_of::<u32>() {
        return Err(Failure::new(
            INVALID,
            format!("{name}: struct_size is not set"),
        ));
    }
    Ok(size.min(whole))
}

/// Copies what fits; says how much there is, or that it did not fit.
///
/// # Safety
/// `to` has room for `capacity` values, `count` for one.
pub(crate) unsafe fn fill<T: Copy>(
    from: &[T],
    to: *mut T,
    capacity: usize,
    count: *mut usize,
) -> Outcome {
    // SAFETY: the caller's promise.
    unsafe { put(count, from.len(), "count")? };
    if from.len() > capacity {
        let text = format!("{} are needed, there is room for {capacity}", from.len());
        return Err(Failure::new(TOO_SMALL, text));
    }
    if from.is_empty() {
        return Ok(());
    }
    // SAFETY: the caller's promise.
    unsafe { given(to, "the buffer")? };
    // SAFETY: there is room, and nobody else has it.
    unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) };
    Ok(())
}
