//! `egress-agent render`: what the controller would write, for reviews and GitOps.

use anyhow::{Context, Result};

use super::{Render, Text, output};
use crate::{controller::render::render, spec};

pub(super) fn run(args: &Render) -> Result<()> {
    let objects = spec::parse(&spec::read::read(&args.files)?)?;
    let (list, warnings) = render(&objects, &args.images.settings(args.compat))?;
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    match args.output {
        Text::Json => output::json(&list),
        Text::Yaml => {
            let text = serde_saphyr::to_string(&list).context("write YAML")?;
            output::print(text.trim_end())
        }
    }
}
