use super::*;

const DEBIAN: &str = "\
rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)
binary: rustc
host: x86_64-unknown-linux-gnu
release: 1.96.0
LLVM version: 22.1.8";

fn probe_at(rustc: &str, prebuilt: bool, source: bool) -> Probe {
    let rustc = PathBuf::from(rustc);
    let sysroot = rustc.parent().unwrap().parent().unwrap().to_owned();
    Probe { rustc, sysroot, version: parse_version(DEBIAN).unwrap(), prebuilt, source }
}

fn rustup_stable() -> Probe {
    probe_at("/home/me/.rustup/stable/bin/rustc", false, true)
}

fn debian() -> Probe {
    probe_at("/usr/bin/rustc", true, false)
}

fn nightly(source: bool) -> Probe {
    probe_at("/home/me/.rustup/nightly/bin/rustc", false, source)
}

#[test]
fn version_of_a_release_and_of_a_nightly() {
    assert_eq!(parse_version(DEBIAN), Some(Version { release: (1, 96), nightly: false, llvm: 22 }));
    let nightly = parse_version("release: 1.97.0-nightly\nLLVM version: 22.1.4").unwrap();
    assert_eq!(nightly, Version { release: (1, 97), nightly: true, llvm: 22 });
    assert_eq!(parse_version("release: 1.96.0"), None);
    assert_eq!(parse_version(""), None);
}

#[test]
fn an_explicit_rustc_comes_before_all_others() {
    let candidates = Candidates { explicit: Some(Ok(nightly(true))), on_path: vec![debian()], nightly: None };
    assert_eq!(choose(&candidates), Ok(Toolchain { probe: nightly(true), core: Core::Source }));
}

#[test]
fn an_explicit_rustc_that_cannot_is_not_replaced_by_another() {
    let mut candidates = Candidates { explicit: Some(Ok(nightly(false))), on_path: vec![debian()], nightly: None };
    assert!(choose(&candidates).unwrap_err().starts_with("EGRESS_BPF_RUSTC: "));
    candidates.explicit = Some(Err("no such file".into()));
    assert_eq!(choose(&candidates).unwrap_err(), "EGRESS_BPF_RUSTC: no such file");
}

#[test]
fn prebuilt_core_on_the_path_comes_before_the_nightly() {
    let candidates =
        Candidates { explicit: None, on_path: vec![rustup_stable(), debian()], nightly: Some(nightly(true)) };
    assert_eq!(choose(&candidates), Ok(Toolchain { probe: debian(), core: Core::Prebuilt }));
}

#[test]
fn only_the_dated_nightly_builds_core_from_source_unasked() {
    let candidates = Candidates { explicit: None, on_path: vec![rustup_stable()], nightly: Some(nightly(true)) };
    assert_eq!(choose(&candidates), Ok(Toolchain { probe: nightly(true), core: Core::Source }));
}

#[test]
fn too_old_and_too_new_are_refused_by_name() {
    let mut old = debian();
    old.version.release = (1, 85);
    let mut new = nightly(true);
    new.version.llvm = 23;
    let why = choose(&Candidates { explicit: None, on_path: vec![old], nightly: Some(new) }).unwrap_err();
    assert!(why.contains("/usr/bin/rustc is 1.85, older than 1.95"), "{why}");
    assert!(why.contains("has LLVM 23, bpf-linker reads bitcode up to LLVM 22"), "{why}");
}

#[test]
fn nothing_there_says_what_was_looked_for() {
    let none = Candidates { explicit: None, on_path: vec![rustup_stable()], nightly: None };
    let why = choose(&none).unwrap_err();
    assert!(why.contains("has no core for bpfel-unknown-none"), "{why}");
    assert!(why.contains("rustup has no nightly-2026-05-20"), "{why}");
}
