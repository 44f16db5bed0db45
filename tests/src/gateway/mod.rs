//! What runs in the gateway's namespace.

mod agent;
mod kernel;

pub use self::agent::{Agent, AgentOptions, Refusal, agent_binary, pins};
pub use self::kernel::KernelGateway;

/// A gateway that runs in a lab; its end is its `Drop`.
pub trait Gateway {
    /// What a report calls it.
    fn label(&self) -> &'static str;
}
