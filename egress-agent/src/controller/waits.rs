//! Why a Pod does not get on: what its own status says of it.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};

/// What a container waits for when nothing is wrong.
const STARTING: [&str; 2] = ["PodInitializing", "ContainerCreating"];

/// So much of a message is shown.
const SHOWN: usize = 300;

/// In one line, behind a colon; nothing where it only takes its time.
pub(super) fn why(pod: &Pod) -> String {
    reason(pod).map(|why| format!(": {why}")).unwrap_or_default()
}

fn reason(pod: &Pod) -> Option<String> {
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
    if is_false("PodReadyToStartContainers").is_some() {
        return Some("its sandbox is not ready yet (volumes, network; see the Pod's Events)".to_owned());
    }
    let unready: Vec<String> = status.container_statuses.iter().flatten().filter_map(unready).collect();
    if !unready.is_empty() {
        return Some(unready.join(", "));
    }
    // A readiness gate, or a kubelet that says nothing of its containers.
    let running = status.phase.as_deref() == Some("Running");
    let said = is_false("Ready").filter(|_| running)?;
    [&said.message, &said.reason].into_iter().flatten().map(|text| line(text)).find(|text| !text.is_empty())
}

/// Which probe of a container that runs does not hold.
fn unready(status: &ContainerStatus) -> Option<String> {
    status.state.as_ref().filter(|state| state.running.is_some() && !status.ready)?;
    let probe = match status.started {
        Some(true) => "its readiness probe fails",
        Some(false) => "its startup probe has not succeeded yet",
        None => "it runs, but is not ready",
    };
    Some(format!("container {}: {probe} (see the Pod's Events)", status.name))
}

/// What keeps a container from running, or made it start again, and the last words about that.
fn stuck(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    let failed = |ended: &ContainerStateTerminated| ended.exit_code != 0;
    let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref()).filter(|last| failed(last));
    let words = |ended: &ContainerStateTerminated| ended.message.clone();
    let (reason, said) = if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().filter(|reason| !STARTING.contains(reason))?;
        // Of a crash the message only says how long the kubelet waits.
        let said = if reason == "CrashLoopBackOff" { last.and_then(words) } else { waiting.message.clone() };
        (reason.to_owned(), said)
    } else if let Some(ended) = state.terminated.as_ref().filter(|ended| failed(ended)) {
        (ended.reason.clone()?, words(ended))
    } else {
        let last = last.filter(|_| !status.ready && state.running.is_some())?;
        (format!("runs again after {}", last.reason.as_deref().unwrap_or("Error")), words(last))
    };
    let said = said.as_deref().map(line).filter(|said| !said.is_empty());
    let said = said.map(|said| format!(": {said}")).unwrap_or_default();
    Some(format!("container {}: {reason}{said}", status.name))
}

/// The last line that says something.
fn line(text: &str) -> String {
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    last.chars().take(SHOWN).collect()
}
