//! One test for our gateway and for the kernel's: what the kernel does too is not asked for by mistake.

use anyhow::Result;
use egress_tests::gateway::{Agent, KernelGateway};
use egress_tests::lab::addresses::no_snat_networks;
use egress_tests::{Lab, Need};

use crate::wire::agent;

/// What such tests need.
pub(crate) const NEEDS: &[Need] =
    &[Need::Root, Need::Tool("ip"), Need::Tool("iptables-restore"), Need::Tool("ip6tables-restore"), Need::Agent];

/// A kind of gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `iptables MASQUERADE`.
    Kernel,
    /// Ours.
    Agent,
}

impl Kind {
    pub(crate) const BOTH: [Self; 2] = [Self::Kernel, Self::Agent];

    /// Starts it with the samples' policies; ours ends with the value.
    pub(crate) fn start(self, lab: &Lab) -> Result<Option<Agent<'_>>> {
        match self {
            Self::Kernel => KernelGateway::start(lab, &no_snat_networks()).map(|_| None),
            Self::Agent => agent(lab, &[]).map(Some),
        }
    }
}
