//! Manifests and command lines that are refused: at start nothing is loaded, at run time the state stays as it was.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egress_tests::gateway::{Agent, AgentOptions, agent_binary};
use egress_tests::system::process::{self, Output};
use egress_tests::traffic::stream::Stream;
use egress_tests::traffic::{Call, udp};
use egress_tests::{Family, Lab, LabConfig, eventually, skip};

use crate::lab::exchange_all;
use crate::rig::{
    CLUSTER, FOLLOW, Files, GATEWAY, NEEDS, PORT, complaints, edited, id, pins, with_egress, with_no_snat,
};

const VEG: &str = "gateway.yaml, document 3, VpcEgressGateway default/gateway2, ";
const PROFILE: &str = "---
apiVersion: egress-ebpf.dev/v1alpha1
kind: EgressGatewayProfile
metadata: {name: default, namespace: default}
spec: ";

/// A mistake: which file gets which text (none: it is removed), and what the message must say of it.
struct Mistake {
    cluster: bool,
    text: Option<String>,
    says: Vec<String>,
}

impl Mistake {
    fn of(text: String, says: &[&str]) -> Self {
        Self { cluster: false, text: Some(text), says: says.iter().map(|it| (*it).to_owned()).collect() }
    }

    /// A mistake of the VpcEgressGateway in this field.
    fn veg(text: String, field: &str, reason: &str) -> Self {
        Self::of(text, &[&format!("{VEG}{field}: "), reason])
    }

    fn in_cluster(text: &str, says: &[&str]) -> Self {
        Self { cluster: true, ..Self::of(text.to_owned(), says) }
    }

    /// Makes it, with the other file as it should be.
    fn make(&self, files: &Files) -> Result<()> {
        let (wrong, right) =
            if self.cluster { (&files.cluster, &files.gateway) } else { (&files.gateway, &files.cluster) };
        write(right, if self.cluster { GATEWAY } else { CLUSTER })?;
        match &self.text {
            Some(text) => write(wrong, text),
            None => fs::remove_file(wrong).context("remove"),
        }
    }

    fn is_told(&self, text: &str) -> bool {
        self.says.iter().all(|it| text.contains(it))
    }
}

/// By rename, so that the agent never reads half a file.
fn write(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, path).context("rename")
}

fn mend(files: &Files) -> Result<()> {
    write(&files.cluster, CLUSTER)?;
    write(&files.gateway, GATEWAY)
}

