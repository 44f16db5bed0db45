use super::*;

const TIMEOUTS: Timeouts = Timeouts {
    tcp_opening: 60,
    tcp_established: 7440,
    tcp_half_closed: 7440,
    tcp_closing: 240,
    udp_unreplied: 120,
    udp_replied: 300,
    icmp: 60,
    other: 600,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn connection(proto: u8, tcp: Option<u8>, timeout: u32) -> Tracked {
    let orig = Tuple { src: ip("10.17.0.9"), dst: ip("1.1.1.1"), proto, sport: 4000, dport: 443, icmp: 0 };
    let reply = Tuple { src: orig.dst, dst: ip("172.17.0.11"), sport: 443, dport: 40_000, ..orig };
    let status = status::CONFIRMED | status::SEEN_REPLY;
    Tracked { orig, reply, status, timeout, tcp, packets: [3, 4], bytes: [300, 400] }
}

fn one(it: Tracked) -> Option<Carried<V4>> {
    let (flows, _) = carried(&[it], &[ip("172.17.0.11")], &BTreeSet::from([ip("10.16.0.12")]), 100_000, &TIMEOUTS);
    assert!(flows.v6.is_empty());
    flows.v4.first().copied()
}

#[test]
fn mapping_and_totals() {
    let flow = one(connection(6, Some(tcp::ESTABLISHED), 432_000)).unwrap();
    assert_eq!(
        (flow.key.saddr, flow.key.sport, flow.nat_addr, flow.port),
        ([10, 17, 0, 9], 4000, [172, 17, 0, 11], 40_000)
    );
    assert_eq!((flow.packets[1].get(), flow.bytes[0].get()), (4, 300));
    assert_eq!(flow.last_seen, [100_000; 2], "the kernel would keep it for longer than we do");
    assert_eq!(one(connection(17, None, 20)).unwrap().last_seen, [100_000 - 280; 2], "20 of 300 seconds are left");
}

#[test]
fn states() {
    for (kernel, ours) in [
        (tcp::SYN_SENT, State::Opening),
        (tcp::SYN_RECV, State::Opening),
        (tcp::ESTABLISHED, State::Established),
        (tcp::FIN_WAIT, State::Closing),
        (tcp::CLOSE_WAIT, State::Closing),
        (tcp::LAST_ACK, State::Closed),
        (tcp::TIME_WAIT, State::Closed),
        (tcp::CLOSE, State::Closed),
    ] {
        let [out, back] = one(connection(6, Some(kernel), 10)).unwrap().seen;
        assert_eq!(State::of(6, out, back), ours, "{kernel}");
    }
    let unreplied = Tracked { status: status::CONFIRMED, ..connection(17, None, 10) };
    assert_eq!(one(unreplied).unwrap().seen, [seen::ACK, 0]);
}

#[test]
fn what_is_not_ours() {
    let it = connection(17, None, 10);
    let own = Tracked { orig: Tuple { src: ip("10.16.0.12"), ..it.orig }, ..it };
    let bare = Tracked { reply: Tuple { dst: it.orig.src, ..it.reply }, ..it };
    let elsewhere = Tracked { reply: Tuple { dst: ip("172.17.0.99"), ..it.reply }, ..it };
    let redirected = Tracked { reply: Tuple { src: ip("10.0.0.1"), ..it.reply }, ..it };
    let all = [own, bare, elsewhere, redirected];
    let (flows, others) = carried(&all, &[ip("172.17.0.11")], &BTreeSet::from([ip("10.16.0.12")]), 0, &TIMEOUTS);
    assert_eq!((flows.v4.len(), others), (0, 2));
}

/// Identifiers stand where ports do, and protocols without either have none.
#[test]
fn queries_and_bare_protocols() {
    let mut ping = connection(1, None, 10);
    (ping.orig.dport, ping.orig.icmp, ping.reply.sport) = (0, ECHO, 0);
    let flow = one(ping).unwrap();
    assert_eq!((flow.key.sport, flow.key.dport, flow.port), (4000, 0, 40_000));
    ping.orig.icmp = 13;
    assert_eq!(one(ping).unwrap().key.dport, 13);
    let gre = one(connection(47, None, 10)).unwrap();
    assert_eq!((gre.key.sport, gre.key.dport, gre.port), (0, 0, 0));
}

/// What the kernel gave comes back as it was, as far as both know it.
#[test]
fn there_and_back() {
    for it in [connection(6, Some(tcp::ESTABLISHED), 7000), connection(17, None, 200), connection(136, None, 30)] {
        let flows = Flows { v4: vec![one(it).unwrap()], v6: Vec::new() };
        let (back, others) = tracked(&flows, 100_000, &TIMEOUTS);
        assert_eq!((back[0].orig, back[0].reply, back[0].tcp, others), (it.orig, it.reply, it.tcp, 0));
        assert_eq!((back[0].timeout, back[0].status), (it.timeout, it.status | status::ASSURED));
    }
    let flows = Flows { v4: vec![one(connection(132, None, 30)).unwrap()], v6: Vec::new() };
    assert_eq!(tracked(&flows, 100_000, &TIMEOUTS).1, 1);
}
