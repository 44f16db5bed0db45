//! The gateway's settings as the programs see them.
//!
//! `CONFIG` has two slots and `ACTIVE` names the one in use: the agent writes the other one whole, then flips, so that no
//! packet sees half a change.

use super::family::{Addr6, Address};

/// Most egress addresses of one family that a gateway has.
pub const MAX_EGRESS: usize = 32;

/// How translated packets leave by an interface.
pub mod forward {
    /// The kernel routes them.
    pub const STACK: u32 = 0;
    /// `bpf_redirect_neigh` with an explicit next hop.
    pub const NEIGH: u32 = 1;
    /// `bpf_redirect_peer`: the target is a veth whose peer lives in another namespace.
    pub const PEER: u32 = 2;
}

/// Bits of [`Config::flags`]. Builds with another layout read and write them: never renumber.
pub mod flags {
    /// Keep the source port of a new flow where it is free.
    pub const PRESERVE_PORT: u32 = 1;
    /// The kernel knows `BPF_F_IPV6` of `bpf_l4_csum_replace`.
    pub const CSUM_IPV6: u32 = 2;
    /// What belongs to no flow of this table is passed on: to the next program, then to the kernel.
    pub const YIELD: u32 = 4;
    /// With [`YIELD`]: a TCP SYN from a Pod opens a flow all the same. Without: everything from a Pod does, and only what comes
    /// from outside is passed on.
    pub const YIELD_NOT_SYN: u32 = 8;
    /// A TCP segment in mid-connection without a flow is answered with RST.
    pub const MIDFLOW_RESET: u32 = 16;
    /// It is dropped. Without either bit a flow is opened for it.
    pub const MIDFLOW_DROP: u32 = 32;
    /// Beginning and end of every flow are reported.
    pub const FLOW_EVENTS: u32 = 64;
    /// XDP may send frames out of the external interface: it takes them.
    pub const XDP_OUT: u32 = 128;
    /// Likewise out of the internal interface.
    pub const XDP_IN: u32 = 256;
    /// A closed flow keeps its port from the allocator: a table that is asked before this one still has it, too.
    pub const HOLD_PORTS: u32 = 512;
    /// The range of ports was narrowed for a table that comes after this one.
    pub const NARROWED: u32 = 1024;
}

/// Seconds after which a flow that carries nothing ends.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP: one side only was heard (RFC 7857 §2.1 lets it be shorter than 4 minutes).
    pub tcp_opening: u32,
    /// TCP: both sides were heard (RFC 5382 REQ-5: at least 2 h 4 min).
    pub tcp_established: u32,
    /// TCP: one side sent FIN.
    pub tcp_half_closed: u32,
    /// TCP: both sides sent FIN, or one sent RST (RFC 5382 REQ-5, RFC 7857 §2.2: 4 minutes).
    pub tcp_closing: u32,
    /// UDP: no reply yet (RFC 4787 REQ-5: at least 2 minutes).
    pub udp_unreplied: u32,
    /// UDP: both sides were heard.
    pub udp_replied: u32,
    /// ICMP queries (RFC 5508 REQ-2: at least 60 s).
    pub icmp: u32,
    /// Every other protocol.
    pub other: u32,
}

/// A MAC, and two bytes of padding: it is read as one word.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac(pub [u8; 8]);

impl From<[u8; 6]> for Mac {
    fn from([a, b, c, d, e, f]: [u8; 6]) -> Self {
        Self([a, b, c, d, e, f, 0, 0])
    }
}