fn mistakes() -> Vec<Mistake> {
    let only_v4 = edited(GATEWAY, "cidrBlock: 172.17.0.0/16,fd00:172:17::/64", "cidrBlock: 172.17.0.0/16");
    let only_v4 = edited(&only_v4, "gateway: 172.17.0.1,fd00:172:17::1", "gateway: 172.17.0.1");
    let only_v4 = edited(&only_v4, ",fd00:172:17::11", "");
    let only_v4 = edited(&only_v4, ",fd00:172:17::12", "");
    let (_, veg) = GATEWAY.rsplit_once("---\n").unwrap_or_default();
    vec![
        Mistake::veg(edited(GATEWAY, "- subnet1", "- nowhere"), "spec.policies[0].subnets[0]", "\"nowhere\""),
        Mistake::veg(
            edited(GATEWAY, "externalSubnet: underlay-dual", "externalSubnet: nowhere"),
            "spec.externalSubnet",
            "\"nowhere\" is not in the files; known: ovn-default, subnet1, underlay-dual",
        ),
        Mistake::veg(with_egress(&["172.18.0.11", "172.17.0.11"]), "spec.externalIPs[0]", "172.18.0.11 is outside"),
        Mistake::veg(edited(GATEWAY, "replicas: 1", "replicas: 3"), "spec.externalIPs", "2 for 3 replicas"),
        Mistake::veg(with_no_snat(&["10.19.0.0/33"]), "spec.policies[1].ipBlocks[2]", "\"10.19.0.0/33\" is no CIDR"),
        Mistake::veg(only_v4, "spec.policies[1].ipBlocks[1]", "is IPv6, a family with no gateway"),
        Mistake::veg(
            with_egress(&["172.17.0.21", "172.17.0.22"]),
            "spec.externalIPs",
            "net1 has none of 172.17.0.21, 172.17.0.22",
        ),
        Mistake::of(
            format!("{GATEWAY}---\n{veg}"),
            &["gateway.yaml, document 4, VpcEgressGateway default/gateway2, metadata.name: is also in", "document 3"],
        ),
        Mistake::of(
            format!("{GATEWAY}---\n{}", edited(veg, "name: gateway2", "name: gateway3")),
            &["--veg: ", "default/gateway2 (", "document 3), default/gateway3 (", "document 4)"],
        ),
        Mistake::of(
            format!("{GATEWAY}{PROFILE}{{maxFlows: 1073741824}}\n"),
            &[
                "gateway.yaml, document 4, EgressGatewayProfile default/default, spec.maxFlows: 1073741824 flows need",
                "MiB",
            ],
        ),
        Mistake::of(
            format!("{GATEWAY}{PROFILE}{{portRange: {{min: 2000, max: 1000}}}}\n"),
            &["gateway.yaml, document 4, EgressGatewayProfile default/default, spec.portRange: 2000 to 1000 is empty"],
        ),
        Mistake::of(
            edited(GATEWAY, "spec:\n  replicas: 1", "spec: [\n  replicas: 1"),
            &["gateway.yaml, document 3: line "],
        ),
        Mistake::in_cluster(
            &edited(CLUSTER, "cidrBlock: 10.17.0.0/16,fd00:10:17::/112", "cidrBlock: 10.17.0.0"),
            &["cluster.yaml, document 3, Subnet subnet1, spec.cidrBlock: \"10.17.0.0\" has no prefix length"],
        ),
        Mistake::in_cluster(
            "",
            &["spec.internalSubnet: Subnet \"ovn-default\" is not in the files; known: underlay-dual"],
        ),
        Mistake { text: None, ..Mistake::of(String::new(), &["gateway.yaml: No such file or directory"]) },
    ]
}

/// Starts an agent that must refuse, and cleans up nothing after it.
fn refused(lab: &Lab, options: &AgentOptions) -> Result<Output> {
    let mut command = Command::new(agent_binary());
    command.arg("gateway").arg("--netns").arg(lab.gateway.ns.path());
    options.files.iter().for_each(|file| _ = command.arg("--file").arg(file));
    command.args(&options.arguments);
    process::run(command, None)
}

/// What a start could have left or changed.
fn traces(lab: &Lab) -> Result<String> {
    let ns = &lab.gateway.ns;
    let kernel = ns.run(|| fs::read_to_string("/proc/sys/net/ipv4/ip_forward"))??;
    let state =
        ["ip -4 rule", "ip -6 rule", "ip -4 route show table all", "tc filter show dev net1 ingress", "ip neigh"];
    let state: String = state.iter().map(|line| ns.sh(line)).collect::<Result<_>>()?;
    let status = Path::new("/run/egress-ebpf").join(format!("{}.json", id(lab)?));
    Ok(format!("{kernel}{state}{} {}", pins(lab)?.exists(), status.exists()))
}

