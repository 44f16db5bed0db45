//! The explicit end, and what is done about what others left.

use std::fs::{self, File};
use std::io::Read;
use std::mem::size_of;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, MapData, PerCpuArray};
use egress_common::verdict::Drops;
use egress_tests::gateway::Agent;
use egress_tests::traffic::{Call, udp};
use egress_tests::{Family, Lab, LabConfig, eventually, oracle, skip};
use nix::errno::Errno;
use nix::libc;

use crate::lab::{ensure_from, exchange_all};
use crate::rig::{FOLLOW, Files, NEEDS, PORT, change_config, complaints, config, flows, id, map, pins, stat};

fn status_file(lab: &Lab) -> Result<PathBuf> {
    Ok(Path::new("/run/egress-ebpf").join(format!("{}.json", id(lab)?)))
}

/// Names made (`+`) and removed (`-`) in a folder, in order (inotify(7)).
struct Names(File);

impl Names {
    fn watch(folder: &Path) -> Result<Self> {
        let path = std::ffi::CString::new(folder.as_os_str().as_bytes())?;
        // SAFETY: no pointers; the call makes the descriptor that is taken over here.
        let file =
            unsafe { File::from_raw_fd(Errno::result(libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK))?) };
        // SAFETY: `path` ends with a zero and outlives the call.
        let watch =
            unsafe { libc::inotify_add_watch(file.as_raw_fd(), path.as_ptr(), libc::IN_CREATE | libc::IN_DELETE) };
        Errno::result(watch).with_context(|| format!("watch {}", folder.display()))?;
        Ok(Self(file))
    }

    fn seen(&mut self) -> Result<Vec<String>> {
        let (mut buffer, mut names) = ([0_u8; 4096], Vec::new());
        while let Ok(length) = self.0.read(&mut buffer) {
            let mut rest = &buffer[..length];
            while rest.len() > size_of::<libc::inotify_event>() {
                // SAFETY: the kernel writes whole events, and there is room for one.
                let event = unsafe { rest.as_ptr().cast::<libc::inotify_event>().read_unaligned() };
                let (head, end) =
                    (size_of::<libc::inotify_event>(), size_of::<libc::inotify_event>() + event.len as usize);
                let name = String::from_utf8_lossy(&rest[head..end]).trim_end_matches('\0').to_owned();
                names.push(format!("{}{name}", if event.mask & libc::IN_CREATE != 0 { '+' } else { '-' }));
                rest = &rest[end..];
            }
        }
        Ok(names)
    }
}

/// The guard comes first and goes last, with and without an agent; afterwards nothing is left and nothing translated.
#[test]
fn detach_takes_everything_away_and_the_guard_last() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    for running in [true, false] {
        let lab = Lab::build(LabConfig::default())?;
        let links = pins(&lab)?.join("links");
        fs::create_dir_all(&links)?;
        let mut names = Names::watch(&links)?;
        let mut agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
        assert_eq!(names.seen()?, ["+guard", "+in", "+out"]);
        let pod = lab.client("pod1")?;
        for family in Family::BOTH {
            ensure_from(&exchange_all(pod, &lab.far, family)?, lab.gateway.addr(family))?;
        }
        let status = status_file(&lab)?;
        assert!(status.exists());
        if !running {
            agent.kill9()?;
        }
        let output = Agent::run(&lab, &["detach"])?;
        assert!(output.status.success() && output.stderr.contains("detached gateway"), "{}", output.stderr);
        assert_eq!(names.seen()?, ["-out", "-in", "-guard"]);
        if running {
            let line = "ending; the programs stay attached";
            agent.wait_for_line(FOLLOW, |it| it.contains(line)).context("the agent was not told to end")?;
        }
        assert!(!pins(&lab)?.exists() && !status.exists());
        let outside = lab.capture_external()?;
        // The programs go a moment after their links: what still gets through is not to be refused.
        let _server = udp::Server::start(&lab.far.ns, SocketAddr::new(lab.far.addr(Family::V4), PORT))?;
        let socket = udp::connect_in(&pod.ns, Call::to(lab.far.addr(Family::V4), PORT))?;
        eventually("a packet leaves untranslated", FOLLOW, || {
            socket.send(b"bare")?;
            Ok(!oracle::leaks(&outside.so_far(), &[]).is_empty())
        })?;
        let again = Agent::run(&lab, &["detach"])?;
        assert_eq!(again.status.code(), Some(1), "there is nothing to detach");
        assert!(again.stderr.contains("no gateway in this network namespace"), "{}", again.stderr);
    }
    Ok(())
}

