//! `egress-agent crd`: the CustomResourceDefinitions.

use anyhow::{Context, Result};

use super::{Crd, output};
use crate::k8s::crd;

pub(super) fn run(args: &Crd) -> Result<()> {
    if let Some(folder) = &args.write {
        return crd::write(folder).with_context(|| format!("--write {}", folder.display()));
    }
    let all = crd::all().iter().map(|(_, crd)| crd::yaml(crd)).collect::<Result<Vec<_>, _>>()?;
    output::print(all.join("---\n").trim_end())
}
