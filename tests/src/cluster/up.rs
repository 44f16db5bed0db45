//! From nothing to a cluster that takes Pods.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::folder::Folder;
use super::gateway::APPLY;
use super::layout::{CONTROL_PLANE, JOIN, Machine, NODES};
use super::{Cluster, cgroup, files, output, start};
use crate::system::cleanup;
use crate::wait::eventually;

const CRDS: &str = include_str!("manifests/crds.yaml");
const NETWORK: &str = include_str!("manifests/network.yaml");
const PATIENCE: Duration = Duration::from_secs(90);

impl Cluster {
    /// Brings it up; what was made is removed again if that fails or is interrupted.
    pub(super) fn bring_up(&self, say: &mut dyn FnMut(&str)) -> Result<()> {
        ensure!(nix::unistd::geteuid().is_root(), "a cluster needs root");
        if let Some(reason) = cgroup::why_not() {
            bail!("{reason}");
        }
        sweep();
        ensure!(
            !self.folder.exists(),
            "cluster {0} is up already: `cargo xtask cluster --name {0} down` ends it",
            self.name
        );
        let folder = self.folder.clone();
        cleanup::at_signal(move || start::interrupt(&folder))?;
        let result = self.steps(say);
        if result.is_err() && self.folder.exists() {
            let words = self.why();
            start::end(&self.folder)?;
            return result.with_context(|| format!("cluster {}: {words}", self.name));
        }
        result
    }

    fn steps(&self, say: &mut dyn FnMut(&str)) -> Result<()> {
        let begin = Instant::now();
        let mut say = |what: &str| say(&format!("{:5.2} s  {what}", begin.elapsed().as_secs_f64()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        let port = listener.local_addr().context("find a free port")?.port();
        {
            let _making = start::making()?;
            self.folder.create()?;
            files::write(&self.folder, port)?;
        }
        let machines = Machine::all();
        for machine in &machines {
            start::start(&self.folder, &self.parts, &self.program, &self.name, machine)?;
        }
        for node in machines.iter().filter(|machine| machine.is_node()) {
            start::plug(&self.folder, node)?;
        }
        // Until now nobody else could take it.
        drop(listener);
        self.open_port(port)?;
        say("machines started and connected");
        self.until("the API server is ready", || self.succeeds(&["get", "--raw", "/readyz"]))?;
        say("the API server is ready");
        // In the name of our manifests, which make some of them stricter.
        self.feed(&[&APPLY[..], &["-f", "-"]].concat(), CRDS).context("what Kube-OVN and Multus define")?;
        self.until("Kube-OVN's objects are taken", || self.apply(NETWORK).is_ok())?;
        say("Kube-OVN's objects are there");
        for node in NODES {
            self.until(&format!("{node} is Ready"), || {
                self.succeeds(&["wait", "--for=condition=Ready", &format!("node/{node}"), "--timeout=60s"])
            })?;
        }
        self.until("there is a service account", || self.succeeds(&["get", "serviceaccount", "default"]))?;
        say("nodes are Ready");
        self.overlay_reaches()?;
        say("the overlay reaches every machine");
        Ok(())
    }

    /// Every machine reaches the router and every other machine through the overlay, in both families.
    fn overlay_reaches(&self) -> Result<()> {
        let machines = Machine::all();
        let routers = JOIN.map(|it| it.split_once('/').map_or(it, |(address, _)| address).to_owned());
        thread::scope(|scope| {
            let all: Vec<_> = machines
                .iter()
                .map(|from| {
                    let others = machines.iter().filter(move |to| *to != from).map(Machine::join);
                    let others = others.flat_map(|(v4, v6)| [v4.to_string(), v6.to_string()]);
                    let to: Vec<_> = routers.iter().cloned().chain(others).collect();
                    scope.spawn(move || to.iter().try_for_each(|to| self.ping(&from.name, to)))
                })
                .collect();
            all.into_iter().try_for_each(|one| one.join().unwrap_or_else(|_| bail!("a thread panicked")))
        })
    }

    fn ping(&self, from: &str, to: &str) -> Result<()> {
        self.until(&format!("{from} reaches {to} through the overlay"), || {
            let ping = self.inside(from, "ping");
            ping.is_ok_and(|mut ping| output(ping.args(["-c1", "-W0.3", to])).is_ok())
        })
    }

    /// The port on which people find the API.
    fn open_port(&self, port: u16) -> Result<()> {
        let center = self.folder.process(CONTROL_PLANE).context("no control plane")?.pid;
        let mut command = Command::new(&self.program);
        // The name only says whose it is.
        command.args(["--name", &self.name, "machine", "forward", &port.to_string(), &center.to_string()]);
        start::launch(&self.folder, start::FORWARD, &mut command).map(drop)
    }

    fn until(&self, what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
        eventually(what, PATIENCE, || {
            for role in Machine::all().iter().map(|machine| machine.name.as_str()).chain([start::FORWARD]) {
                let lives = self.folder.process(role).is_some_and(|process| process.lives());
                ensure!(lives, "{role} ended: {}", start::last_words(&self.folder, role));
            }
            Ok(done() || {
                thread::sleep(Duration::from_millis(50));
                false
            })
        })
    }

    fn succeeds(&self, arguments: &[&str]) -> bool {
        let mut kubectl = self.kubectl();
        kubectl.args(arguments).args(["--request-timeout=60s"]).stdout(Stdio::null()).stderr(Stdio::null());
        kubectl.status().is_ok_and(|status| status.success())
    }

    /// Puts Vpcs, Subnets and attachments back as they are from the start.
    pub fn restore_networks(&self) -> Result<()> {
        self.apply(NETWORK).map(drop)
    }

    /// `kubectl apply` of a manifest.
    pub fn apply(&self, manifest: &str) -> Result<String> {
        self.apply_in("default", manifest)
    }

    /// The same; what names no namespace goes into this one.
    pub fn apply_in(&self, namespace: &str, manifest: &str) -> Result<String> {
        self.feed(&["--namespace", namespace, "apply", "-f", "-"], manifest)
    }

    /// kubectl with these words and a manifest on its standard input.
    fn feed(&self, words: &[&str], manifest: &str) -> Result<String> {
        use std::io::Write as _;
        let mut kubectl = self.kubectl();
        kubectl.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = kubectl.spawn().context("start kubectl")?;
        if let Some(mut pipe) = child.stdin.take() {
            pipe.write_all(manifest.as_bytes()).context("hand a manifest to kubectl")?;
        }
        let result = child.wait_with_output().context("wait for kubectl")?;
        ensure!(result.status.success(), "kubectl apply: {}", String::from_utf8_lossy(&result.stderr).trim());
        Ok(String::from_utf8_lossy(&result.stdout).into_owned())
    }

    /// The last words of every machine, for an error.
    fn why(&self) -> String {
        let words = |machine: &Machine| format!("{}: {}", machine.name, start::last_words(&self.folder, &machine.name));
        Machine::all().iter().map(words).collect::<Vec<_>>().join("; ")
    }
}

/// Ends clusters whose process is dead.
fn sweep() {
    for (name, folder) in Folder::all() {
        if Folder::is_orphan(&name)
            && let Err(error) = start::end(&folder)
        {
            eprintln!("leftover cluster {name}: {error:#}");
        }
    }
}
