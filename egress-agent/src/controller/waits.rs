//! Why a Pod does not get on: what its own status says of it.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

/// What a container waits for when nothing is wrong.
const STARTING: [&str; 2] = ["PodInitializing", "ContainerCreating"];

/// So much of a message is shown.
const SHOWN: usize = 300;

/// In one line; nothing where it only takes its time.
pub(super) fn why(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let is_false = |kind: &str| {
        status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == "False")
    };
    if let Some(unscheduled) = is_false("PodScheduled") {
        return Some(unscheduled.message.as_deref().map_or_else(|| "no Node takes it".to_owned(), line));
    }
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    if let Some(why) = containers.filter_map(stuck).next() {
        return Some(why);
    }
    // The kubelet's Events say more, but nobody keeps those.
    is_false("PodReadyToStartContainers").map(|_| "its network is not set up yet".to_owned())
}

/// What keeps a container from running, and the last words of the one before.
fn stuck(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    let (waiting, ended) = (state.waiting.as_ref(), state.terminated.as_ref());
    let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    let reason = waiting
        .and_then(|waiting| waiting.reason.as_deref())
        .filter(|reason| !STARTING.contains(reason))
        .or_else(|| ended.filter(|ended| ended.exit_code != 0)?.reason.as_deref())?;
    let said = ended.or(last).and_then(|ended| ended.message.as_deref()).map(line).filter(|said| !said.is_empty());
    let said = said.map(|said| format!(": {said}")).unwrap_or_default();
    Some(format!("container {}: {reason}{said}", status.name))
}

/// The last line that says something.
fn line(text: &str) -> String {
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    last.chars().take(SHOWN).collect()
}
