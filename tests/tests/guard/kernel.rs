//! What the gateway's own kernel would send by net1 under inside addresses.

use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, ensure};
use egress_tests::capture::Direction;
use egress_tests::lab::addresses::{GATEWAY_INSIDE, GATEWAY_OUTSIDE, mac};
use egress_tests::packet::{build, proto};
use egress_tests::traffic::{Call, PATIENCE, icmp, inject, udp as client};
use egress_tests::{Family, Lab, LabConfig, eventually, oracle, skip};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket, sockopt,
};

use crate::rig::{NEEDS, PORT, flows};
use crate::wire::{agent, doubt_quickly, dropped, drops, header, icmp as icmp_of, into_net1, of, passed};

/// A socket of the gateway's on its inside address, held to net1.
fn on_net1(lab: &Lab, family: Family, kind: SockType) -> Result<std::os::fd::OwnedFd> {
    let domain = if family == Family::V4 { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = lab.gateway.ns.run(|| socket(domain, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None))??;
    setsockopt(&fd, sockopt::BindToDevice, &"net1".into())?;
    let own = SocketAddr::new(of(GATEWAY_INSIDE, family), 0);
    bind(fd.as_raw_fd(), &SockaddrStorage::from(own))?;
    Ok(fd)
}

fn guarded(lab: &Lab) -> Result<u64> {
    Ok(drops(lab)?.get("guard").copied().unwrap_or_default())
}

#[test]
fn sockets_on_the_inside_address_do_not_get_out() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, &[])?;
    let outside = lab.capture_external()?;
    for family in Family::BOTH {
        let server = lab.server.addr(family);
        // Its MAC is known from now on.
        icmp::once(&lab.gateway.ns, server, 60_000)?;
        let udp = UdpSocket::from(on_net1(&lab, family, SockType::Datagram)?);
        dropped(&lab, "guard", 1, || Ok(udp.send_to(b"out?", SocketAddr::new(server, 53)).map(drop)?))?;
        let before = guarded(&lab)?;
        let tcp = on_net1(&lab, family, SockType::Stream)?;
        let _ = connect(tcp.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(server, 443)));
        let _stream = TcpStream::from(tcp);
        eventually("the SYN was dropped", PATIENCE, || Ok(guarded(&lab)? > before))?;
    }
    let leaks = oracle::leaks(&outside.stop()?, &[]);
    ensure!(leaks.is_empty(), "{leaks:?}");
    Ok(())
}

/// The kernel asks for a neighbour in the name of the packet that waits for it, and answers for every address it has.
#[test]
fn arp_does_not_tell_inside_addresses() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, &[])?;
    let outside = lab.capture_external()?;
    let before = guarded(&lab)?;
    let udp = UdpSocket::from(on_net1(&lab, Family::V4, SockType::Datagram)?);
    udp.send_to(b"out?", "172.17.0.77:53")?;
    eventually("the question was dropped", PATIENCE, || Ok(guarded(&lab)? > before))?;

    let before = guarded(&lab)?;
    let question = |asked: Ipv4Addr| {
        let router = egress_tests::lab::addresses::ROUTER.0;
        let arp = [&[0, 1, 8, 0, 6, 4, 0, 1][..], &mac::ROUTER, &router.octets(), &[0; 6], &asked.octets()].concat();
        inject(&lab.router.ns, "eth0", &[&[0xff; 6][..], &mac::ROUTER, &[8, 6], &arp].concat())
    };
    question(GATEWAY_INSIDE.0)?;
    eventually("the answer was dropped", PATIENCE, || Ok(guarded(&lab)? > before))?;
    question(GATEWAY_OUTSIDE.0)?;
    outside.wait_for(PATIENCE, |it| {
        use egress_tests::packet::Payload::Arp;
        let arp = it.frame.as_ref().map(|frame| &frame.payload);
        matches!(arp, Some(Arp { operation: 2, sender, .. }) if *sender == GATEWAY_OUTSIDE.0)
    })?;
    let leaks = oracle::leaks(&outside.stop()?, &[]);
    ensure!(leaks.is_empty(), "{leaks:?}");
    Ok(())
}

