//! What runs in the gateway's namespace.

mod agent;
mod kernel;
mod nft;
pub(crate) mod routes;
pub mod table;

pub use self::agent::{Agent, AgentOptions, Refusal, agent_binary, next_agent_binary, pins};
pub use self::kernel::KernelGateway;
pub use self::nft::NftGateway;

/// A gateway that runs in a lab; its end is its `Drop`.
pub trait Gateway {
    /// What a report calls it.
    fn label(&self) -> &'static str;
}
