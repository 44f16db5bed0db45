//! Traffic through the kernel's gateway, the captures and the oracles.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::{Capture, Captured, Direction};
use egress_tests::gateway::KernelGateway;
use egress_tests::lab::addresses::{mac, no_snat_networks};
use egress_tests::lab::{Net1, RealChecksums};
use egress_tests::packet::{Transport, build, proto};
use egress_tests::traffic::bulk::{self, Transfer, Way};
use egress_tests::traffic::stream::Stream;
use egress_tests::traffic::{Call, PATIENCE, flood, inject, tcp, udp};
use egress_tests::{Family, Lab, LabConfig, oracle, skip};

use super::{KERNEL, PORT, ensure_from, exchange_all};

#[test]
fn every_protocol_leaves_under_the_egress_address() -> Result<()> {
    if skip(KERNEL) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::AT_RECEIVERS))?;
    KernelGateway::start(&lab, &no_snat_networks())?;
    let outside = lab.capture_external()?;
    for family in Family::BOTH {
        for server in lab.external_hosts() {
            let at_server = Capture::start(&server.ns, "eth0")?;
            for client in ["pod1", "pod2"] {
                let client = lab.client(client)?;
                let at_client = Capture::start(&client.ns, "eth0")?;
                ensure_from(&exchange_all(client, server, family)?, lab.gateway.addr(family))?;
                all_received_are_real(&at_client.stop()?)?;
            }
            all_received_are_real(&at_server.stop()?)?;
        }
    }
    let frames = outside.stop()?;
    assert!(frames.len() > 100, "the tap saw only {} frames", frames.len());
    assert!(oracle::leaks(&frames, &[]).is_empty(), "{:?}", oracle::leaks(&frames, &[]));
    Ok(())
}

/// What came in is checked; what went out may be unfinished still.
fn all_received_are_real(frames: &[Captured]) -> Result<()> {
    let received: Vec<_> = frames.iter().filter(|it| it.direction == Direction::In).cloned().collect();
    let report = oracle::checksums(&received);
    ensure!(report.wrong.is_empty() && report.unfinished == 0 && report.untold == 0, "{report:?}");
    ensure!(report.real >= 5, "too few packets to prove anything: {report:?}");
    Ok(())
}

#[test]
fn veth_leaves_checksums_unfinished_unless_asked() -> Result<()> {
    if skip(KERNEL) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    KernelGateway::start(&lab, &[])?;
    let at_server = Capture::start(&lab.server.ns, "eth0")?;
    for family in Family::BOTH {
        exchange_all(lab.client("pod1")?, &lab.server, family)?;
    }
    let report = oracle::checksums(&at_server.stop()?);
    assert!(report.wrong.is_empty(), "{report:?}");
    assert!(report.unfinished > 10, "{report:?}");
    Ok(())
}

#[test]
fn a_leak_is_caught() -> Result<()> {
    if skip(KERNEL) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let gateway = KernelGateway::start(&lab, &[])?;
    gateway.stop_translating(&lab)?;
    let outside = lab.capture_external()?;
    let client = lab.client("pod1")?;
    for family in Family::BOTH {
        let call = Call::to(lab.server.addr(family), PORT).patience(Duration::from_millis(100));
        assert!(udp::once(&client.ns, call, b"lost").is_err(), "an answer came without a way back");
    }
    let frames = outside.stop()?;
    let leaked: Vec<_> = oracle::leaks(&frames, &[]).into_iter().map(|it| it.address).collect();
    assert_eq!(leaked, Family::BOTH.map(|family| client.addr(family)));
    Ok(())
}

#[test]
fn an_address_quoted_in_an_icmp_error_is_caught() -> Result<()> {
    if skip(KERNEL) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    for family in Family::BOTH {
        let (outer, inner) = (lab.gateway.addr(family), lab.client("pod1")?.addr(family));
        let server = lab.server.addr(family);
        let quoted = build::Header::new(server, inner, proto::UDP).packet(&build::udp((server, 53), (inner, 9), b""));
        let (icmp, kind) = if family == Family::V4 { (proto::ICMP, 3) } else { (proto::ICMPV6, 1) };
        let error = build::icmp(outer, server, kind, 3, [0; 4], &quoted);
        let packet = build::Header::new(outer, server, icmp).packet(&error);
        let outside = lab.capture_external()?;
        inject(&lab.gateway.ns, "net1", &build::ethernet(mac::SERVER, mac::GATEWAY_OUTSIDE, &packet))?;
        outside.wait_for(PATIENCE, |it| it.ip().is_some_and(|ip| ip.quoted.is_some()))?;
        let leaked: Vec<_> = oracle::leaks(&outside.stop()?, &[]).into_iter().map(|it| it.address).collect();
        assert_eq!(leaked, [inner]);
    }
    Ok(())
}

