//! `egress-agent render`, called as people call it.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};

fn sample(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/samples").join(name).display().to_string()
}

/// What it does with these files, `-` being this text.
fn render(files: &[&str], stdin: &str) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_egress-agent"));
    command.arg("render").args(files.iter().flat_map(|file| ["--file", file]));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().context("start the agent")?;
    child.stdin.take().context("no pipe")?.write_all(stdin.as_bytes()).context("write to the agent")?;
    child.wait_with_output().context("wait for the agent")
}

#[test]
fn standard_input_is_read_like_a_file() -> Result<()> {
    let (cluster, gateway) = (sample("cluster.yaml"), sample("gateway1.yaml"));
    let text = std::fs::read_to_string(&gateway)?;
    let files = render(&[&cluster, &gateway], "")?;
    let words = String::from_utf8_lossy(&files.stdout);
    ensure!(files.status.success() && words.contains("kind: Deployment"), "{files:?}");
    for order in [[&*cluster, "-"], ["-", &*cluster]] {
        let piped = render(&order, &text)?;
        ensure!(piped.status.success() && piped.stdout == files.stdout, "{order:?}: {piped:?}");
    }
    let all = format!("{}\n---\n{text}", std::fs::read_to_string(&cluster)?);
    ensure!(render(&["-"], &all)?.stdout == files.stdout, "not the same from one stream");
    Ok(())
}

#[test]
fn a_mistake_on_standard_input_is_named() -> Result<()> {
    let wrong = "{apiVersion: kubeovn.io/v1, kind: VpcEgressGateway, metadata: {name: g}, spec: {replicas: many}}";
    for (text, want) in [
        (wrong, "standard input, document 1, VpcEgressGateway g, spec.replicas: "),
        ("", "the files hold no VpcEgressGateway"),
    ] {
        let refused = render(&[&sample("cluster.yaml"), "-"], text)?;
        let words = String::from_utf8_lossy(&refused.stderr);
        ensure!(!refused.status.success() && refused.stdout.is_empty() && words.contains(want), "{refused:?}");
    }
    Ok(())
}
