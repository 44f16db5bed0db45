//! Gateways that are replaced one after the other while traffic flows.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use egress_tests::capture::Capture;
use egress_tests::cluster::example::{Conversation, SELECTED};
use egress_tests::oracle;
use serde_json::json;

use super::site::{Example, MANY, heard};
use crate::{shared, skip_cluster};

const PATIENCE: Duration = Duration::from_secs(120);
/// Old Pods that end may still be seen, and new ones must last.
const AFTER: Duration = Duration::from_secs(10);

#[test]
fn a_rolling_update_lets_nothing_out_by_another_way() -> Result<()> {
    if skip_cluster() {
        return Ok(());
    }
    let shared = shared()?;
    let example = Example::start(shared.cluster()?, 2)?;
    let gateway = example.site.gateway()?;
    let before: BTreeSet<_> = gateway.pods()?.into_iter().map(|pod| pod.uid).collect();
    let eyes = Capture::start(&shared.cluster()?.outside_namespace()?, "eth0")?;
    let talks: Vec<_> = SELECTED
        .iter()
        .flat_map(|pod| MANY.map(|server| (*pod, server)))
        .map(|(pod, server)| example.clients.talk(pod, server, 2 * PATIENCE))
        .collect::<Result<_>>()?;
    let begin = Instant::now();
    // Only what really needs a new Pod makes one.
    example.site.patch("gateway1", &json!({"resources": {"requests": {"cpu": "110m"}}}))?;
    let (mut hops, mut done) = (Vec::new(), None);
    while done.is_none_or(|done| begin.elapsed() < done + AFTER) {
        ensure!(begin.elapsed() < PATIENCE, "the update did not end");
        // As a controller of OVN's rows would do it, only later: it watches.
        let pods = gateway.pods()?;
        let now: Vec<_> = pods.iter().filter(|pod| pod.ready && !pod.ending).map(|pod| pod.uid.clone()).collect();
        if now != hops && !now.is_empty() {
            example.steering.by_ready_pods()?;
            hops = now;
        }
        if done.is_none() && hops.len() == 2 && hops.iter().all(|uid| !before.contains(uid)) {
            done = Some(begin.elapsed());
        }
    }
    let done = done.context("the update did not end")?;
    gateway.wait_until_complete(2)?;
    println!("both Pods were new and steered to after {:.1} s", done.as_secs_f64());
    talks.iter().for_each(Conversation::stop);
    let talks = talks.into_iter().map(heard).collect::<Result<Vec<_>>>()?;
    let lost: u64 = talks.iter().map(|talk| talk.sent - talk.answered).sum();
    let sent: u64 = talks.iter().map(|talk| talk.sent).sum();
    let gap = talks.iter().map(|talk| talk.longest_gap).max().unwrap_or_default();
    println!(
        "of {sent} datagrams of {} conversations {lost} got no answer; longest gap {} ms",
        talks.len(),
        gap.as_millis()
    );
    // Gateways that end at once, instead of going on while Pods are steered elsewhere, lose some hundredths.
    ensure!(lost * 100 <= sent, "{lost} of {sent} datagrams got no answer");
    for talk in &talks {
        let seen: Vec<_> = talk.seen.iter().filter(|it| *it != "172.17.0.11" && *it != "172.17.0.12").collect();
        ensure!(seen.is_empty(), "seen under another address: {talk:?}");
        ensure!(talk.answered * 2 > talk.sent, "most of a conversation was lost: {talk:?}");
    }
    let leaks = oracle::leaks(&eyes.stop()?, &[]);
    ensure!(leaks.is_empty(), "inside addresses were seen outside: {leaks:?}");
    example.clients.leave_by(&["172.17.0.11", "172.17.0.12"]).map(drop)
}
