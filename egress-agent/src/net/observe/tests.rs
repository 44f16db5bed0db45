use rtnetlink::packet_route::link::InfoKind;

use super::*;

fn link_message(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.attributes = attributes;
    message
}

fn address_message(index: u32, len: u8, scope: AddressScope, attributes: Vec<AddressAttribute>) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = len;
    message.header.scope = scope;
    message.attributes = attributes;
    message
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn links_are_sorted_and_carry_what_forwarding_asks_for() {
    let veth = link_message(
        7,
        vec![
            LinkAttribute::IfName("net1".into()),
            LinkAttribute::Address(vec![2, 0, 0, 0, 0, 7]),
            LinkAttribute::Mtu(1400),
            LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Veth)]),
            LinkAttribute::LinkNetNsId(0),
        ],
    );
    // A tunnel's link-layer address is an IPv4 address: four bytes.
    let tunnel = link_message(
        3,
        vec![LinkAttribute::IfName("sit0".into()), LinkAttribute::Address(vec![0; 4]), LinkAttribute::Mtu(1480)],
    );
    let seen = assemble(&[veth, tunnel], &[]);
    assert_eq!(seen.links.iter().map(|l| l.index).collect::<Vec<_>>(), [3, 7]);
    let net1 = seen.link("net1").unwrap();
    assert_eq!((net1.mac, net1.mtu, net1.up), ([2, 0, 0, 0, 0, 7], 1400, true));
    assert_eq!((net1.kind.as_str(), net1.peer_elsewhere), ("veth", true));
    let sit0 = seen.link("sit0").unwrap();
    assert_eq!((sit0.mac, sit0.peer_elsewhere, sit0.kind.as_str()), ([0; 6], false, ""));
}

#[test]
fn the_local_address_counts_and_not_the_peers() {
    let message = address_message(
        1,
        32,
        AddressScope::Universe,
        vec![AddressAttribute::Address(ip("10.0.0.2")), AddressAttribute::Local(ip("10.0.0.1"))],
    );
    assert_eq!(address(&message).unwrap().net, "10.0.0.1/32".parse().unwrap());
}

#[test]
fn flags_say_whether_an_address_is_usable() {
    let seen = |flags: AddressFlags, scope| {
        let attributes = vec![AddressAttribute::Address(ip("fd00::7")), AddressAttribute::Flags(flags)];
        let a = address(&address_message(1, 64, scope, attributes)).unwrap();
        (a.permanent, a.global, a.tentative)
    };
    let permanent = AddressFlags::Permanent;
    assert_eq!(seen(permanent, AddressScope::Universe), (true, true, false));
    assert_eq!(seen(permanent | AddressFlags::Tentative, AddressScope::Universe), (true, true, true));
    assert_eq!(
        seen(permanent | AddressFlags::Tentative | AddressFlags::Optimistic, AddressScope::Universe),
        (true, true, false)
    );
    assert_eq!(seen(permanent | AddressFlags::Dadfailed, AddressScope::Universe), (true, true, true));
    assert_eq!(seen(AddressFlags::StablePrivacy, AddressScope::Link), (false, false, false));
}

#[test]
fn addresses_keep_the_kernels_order_and_find_their_link() {
    let links = [link_message(2, vec![LinkAttribute::IfName("eth0".into())])];
    let on =
        |index, addr: &str| address_message(index, 24, AddressScope::Universe, vec![AddressAttribute::Local(ip(addr))]);
    let seen = assemble(&links, &[on(2, "10.0.0.9"), on(5, "10.9.9.9"), on(2, "10.0.0.3")]);
    let nets: Vec<String> = seen.links[0].addresses.iter().map(|a| a.net.to_string()).collect();
    assert_eq!(nets, ["10.0.0.9/24", "10.0.0.3/24"]);
}
