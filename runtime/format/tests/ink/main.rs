//! Tests of the `.ink` file, its writer and its records.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod golden;
mod hostile;
mod records;
mod sample;
mod writing;
