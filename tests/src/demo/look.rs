//! How to look into a gateway: `flows`, `bpftool`, `stats`, `doctor`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::report::Report;
use crate::Lab;
use crate::gateway::{Agent, pins};
use crate::skip::in_path;
use crate::system::process;

const HEADING: &str = "3. Looking into it";
/// Checks of `doctor` that say something new to a reader of this report.
const TELLING: [&str; 5] = ["flow table", "forward out", "forward in", "program egw_out", "program egw_guard"];

/// Shows the four.
pub(super) fn show(report: &mut Report, lab: &Lab) -> Result<()> {
    report.heading(HEADING)?;
    let flows = Agent::run(lab, &["flows"])?;
    ensure!(flows.status.success(), "egress-agent flows: {}\n{}", flows.status, flows.stderr);
    report.command("egress-agent flows", &flows.stdout)?;
    bpftool(report, lab)?;
    report.gap()?;
    report.fact("stats", &stats(&Agent::query(lab, "stats")?)?)?;
    doctor(report, &Agent::query(lab, "doctor")?)
}

/// One entry of the IPv4 flow table as bpftool prints it.
fn bpftool(report: &mut Report, lab: &Lab) -> Result<()> {
    if !in_path("bpftool") {
        return report.text("\n(bpftool is not installed: the flow table as it shows it is left out)");
    }
    let map = flows4(lab)?;
    let mut command = Command::new("bpftool");
    command.args(["map", "dump", "pinned"]).arg(&map);
    let dump = process::run(command, None)?;
    ensure!(dump.status.success(), "bpftool map dump pinned {}: {}{}", map.display(), dump.stdout, dump.stderr);
    let entries = entries(&dump.stdout);
    let telling =
        |it: &&String| ["\"proto\": 17,", "\"dir\": 0,", "\"nat_addr\": "].iter().all(|word| it.contains(word));
    let entry = entries.iter().find(telling).context("bpftool shows no outbound UDP flow with its field names")?;
    report.command(&format!("bpftool map dump pinned {}", map.display()), entry)?;
    report.text(&format!(
        "(one of {} entries: each flow has one for its packets out and one for those in)",
        entries.len()
    ))
}

fn flows4(lab: &Lab) -> Result<PathBuf> {
    let maps = pins(lab)?.join("maps");
    let layout = fs::read_dir(&maps).with_context(|| format!("list {}", maps.display()))?.next();
    Ok(layout.context("no maps are pinned")??.path().join("FLOWS4"))
}

/// The entries of a dump. bpftool breaks lines before it closes an array; they are joined again.
fn entries(dump: &str) -> Vec<String> {
    let mut entries = Vec::new();
    let mut entry: Vec<String> = Vec::new();
    for line in dump.lines() {
        let inner = line.strip_prefix("    ").unwrap_or(line);
        match entry.last_mut() {
            _ if line.ends_with("[{") || line == "    },{" || line == "    }" => {
                if !entry.is_empty() {
                    entries.push(format!("{{\n{}\n}}", entry.join("\n")));
                }
                entry.clear();
            }
            Some(last) if inner.trim_start().starts_with(']') => last.push_str(inner.trim_start()),
            _ => entry.push(inner.to_owned()),
        }
    }
    entries
}

fn stats(json: &Value) -> Result<String> {
    let gateway = json.pointer("/gateways/0").context("stats without a gateway")?;
    let number = |path: &str| gateway.pointer(path).and_then(Value::as_u64).with_context(|| format!("stats: {path}"));
    let drops = gateway.get("drops").and_then(Value::as_object).context("stats without drops")?;
    let happened: Vec<_> = drops.iter().filter(|(_, count)| count.as_u64() != Some(0)).collect();
    let happened: Vec<_> = happened.into_iter().map(|(name, count)| format!("{name} {count}")).collect();
    let happened = if happened.is_empty() { "none".to_owned() } else { happened.join(", ") };
    Ok(format!(
        "{} flows of {}; translated packets {} out, {} in; drops by {} reasons: {happened}",
        number("/table/flows")?,
        number("/table/capacity")?,
        number("/counters/out_packets")?,
        number("/counters/in_packets")?,
        drops.len(),
    ))
}

fn doctor(report: &mut Report, json: &Value) -> Result<()> {
    let checks = json.get("checks").and_then(Value::as_array).context("doctor without checks")?;
    let text = |check: &Value, key: &str| check.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let failed: Vec<_> = checks.iter().filter(|it| it.get("ok") != Some(&Value::Bool(true))).collect();
    let failed: Vec<_> = failed.into_iter().map(|it| format!("{}: {}", text(it, "name"), text(it, "detail"))).collect();
    ensure!(failed.is_empty() && !checks.is_empty(), "doctor: {}", failed.join("; "));
    report.fact("doctor", &format!("ok, {} checks; some of them:", checks.len()))?;
    for check in checks.iter().filter(|it| TELLING.contains(&text(it, "name").as_str())) {
        report.fact("", &format!("{:<17} {}", text(check, "name"), text(check, "detail")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_with_their_arrays_joined() {
        let dump = concat!(
            "[{\n        \"key\": {\n            \"saddr\": [10,17\n            ],\n            \"zone\": 0\n        }\n",
            "    },{\n        \"key\": {\n        }\n    }\n]\n"
        );
        let first = "{\n    \"key\": {\n        \"saddr\": [10,17],\n        \"zone\": 0\n    }\n}";
        assert_eq!(entries(dump), [first, "{\n    \"key\": {\n    }\n}"]);
        assert!(entries("[]\n").is_empty());
    }
}
