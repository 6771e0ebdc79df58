//! Absent data is ignored by name, and failure where it is required: seen by running this very program again.

use inkstone_tests::needs;
use std::process::{Command, Output};

fn main() {
    let here = needs::workspace().join("Cargo.toml").exists();
    needs::run(vec![
        needs::trial("the_workspace_is_found", here, "workspace", || Ok(())),
        needs::trial("absent", false, "moonstones", || Ok(())),
        needs::trial("absent_is_listed_as_ignored", true, "nothing", || {
            let text = text(&again("").output()?);
            check(
                text.contains("ignored") && text.contains("1 ignored"),
                &text,
            )
        }),
        needs::trial("absent_and_required_fails", true, "nothing", || {
            let output = again("models, moonstones").output()?;
            let text = text(&output);
            check(!output.status.success() && text.contains("1 failed"), &text)
        }),
    ]);
}

/// This program, running the one trial whose data does not exist.
fn again(require: &str) -> Command {
    let program = std::env::current_exe().expect("a running program has a path");
    let mut command = Command::new(program);
    command
        .args(["--exact", "absent"])
        .env("INKSTONE_REQUIRE", require);
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn check(holds: bool, text: &str) -> Result<(), libtest_mimic::Failed> {
    if holds { Ok(()) } else { Err(text.into()) }
}