#[test]
fn a_wrong_checksum_is_caught_at_the_receiver() -> Result<()> {
    if skip(KERNEL) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::EVERYWHERE))?;
    KernelGateway::start(&lab, &[])?;
    let pod = lab.client("pod1")?;
    for family in Family::BOTH {
        let (from, to) = (pod.addr(family), lab.server.addr(family));
        let server = udp::Server::start(&lab.server.ns, SocketAddr::new(to, PORT))?;
        let at_server = Capture::start(&lab.server.ns, "eth0")?;
        let good = build::udp((from, 4000), (to, PORT), b"good");
        let mut bad = build::udp((from, 4001), (to, PORT), b"bad!");
        bad[6] ^= 0x55;
        let from_mac = mac_of(&pod.ns)?;
        for datagram in [&bad, &good] {
            let packet = build::Header::new(from, to, proto::UDP).packet(datagram);
            inject(&pod.ns, "eth0", &build::ethernet(mac::OVERLAY, from_mac, &packet))?;
        }
        let is_good = |it: &Captured| it.direction == Direction::In && it.bytes.ends_with(b"good");
        at_server.wait_for(PATIENCE, is_good)?;
        let report = oracle::checksums(&at_server.stop()?);
        assert_eq!(report.wrong.len(), 1, "{report:?}");
        assert!(report.real >= 1, "{report:?}");
        drop(server);
    }
    Ok(())
}

fn mac_of(ns: &egress_tests::system::Netns) -> Result<[u8; 6]> {
    let text = ns.sh("ip -br link show dev eth0")?;
    let mac = text.split_whitespace().nth(2).context("no MAC")?;
    let bytes: Vec<u8> = mac.split(':').map(|it| u8::from_str_radix(it, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().ok().context("not six bytes")
}

#[test]
fn bulk_keeps_gso_and_its_content() -> Result<()> {
    if skip(KERNEL) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    KernelGateway::start(&lab, &[])?;
    for (family, way) in [(Family::V4, Way::Up), (Family::V6, Way::Down)] {
        let (frames, outcome) = transfer(&lab, family, way)?;
        assert!(outcome.intact);
        assert!(oracle::longest(&frames) > 20_000, "longest frame {}", oracle::longest(&frames));
        assert!(frames.iter().any(|it| it.gso.is_some()), "no frame says that it is GSO");
        assert!(oracle::checksums(&frames).wrong.is_empty());
    }
    Ok(())
}

#[test]
fn without_offload_bulk_is_cut_and_summed() -> Result<()> {
    if skip(KERNEL) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().checksums(RealChecksums::EVERYWHERE))?;
    KernelGateway::start(&lab, &[])?;
    let (frames, outcome) = transfer(&lab, Family::V4, Way::Up)?;
    assert!(outcome.intact);
    assert!(oracle::longest(&frames) <= 1514, "longest frame {}", oracle::longest(&frames));
    let report = oracle::checksums(&frames);
    assert!(report.wrong.is_empty() && report.unfinished == 0 && report.real > 2_000, "{report:?}");
    Ok(())
}

fn transfer(lab: &Lab, family: Family, way: Way) -> Result<(Vec<Captured>, bulk::Outcome)> {
    let address = lab.server.addr(family);
    let _server = tcp::Server::start(&lab.server.ns, SocketAddr::new(address, PORT), tcp::Serve::Bulk)?;
    let outside = lab.capture_external()?;
    let outcome = bulk::once(&lab.client("pod1")?.ns, Call::to(address, PORT), way, 4 << 20)?;
    assert_eq!(outcome.bytes, 4 << 20);
    Ok((outside.stop()?, outcome))
}

#[test]
fn a_macvlan_net1_works_alike() -> Result<()> {
    if skip(KERNEL) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default().net1(Net1::Macvlan).checksums(RealChecksums::AT_RECEIVERS))?;
    KernelGateway::start(&lab, &[])?;
    let outside = lab.capture_external()?;
    for family in Family::BOTH {
        ensure_from(&exchange_all(lab.client("pod2")?, &lab.far, family)?, lab.gateway.addr(family))?;
    }
    let frames = outside.stop()?;
    assert!(frames.len() > 20 && oracle::leaks(&frames, &[]).is_empty());
    assert!(lab.gateway.ns.sh("ip -d link show dev net1")?.contains("macvlan"));
    Ok(())
}

#[test]
fn untranslated_traffic_passes_only_where_routed_and_allowed() -> Result<()> {
    if skip(KERNEL) {
        return Ok(());
    }
    let no_snat = no_snat_networks();
    let lab = Lab::build(LabConfig::default().return_routes(&no_snat))?;
    KernelGateway::start(&lab, &no_snat)?;
    let outside = lab.capture_external()?;
    let bystander = lab.client("bystander")?;
    for family in Family::BOTH {
        for server in lab.external_hosts() {
            ensure_from(&exchange_all(bystander, server, family)?, bystander.addr(family))?;
            // The other way round: an external host opens a connection.
            ensure_from(&exchange_all(server, bystander, family)?, server.addr(family))?;
        }
        ensure_from(&exchange_all(lab.client("pod1")?, &lab.server, family)?, lab.gateway.addr(family))?;
    }
    let frames = outside.stop()?;
    assert!(oracle::leaks(&frames, &no_snat).is_empty());
    assert_eq!(oracle::leaks(&frames, &[]).len(), 2);
    Ok(())
}

