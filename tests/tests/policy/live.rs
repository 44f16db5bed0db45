//! Edits of the files while traffic passes.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egress_tests::gateway::{Agent, AgentOptions};
use egress_tests::lab::addresses::inside_networks;
use egress_tests::traffic::bulk::{Transfer, Way};
use egress_tests::traffic::stream::Stream;
use egress_tests::traffic::{Call, PATIENCE, tcp, udp};
use egress_tests::{Family, Lab, LabConfig, eventually, skip};

use super::{MORE_PODS, SERVER, config};
use crate::rig::{
    CLUSTER, FOLLOW, Files, GATEWAY, NEEDS, PORT, config as settings, edited, flows, source_at, stat, with_no_snat,
};

/// How a file gets its new text.
#[derive(Debug, Clone, Copy)]
enum Edit {
    InPlace,
    RenameOver,
    /// As the kubelet swaps the versions of a mounted ConfigMap.
    SwapData,
}

/// A folder as a ConfigMap is mounted: `gateway.yaml` -> `..data/gateway.yaml`, `..data` -> the version's folder.
struct ConfigMap<'a> {
    folder: &'a Path,
    version: u32,
}

impl<'a> ConfigMap<'a> {
    fn mount(folder: &'a Path, text: &str) -> Result<Self> {
        let mut map = Self { folder, version: 0 };
        map.swap(text)?;
        symlink("..data/gateway.yaml", folder.join("gateway.yaml"))?;
        Ok(map)
    }

    fn swap(&mut self, text: &str) -> Result<()> {
        self.version += 1;
        let version = format!("..{}", self.version);
        fs::create_dir_all(self.folder.join(&version))?;
        fs::write(self.folder.join(&version).join("gateway.yaml"), text)?;
        symlink(&version, self.folder.join("..data_tmp"))?;
        Ok(fs::rename(self.folder.join("..data_tmp"), self.folder.join("..data"))?)
    }

    fn edit(&mut self, how: Edit, text: &str) -> Result<()> {
        let file = self.folder.join("..data/gateway.yaml");
        match how {
            Edit::InPlace => fs::write(file, text).context("edit"),
            Edit::RenameOver => {
                let new = self.folder.join("..data/.gateway.yaml.new");
                fs::write(&new, text)?;
                fs::rename(new, file).context("rename")
            }
            Edit::SwapData => self.swap(text),
        }
    }
}

/// Flips the policy towards the server back and forth in every way that a file can change. Each flip cuts the flows
/// towards the server; a stream and a transfer to another server notice nothing.
#[test]
fn every_kind_of_edit_flips_new_traffic_and_cuts_the_flipped_flows_only() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config())?;
    let files = Files::samples(&lab)?;
    let mount = lab.folder().join("mounted");
    fs::create_dir(&mount)?;
    let mut map = ConfigMap::mount(&mount, GATEWAY)?;
    let agent = Agent::start(&lab, AgentOptions::files([&files.cluster, &mount]))?;

    let pod = lab.client("pod1")?;
    let far = lab.far.addr(Family::V4);
    let _udp = udp::Server::start(&lab.far.ns, SocketAddr::new(far, PORT))?;
    let _tcp = tcp::Server::start(&lab.far.ns, SocketAddr::new(far, PORT), tcp::Serve::Bulk)?;
    let stream = Stream::start(&pod.ns, Call::to(far, PORT), Duration::from_millis(1))?;
    let transfer = Transfer::start(&pod.ns, Call::to(far, PORT), Way::Up, u64::MAX, Some(8 << 20))?;
    transfer.advance(1 << 20, PATIENCE)?;
    let lasting = |lab: &Lab| -> Result<Vec<(String, SocketAddr)>> {
        let to_far = flows(lab)?.into_iter().filter(|flow| flow.remote == far);
        Ok(to_far.map(|flow| (flow.protocol.clone(), flow.outside())).collect())
    };
    let before = lasting(&lab)?;
    assert_eq!(before.len(), 2, "{before:?}");

    let (plain, excepted) = (GATEWAY.to_owned(), with_no_snat(&SERVER));
    let mut cuts = 0;
    for how in [Edit::InPlace, Edit::RenameOver, Edit::SwapData] {
        for (flip, (text, translated)) in [(&excepted, false), (&plain, true)].into_iter().enumerate() {
            let opened = if translated { 0 } else { open_some(&lab)? };
            let removed = stat(&lab, "counters/flows_removed")?;
            map.edit(how, text)?;
            if !translated {
                cuts += 1;
                let said = || agent.stderr().lines().filter(|it| it.contains("cut flows")).map(str::to_owned).collect();
                eventually("the log says that flows were cut", FOLLOW, || Ok(Vec::len(&said()) == cuts))?;
                assert!(
                    said().last().is_some_and(|it| it.ends_with(&format!("cut={opened}"))),
                    "{opened}: {:?}",
                    said()
                );
                assert_eq!(stat(&lab, "counters/flows_removed")? - removed, opened);
                ensure!(!flows(&lab)?.iter().any(|flow| flow.remote == lab.server.addr(Family::of(flow.remote))));
            }
            for family in Family::BOTH {
                seen_as(&lab, family, translated).with_context(|| format!("{how:?}, edit {flip}"))?;
            }
        }
    }
    assert_eq!((cuts, lasting(&lab)?), (3, before));
    let outcome = transfer.stop()?;
    assert!(outcome.intact && outcome.retransmits == 0, "{outcome:?}");
    let outcome = stream.finish()?;
    assert!(outcome.sent > 500 && outcome.missing.is_empty() && outcome.repeated == 0, "{outcome:?}");
    Ok(())
}