/// One slot of `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Nanoseconds added to `CLOCK_BOOTTIME`; tests move it.
    pub clock_offset_ns: u64,
    /// `SO_NETNS_COOKIE` of the namespace that this table belongs to.
    pub netns_cookie: u64,
    /// Moves the other fields.
    #[cfg(feature = "layout-next")]
    pub novel: [u32; 4],
    /// Secret of the port sequence (RFC 6056 §3.3.3).
    pub port_key: [u64; 2],
    /// Bits of [`flags`].
    pub flags: u32,
    /// Interface of the overlay.
    pub internal_ifindex: u32,
    /// Interface of the external network.
    pub external_ifindex: u32,
    /// One of [`forward`]: how packets leave towards the external network.
    pub forward_out: u32,
    /// One of [`forward`]: how packets leave towards the Pods.
    pub forward_in: u32,
    /// MTU of the internal interface, for routes that name none.
    pub internal_mtu: u32,
    /// MTU of the external interface.
    pub external_mtu: u32,
    /// Flows of each family that the table holds.
    pub capacity: u32,
    /// Idle times.
    pub timeouts: Timeouts,
    /// Lowest port for new flows.
    pub port_min: u16,
    /// Highest port for new flows.
    pub port_max: u16,
    /// Highest ICMP identifier for new flows (the lowest is 0).
    pub icmp_max: u16,
    /// Explicit padding.
    pub pad: u16,
    /// Per cent of the table, or of an address's ports towards one destination, from which the largest sources are limited;
    /// 100: never.
    pub fair_from: u32,
    /// Most flows of one source while they are; 0: by their share only.
    pub source_flows: u32,
    /// Most new flows per second of one source while they are; 0: no limit.
    pub source_rate: u32,
    /// Explicit padding.
    pub pad2: u32,
    /// `/proc/sys/kernel/random/boot_id` as its 16 bytes.
    pub boot_id: [u8; 16],
    /// Used entries of `egress4`.
    pub egress4_len: u32,
    /// Used entries of `egress6`.
    pub egress6_len: u32,
    /// Next hop towards the Pods where the routes have none; zero if the family has none.
    pub internal_gateway4: [u8; 4],
    /// Next hop towards the external network where the routes have none.
    pub external_gateway4: [u8; 4],
    /// As `internal_gateway4`.
    pub internal_gateway6: Addr6,
    /// As `external_gateway4`.
    pub external_gateway6: Addr6,
    /// IPv4 egress addresses.
    pub egress4: [[u8; 4]; MAX_EGRESS],
    /// IPv6 egress addresses.
    pub egress6: [Addr6; MAX_EGRESS],
    /// MAC of the internal interface; XDP does not see whom the kernel takes a frame to be for.
    pub internal_mac: Mac,
    /// MAC of the external interface.
    pub external_mac: Mac,
}

impl Config {
    /// All zero, which is no configuration yet; what a build does not set, it takes from here.
    pub const EMPTY: Self = Self {
        clock_offset_ns: 0,
        netns_cookie: 0,
        #[cfg(feature = "layout-next")]
        novel: [0; 4],
        port_key: [0; 2],
        flags: 0,
        internal_ifindex: 0,
        external_ifindex: 0,
        forward_out: 0,
        forward_in: 0,
        internal_mtu: 0,
        external_mtu: 0,
        capacity: 0,
        timeouts: Timeouts {
            tcp_opening: 0,
            tcp_established: 0,
            tcp_half_closed: 0,
            tcp_closing: 0,
            udp_unreplied: 0,
            udp_replied: 0,
            icmp: 0,
            other: 0,
        },
        port_min: 0,
        port_max: 0,
        icmp_max: 0,
        pad: 0,
        fair_from: 100,
        source_flows: 0,
        source_rate: 0,
        pad2: 0,
        boot_id: [0; 16],
        egress4_len: 0,
        egress6_len: 0,
        internal_gateway4: [0; 4],
        external_gateway4: [0; 4],
        internal_gateway6: Addr6::ZERO,
        external_gateway6: Addr6::ZERO,
        egress4: [[0; 4]; MAX_EGRESS],
        egress6: [Addr6::ZERO; MAX_EGRESS],
        internal_mac: Mac([0; 8]),
        external_mac: Mac([0; 8]),
    };
}

const NOVEL: usize = if cfg!(feature = "layout-next") { 16 } else { 0 };
const _: () = assert!(size_of::<Config>() == NOVEL + 32 + 8 * 4 + 32 + 8 + 32 + 8 + 40 + 20 * MAX_EGRESS + 16);
const _: () = assert!(size_of::<Config>().is_multiple_of(8), "no hidden padding at the end");

#[cfg(test)]
mod tests {
    use super::flags;

    /// What builds of another layout take them for.
    #[test]
    fn flags_keep_their_numbers() {
        assert_eq!((flags::PRESERVE_PORT, flags::CSUM_IPV6, flags::YIELD, flags::YIELD_NOT_SYN), (1, 2, 4, 8));
        assert_eq!((flags::MIDFLOW_RESET, flags::MIDFLOW_DROP, flags::FLOW_EVENTS), (16, 32, 64));
        assert_eq!((flags::XDP_OUT, flags::XDP_IN, flags::HOLD_PORTS, flags::NARROWED), (128, 256, 512, 1024));
    }
}
