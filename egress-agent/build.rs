//! Locates the BPF object that the agent embeds; `cargo xtask build-ebpf` makes it.

use std::{env, path::PathBuf, process::exit};

/// Names the object for this run, and tells the crate where it is.
const OBJECT: &str = "EGRESS_EBPF_OBJ";

fn main() {
    println!("cargo::rerun-if-env-changed={OBJECT}");
    println!("cargo::rerun-if-env-changed=CARGO_TARGET_DIR");
    let object = object();
    println!("cargo::rerun-if-changed={}", object.display());
    if !object.is_file() {
        println!("cargo::error=there is no BPF object at {}: run cargo xtask build-ebpf", object.display());
        exit(1);
    }
    println!("cargo::rustc-env={OBJECT}={}", object.display());
}

/// `EGRESS_EBPF_OBJ`, else where `cargo xtask build-ebpf` leaves it; relative paths start at the workspace.
fn object() -> PathBuf {
    let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let crate_dir = set("CARGO_MANIFEST_DIR").unwrap_or_default();
    let workspace = crate_dir.parent().unwrap_or(&crate_dir);
    let target = || set("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    workspace.join(set(OBJECT).unwrap_or_else(|| target().join("ebpf/bpfel-unknown-none/release/egress")))
}
