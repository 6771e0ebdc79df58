//! Links an Android library for pages of 16 KiB, which new devices have and the store asks for.
#![allow(clippy::print_stdout, reason = "this is how cargo is told")]

fn main() {
    // Another target is another build; nothing else can change the answer.
    println!("cargo::rerun-if-env-changed=CARGO_CFG_TARGET_OS");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "android") {
        println!("cargo::rustc-link-arg-cdylib=-Wl,-z,max-page-size=16384");
    }
}
