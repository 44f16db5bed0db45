//! The first process of a virtual machine that `cargo xtask kernels` boots: prepares it, runs what `/plan` says, switches it off.
//!
//! Speaks on the console in lines that begin with `@@`; what tests print stands between them.

use std::env;
use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use aya::EbpfLoader;
use aya::programs::{Program, ProgramError};
use egress_tests::system::process::keep_only_capabilities;
use nix::libc;
use nix::mount::{MsFlags, mount};

/// CAP_NET_ADMIN, CAP_PERFMON and CAP_BPF: all that a gateway Pod has.
const POD: &[u8] = &[12, 38, 39];
/// Lines of the verifier's log that are shown.
const LOG_LINES: usize = 40;
const OBJECT: &str = "/egress.o";
/// File systems, in order.
const MOUNTS: [(&str, &str); 8] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
    ("bpf", "/sys/fs/bpf"),
    ("tracefs", "/sys/kernel/tracing"),
    ("cgroup2", "/sys/fs/cgroup"),
];

fn main() {
    if env::args().nth(1).as_deref() == Some("load") {
        std::process::exit(i32::from(!load()));
    }
    if let Err(error) = guest() {
        println!("@@ error {error:#}");
    }
    println!("@@ done");
    // QEMU was told to end instead of starting anew.
    let _ = fs::write("/proc/sysrq-trigger", "b");
}

fn guest() -> Result<()> {
    for (kind, place) in MOUNTS {
        fs::create_dir_all(place).with_context(|| format!("create {place}"))?;
        let mounted = mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>);
        mounted.with_context(|| format!("mount {place}"))?;
    }
    println!("@@ kernel {}", fs::read_to_string("/proc/sys/kernel/osrelease")?.trim());
    modules()?;
    let plan = fs::read_to_string("/plan").context("read /plan")?;
    let mut load = Command::new("/init");
    keep_only_capabilities(load.arg("load"), POD);
    section("load", load)?;
    for line in plan.lines() {
        let mut words = line.split_whitespace();
        let name = words.next().context("an empty line in /plan")?;
        let mut tests = Command::new("/root-tests");
        tests.args(["--test-threads=1", "--show-output", "--color=never"]).args(words);
        section(name, tests)?;
    }
    Ok(())
}

fn section(name: &str, mut command: Command) -> Result<()> {
    println!("@@ begin {name}");
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("EGRESS_AGENT", "/egress-agent");
    command.env("EGRESS_EBPF_OBJ", OBJECT).env("EGRESS_PATIENCE", "6").env("HOME", "/tmp");
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    println!("@@ end {name} {}", status.code().unwrap_or(-1));
    Ok(())
}

/// Loads `/modules`, which is in an order that satisfies them. One that this kernel refuses shows in the test that needs it.
fn modules() -> Result<()> {
    let folder = Path::new("/modules");
    let mut files: Vec<_> = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    let none = CString::default();
    for file in files {
        let module = File::open(file.path())?;
        // SAFETY: finit_module(2) with a descriptor and a string that live through the call.
        let result = unsafe { libc::syscall(libc::SYS_finit_module, module.as_raw_fd(), none.as_ptr(), 0) };
        let error = std::io::Error::last_os_error();
        if result != 0 && error.raw_os_error() != Some(libc::EEXIST) {
            println!("@@ module {}: {error}", file.file_name().display());
        }
    }
    Ok(())
}

/// Loads every program of the object by itself, with the capabilities of this process.
fn load() -> bool {
    let result = programs();
    if let Err(error) = &result {
        println!("@@ refused {error:#}");
    }
    result.is_ok()
}

fn programs() -> Result<()> {
    let object = fs::read(OBJECT).context("read the object")?;
    let mut bpf = EbpfLoader::new().load(&object).context("create the maps")?;
    let mut refused = Vec::new();
    for (name, program) in bpf.programs_mut() {
        let loaded = match program {
            Program::SchedClassifier(program) => program.load().and_then(|()| program.info()),
            Program::Xdp(program) => program.load().and_then(|()| program.info()),
            _ => bail!("{name} is neither for TC nor for XDP"),
        };
        match loaded {
            Ok(info) => {
                let count = info.verified_instruction_count().unwrap_or_default();
                println!("@@ program {name} {count}");
            }
            Err(ProgramError::LoadError { io_error, verifier_log }) => {
                let log = verifier_log.to_string();
                let lines: Vec<_> = log.lines().collect();
                println!("{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"));
                refused.push(format!("{name}: {io_error}"));
            }
            Err(error) => refused.push(format!("{name}: {error}")),
        }
    }
    if !refused.is_empty() {
        bail!("{}", refused.join(", "));
    }
    Ok(())
}