#[test]
fn one_family_alone() -> Result<()> {
    if skip(KERNEL) {
        return Ok(());
    }
    for family in Family::BOTH {
        let lab = Lab::build(LabConfig::default().families(&[family]))?;
        KernelGateway::start(&lab, &[])?;
        ensure_from(&exchange_all(lab.client("pod1")?, &lab.far, family)?, lab.gateway.addr(family))?;
    }
    Ok(())
}

#[test]
fn more_egress_addresses_and_other_mtus() -> Result<()> {
    if skip(KERNEL) {
        return Ok(());
    }
    let config = LabConfig::default().egress("172.17.0.12/16".parse()?).mtu(1300, 1400);
    let lab = Lab::build(config)?;
    assert!(lab.gateway.ns.sh("ip -4 addr show dev net1")?.contains("172.17.0.12/16"));
    assert!(lab.gateway.ns.sh("ip link show dev eth0")?.contains("mtu 1300"));
    assert!(lab.gateway.ns.sh("ip link show dev net1")?.contains("mtu 1400"));
    assert!(lab.node.sh("ip link show dev overlay")?.contains("mtu 1300"));
    Ok(())
}

/// Ports, TCP flags and TTL as they are on both sides.
#[test]
fn captures_tell_what_happened() -> Result<()> {
    if skip(KERNEL) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    KernelGateway::start(&lab, &[])?;
    let (inside, outside) = (lab.capture_internal()?, lab.capture_external()?);
    let pod = lab.client("pod1")?;
    let address = lab.server.addr(Family::V4);
    let server = tcp::Server::start(&lab.server.ns, SocketAddr::new(address, PORT), tcp::Serve::Echo)?;
    tcp::once(&pod.ns, Call::to(address, PORT).from_port(4321), b"x")?;
    let is_syn = |it: &&Captured| {
        let transport = it.ip().and_then(|ip| ip.transport.as_ref());
        matches!(transport, Some(Transport::Tcp { flags: 2, .. }))
    };
    let (inside, outside) = (inside.stop()?, outside.stop()?);
    let before = inside.iter().find(is_syn).and_then(Captured::ip).context("no SYN inside")?;
    let after = outside.iter().find(is_syn).and_then(Captured::ip).context("no SYN outside")?;
    assert_eq!((before.source, before.ports()), (pod.addr(Family::V4), Some((4321, PORT))));
    assert_eq!(after.source, lab.gateway.addr(Family::V4));
    assert_eq!(after.ports(), server.peers().first().map(|peer| (peer.port(), PORT)));
    assert_eq!((before.ttl, after.ttl), (63, 62));
    let pcap = lab.folder().join("outside.pcap");
    egress_tests::capture::write_pcap(&pcap, &outside)?;
    assert!(pcap.metadata()?.len() > 24);
    Ok(())
}

#[test]
fn streams_transfers_and_floods_measure() -> Result<()> {
    if skip(KERNEL) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let gateway = KernelGateway::start(&lab, &[])?;
    let address = lab.server.addr(Family::V4);
    let pod = &lab.client("pod1")?.ns;
    let _udp = udp::Server::start(&lab.server.ns, SocketAddr::new(address, PORT))?;
    let _tcp = tcp::Server::start(&lab.server.ns, SocketAddr::new(address, PORT), tcp::Serve::Bulk)?;

    let stream = Stream::start(pod, Call::to(address, PORT), Duration::from_millis(1))?;
    let transfer = Transfer::start(pod, Call::to(address, PORT), Way::Up, u64::MAX, Some(20 << 20))?;
    transfer.advance(2 << 20, PATIENCE)?;
    let outcome = transfer.stop()?;
    assert!(outcome.intact && outcome.bytes > 2 << 20, "{outcome:?}");
    let outcome = stream.finish()?;
    assert!(outcome.sent > 5 && outcome.missing.is_empty() && outcome.repeated == 0, "{outcome:?}");

    let before = lab.far.ns.counters("eth0")?;
    let far = Call::to(lab.far.addr(Family::V4), PORT);
    let sent = flood::udp(pod, far, 4, 18, Duration::from_millis(50))?;
    let arrived = lab.far.ns.counters("eth0")?.since(&before).rx_packets;
    assert!(sent > 1_000 && arrived > sent / 10, "{arrived} of {sent}");

    // A stream through a gateway that stops must miss some.
    let stream = Stream::start(pod, Call::to(address, PORT), Duration::from_millis(1))?;
    gateway.stop_translating(&lab)?;
    lab.gateway.ns.sysctl(&[("net/ipv4/ip_forward", "0")])?;
    std::thread::sleep(Duration::from_millis(20));
    assert!(!stream.finish()?.missing.is_empty());
    Ok(())
}
