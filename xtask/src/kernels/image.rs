//! What a virtual machine starts from: the test binary, the agent, the object and the programs that labs call, with their libraries.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{cpio::Archive, modules};
use crate::{agent, sh, workspace::Workspace};

/// Programs that root tests call.
const PROGRAMS: &[&str] = &[
    "bpftool",
    "ethtool",
    "ip",
    "tc",
    "ping",
    "iptables",
    "ip6tables",
    "iptables-restore",
    "ip6tables-restore",
    "nft",
    "sysctl",
    "nsenter",
    "unshare",
    "sh",
    "cat",
    "sleep",
    "true",
    "false",
    "env",
    "kill",
    "modprobe",
    "mount",
];
/// Folders of Debian's that are links into /usr.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// The part that all kernels share, with `more` programs of unpacked packages; builds the test binaries.
pub(crate) fn base(workspace: &Workspace, more: &[(PathBuf, &str)]) -> Result<Archive> {
    let mut archive = Archive::default();
    for folder in MERGED {
        archive.folder(&format!("/usr/{folder}"));
        archive.link(&format!("/{folder}"), &format!("usr/{folder}"));
    }
    for folder in ["/proc", "/sys", "/dev", "/run", "/tmp", "/root", "/var", "/etc/iproute2"] {
        archive.folder(folder);
    }
    archive.link("/var/run", "/run");
    archive.file("/etc/passwd", b"root:x:0:0:root:/root:/bin/sh\n");
    let (guest, tests) = binaries(workspace)?;
    for (path, from) in [("/init", guest), ("/root-tests", tests), ("/egress-agent", workspace.agent())] {
        archive.file(path, &stripped(&from, &workspace.target)?);
        libraries(&mut archive, &from)?;
    }
    archive.file("/egress.o", &fs::read(workspace.object())?);
    for name in PROGRAMS {
        if let Some(program) = sh::find_all(name).into_iter().next() {
            // Links are followed, and the name stays: some programs act by it.
            let path = merged(&program);
            archive.file(&path.to_string_lossy(), &fs::read(&program)?);
            libraries(&mut archive, &program)?;
        }
    }
    for (tree, program) in more {
        archive.file(&format!("/{program}"), &fs::read(tree.join(program))?);
        libraries(&mut archive, &tree.join(program))?;
        // And those of its libraries that this machine has not.
        for folder in ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|folder| tree.join(folder)) {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let entry = entry?;
                let name = entry.file_name();
                if name.to_string_lossy().contains(".so.") {
                    archive.file(&format!("/usr/lib/x86_64-linux-gnu/{}", name.display()), &fs::read(entry.path())?);
                }
            }
        }
    }
    // iptables loads its matches and targets by name.
    for folder in plugins()? {
        for entry in fs::read_dir(&folder)? {
            archive.copy(&entry?.path())?;
        }
    }
    Ok(archive)
}

/// The image of one kernel: its modules and what is to be run besides.
pub(crate) fn of_kernel(base: &Archive, kernel: &Path, plan: &str) -> Result<Vec<u8>> {
    let mut archive = base.clone();
    for (number, (name, content)) in modules::load_order(kernel)?.into_iter().enumerate() {
        archive.file(&format!("/modules/{number:03}-{name}"), &content);
    }
    archive.file("/plan", plan.as_bytes());
    Ok(archive.finish())
}

/// The guest's first process and the binary of the root tests.
fn binaries(workspace: &Workspace) -> Result<(PathBuf, PathBuf)> {
    sh::run(workspace.cargo().args(["build", "--package", "egress-tests", "--bin", "guest"]))?;
    let mut cargo = workspace.cargo();
    cargo.args([
        "test",
        "--no-run",
        "--package",
        "egress-tests",
        "--test",
        "root",
        "--features",
        "kernels",
        "--message-format=json-render-diagnostics",
    ]);
    let messages = sh::capture(agent::for_lab(&mut cargo, workspace))?;
    let executable = messages.lines().filter(|line| line.contains(r#""name":"root""#)).find_map(|line| {
        let (_, rest) = line.split_once(r#""executable":""#)?;
        Some(PathBuf::from(rest.split('"').next()?))
    });
    Ok((workspace.target.join("debug/guest"), executable.context("cargo names no test binary")?))
}

/// Without debug information, which is most of it.
fn stripped(binary: &Path, target: &Path) -> Result<Vec<u8>> {
    let to = target.join("kernels/stripped");
    fs::create_dir_all(target.join("kernels"))?;
    sh::capture(Command::new("strip").arg("--strip-debug").arg("-o").arg(&to).arg(binary))?;
    fs::read(&to).with_context(|| format!("reading {}", to.display()))
}

/// Adds what the loader would load. A script or a static program has none.
fn libraries(archive: &mut Archive, binary: &Path) -> Result<()> {
    let Ok(list) = sh::capture(Command::new("ldd").arg(binary)) else { return Ok(()) };
    let paths: BTreeSet<PathBuf> =
        list.split_whitespace().filter(|word| word.starts_with('/')).map(|word| merged(Path::new(word))).collect();
    for path in paths {
        if !archive.has(&path) {
            archive.copy(&path)?;
        }
    }
    Ok(())
}

fn plugins() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/usr/lib").context("listing /usr/lib")? {
        let folder = entry?.path().join("xtables");
        if folder.is_dir() {
            found.push(folder);
        }
    }
    Ok(found)
}

/// The path below /usr, where the image has it too.
fn merged(path: &Path) -> PathBuf {
    let inner = path.strip_prefix("/").unwrap_or(path);
    if MERGED.iter().any(|folder| inner.starts_with(folder)) { Path::new("/usr").join(inner) } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_lies_below_usr() {
        assert_eq!(merged(Path::new("/bin/sh")), Path::new("/usr/bin/sh"));
        assert_eq!(merged(Path::new("/lib64/ld.so")), Path::new("/usr/lib64/ld.so"));
        assert_eq!(merged(Path::new("/usr/sbin/ip")), Path::new("/usr/sbin/ip"));
    }
}
