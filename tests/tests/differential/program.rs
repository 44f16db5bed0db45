//! What is sent: flows, and steps that each send one packet of one of them. Everything is written in the Pod's terms, as
//! if there were no translation; a run puts the egress address and port in where it sends from outside.

use std::collections::BTreeSet;
use std::fmt::{self, Write};
use std::net::IpAddr;

use egress_tests::Family;

/// What a step may be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    // Protocols.
    Tcp,
    Udp,
    UdpLite,
    Echo,
    /// Timestamp, information and address mask of ICMP.
    Query,
    Sctp,
    /// Protocols without ports: GRE, ESP, IP in IP and one that nobody uses.
    AddressOnly,
    // What a packet may be besides.
    ZeroChecksum,
    WrongChecksum,
    /// IPv4 options.
    Options,
    /// IPv6 extension headers.
    Extensions,
    Fragments,
    /// IPv6: a fragment header on a whole packet.
    Atomic,
    /// VLAN tag with VID 0.
    PriorityTag,
    /// Bytes behind the packet's end.
    Padding,
    /// TTL 1 or 0.
    LastHop,
    /// Too big for the way.
    TooBig,
    // What is said besides.
    ErrorFromOutside,
    ErrorFromInside,
    Redirect,
    /// TCP without a SYN before.
    MidFlow,
    /// From outside to a port that nobody has.
    Unsolicited,
    /// Protocols and options that must not be translated.
    NotTranslatable,
}

/// Which side of the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    /// eth0
    Inside,
    /// net1
    Outside,
}

/// An address and a port or identifier; 0 where the protocol has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    pub(super) address: IpAddr,
    pub(super) port: u16,
}

/// A conversation of a Pod with a server.
#[derive(Debug, Clone)]
pub(super) struct Flow {
    pub(super) protocol: u8,
    pub(super) pod: Endpoint,
    pub(super) remote: Endpoint,
    /// Of a Pod in the `snat: false` block.
    pub(super) untranslated: bool,
    /// Nobody inside opened it: what comes from outside goes to the egress address and the Pod's port.
    pub(super) unsolicited: bool,
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, pod, remote, .. } = self;
        write!(f, "{protocol} {}:{} {}:{}", pod.address, pod.port, remote.address, remote.port)
    }
}

/// How a datagram is cut into fragments.
#[derive(Debug, Clone)]
pub(super) struct Cut {
    pub(super) id: u32,
    /// Bytes of each fragment but the last, multiples of 8.
    pub(super) sizes: Vec<usize>,
    /// In which order they are sent.
    pub(super) order: Vec<usize>,
    /// IPv6: the fragment header stands in front of the destination options.
    pub(super) early: bool,
}

/// What is around the packet in its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Link {
    Plain,
    PriorityTag,
    /// So many bytes behind it.
    Padding(usize),
}

/// One packet.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) what: String,
    pub(super) kinds: BTreeSet<Kind>,
    /// Index of its flow.
    pub(super) flow: usize,
    /// Where it is sent.
    pub(super) side: Side,
    /// Whole, in the Pod's terms.
    pub(super) packet: Vec<u8>,
    pub(super) cut: Option<Cut>,
    pub(super) link: Link,
}

impl Step {
    pub(super) fn is(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} from {:?} {:?}", self.what, self.side, self.kinds)?;
        if let Some(Cut { sizes, order, .. }) = &self.cut {
            write!(f, " cut {sizes:?} order {order:?}")?;
        }
        Ok(())
    }
}

/// What is sent through both gateways.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) family: Family,
    /// MTU of the overlay and of the external network.
    pub(super) mtu: (u32, u32),
    pub(super) flows: Vec<Flow>,
    pub(super) steps: Vec<Step>,
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
