//! Who removes what a gateway Pod leaves in the node's BPF file system, and whose is left alone.
//!
//! A node has a BPF file system and process numbers of its own here: agents of other tests sweep, too, and a Pod sees no process of another.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use egress_tests::gateway::agent_binary;
use egress_tests::system::Netns;
use egress_tests::system::process::{self, Output};
use egress_tests::{Family, Lab, LabConfig, Need, eventually, skip};

use crate::lab::{ensure_from, exchange_all};
use crate::rig::{FOLLOW, Files};

const NEEDS: &[Need] = &[Need::Root, Need::Tool("ip"), Need::Tool("nsenter"), Need::Agent];

/// Ends with the value, and its file systems with it.
struct Node {
    keeper: Child,
    first: u32,
}

impl Node {
    fn start() -> Result<Self> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", "sh", "-c"]);
        unshare.arg("mount -t bpf bpf /sys/fs/bpf && echo there && exec sleep infinity").stdout(Stdio::piped());
        let mut keeper = process::spawn(unshare)?;
        let mut line = String::new();
        let stdout = keeper.stdout.take().context("standard output")?;
        BufReader::new(stdout).read_line(&mut line).context("wait for the node")?;
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", keeper.id()))?;
        let first = children.trim().parse();
        let node = Self { keeper, first: first.with_context(|| format!("its first process: {children:?}"))? };
        ensure!(line == "there\n", "no BPF file system");
        Ok(node)
    }

    /// A program on the node, in the network namespace of a Pod with this UID.
    fn command(&self, pod: Option<(&Netns, &str)>, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string(), "--mount", "--pid"]);
        if let Some((namespace, uid)) = pod {
            command.arg(format!("--net={}", namespace.path().display())).env("POD_UID", uid);
        }
        command.arg("--").arg(program);
        command
    }

    fn prepare(&self, lab: &Lab, files: &[&Path]) -> Result<Output> {
        let mut command = self.command(Some((&lab.gateway.ns, "next")), &agent_binary());
        command.arg("prepare");
        for file in files {
            command.arg("--file").arg(file);
        }
        process::run(command, None)
    }

    /// Brings a gateway up in a Pod and kills its agent: what it brought stays.
    fn abandon(&self, lab: &Lab, uid: &str, attach: &str) -> Result<()> {
        let files = Files::samples(lab)?;
        let mut command = self.command(Some((&lab.gateway.ns, uid)), Path::new("sh"));
        command.args(["-c", "echo process $$ >&2; exec \"$@\"", "sh"]).arg(agent_binary()).arg("gateway");
        command.arg("--file").arg(&files.cluster).arg("--file").arg(&files.gateway).args(["--attach", attach]);
        let mut agent = process::spawn({
            command.stderr(Stdio::piped());
            command
        })?;
        let (mut number, mut said) = (String::new(), String::new());
        for line in BufReader::new(agent.stderr.take().context("standard error")?).lines() {
            let line = line?;
            if let Some(own) = line.strip_prefix("process ") {
                own.clone_into(&mut number);
            }
            if line == "ready" {
                break;
            }
            said += &line;
        }
        let mut kill = self.command(None, Path::new("kill"));
        kill.args(["-9", &number]);
        ensure!(process::run(kill, None)?.status.success(), "the agent was not there to be killed: {said}");
        agent.wait()?;
        Ok(())
    }

    /// What is pinned for a Pod.
    fn pins(&self, uid: &str) -> Vec<String> {
        let root = PathBuf::from(format!("/proc/{}/root/sys/fs/bpf/egress-ebpf", self.first)).join(uid);
        let names = |folder: &str| fs::read_dir(root.join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<_> = ["links", "progs"]
            .iter()
            .flat_map(|folder| {
                names(folder).map(move |entry| format!("{folder}/{}", entry.file_name().to_string_lossy()))
            })
            .collect();
        names.sort();
        names
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.keeper.kill().and_then(|()| self.keeper.wait());
    }
}

/// Waits until the kernel has taken a lab's gateway down: an interface that has its other end there goes with it.
fn end(lab: Lab, witness: &Netns) -> Result<()> {
    witness.sh(&format!("ip link add witness type veth peer name witness netns {}", lab.gateway.ns.name()))?;
    drop(lab);
    eventually("the namespace is gone", FOLLOW, || Ok(witness.ifindex("witness").is_err()))
}

#[test]
fn pins_of_a_pod_that_is_gone_are_swept_and_those_of_a_living_one_are_not() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    // By links, where the kernel has them.
    for attach in ["auto", "clsact"] {
        let node = Node::start()?;
        let lab = || Lab::build(LabConfig::default());
        let (gone, living, next) = (lab()?, lab()?, lab()?);
        node.abandon(&gone, "gone", attach)?;
        node.abandon(&living, "living", attach)?;
        let (left, kept) = (node.pins("gone"), node.pins("living"));
        ensure!(left == kept && left.iter().any(|name| name == "progs/egw_out"), "{attach}: {left:?}");
        ensure!(attach == "auto" || !left.iter().any(|name| name.starts_with("links/")), "{attach}: {left:?}");
        end(gone, &next.gateway.ns)?;

        // One that is refused changes nothing.
        let wrong = next.write_file("wrong.yaml", "kind: VpcEgressGateway\n")?;
        let refused = node.prepare(&next, &[&wrong])?;
        ensure!(!refused.status.success() && refused.stdout.is_empty(), "{attach}: {}", refused.stdout);
        ensure!(node.pins("gone") == left, "{attach}: swept for one that was refused");

        let files = Files::samples(&next)?;
        let prepared = node.prepare(&next, &[&files.cluster, &files.gateway])?;
        ensure!(prepared.status.success(), "{attach}: {}", prepared.stderr);
        let swept = |said: &Output| -> Vec<String> {
            said.stdout.lines().filter(|line| line.starts_with("swept ")).map(ToOwned::to_owned).collect()
        };
        ensure!(swept(&prepared) == ["swept gone: its network namespace is gone"], "{attach}: {}", prepared.stdout);
        ensure!(node.pins("gone").is_empty() && node.pins("living") == kept, "{attach}: {:?}", node.pins("living"));
        let pod = living.client("pod1")?;
        ensure_from(&exchange_all(pod, &living.far, Family::V4)?, living.gateway.addr(Family::V4))?;

        // Where no gateway comes again, by hand.
        end(living, &next.gateway.ns)?;
        let mut command = node.command(None, &agent_binary());
        command.args(["detach", "--gone"]);
        let detached = process::run(command, None)?;
        ensure!(swept(&detached) == ["swept living: its network namespace is gone"], "{attach}: {}", detached.stderr);
        ensure!(node.pins("living").is_empty(), "{attach}: {:?}", node.pins("living"));
    }
    Ok(())
}
