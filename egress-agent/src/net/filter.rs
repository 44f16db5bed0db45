//! Filters of a clsact qdisc, where the kernel has no TCX.

use rtnetlink::packet_route::tc::{TcAttribute, TcFilterBpfOption, TcOption};

use super::{Error, Netlink, nl::collect};

impl Netlink {
    /// Whether a BPF filter of this program name is attached to the interface.
    ///
    /// # Errors
    /// The kernel refuses the dump.
    pub async fn has_filter(&self, ifindex: u32, egress: bool, program: &str) -> Result<bool, Error> {
        let get = self.handle().traffic_filter(i32::try_from(ifindex).unwrap_or(0)).get();
        let get = if egress { get.egress() } else { get.ingress() };
        let filters = match collect("filters", get.execute()).await {
            // No clsact qdisc.
            Err(error) if error.is(nix::errno::Errno::EINVAL) || error.is(nix::errno::Errno::ENOENT) => {
                return Ok(false);
            }
            other => other?,
        };
        let ours =
            |option: &TcOption| matches!(option, TcOption::Bpf(TcFilterBpfOption::ProgName(name)) if name == program);
        Ok(filters.iter().flat_map(|filter| &filter.attributes).any(|attribute| match attribute {
            TcAttribute::Options(options) => options.iter().any(ours),
            _ => false,
        }))
    }
}
