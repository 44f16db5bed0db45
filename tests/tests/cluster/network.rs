//! Who reaches whom, and under which address.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use egress_tests::capture::Capture;
use egress_tests::cluster::layout::{CONTROL_PLANE, Machine, NODES, NODES_OUTSIDE};
use egress_tests::cluster::output;
use egress_tests::eventually;
use egress_tests::lab::addresses::{ROUTER, SERVER};
use egress_tests::packet::{Frame, Payload};

use super::pods::Pods;
use crate::{shared, skip_cluster};

/// Frames of a tunnel that a Node has sent.
fn geneve_sent(cluster: &egress_tests::cluster::Cluster, node: &str) -> Result<u64> {
    let text = output(cluster.inside(node, "cat")?.arg("/sys/class/net/tun0/statistics/tx_packets"))?;
    Ok(text.trim().parse()?)
}

#[test]
fn nodes_are_ready_and_everything_runs_since_the_start() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let cluster = shared.cluster()?;
    for node in NODES {
        output(cluster.kubectl().args(["wait", "node", node, "--for=condition=Ready", "--timeout=30s"]))?;
    }
    for machine in Machine::all() {
        let services = cluster.services(&machine.name)?;
        ensure!(
            services.iter().all(|(_, again)| *again == 0),
            "{}: some were started again: {services:?}",
            machine.name
        );
        let has = |name: &str| services.iter().any(|(service, _)| service == name);
        let wanted: &[&str] = if machine.name == CONTROL_PLANE {
            &[
                "etcd",
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "ovn-nb",
                "ovn-sb",
                "ovn-northd",
                "controller",
            ]
        } else {
            &["containerd", "kubelet", "ovn-controller", "ovs-vswitchd", "ovsdb-server"]
        };
        ensure!(wanted.iter().all(|name| has(name)), "{}: {services:?}", machine.name);
    }
    Ok(())
}

#[test]
fn pods_reach_each_other_over_geneve_in_both_families() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let cluster = shared.cluster()?;
    let pods = Pods::start(cluster, "reach")?;
    let own = pods.addresses("a")?;
    for other in ["b", "other"] {
        for (own, address) in own.iter().zip(pods.addresses(other)?) {
            let before = geneve_sent(cluster, NODES[0])?;
            let (seen, name) = pods.get("a", &address)?;
            ensure!(seen == *own && name == other, "{other} at {address} is {name} and saw {seen}, not {own}");
            let sent = geneve_sent(cluster, NODES[0])? - before;
            ensure!(sent >= 4, "a connection to {address} on the other Node was {sent} frames in the tunnel");
        }
    }
    Ok(())
}

/// Else a tunnel hangs on whose answer comes last.
#[test]
fn one_interface_of_a_machine_answers_for_its_end_of_the_tunnels() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let cluster = shared.cluster()?;
    let eyes = Capture::start(&cluster.machine_namespace(NODES[0])?, "tun0")?;
    for other in Machine::all().iter().filter(|machine| machine.name != NODES[0]) {
        let address = other.tunnel();
        output(cluster.inside(NODES[0], "ip")?.args(["neigh", "flush", "to", &address.to_string(), "dev", "br-tun"]))?;
        output(cluster.inside(NODES[0], "ping")?.args(["-c2", "-i0.5", &address.to_string()]))?;
        let answers: BTreeSet<_> = eyes.take().into_iter().filter_map(|it| answer(it.frame?, address)).collect();
        ensure!(answers.len() == 1, "answers for {address} of {}: {answers:x?}", other.name);
    }
    Ok(())
}

/// Who says by ARP that it has the address.
fn answer(frame: Frame, address: Ipv4Addr) -> Option<[u8; 6]> {
    let Payload::Arp { operation: 2, sender, .. } = frame.payload else { return None };
    (sender == address).then_some(frame.from)
}

#[test]
fn a_pod_leaves_by_its_node_and_an_attached_one_by_its_own_interface() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let pods = Pods::start(shared.cluster()?, "leave")?;
    let own = ["172.17.0.11".to_owned(), "fd00:172:17::11".to_owned()];
    let node = [NODES_OUTSIDE.0.to_string(), NODES_OUTSIDE.1.to_string()];
    for (pod, wanted) in [("a", &node), ("other", &node), ("attached", &own)] {
        for (v4, v6) in [ROUTER, SERVER] {
            for (server, wanted) in [v4.to_string(), v6.to_string()].iter().zip(wanted) {
                let (seen, name) = pods.get(pod, server)?;
                ensure!(name == "outside" && seen == *wanted, "{server} saw {pod} as {seen}, not {wanted}");
            }
        }
    }
    ensure!(pods.ask("attached", "172.17.1.32")? == "hello 172.17.0.11", "UDP");
    ensure!(pods.ask("attached", "fd00:172:17::120")? == "hello fd00:172:17::11", "UDP");
    let key = r"jsonpath={.metadata.annotations.k8s\.v1\.cni\.cncf\.io/network-status}";
    let status = output(pods.kubectl().args(["get", "pod", "attached", "-o", key]))?;
    let status: serde_json::Value = serde_json::from_str(&status)?;
    ensure!(status[1]["name"] == "default/underlay-ext" && status[1]["interface"] == "net1", "{status}");
    ensure!(status[1]["ips"] == serde_json::json!(own), "{status}");
    Ok(())
}

