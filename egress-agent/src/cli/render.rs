//! `egress-agent render`: what the controller would write, for reviews and GitOps.

use std::{io, path::PathBuf};

use anyhow::{Context, Result};

use super::{Render, Text, output};
use crate::{
    controller::render::render,
    spec::{self, Source},
};

pub(super) fn run(args: &Render) -> Result<()> {
    let (stdin, files): (Vec<PathBuf>, Vec<PathBuf>) =
        args.files.iter().cloned().partition(|file| file.as_os_str() == "-");
    let mut sources = spec::read::read(&files)?;
    if !stdin.is_empty() {
        let text = io::read_to_string(io::stdin()).context("standard input")?;
        sources.push(Source { name: "standard input".to_owned(), text });
    }
    let objects = spec::parse_for_api(&sources)?;
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
