//! placeholder
#![no_std]

extern crate alloc;

#[cfg(feature = "jinja")]
extern crate std;

#[cfg(feature = "jinja")]
pub mod template;
