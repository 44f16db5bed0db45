//! Writes the images of the agent and of the cluster lab's Pods: see [`egress_tests::image`]. Started by `cargo xtask`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use egress_tests::cluster::POD_IMAGE;
use egress_tests::image::{Image, Layer, add_program, crates, document, packages};

/// Files in, the archive of an OCI image out.
#[derive(Parser)]
struct Cli {
    /// Where the archive goes
    #[arg(long)]
    output: PathBuf,
    #[command(subcommand)]
    image: What,
}

#[derive(Subcommand)]
enum What {
    /// The image of test Pods
    Pod { program: PathBuf },
    /// The image of the agent
    Agent {
        program: PathBuf,
        /// Unpacked packages of Debian, with iproute2
        #[arg(long)]
        debian: PathBuf,
        /// What `cargo metadata --format-version 1` says
        #[arg(long)]
        metadata: PathBuf,
        /// `registry/repository:tag`
        #[arg(long)]
        name: String,
        /// The commit that it is built from
        #[arg(long)]
        revision: Option<String>,
    },
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    let mut layer = Layer::default();
    // Mount points must be there where the root is read-only.
    for folder in ["dev", "proc", "sys", "etc", "run", "tmp", "var/run"] {
        layer.add_folder(folder);
    }
    let (name, entrypoint, labels) = match &cli.image {
        What::Pod { program } => {
            layer.add_program("bin/pod", program)?;
            (POD_IMAGE.to_owned(), "/bin/pod", Vec::new())
        }
        What::Agent { program, debian, metadata, name, revision } => {
            for link in ["bin", "sbin", "lib", "lib64"] {
                layer.add_link(link, &format!("usr/{link}"));
            }
            layer.add_program("usr/bin/egress-agent", program)?;
            let debian = fs::canonicalize(debian).with_context(|| format!("find {}", debian.display()))?;
            let used = add_program(&mut layer, &debian, &packages(&debian)?, "usr/bin/ip")?;
            layer.add_link("usr/sbin/ip", "../bin/ip");
            let text = fs::read_to_string(metadata).with_context(|| format!("read {}", metadata.display()))?;
            let crates = crates(&serde_json::from_str(&text).context("cargo's metadata")?, "egress-agent")?;
            let version = crates.iter().find(|it| it.0 == "egress-agent").map(|it| it.1.clone()).unwrap_or_default();
            let sbom = serde_json::to_string_pretty(&document("egress-agent", &crates, &used)).context("the SBOM")?;
            fs::write(cli.output.with_extension("spdx.json"), &sbom).context("write the SBOM")?;
            layer.add_bytes("usr/share/doc/egress-agent/sbom.spdx.json", sbom.into_bytes());
            let label = |key: &str, value: &str| (format!("org.opencontainers.image.{key}"), value.to_owned());
            let mut labels = vec![
                label("title", "egress-agent"),
                label("description", "eBPF egress gateway"),
                label("licenses", "MIT OR Apache-2.0"),
                label("version", &version),
            ];
            labels.extend(revision.iter().map(|revision| label("revision", revision)));
            (name.clone(), "/usr/bin/egress-agent", labels)
        }
    };
    let image = Image { name, layer, entrypoint: vec![entrypoint.to_owned()], labels };
    let digest = image.write(&cli.output)?;
    println!("{} {digest} {}", image.name, cli.output.display());
    Ok(())
}
