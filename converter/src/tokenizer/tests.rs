//! Unit tests of the readers.
