use super::*;
use crate::toolchain::{Core, Probe, Version};

fn compiler(sysroot: &str) -> Toolchain {
    let sysroot = PathBuf::from(sysroot);
    let version = Version { release: (1, 96), nightly: false, llvm: 22 };
    let rustc = sysroot.join("bin/rustc");
    Toolchain { probe: Probe { rustc, sysroot, version, prebuilt: true, source: false }, core: Core::Prebuilt }
}

fn complete() -> State {
    State {
        platform: Platform::Debian12 { own_rust: false },
        root: true,
        rustup: true,
        packages: vec![],
        explicit: false,
        compiler: Ok(compiler("/usr")),
        bpf_clippy: true,
        linker: Some("/c/bin/bpf-linker".into()),
        libllvm: true,
        cache: "/c".into(),
        fuzz_cache: None,
        rustfmt: true,
        clippy: true,
    }
}

fn fresh() -> State {
    State {
        packages: vec!["bpftool", "iptables"],
        compiler: Err("no rustc".into()),
        bpf_clippy: false,
        linker: None,
        libllvm: false,
        fuzz_cache: Some("/f".into()),
        ..complete()
    }
}

fn typed(state: &State) -> Vec<String> {
    plan(state).unwrap().iter().flat_map(Task::typed).collect()
}

#[test]
fn a_complete_machine_needs_nothing() {
    assert_eq!(plan(&complete()).unwrap(), []);
}

#[test]
fn a_fresh_debian_gets_packages_once_and_then_what_we_build() {
    let typed = typed(&fresh());
    assert_eq!(typed.len(), 4, "{typed:#?}");
    assert_eq!(typed[0], "apt-get update -q");
    assert!(typed[1].starts_with("DEBIAN_FRONTEND=noninteractive apt-get install -y"));
    assert!(typed[1].ends_with("bpftool iptables rustc-web libstd-rust-web-dev-bpf rust-web-clippy llvm-22-dev"));
    assert!(
        typed[2].starts_with("LLVM_PREFIX=/usr/lib/llvm-22 CARGO_PROFILE_RELEASE_DEBUG=0 cargo install bpf-linker")
    );
    assert!(typed[2].ends_with("--features llvm-22 --version 0.13.0 --root /c"));
    assert!(typed[3].ends_with("cargo install cargo-fuzz --locked --force --version 0.13.2 --root /f"));
    assert!(plan(&fresh()).unwrap().iter().all(|task| !task.by_hand));
}

#[test]
fn llvm_is_not_brought_for_a_linker_that_is_there() {
    let state = State { libllvm: false, ..complete() };
    assert_eq!(plan(&state).unwrap(), []);
}

#[test]
fn without_fuzzing_cargo_fuzz_is_not_brought() {
    let state = State { fuzz_cache: None, ..fresh() };
    assert!(!typed(&state).iter().any(|command| command.contains("cargo-fuzz")));
}

#[test]
fn elsewhere_packages_are_named_only_and_rustup_brings_the_compiler() {
    let tasks = plan(&State { platform: Platform::Other, ..fresh() }).unwrap();
    let by_hand: Vec<_> = tasks.iter().map(|task| (task.what, task.by_hand)).collect();
    assert_eq!(
        by_hand,
        [
            ("install packages", true),
            ("install the dated nightly", false),
            ("build bpf-linker (about a minute)", true),
            ("build cargo-fuzz (about half a minute)", false)
        ]
    );
    assert_eq!(
        tasks[1].typed(),
        ["rustup toolchain install nightly-2026-05-20 --profile minimal -c rust-src -c clippy"]
    );
}

#[test]
fn debians_own_rust_is_not_pushed_out() {
    let typed = typed(&State { platform: Platform::Debian12 { own_rust: true }, ..fresh() });
    assert!(!typed.iter().any(|command| command.contains("rustc-web")), "{typed:#?}");
    assert!(typed.iter().any(|command| command.contains("rustup toolchain install nightly-2026-05-20")));
}

#[test]
fn without_root_packages_are_named_only() {
    let tasks = plan(&State { root: false, ..fresh() }).unwrap();
    let ours: Vec<_> = tasks.iter().filter(|task| !task.by_hand).map(|task| &task.missing[..]).collect();
    assert_eq!(ours, ["cargo-fuzz 0.13.2"]);
}

#[test]
fn a_missing_clippy_comes_from_where_the_compiler_came() {
    let state = State { bpf_clippy: false, ..complete() };
    assert!(typed(&state)[1].ends_with("rust-web-clippy"));
    let nightly = compiler("/home/me/.rustup/toolchains/nightly-2026-05-20-x86_64-unknown-linux-gnu");
    let state = State { compiler: Ok(nightly), ..state };
    assert_eq!(typed(&state), ["rustup toolchain install nightly-2026-05-20 --profile minimal -c clippy"]);
    let state = State { compiler: Ok(compiler("/opt/rust")), ..state };
    assert_eq!(plan(&state).unwrap(), []);
}

#[test]
fn an_explicit_compiler_that_fails_is_an_error_not_a_task() {
    let state = State { explicit: true, ..fresh() };
    assert!(plan(&state).unwrap_err().to_string().contains("EGRESS_BPF_RUSTC"));
}

#[test]
fn components_of_the_hosts_cargo() {
    let state = State { rustfmt: false, clippy: false, ..complete() };
    assert_eq!(typed(&state), ["rustup component add rustfmt clippy"]);
}

#[test]
fn platforms() {
    let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n";
    assert_eq!(platform(debian, false), Platform::Debian12 { own_rust: false });
    assert_eq!(platform(debian, true), Platform::Debian12 { own_rust: true });
    assert_eq!(platform("ID=debian\nVERSION_ID=\"13\"\n", false), Platform::Other);
    assert_eq!(platform("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"12\"\n", false), Platform::Other);
    assert_eq!(platform("", false), Platform::Other);
}

#[test]
fn variables_stand_before_the_command_only() {
    let argv: Vec<_> = words("A=1 B=2 cargo build --x=3").collect();
    let (variables, rest) = split_variables(&argv);
    assert_eq!(variables, [("A", "1"), ("B", "2")]);
    assert_eq!(rest, ["cargo", "build", "--x=3"]);
}