/// While `out` is gone already and the guard not yet, the guard drops what the kernel would forward.
#[test]
fn the_guard_holds_alone() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    agent.kill9()?;
    for family in Family::BOTH {
        exchange_all(lab.client("pod1")?, &lab.far, family)?;
    }
    let drops: PerCpuArray<_, Drops> = Map::PerCpuArray(MapData::from_pin(map(&lab, "DROPS")?)?).try_into()?;
    let guarded = || -> Result<u64> { Ok(drops.get(&0, 0)?.iter().map(|cpu| cpu.guard).sum()) };
    fs::remove_file(pins(&lab)?.join("links/out"))?;
    let outside = lab.capture_external()?;
    for family in Family::BOTH {
        let before = guarded()?;
        // The program goes a moment after its link: what still gets through is not to be refused.
        let _server = udp::Server::start(&lab.far.ns, SocketAddr::new(lab.far.addr(family), PORT))?;
        let socket = udp::connect_in(&lab.client("pod1")?.ns, Call::to(lab.far.addr(family), PORT))?;
        eventually("the guard drops", FOLLOW, || {
            socket.send(b"bare")?;
            Ok(guarded()? > before + 3)
        })?;
    }
    let leaks = oracle::leaks(&outside.stop()?, &[]);
    ensure!(leaks.is_empty(), "{leaks:?}");
    let complaints = complaints(&lab)?;
    assert!(complaints.iter().any(|it| it.starts_with("program egw_out: not attached to eth0")), "{complaints:?}");
    agent.restart()?;
    exchange_all(lab.client("pod1")?, &lab.far, Family::V4)?;
    Ok(())
}

#[test]
fn pins_of_a_namespace_that_is_gone_are_swept() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().families(&[Family::V4]))?;
    let dead = Lab::build(LabConfig::default())?;
    let mut agent = Agent::start(&dead, Files::samples(&dead)?.options())?;
    let (left, status) = (pins(&dead)?, status_file(&dead)?);
    agent.kill9()?;
    // Its end is forgotten, so that it does not detach.
    std::mem::forget(agent);
    assert!(left.join("links/guard").exists() && status.exists());
    drop(dead);
    let gateway = include_str!("../../../manifests/samples/gateway1.yaml");
    let files = Files::write(&lab, crate::rig::CLUSTER, gateway)?;
    // The kernel takes a namespace down after its last reference is gone, in its own time.
    eventually("the next agent sweeps", FOLLOW, || {
        let _agent = Agent::start(&lab, files.options())?;
        Ok(!left.exists() && !status.exists())
    })
}

/// Inodes of namespaces are used again. The cookie is not: pins of another one are not taken over, nor shown as sound.
#[test]
fn pins_of_an_older_namespace_with_the_same_inode_are_not_taken_over() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let mut agent = Agent::start(&lab, Files::samples(&lab)?.options())?;
    exchange_all(lab.client("pod1")?, &lab.far, Family::V4)?;
    assert_eq!(flows(&lab)?.len(), 3);
    agent.kill9()?;
    let own = config(&lab)?;
    change_config(&lab, |config| config.netns_cookie += 1)?;
    assert!(complaints(&lab)?.iter().any(|it| it.contains("the pins belong to a namespace that is gone")));
    agent.restart()?;
    assert!(agent.stderr().contains("removing what an older network namespace"), "{}", agent.stderr());
    let new = config(&lab)?;
    assert_eq!(new.netns_cookie, own.netns_cookie);
    assert_ne!(new.port_key, own.port_key);
    assert_eq!((flows(&lab)?.len(), stat(&lab, "counters/flows_created")?), (0, 0));
    exchange_all(lab.client("pod1")?, &lab.far, Family::V4)?;
    assert!(complaints(&lab)?.is_empty(), "{:?}", complaints(&lab)?);
    Ok(())
}
