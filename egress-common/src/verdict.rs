//! Why packets are dropped and what is counted: one list for the programs, `stats`, metrics and the docs.

macro_rules! named {
    ($(#[$top:meta])* $enum:ident, $totals:ident, $count:ident { $($(#[$doc:meta])* $variant:ident = $name:ident,)+ }) => {
        $(#[$top])*
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $enum { $($(#[$doc])* $variant,)+ }

        impl $enum {
            /// Every value in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Name in `stats`, metrics and docs.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($name),)+ }
            }
        }

        /// One number for each, named, so that `bpftool map dump` prints the names.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default)]
        pub struct $totals { $($(#[$doc])* pub $name: u64,)+ }

        /// How many there are.
        pub const $count: usize = $enum::ALL.len();
    };
}

named! {
    /// Why a packet was dropped.
    Drop, Drops, DROPS {
        /// Shorter than its headers say, or a header that contradicts itself.
        Malformed = malformed,
        /// Protocol that cannot be translated: its checksum or ICV covers the addresses.
        Protocol = protocol,
        /// IPv4 options or IPv6 extension headers that steer the packet or record its way, or too many of them.
        Options = options,
        /// Fragment that contradicts its datagram, hides its header, or is beyond the budget.
        Fragment = fragment,
        /// ICMP error about no flow, or that quotes too little.
        IcmpError = icmp_error,
        /// ICMP message that has no translation, such as an unsolicited echo reply.
        IcmpType = icmp_type,
        /// To an own address, without a flow and without a listening socket.
        NoMapping = no_mapping,
        /// From outside, to an address that is neither ours nor in a `snat: false` CIDR.
        NotOurs = not_ours,
        /// From outside with TTL or hop limit at its end.
        TtlInbound = ttl_inbound,
        /// From outside, too big for the way to the Pod, and may not be fragmented.
        TooBigInbound = too_big_inbound,
        /// No route and no Subnet gateway.
        NoRoute = no_route,
        /// A route says blackhole, unreachable or prohibit.
        Blackhole = blackhole,
        /// Forwarding is off for the interface.
        ForwardingOff = forwarding_off,
        /// The flow table is full.
        TableFull = table_full,
        /// Every port that was tried towards this destination is taken.
        PortsExhausted = ports_exhausted,
        /// The table or the destination's ports are crowded, and the source has its share of them.
        SourceLimited = source_limited,
        /// The gateway has no egress address of this family.
        NoEgressAddress = no_egress_address,
        /// The flow's old entry is being removed at this moment.
        FlowBusy = flow_busy,
        /// A TCP RST without a flow.
        RstNoFlow = rst_no_flow,
        /// A TCP segment that neither begins a connection nor belongs to one.
        Midflow = midflow,
        /// Would have left the external interface from an address that may not (`egw_guard`).
        Guard = guard,
        /// A helper refused to change the packet.
        Rewrite = rewrite,
        /// The agent has not written a configuration yet.
        NotConfigured = not_configured,
        /// Frame with a tag that names a VLAN.
        Vlan = vlan,
    }
}

named! {
    /// What is counted beside drops.
    Counter, Counters, COUNTERS {
        /// Translated towards the external network.
        OutPackets = out_packets,
        /// IP bytes of those.
        OutBytes = out_bytes,
        /// Translated towards the Pods.
        InPackets = in_packets,
        /// IP bytes of those.
        InBytes = in_bytes,
        /// Of the packets of both directions, those that went by XDP.
        XdpPackets = xdp_packets,
        /// Forwarded without translation (`snat: false`).
        Untranslated = untranslated,
        /// Handed to the kernel: own addresses, neighbour discovery, what the kernel must answer.
        ToStack = to_stack,
        /// Flows created.
        FlowsCreated = flows_created,
        /// Flows that gave their port to a new one because they were closed.
        FlowsReclaimed = flows_reclaimed,
        /// Flows removed by expiry or because their policy changed.
        FlowsRemoved = flows_removed,
        /// Ports that were tried for new flows.
        PortTries = port_tries,
        /// Next hops asked from the routing table.
        HopLookups = hop_lookups,
        /// Events that did not fit the ring buffer.
        EventsLost = events_lost,
        /// ICMP errors translated, in both directions.
        IcmpErrors = icmp_errors,
        /// ICMP errors that the gateway sent itself about packets from outside.
        IcmpAnswers = icmp_answers,
        /// ICMP errors that it did not send because it had sent many.
        IcmpUnanswered = icmp_unanswered,
        /// TCP RST that the gateway sent itself.
        ResetsSent = resets_sent,
        /// TCP RST that it did not send because it had sent many.
        ResetsWithheld = resets_withheld,
        /// Fragments held because they came before their datagram's first.
        FragmentsHeld = fragments_held,
        /// Held fragments that went on when the first came.
        FragmentsReleased = fragments_released,
    }
}
