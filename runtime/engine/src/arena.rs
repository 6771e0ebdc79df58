//! The one block of memory that a session computes in.

use crate::error::{Error, ErrorKind, Result};

/// Alignment of what kernels read.
const ALIGNMENT: usize = 64;

/// Bytes at a multiple of 64 that stay where they are.
pub(crate) enum Arena {
    /// Zeroed, and the session's own.
    Own {
        bytes: Vec<u8>,
        start: usize,
        len: usize,
    },
    /// Given by the caller, whatever they are.
    Lent(&'static mut [u8]),
}

impl Arena {
    /// Reserves `len` bytes and writes to all of them, so that every page is there before the first step.
    pub(crate) fn new(len: usize) -> Result<Arena> {
        let mut bytes = Vec::new();
        let padded = len
            .checked_add(ALIGNMENT - 1)
            .ok_or_else(|| too_much(len))?;
        if available().is_some_and(|available| padded as u64 > available) {
            return Err(too_much(len));
        }
        bytes.try_reserve_exact(padded).map_err(|_| too_much(len))?;
        bytes.resize(padded, 0);
        let start = bytes.as_ptr().align_offset(ALIGNMENT);
        if start >= ALIGNMENT {
            return Err(too_much(len));
        }
        Ok(Arena::Own { bytes, start, len })
    }

    /// Takes `len` bytes of memory that is given.
    pub(crate) fn lent(memory: &'static mut [u8], len: usize) -> Result<Arena> {
        let found = memory.len();
        if !memory.as_ptr().addr().is_multiple_of(ALIGNMENT) {
            let text = format!("the arena does not begin at a multiple of {ALIGNMENT}");
            return Err(Error::text(ErrorKind::Invalid, text));
        }
        let Some((used, _)) = memory.split_at_mut_checked(len) else {
            let text = format!("the arena has {found} bytes, the session needs {len}");
            return Err(Error::text(ErrorKind::OutOfMemory, text));
        };
        Ok(Arena::Lent(used))
    }
}

impl AsMut<[u8]> for Arena {
    fn as_mut(&mut self) -> &mut [u8] {
        match self {
            Arena::Own { bytes, start, len } => &mut bytes[*start..][..*len],
            Arena::Lent(memory) => memory,
        }
    }
}

impl AsRef<[u8]> for Arena {
    fn as_ref(&self) -> &[u8] {
        match self {
            Arena::Own { bytes, start, len } => &bytes[*start..][..*len],
            Arena::Lent(memory) => memory,
        }
    }
}

fn too_much(len: usize) -> Error {
    let mib = len.div_ceil(1 << 20);
    let free = available().map_or(String::new(), |free| {
        format!(", {} MiB are free", free >> 20)
    });
    let text = format!("the session needs {mib} MiB of memory{free}; choose a smaller context");
    Error::text(ErrorKind::OutOfMemory, text)
}

/// Bytes that can be had without swapping, where the system tells: it grants more than it has and kills later.
#[cfg(target_os = "linux")]
fn available() -> Option<u64> {
    let limit = group_limit().unwrap_or(u64::MAX);
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024).min(limit))
}

/// The most that this process's control group, a container's usually, may use.
#[cfg(target_os = "linux")]
fn group_limit() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = std::path::Path::new("/sys/fs/cgroup").join(group);
    let limit = std::fs::read_to_string(folder.join("memory.max")).ok()?;
    limit.trim().parse().ok()
}

/// Unknown elsewhere: the allocator's answer decides.
#[cfg(not(target_os = "linux"))]
fn available() -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arena_is_aligned_zero_and_as_long_as_asked() {
        for len in [0, 1, 64, 1000, 1 << 20] {
            let mut arena = Arena::new(len).unwrap();
            let bytes = arena.as_mut();
            assert_eq!((bytes.len(), bytes.as_ptr().align_offset(64)), (len, 0));
            assert!(bytes.iter().all(|&b| b == 0));
        }
    }

    #[test]
    fn more_memory_than_there_is_is_a_typed_error() {
        for len in [usize::MAX, isize::MAX as usize, 1 << 50] {
            assert_eq!(
                Arena::new(len).err().map(|e| e.kind()),
                Some(ErrorKind::OutOfMemory)
            );
        }
    }
}