/// Frames that a process with rights puts on net1 by itself.
#[test]
fn raw_frames_are_looked_at() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    let _agent = agent(&lab, &[])?;
    let outside = lab.capture_external()?;
    let send = |frame: &[u8]| {
        // What the guard drops is an error here.
        let _ = inject(&lab.gateway.ns, "net1", frame);
        Ok(())
    };
    for family in Family::BOTH {
        let (own, server) = (of(GATEWAY_OUTSIDE, family), lab.server.addr(family));
        let (pod, inner) = (lab.client("pod1")?.addr(family), of(GATEWAY_INSIDE, family));
        let frame = |packet: &[u8]| build::ethernet(mac::SERVER, mac::GATEWAY_OUTSIDE, packet);
        for source in [pod, inner, lab.far.addr(family)] {
            let packet = crate::wire::udp((source, 4000), (server, 53), b"");
            dropped(&lab, "guard", 1, || send(&frame(&packet)))?;
        }
        let good = crate::wire::udp((own, 60_000), (server, 53), b"under its own name");
        let plain = frame(&good);
        dropped(&lab, "guard", 1, || send(&[&plain[..12], &[0x81, 0, 0, 5], &plain[12..]].concat()))?;
        dropped(&lab, "guard", 1, || send(&[&plain[..12], &[0x88, 0xb5], &plain[14..]].concat()))?;
        dropped(&lab, "guard", 1, || send(&frame(&good[..if family == Family::V4 { 16 } else { 30 }])))?;
        // An error of the kernel's about a packet that was translated already.
        let quoted = crate::wire::udp((server, 53), (pod, 4000), b"");
        let (errors, others): (&[u8], &[u8]) = match family {
            Family::V4 => (&[3, 4, 5, 11, 12], &[8]),
            Family::V6 => (&[1, 2, 3, 4], &[128]),
        };
        let message = |kind: u8, quoted: &[u8]| {
            frame(&header(own, server, icmp_of(family)).packet(&build::icmp(own, server, kind, 1, [0; 4], quoted)))
        };
        for kind in errors {
            dropped(&lab, "guard", 1, || send(&message(*kind, &quoted)))?;
            dropped(&lab, "guard", 1, || send(&message(*kind, &quoted[..8])))?;
        }
        // About one to an own address, and what is no error, pass.
        let before = guarded(&lab)?;
        let honest = crate::wire::udp((server, 53), (own, 4000), b"");
        send(&message(errors[0], &honest))?;
        others.iter().try_for_each(|kind| send(&message(*kind, &quoted)))?;
        send(&plain)?;
        outside.wait_for(PATIENCE, |it| {
            crate::wire::holds(it, b"under its own name") && it.ip().is_some_and(|ip| ip.source == own)
        })?;
        ensure!(guarded(&lab)? == before, "the guard took what may pass");
    }
    let frames = outside.stop()?;
    let leaks = oracle::leaks(&frames, &[]);
    ensure!(leaks.is_empty(), "{leaks:?}");
    let honest = passed(&frames, Direction::In).filter(|(_, ip)| ip.quoted.is_some()).count();
    ensure!(honest == 2, "{honest} honest errors came out");
    Ok(())
}

/// The way inside is broken: what the kernel then says to the server quotes the packet as it was translated.
#[test]
fn errors_of_the_kernel_do_not_quote_the_inside() -> Result<()> {
    if skip(NEEDS) {
        return Ok(());
    }
    let lab = Lab::build(LabConfig::default())?;
    doubt_quickly(&lab, "eth0")?;
    let _agent = agent(&lab, &[("--forward", "stack")])?;
    let mut replies = Vec::new();
    for family in Family::BOTH {
        let server = lab.server.addr(family);
        let _echo = client::Server::start(&lab.server.ns, SocketAddr::new(server, PORT))?;
        client::once(&lab.client("pod1")?.ns, Call::to(server, PORT), b"hello")?;
        let flow = flows(&lab)?.into_iter().find(|it| it.remote == server).context("no flow")?;
        let to = (flow.egress, flow.egress_port);
        replies.push(header(server, to.0, proto::UDP).packet(&build::udp((server, PORT), to, b"late")));
    }
    let outside = lab.capture_external()?;
    lab.node.sh("ip link set overlay down")?;
    for reply in replies {
        let before = guarded(&lab)?;
        let dropped = || {
            into_net1(&lab, &reply)?;
            let leaks = oracle::leaks(&outside.so_far(), &[]);
            ensure!(leaks.is_empty(), "{leaks:?}");
            Ok(guarded(&lab)? > before)
        };
        eventually("the error was dropped", PATIENCE * 4, dropped)?;
    }
    let leaks = oracle::leaks(&outside.stop()?, &[]);
    ensure!(leaks.is_empty(), "{leaks:?}");
    Ok(())
}
