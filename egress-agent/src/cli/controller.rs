//! `egress-agent controller`.

use std::env;

use anyhow::Result;

use super::Controller;
use crate::{controller::Compat, role::controller};

pub(super) fn run(args: Controller) -> Result<()> {
    let settings = args.images.settings(Compat::None);
    let identity = env::var("POD_NAME").unwrap_or_else(|_| format!("egress-agent-{}", std::process::id()));
    let (mode, namespace, health_port) = (args.mode, args.namespace, args.health_port);
    controller::run(&controller::Options { mode, settings, namespace, identity, health_port })
}