#[test]
fn the_api_is_reached_from_pods_by_its_service() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let pods = Pods::start(shared.cluster()?, "service")?;
    for pod in ["a", "b"] {
        let text = output(pods.kubectl().args(["exec", pod, "--", "pod", "connect", "10.96.0.1", "443"]))?;
        ensure!(text.trim() == "connected", "{text}");
    }
    Ok(())
}

#[test]
fn a_node_that_reboots_gets_its_pods_back() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let cluster = shared.cluster()?;
    let pods = Pods::start(cluster, "reboot")?;
    let sandbox = |pod: &str| {
        output(pods.kubectl().args(["get", "pod", pod, "-o", "jsonpath={.status.containerStatuses[0].containerID}"]))
    };
    let before = sandbox("b")?;
    cluster.reboot(NODES[1])?;
    eventually("the container of b is another one", Duration::from_secs(60), || Ok(sandbox("b")? != before))?;
    pods.wait_until_ready()?;
    for address in pods.addresses("b")? {
        let (_, name) = pods.get("a", &address)?;
        ensure!(name == "b", "{address} is {name}");
    }
    Ok(())
}

#[test]
fn a_node_reboots_while_the_network_of_its_last_life_is_still_there() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let cluster = shared.cluster()?;
    let card = || -> Result<String> {
        let addresses = ["eth0", "eth1", "eth2", "tun0"].map(|name| format!("/sys/class/net/{name}/address"));
        output(cluster.inside(NODES[1], "cat")?.args(addresses))
    };
    let before = card()?;
    // The kernel takes the namespaces of dead processes apart when it finds the time.
    let last = cluster.machine_namespace(NODES[1])?;
    cluster.reboot(NODES[1])?;
    let joined = Machine::named(NODES[1]).map(|machine| machine.join().0.to_string()).unwrap_or_default();
    eventually("the overlay reaches the node", Duration::from_secs(60), || {
        Ok(output(cluster.inside(NODES[0], "ping")?.args(["-c1", "-W1", &joined])).is_ok())
    })?;
    ensure!(card()? == before, "its interfaces have other addresses: {} instead of {before}", card()?);
    drop(last);
    Ok(())
}

#[test]
fn the_southbound_database_begins_with_the_row_that_ovn_controller_takes_for_granted() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let mut log = shared.cluster()?.inside(CONTROL_PLANE, "ovsdb-tool")?;
    let text = output(log.args(["-mm", "show-log", "/var/lib/ovn/sb.db"]))?;
    // Record 0 is the schema.
    let first = text.split("record ").find(|record| record.starts_with("1:"));
    ensure!(
        first.is_some_and(|record| record.contains("SB_Global") && record.contains("egress-lab")),
        "the first change is another one: {first:?}"
    );
    Ok(())
}

#[test]
fn a_pod_gets_the_address_that_it_asks_for_once_another_leaves_it() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let wanted = ["10.16.0.77".to_owned(), "fd00:10:16::77".to_owned()];
    let pod = |name: &str, node: &str| {
        format!(
            "{{apiVersion: v1, kind: Pod, metadata: {{name: {name}, annotations: {{ovn.kubernetes.io/ip_address: \"{}\"}}}}, \
             spec: {{nodeName: {node}, terminationGracePeriodSeconds: 1, \
             containers: [{{name: c, image: \"localhost/egress-test-pod:1\", args: [serve, {name}]}}]}}}}",
            wanted.join(",")
        )
    };
    let shared = shared()?;
    let cluster = shared.cluster()?;
    let pods = Pods::of(cluster, "heirs", &pod("first", NODES[0]))?;
    ensure!(pods.addresses("first")? == wanted, "{:?}", pods.addresses("first")?);
    cluster.apply_in("heirs", &pod("second", NODES[1]))?;
    cluster.apply_in("heirs", &pod("third", NODES[1]))?;
    for (gone, heirs) in [("first", &["second", "third"][..]), ("second", &["third"])] {
        output(pods.kubectl().args(["delete", "pod", gone, "--timeout=30s"]))?;
        eventually(&format!("an heir of {gone}"), Duration::from_secs(30), || {
            Ok(heirs.iter().any(|heir| pods.addresses(heir).is_ok_and(|has| has == wanted)))
        })?;
    }
    Ok(())
}
