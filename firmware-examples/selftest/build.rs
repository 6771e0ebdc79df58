//! The linker scripts of the runtime crates, which include the board's.

fn main() {
    if std::env::var("TARGET").is_ok_and(|target| target.starts_with("riscv")) {
        println!("cargo::rustc-link-arg=-Tmemory.x");
    }
    println!("cargo::rustc-link-arg=-Tlink.x");
}
