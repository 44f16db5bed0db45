//! The root of a machine, built by its first process in its own mount namespace.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::unistd::{chdir, pivot_root};

use super::super::cgroup;
use super::super::files::CNI_PLUGIN;
use super::super::layout::Machine;
use super::super::parts::Parts;
use super::OWN_PROGRAM;

const NONE: Option<&str> = None;
/// The kubelet sets these for the whole kernel, unless they have these values already: it is shown files that have.
const KERNEL_WIDE: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];
const DEVICES: [&str; 7] = ["null", "zero", "full", "random", "urandom", "tty", "net/tun"];

/// Makes `root` the root of this process.
pub(super) fn enter(root: &Path, parts: &Parts, program: &Path, machine: &Machine) -> Result<()> {
    fs::create_dir_all(root).with_context(|| format!("create {}", root.display()))?;
    bind(root, root)?;
    let at = |path: &str| root.join(path);
    let folders = [
        "usr",
        "etc",
        "proc",
        "sys",
        "dev",
        "run",
        "tmp",
        "root",
        "opt/lab",
        "opt/cni/bin",
        "var/lib/kubelet",
        "var/lib/containerd",
        "var/log/pods",
        "var/log/containers",
        "old",
    ];
    for folder in folders {
        fs::create_dir_all(at(folder)).with_context(|| format!("create {folder} in {}", root.display()))?;
    }
    for link in ["bin", "sbin", "lib", "lib64"] {
        link_to(&format!("usr/{link}"), &at(link))?;
    }
    bind_read_only(&parts.usr(), &at("usr"))?;
    for (name, from) in parts.opt() {
        let to = at("opt").join(name);
        fs::create_dir_all(&to).with_context(|| format!("create {}", to.display()))?;
        bind_read_only(&from, &to)?;
    }
    let own = root.join(OWN_PROGRAM.trim_start_matches('/'));
    fs::write(&own, "").with_context(|| format!("create {}", own.display()))?;
    bind_read_only(program, &own)?;
    link_to(OWN_PROGRAM, &at("opt/cni/bin").join(CNI_PLUGIN))?;
    etc(&at("etc"), machine)?;
    special("proc", &at("proc"), NONE)?;
    special("sysfs", &at("sys"), NONE)?;
    special("tmpfs", &at("run"), Some("mode=755"))?;
    for folder in ["run/netns", "run/lock", "var/run"] {
        if folder == "var/run" {
            link_to("/run", &at(folder))?;
        } else {
            fs::create_dir(at(folder)).with_context(|| format!("create {folder}"))?;
        }
    }
    dev(&at("dev"))?;
    cgroups(&at("sys/fs/cgroup"))?;
    special("bpf", &at("sys/fs/bpf"), NONE)?;
    chdir(root).context("enter the new root")?;
    pivot_root(".", "old").context("make it the root")?;
    chdir("/").context("enter the root")?;
    umount2("/old", MntFlags::MNT_DETACH).context("leave the old root")?;
    fs::remove_dir("/old").context("remove /old")?;
    kernel_wide()?;
    // So that hostPath volumes may propagate mounts.
    mount(NONE, "/", NONE, MsFlags::MS_SHARED | MsFlags::MS_REC, NONE).context("share the root's mounts")?;
    fs::write("/proc/sys/kernel/hostname", &machine.name).context("set the host name")
}

fn etc(etc: &Path, machine: &Machine) -> Result<()> {
    let id = format!("{:032x}\n", u32::from(machine.index) + 1);
    let files = [
        ("passwd", "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"),
        ("group", "root:x:0:\nnogroup:x:65534:\n"),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"),
        ("hosts", "127.0.0.1 localhost\n::1 localhost\n"),
        ("resolv.conf", ""),
        ("machine-id", &id),
    ];
    fs::create_dir_all(etc).with_context(|| format!("create {}", etc.display()))?;
    files.iter().try_for_each(|(name, text)| fs::write(etc.join(name), text)).context("write into /etc")
}

fn dev(dev: &Path) -> Result<()> {
    special("tmpfs", dev, Some("mode=755"))?;
    for folder in ["pts", "shm", "net", "mqueue"] {
        fs::create_dir(dev.join(folder)).with_context(|| format!("create /dev/{folder}"))?;
    }
    for device in DEVICES {
        let outside = Path::new("/dev").join(device);
        if outside.exists() {
            fs::write(dev.join(device), "").with_context(|| format!("create /dev/{device}"))?;
            bind(&outside, &dev.join(device))?;
        }
    }
    // The kubelet insists on it, and has nothing to say that the machine's owner should read there.
    fs::write(dev.join("kmsg"), "").context("create /dev/kmsg")?;
    bind(Path::new("/dev/null"), &dev.join("kmsg"))?;
    link_to("/proc/self/fd", &dev.join("fd"))?;
    link_to("pts/ptmx", &dev.join("ptmx"))?;
    special("devpts", &dev.join("pts"), Some("newinstance,ptmxmode=0666"))?;
    special("tmpfs", &dev.join("shm"), NONE)?;
    special("mqueue", &dev.join("mqueue"), NONE)
}

/// Seen from the machine's cgroup namespace its own group is the root.
fn cgroups(folder: &Path) -> Result<()> {
    special("tmpfs", folder, Some("mode=755"))?;
    for controllers in cgroup::controllers()? {
        let path = folder.join(&controllers);
        fs::create_dir(&path).with_context(|| format!("create {}", path.display()))?;
        special("cgroup", &path, Some(&controllers))?;
        if controllers.contains(',') {
            for single in controllers.split(',') {
                link_to(&controllers, &folder.join(single))?;
            }
        }
    }
    Ok(())
}

fn kernel_wide() -> Result<()> {
    let folder = PathBuf::from("/run/sysctl");
    fs::create_dir(&folder).context("create /run/sysctl")?;
    for (key, value) in KERNEL_WIDE {
        let shown = folder.join(key.replace('/', "."));
        fs::write(&shown, format!("{value}\n")).with_context(|| format!("write {}", shown.display()))?;
        bind(&shown, &Path::new("/proc/sys").join(key))?;
    }
    Ok(())
}

fn special(kind: &str, at: &Path, options: Option<&str>) -> Result<()> {
    mount(Some(kind), at, Some(kind), MsFlags::empty(), options)
        .with_context(|| format!("mount {kind} ({}) at {}", options.unwrap_or("-"), at.display()))
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .with_context(|| format!("bind {} to {}", from.display(), to.display()))
}

fn bind_read_only(from: &Path, to: &Path) -> Result<()> {
    bind(from, to)?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(NONE, to, NONE, flags, NONE).with_context(|| format!("make {} read-only", to.display()))
}

/// A machine that starts again finds its links.
fn link_to(target: &str, at: &Path) -> Result<()> {
    if at.is_symlink() {
        return Ok(());
    }
    symlink(target, at).with_context(|| format!("link {} to {target}", at.display()))
}
