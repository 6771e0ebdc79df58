//! What a host does for the library: the header's `ink_host`.

use core::ffi::c_void;
use core::time::Duration;
use std::ffi::CString;
use std::io;
use std::time::Instant;

use inkstone_engine::{Conditions, Parallel, Thermal};

use crate::border::*;
use crate::types::*;

/// A host's functions and their context.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hosted(Host);

// SAFETY: the header says that its functions are called on the threads that call the library.
unsafe impl Send for Hosted {}

/// The least heat of each `ink_thermal`.
static HEAT: &[Thermal] = &[
    Thermal::Nominal,
    Thermal::Fair,
    Thermal::Serious,
    Thermal::Critical,
];

impl Hosted {
    /// A host of the caller's; NULL is one that does nothing.
    ///
    /// # Safety
    /// As [`read`]; its functions are what the header says.
    pub(crate) unsafe fn of(host: *const Host) -> Outcome<Hosted> {
        // SAFETY: the caller's promise.
        Ok(Hosted(unsafe { read(host, "host")? }))
    }

    /// Tells a line, where the host listens.
    pub(crate) fn log(&self, level: i32, text: &str) {
        let Some(log) = self.0.log else { return };
        let line = CString::new(text.replace('\0', " ")).unwrap_or_default();
        // SAFETY: the header's promise; the line lives until the function returns.
        unsafe { log(self.0.context, level, line.as_ptr()) };
    }

    /// A moment, and how long ago it is whenever that is asked.
    pub(crate) fn clock(&self) -> impl Fn() -> Duration + use<> {
        let host = *self;
        let now = move || {
            // SAFETY: the header's promise.
            host.0.clock.map(|clock| unsafe { clock(host.0.context) })
        };
        let (begun, ours) = (now(), Instant::now());
        move || match (begun, now()) {
            (Some(begun), Some(now)) => Duration::from_micros(now.saturating_sub(begun)),
            _ => ours.elapsed(),
        }
    }

    /// Fills `to` from an offset of the file on.
    pub(crate) fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let Some(read_at) = self.0.read_at else {
            return Err(io::Error::other("host->read_at is NULL"));
        };
        // SAFETY: the header's promise, and there is room.
        match unsafe { read_at(self.0.context, offset, to.as_mut_ptr(), to.len()) } {
            0 => Ok(()),
            code => Err(io::Error::other(format!(
                "host->read_at gave {code} for {} bytes at {offset}",
                to.len()
            ))),
        }
    }

    /// Threads to compute on.
    pub(crate) fn parallel(&self) -> Option<Parallel> {
        let host = *self;
        let parallel = host.0.parallel?;
        Some(Box::new(move |workers, part| {
            let host = host;
            // SAFETY: the header's promise; it returns when all work has, so that the task outlives it.
            unsafe {
                parallel(
                    host.0.context,
                    workers as u32,
                    work,
                    (&raw const part).cast(),
                )
            };
        }))
    }

    /// Who says how hot the device is.
    pub(crate) fn thermal(&self) -> Option<impl FnMut() -> Conditions + Send + use<>> {
        let host = *self;
        let thermal = host.0.thermal?;
        Some(move || {
            let host = host;
            // SAFETY: the header's promise.
            let level = unsafe { thermal(host.0.context) };
            let level = usize::try_from(level).unwrap_or(0).min(HEAT.len() - 1);
            Conditions {
                thermal: HEAT[level],
                ..Conditions::default()
            }
        })
    }
}

/// One worker's part of a task of [`Hosted::parallel`].
///
/// # Safety
/// The task is the one that it gave.
unsafe extern "C" fn work(task: *const c_void, index: u32) {
    // SAFETY: the caller's promise.
    let part = unsafe { *task.cast::<&(dyn Fn(usize) + Sync)>() };
    // A part catches what it panics with.
    part(index as usize);
}
