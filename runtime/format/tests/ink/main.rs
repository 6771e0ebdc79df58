//! Tests of the `.ink` file, its writer and its records.

mod golden;
mod hostile;
mod records;
mod sample;
mod writing;
