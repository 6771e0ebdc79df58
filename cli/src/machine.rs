//! What this machine is, as its system tells and as it can be measured.

use std::fs;
use std::process::Command;

/// What the system calls the processor.
pub(crate) fn processor() -> Option<String> {
    let linux = field_of("/proc/cpuinfo", "model name");
    linux.or_else(|| sysctl("machdep.cpu.brand_string"))
}

/// Memory of the machine.
pub(crate) fn memory_bytes() -> Option<u64> {
    let kilobytes = field_of("/proc/meminfo", "MemTotal");
    let linux = kilobytes.and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok());
    let linux = linux.and_then(|kb| kb.checked_mul(1024));
    linux.or_else(|| sysctl("hw.memsize")?.parse().ok())
}

/// The value behind `NAME:` in a file of Linux's `/proc`.
fn field_of(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    fields
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
}

/// A value of the system as macOS and the BSDs tell it.
fn sysctl(name: &str) -> Option<String> {
    let out = Command::new("sysctl").args(["-n", name]).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    (out.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
