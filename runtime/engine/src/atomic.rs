//! Files that are whole or not there.

use core::sync::atomic::{AtomicU32, Ordering};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Has `write` fill a new file beside `path`, which takes the name of `path` once all of it is on the disk.
///
/// Where anything fails, what stood under the name stays.
///
/// # Errors
/// What `write` answers, or the file system.
pub fn write<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<fs::File>) -> Result<(), E>,
) -> Result<(), E> {
    inkstone_format::replaceable(path)?;
    let temporary = Temporary(beside(path)?);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&temporary.0)?;
    let mut file = BufWriter::with_capacity(1 << 18, file);
    write(&mut file)?;
    file.flush()?;
    file.get_ref().sync_all()?;
    Ok(fs::rename(&temporary.0, path)?)
}

/// Removed when dropped; after the renaming nothing stands under this name.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn beside(path: &Path) -> io::Result<PathBuf> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}-{count}.part", std::process::id()));
    Ok(path.with_file_name(temporary))
}
