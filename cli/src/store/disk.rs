//! Free disk, looked at before anything large is written.

use std::path::Path;

use anyhow::{Context, bail};

use crate::store::home;
use crate::terminal::Bytes;

/// Left free beyond what is needed, so that the machine stays usable.
const MARGIN: u64 = 64_000_000;

/// Bytes that may be written below `folder`, which need not exist yet.
pub(crate) fn free_bytes(folder: &Path) -> anyhow::Result<u64> {
    let there = folder
        .ancestors()
        .find(|f| f.exists())
        .unwrap_or(Path::new("."));
    fs4::available_space(there)
        .with_context(|| format!("{}: cannot tell the free disk", there.display()))
}

/// Fails unless `bytes` fit below `folder`.
pub(super) fn require(folder: &Path, bytes: u64) -> anyhow::Result<()> {
    let free = free_bytes(folder)?;
    if free < bytes.saturating_add(MARGIN) {
        bail!(
            "{}: {} are needed and {} are free; make room, or set {} to a folder on a larger disk",
            folder.display(),
            Bytes(bytes),
            Bytes(free),
            home::VARIABLE,
        );
    }
    Ok(())
}
