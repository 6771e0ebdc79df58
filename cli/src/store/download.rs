//! One file over HTTP: into a `.part` that can be resumed, verified before it gets its name.

use core::time::Duration;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use sha2::{Digest, Sha256};
use ureq::{Agent, Body, http::Response};

use super::{disk, http};
use crate::terminal::{Progress, Terminal};

/// How often a broken connection is taken up again without a byte of progress.
const TRIES: u32 = 4;
/// The first pause between two tries; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// What to fetch.
pub(super) struct Request<'a> {
    pub(super) url: &'a str,
    pub(super) token: Option<&'a str>,
    /// Its length, where known beforehand.
    pub(super) bytes: Option<u64>,
    /// Its hash, where known beforehand. Only then can a part be resumed.
    pub(super) sha256: Option<&'a str>,
    /// What the progress bar calls it.
    pub(super) label: &'a str,
}

/// Fetches a file and gives its hash. `to` exists only once the file is whole and right.
pub(super) fn download(
    terminal: &Terminal,
    agent: &Agent,
    request: &Request<'_>,
    to: &Path,
) -> anyhow::Result<String> {
    let part = part_path(to, request.sha256);
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    if request.sha256.is_none() && part.exists() {
        fs::remove_file(&part).with_context(|| part.display().to_string())?;
    }
    let progress = terminal.progress(request.label, request.bytes);
    fill(agent, request, &part, &progress)?;
    drop(progress);
    adopt(&part, to, request.sha256).with_context(|| request.url.to_owned())
}

/// Gives a finished part its name if it hashes as it must; else deletes it.
pub(super) fn adopt(part: &Path, to: &Path, wanted: Option<&str>) -> anyhow::Result<String> {
    let found = sha256_of(part)?;
    if let Some(wanted) = wanted.filter(|w| !w.eq_ignore_ascii_case(&found)) {
        fs::remove_file(part).with_context(|| part.display().to_string())?;
        bail!(
            "the file has sha256 {found}, not {wanted}; it was deleted: try again, and distrust the source if it repeats"
        );
    }
    fs::rename(part, to).with_context(|| format!("{}: cannot rename", part.display()))?;
    Ok(found)
}

/// The hash of a file, lower-case hexadecimal.
pub(super) fn sha256_of(path: &Path) -> anyhow::Result<String> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n = file
            .read(&mut buffer)
            .with_context(|| path.display().to_string())?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

/// `FILE.HASH.part`: a part of another source of the same file is another part.
fn part_path(to: &Path, sha256: Option<&str>) -> PathBuf {
    let mut name = OsString::from(to);
    if let Some(prefix) = sha256.and_then(|hash| hash.get(..8)) {
        name.push(".");
        name.push(prefix);
    }
    name.push(".part");
    name.into()
}

/// Why one connection ended before the file did.
enum Broken {
    /// Another try may go on.
    ForNow(anyhow::Error),
    /// No other try will help.
    ForGood(anyhow::Error),
}

impl From<anyhow::Error> for Broken {
    fn from(error: anyhow::Error) -> Self {
        Self::ForGood(error)
    }
}

/// Connects until the part is whole; gives up after `TRIES` connections that brought nothing.
fn fill(
    agent: &Agent,
    request: &Request<'_>,
    part: &Path,
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut tries = 0;
    loop {
        let before = length(part);
        match fill_once(agent, request, part, progress) {
            Ok(()) => return Ok(()),
            Err(Broken::ForGood(error)) => return Err(error),
            Err(Broken::ForNow(error)) => {
                tries = if length(part) > before { 1 } else { tries + 1 };
                if tries >= TRIES {
                    return Err(error);
                }
                std::thread::sleep(FIRST_PAUSE * 2u32.pow(tries - 1));
            }
        }
    }
}

fn fill_once(
    agent: &Agent,
    request: &Request<'_>,
    part: &Path,
    progress: &Progress,
) -> Result<(), Broken> {
    let start = match request.sha256 {
        Some(_) => length(part),
        None => 0,
    };
    if start > 0 && request.bytes == Some(start) {
        return Ok(());
    }
    let url = request.url;
    let mut response = http::get(agent, url, request.token, start)
        .map_err(|e| Broken::ForNow(http::unreachable_host(url, e)))?;
    let start = match response.status().as_u16() {
        200 => 0,
        206 if range_start(&response) == Some(start) => start,
        206 | 416 => {
            fs::remove_file(part).with_context(|| part.display().to_string())?;
            return Err(Broken::ForNow(anyhow!(
                "{url}: the server answered with another range"
            )));
        }
        status @ (408 | 429 | 500..) => return Err(Broken::ForNow(http::refused(url, status))),
        status => return Err(Broken::ForGood(http::refused(url, status))),
    };
    let rest = response.body().content_length();
    let end = rest.map(|n| start.saturating_add(n)).or(request.bytes);
    disk::require(
        part.parent().unwrap_or(Path::new(".")),
        end.unwrap_or(0).saturating_sub(start),
    )?;
    let done = append(&mut response, part, start, end, progress).map_err(|e| match e {
        Broken::ForNow(e) => Broken::ForNow(e.context(url.to_owned())),
        other => other,
    })?;
    match end.max(request.bytes) {
        Some(end) if done < end => Err(Broken::ForNow(anyhow!(
            "{url}: the connection ended at byte {done} of {end}"
        ))),
        _ if request.bytes.is_some_and(|bytes| done != bytes) => Err(Broken::ForNow(anyhow!(
            "{url}: {done} bytes came, the listing says {}",
            request.bytes.unwrap_or_default()
        ))),
        _ => Ok(()),
    }
}

/// Bytes of a body of unknown length that room is asked for.
const AT_ONCE: u64 = 64 << 20;

/// Copies a body to the end of the part, from byte `start` on, never past `end`.
fn append(
    response: &mut Response<Body>,
    part: &Path,
    start: u64,
    end: Option<u64>,
    progress: &Progress,
) -> Result<u64, Broken> {
    let named = || part.display().to_string();
    let mut file = OpenOptions::new()
        .create(true)
        .append(start > 0)
        .write(true)
        .truncate(start == 0)
        .open(part)
        .with_context(named)?;
    let mut body = response.body_mut().as_reader();
    let mut buffer = vec![0; 1 << 16];
    let mut done = start;
    let mut asked = start;
    loop {
        progress.at(done);
        if end.is_none() && done >= asked {
            disk::require(part.parent().unwrap_or(Path::new(".")), AT_ONCE)?;
            asked = done + AT_ONCE;
        }
        let n = body
            .read(&mut buffer)
            .map_err(|e| Broken::ForNow(e.into()))?;
        if n == 0 {
            return Ok(done);
        }
        done += n as u64;
        if end.is_some_and(|end| done > end) {
            return Err(Broken::ForGood(anyhow!(
                "{}: the server sent more than it announced",
                named()
            )));
        }
        file.write_all(&buffer[..n]).with_context(named)?;
    }
}

fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get("content-range")?.to_str().ok()?;
    let (start, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    start.parse().ok()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}
