//! Settings of a gateway that its VpcEgressGateway cannot say: an EgressGatewayProfile with its defaults.

mod check;

use std::{fmt, str::FromStr};

pub(super) use check::resolve;
use serde::{Deserialize, Serialize};

/// Settings of one gateway. The default holds where no profile says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// `namespace/name` of the EgressGatewayProfile; none: built-in defaults.
    pub name: Option<String>,
    /// When idle flows end.
    pub timeouts: Timeouts,
    /// Ports for new flows.
    pub port_range: PortRange,
    /// How a new flow's port is chosen.
    pub port_selection: PortSelection,
    /// Explicit size of the flow table, a power of two; none: what the memory limit holds.
    pub max_flows: Option<u32>,
    /// What becomes of a TCP segment in mid-connection that belongs to no flow.
    pub midflow: Midflow,
    /// When and how sources are limited.
    pub fairness: Fairness,
    /// How translated packets leave.
    pub forward: Forward,
    /// Where the programs are attached.
    pub datapath: Datapath,
}

/// Seconds after which a flow that carries nothing ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp_opening: 60,
            tcp_established: 7440,
            tcp_half_closed: 7440,
            tcp_closing: 240,
            udp_unreplied: 120,
            udp_replied: 300,
            icmp: 60,
            other: 600,
        }
    }
}

/// Ports, both ends included.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    /// Lowest.
    pub min: u16,
    /// Highest.
    pub max: u16,
}

impl Default for PortRange {
    fn default() -> Self {
        Self { min: 1024, max: LAST_PORT }
    }
}

/// What a source may take while others need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fairness {
    /// Per cent of the table, or of an egress address's ports towards one destination, from which the largest sources are
    /// limited; 100: never.
    pub from_percent: u32,
    /// Most flows of one source from there on; none: by its share only.
    pub max_flows_per_source: Option<u32>,
    /// Most new flows per second of one source from there on; none: no limit.
    pub new_flows_per_source_per_second: Option<u32>,
}

impl Default for Fairness {
    fn default() -> Self {
        Self { from_percent: 75, max_flows_per_source: None, new_flows_per_source_per_second: None }
    }
}

/// The ports above belong to the gateway's own connections.
const LAST_PORT: u16 = 57343;

/// How a new flow's port is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortSelection {
    /// Keyed random (RFC 6056).
    #[default]
    Random,
    /// The source port where it is free, else random.
    Preserve,
}

/// What becomes of a TCP segment in mid-connection that belongs to no flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Midflow {
    /// A flow is opened for it.
    #[default]
    Takeover,
    /// It is answered with RST, in both directions.
    Reset,
    /// It is dropped.
    Drop,
}

/// How translated packets leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// The fastest that works, by what each interface is.
    #[default]
    Auto,
    /// `bpf_redirect_peer`.
    Peer,
    /// `bpf_redirect_neigh`.
    Neigh,
    /// The kernel routes them.
    Stack,
}

/// Where the programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Datapath {
    /// TC.
    #[default]
    Auto,
    /// TC.
    Tc,
    /// TC, and native XDP in front of it on interfaces that have it.
    Xdp,
}

impl FromStr for PortSelection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "random" => Ok(Self::Random),
            "preserve" => Ok(Self::Preserve),
            _ => Err(format!("{text:?} is unknown; write random or preserve")),
        }
    }
}

impl FromStr for Midflow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "takeover" => Ok(Self::Takeover),
            "reset" => Ok(Self::Reset),
            "drop" => Ok(Self::Drop),
            _ => Err(format!("{text:?} is unknown; write takeover, reset or drop")),
        }
    }
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "peer" => Ok(Self::Peer),
            "neigh" => Ok(Self::Neigh),
            "stack" => Ok(Self::Stack),
            _ => Err(format!("{text:?} is unknown; write auto, peer, neigh or stack")),
        }
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Peer => "peer",
            Self::Neigh => "neigh",
            Self::Stack => "stack",
        })
    }
}

impl FromStr for Datapath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "tc" => Ok(Self::Tc),
            "xdp" => Ok(Self::Xdp),
            _ => Err(format!("{text:?} is unknown; write auto, tc or xdp")),
        }
    }
}
