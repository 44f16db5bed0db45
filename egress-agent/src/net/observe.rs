//! Links and addresses as the kernel has them.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::{
    address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
};

use super::{Error, Netlink, nl::collect};
use crate::spec::observed::{Address, Link, Observed};

#[cfg(test)]
mod tests;

/// Dump the links and addresses of the network namespace.
///
/// # Errors
/// The kernel refuses the dump.
pub async fn observe(nl: &Netlink) -> Result<Observed, Error> {
    let links = collect("listing links", nl.handle().link().get().execute()).await?;
    let addresses = collect("listing addresses", nl.handle().address().get().execute()).await?;
    Ok(assemble(&links, &addresses))
}

fn assemble(links: &[LinkMessage], addresses: &[AddressMessage]) -> Observed {
    let mut links: Vec<Link> = links.iter().map(link).collect();
    links.sort_by_key(|l| l.index);
    for message in addresses {
        if let Some(link) = links.iter_mut().find(|l| l.index == message.header.index) {
            link.addresses.extend(address(message));
        }
    }
    Observed { links }
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: [0; 6],
        mtu: 0,
        up: message.header.flags.contains(LinkFlags::Up),
        kind: String::new(),
        peer_elsewhere: false,
        addresses: Vec::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().unwrap_or_default(),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkNetNsId(_) => link.peer_elsewhere = true,
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    if let LinkInfo::Kind(kind) = info {
                        link.kind = kind.to_string();
                    }
                }
            }
            _ => {}
        }
    }
    link
}

/// `IFA_LOCAL` is the own address; where it lacks (IPv6), `IFA_ADDRESS` is. On point-to-point links the latter is the
/// peer's.
fn address(message: &AddressMessage) -> Option<Address> {
    let (mut local, mut peer) = (None::<IpAddr>, None::<IpAddr>);
    let mut flags = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()));
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(addr) => local = Some(*addr),
            AddressAttribute::Address(addr) => peer = Some(*addr),
            AddressAttribute::Flags(all) => flags = *all,
            _ => {}
        }
    }
    let net = IpNet::new(local.or(peer)?, message.header.prefix_len).ok()?;
    // An optimistic address is used while duplicates are still looked for (RFC 4429).
    let waiting = flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    Some(Address {
        net,
        permanent: flags.contains(AddressFlags::Permanent),
        global: message.header.scope == AddressScope::Universe,
        tentative: waiting || flags.contains(AddressFlags::Dadfailed),
    })
}