#[test]
fn at_start_nothing_is_left_behind() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let files = Files::samples(&lab)?;
    let before = traces(&lab)?;
    assert!(before.ends_with("false false"), "{before}");
    for mistake in mistakes() {
        mistake.make(&files)?;
        let refusal = refused(&lab, &files.options())?;
        assert_eq!(refusal.status.code(), Some(1), "{}", refusal.stderr);
        assert!(mistake.is_told(&refusal.stderr), "{:?} is not in\n{}", mistake.says, refusal.stderr);
        assert!(!refusal.stderr.contains("ready") && refusal.stderr.contains("error: "), "{}", refusal.stderr);
    }
    mend(&files)?;
    for (options, says) in [
        (files.options().with("--veg", "default/nobody"), "--veg: VpcEgressGateway default/nobody is not in the files"),
        (files.options().with("--external", "net9"), "--external: there is no interface net9; seen: lo"),
        (AgentOptions::files([&files.cluster]), "the files hold no VpcEgressGateway"),
        (AgentOptions::files([lab.folder().join("nothing")]), "nothing: No such file or directory"),
        // Found only after the maps and programs were loaded.
        (files.options().with("--object", "/dev/null"), "create the maps"),
    ] {
        let refusal = refused(&lab, &options)?;
        assert_eq!(refusal.status.code(), Some(1), "{}", refusal.stderr);
        assert!(refusal.stderr.contains(says), "{says:?} is not in\n{}", refusal.stderr);
    }
    assert_eq!(traces(&lab)?, before);
    // None of that was in the way of a right start.
    let _agent = Agent::start(&lab, files.options())?;
    exchange_all(lab.client("pod1")?, &lab.far, Family::V4)?;
    Ok(())
}

#[test]
fn at_run_time_state_and_traffic_stay() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let files = Files::samples(&lab)?;
    let agent = Agent::start(&lab, files.options())?;
    ensure!(complaints(&lab)?.is_empty(), "{:?}", complaints(&lab)?);
    let far = lab.far.addr(Family::V6);
    let _server = udp::Server::start(&lab.far.ns, SocketAddr::new(far, PORT))?;
    let pod = lab.client("pod1")?;
    let stream = Stream::start(&pod.ns, Call::to(far, PORT), Duration::from_millis(2))?;
    for mistake in mistakes() {
        mistake.make(&files)?;
        let mut complaints_now = Vec::new();
        eventually("doctor tells of the mistake", FOLLOW, || {
            complaints_now = complaints(&lab)?;
            Ok(complaints_now.iter().any(|it| it.starts_with("manifests: refused") && mistake.is_told(it)))
        })
        .with_context(|| format!("{:?} is not in {complaints_now:?}\n{}", mistake.says, agent.stderr()))?;
        assert_eq!(complaints_now.len(), 1, "only the manifests are wrong");
        assert_eq!(Agent::run(&lab, &["doctor"])?.status.code(), Some(1));
        let log = agent.stderr();
        assert!(log.contains("refused, the running state stays as it was") && mistake.is_told(&log), "{log}");
    }
    exchange_all(pod, &lab.server, Family::V4)?;
    mend(&files)?;
    eventually("doctor is content again", FOLLOW, || Ok(complaints(&lab)?.is_empty()))?;
    assert_eq!(Agent::run(&lab, &["doctor"])?.status.code(), Some(0));
    let outcome = stream.finish()?;
    assert!(outcome.sent > 100 && outcome.missing.is_empty(), "{outcome:?}");
    Ok(())
}

/// A restart with a mistake changes nothing of what a killed agent left running.
#[test]
fn a_refused_restart_leaves_the_datapath_alone() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let files = Files::samples(&lab)?;
    let mut agent = Agent::start(&lab, files.options())?;
    agent.kill9()?;
    for mistake in mistakes() {
        mistake.make(&files)?;
        assert!(agent.restart().is_err());
        let output = agent.stderr();
        assert!(mistake.is_told(&output), "{output}");
    }
    for family in Family::BOTH {
        exchange_all(lab.client("pod1")?, &lab.far, family)?;
    }
    mend(&files)?;
    agent.restart()?;
    assert!(complaints(&lab)?.is_empty(), "{:?}", complaints(&lab)?);
    Ok(())
}

#[test]
fn wrong_usage_ends_with_2() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().families(&[Family::V4]))?;
    for line in [
        &["gateway"][..],
        &["gateway", "--file", "x", "--forward", "sideways"],
        &["flows", "-o", "xml"],
        &["flow"],
        &["detach", "--file", "x"],
        &[],
    ] {
        let output = Agent::run(&lab, line)?;
        assert_eq!(output.status.code(), Some(2), "{line:?}: {}", output.stderr);
        assert!(output.stdout.is_empty() && output.stderr.contains("--help"), "{line:?}: {}", output.stderr);
    }
    Ok(())
}
