//! How the linker makes a shared library of what both C and the bindings call.
#![allow(clippy::print_stdout, reason = "this is how cargo is told")]

fn main() {
    // Another target is another build; nothing else can change the answer.
    println!("cargo::rerun-if-env-changed=CARGO_CFG_TARGET_OS");
    let os = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if os == "android" {
        // Pages of new devices, which the store asks for.
        println!("cargo::rustc-link-arg-cdylib=-Wl,-z,max-page-size=16384");
    }
    if ["android", "linux"].contains(&os.as_str()) {
        // What dependencies export for C is theirs.
        println!("cargo::rustc-link-arg-cdylib=-Wl,--exclude-libs,ALL");
    }
}