/// One flow of each family and some Pods to the server; returns how many.
fn open_some(lab: &Lab) -> Result<u64> {
    for family in Family::BOTH {
        let at = SocketAddr::new(lab.server.addr(family), PORT);
        let _server = udp::Server::start(&lab.server.ns, at)?;
        for client in ["pod1", "pod2", "other"] {
            udp::once(&lab.client(client)?.ns, Call::to(at.ip(), PORT).from_port(4000), b"open")?;
        }
    }
    let open = flows(lab)?.iter().filter(|flow| flow.remote == lab.server.addr(Family::of(flow.remote))).count();
    Ok(u64::try_from(open)?)
}

/// Waits until a new flow of pod1 is seen by the server as wanted.
fn seen_as(lab: &Lab, family: Family, translated: bool) -> Result<()> {
    let pod = lab.client("pod1")?;
    let wanted = if translated { lab.gateway.addr(family) } else { pod.addr(family) };
    wait_for_source(lab, "pod1", family, wanted)
}

fn wait_for_source(lab: &Lab, client: &str, family: Family, wanted: std::net::IpAddr) -> Result<()> {
    let at = SocketAddr::new(lab.server.addr(family), PORT);
    let server = udp::Server::start(&lab.server.ns, at)?;
    let client = lab.client(client)?;
    // A flow that begins before the edit may keep its translation, so each question opens a new one.
    eventually(&format!("the server sees {wanted}"), FOLLOW, || {
        Ok(source_at(&client.ns, &server, Call::to(at.ip(), PORT))?.ip() == wanted)
    })
}

#[test]
fn labels_and_pods_that_change_are_followed() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(config())?;
    let labelled = (CLUSTER.to_owned() + MORE_PODS).replace("{name: chosen, namespace: ns1}", CHOSEN);
    let bare = edited(&labelled, "app: myapp}", "app: else}");
    let gone = edited(&labelled, MORE_PODS.replace("{name: chosen, namespace: ns1}", CHOSEN).as_str(), "");
    let files = Files::write(&lab, &bare, GATEWAY)?;
    let _agent = Agent::start(&lab, files.options())?;
    let (chosen, gateway) = (lab.client("chosen")?, &lab.gateway);
    for (text, translated) in [(&bare, false), (&labelled, true), (&gone, false), (&labelled, true), (&bare, false)] {
        fs::write(&files.cluster, text)?;
        for family in Family::BOTH {
            let wanted = if translated { gateway.addr(family) } else { chosen.addr(family) };
            wait_for_source(&lab, "chosen", family, wanted)?;
        }
        let open = flows(&lab)?.iter().any(|flow| flow.inside == chosen.addr(Family::V4));
        assert_eq!(open, translated, "flows of a Pod that is not translated any more are cut");
    }
    Ok(())
}

const CHOSEN: &str = "{name: chosen, namespace: ns2, labels: {app: myapp}}";

#[test]
fn routes_of_policy_cidrs_come_and_go() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().without_policy_routes())?;
    let files = Files::samples(&lab)?;
    let _agent = Agent::start(&lab, files.options())?;
    let routes = || -> Result<String> {
        let ns = &lab.gateway.ns;
        Ok(ns.sh("ip -4 route show table main dev eth0")? + &ns.sh("ip -6 route show table main dev eth0")?)
    };
    let has = |text: &str, route: &str| text.lines().any(|line| line.starts_with(route));
    for network in &inside_networks()[2..] {
        assert!(has(&routes()?, &format!("{network} via")), "no {network} in\n{}", routes()?);
    }
    for family in Family::BOTH {
        crate::lab::exchange_all(lab.client("pod1")?, &lab.far, family)?;
    }
    let kept = routes()?;
    let more = ["10.19.0.0/24 via 10.16.0.1 ", "fd00:10:19::/112 via fd00:10:16::1 "];
    for (text, there) in [(with_no_snat(&["10.19.0.0/24", "fd00:10:19::/112"]), true), (GATEWAY.to_owned(), false)] {
        fs::write(&files.gateway, text)?;
        eventually("routes follow", FOLLOW, || {
            let routes = routes()?;
            Ok(more.iter().all(|route| has(&routes, route) == there))
        })?;
    }
    assert_eq!(routes()?, kept);
    Ok(())
}

#[test]
fn a_profile_that_changes_reaches_the_map() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let files = Files::samples(&lab)?;
    let profile = |text: &str| {
        let head = "---\napiVersion: egress-ebpf.dev/v1alpha1\nkind: EgressGatewayProfile\nmetadata: {name: default}\n";
        format!("{GATEWAY}{head}spec: {text}\n")
    };
    let _agent = Agent::start(&lab, files.options())?;
    let before = settings(&lab)?;
    assert_eq!((before.timeouts.udp_replied, before.timeouts.tcp_established), (300, 7440));
    fs::write(&files.gateway, profile("{timeouts: {udpReplied: 333, icmp: 77}, portRange: {min: 2000, max: 2999}}"))?;
    eventually("the map has the new timeouts", FOLLOW, || {
        let now = settings(&lab)?;
        Ok(now.timeouts.udp_replied == 333 && now.timeouts.icmp == 77 && (now.port_min, now.port_max) == (2000, 2999))
    })?;
    assert_eq!(settings(&lab)?.port_key, before.port_key);
    let far = lab.far.addr(Family::V4);
    let server = udp::Server::start(&lab.far.ns, SocketAddr::new(far, PORT))?;
    let seen = source_at(&lab.client("pod1")?.ns, &server, Call::to(far, PORT))?;
    assert!((2000..3000).contains(&seen.port()), "{seen}");
    fs::write(&files.gateway, GATEWAY)?;
    eventually("the defaults are back", FOLLOW, || Ok(settings(&lab)?.timeouts == before.timeouts))
}
