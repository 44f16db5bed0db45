//! An API server alone: etcd and kube-apiserver on loopback, without a controller-manager, nodes or anything that runs Pods. For what is between
//! our controller and the API; tests play the rest, so nothing happens that they did not do. It needs no root, and ends with the value or the process.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::gateway::APPLY;
use super::output;
use super::parts::Parts;
use super::pki::{self, Authority};
use crate::gateway::agent_binary;
use crate::system::name::InstanceName;
use crate::system::process::{spawn, wait};
use crate::wait::eventually;

/// Who the controller is to the API server, as in a Pod of `manifests/base`.
pub const CONTROLLER: &str = "system:serviceaccount:egress-system:egress-gateway-controller";
const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(10);

/// The server.
pub struct ApiServer {
    folder: PathBuf,
    authority: Authority,
    parts: Parts,
    port: u16,
    /// The last is the first to end.
    children: Vec<Child>,
}

impl ApiServer {
    /// Starts it; requests of the users `audited` are written down.
    pub fn start(parts: Parts, audited: &[&str]) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("egress-api-{}", InstanceName::next()?));
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let [client, peer, port] = free_ports()?;
        let mut server = Self { folder, authority: Authority::new("egress-api")?, parts, port, children: Vec::new() };
        server.certificates()?;
        let urls = [client, peer].map(|port| format!("http://127.0.0.1:{port}"));
        let data = server.folder.join("etcd");
        let mut etcd = Command::new(server.parts.etcd());
        etcd.arg("--data-dir").arg(&data).args(["--unsafe-no-fsync", "--log-level=error"]);
        etcd.arg(format!("--listen-client-urls={}", urls[0])).arg(format!("--advertise-client-urls={}", urls[0]));
        etcd.arg(format!("--listen-peer-urls={0}", urls[1]));
        server.launch("etcd", etcd)?;
        let apiserver = server.apiserver(&urls[0], audited)?;
        server.launch("kube-apiserver", apiserver)?;
        eventually("the API server is ready", START, || {
            for child in &mut server.children {
                ensure!(
                    child.try_wait()?.is_none(),
                    "it ended: {}",
                    last_lines(&server.folder.join("kube-apiserver.log"))
                );
            }
            Ok(output(server.kubectl().args(["get", "--raw", "/readyz"])).is_ok())
        })?;
        Ok(server)
    }

    fn certificates(&self) -> Result<()> {
        self.authority.write(&self.folder.join("ca.crt"))?;
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
        self.authority.server(&self.folder, "server", "kube-apiserver", &names)?;
        pki::signing_key(&self.folder)?;
        self.user("admin", "admin", Some("system:masters")).map(drop)
    }

    fn apiserver(&self, etcd: &str, audited: &[&str]) -> Result<Command> {
        let policy = serde_json::json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": audited}, {"level": "None"}],
        });
        fs::write(self.folder.join("audit.json"), policy.to_string()).context("write the audit policy")?;
        let file = |flag: &str, name: &str| format!("--{flag}={}", self.folder.join(name).display());
        let mut command = Command::new(self.parts.apiserver());
        command.args([
            &format!("--etcd-servers={etcd}"),
            &format!("--secure-port={}", self.port),
            "--bind-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            &file("cert-dir", "certs"),
            &file("tls-cert-file", "server.crt"),
            &file("tls-private-key-file", "server.key"),
            &file("client-ca-file", "ca.crt"),
            "--service-account-issuer=https://kubernetes.default.svc",
            &file("service-account-key-file", "sa.pub"),
            &file("service-account-signing-key-file", "sa.key"),
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            // Nobody makes the accounts that Pods would need.
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true",
            &file("audit-policy-file", "audit.json"),
            &file("audit-log-path", "audit.log"),
            "--max-requests-inflight=0",
            "--profiling=false",
        ]);
        Ok(command)
    }

    fn launch(&mut self, name: &str, mut command: Command) -> Result<()> {
        let log = File::create(self.folder.join(format!("{name}.log"))).context("create a log")?;
        command.stdin(Stdio::null()).stdout(log.try_clone().context("open a log")?).stderr(log);
        self.children.push(spawn(command)?);
        Ok(())
    }

    /// The kubeconfig of a user.
    pub fn user(&self, file: &str, user: &str, group: Option<&str>) -> Result<PathBuf> {
        self.authority.client(&self.folder, file, user, group)?;
        let path = self.folder.join(format!("{file}.conf"));
        let config = pki::kubeconfig(&format!("https://127.0.0.1:{}", self.port), &self.folder, file);
        fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.conf")
    }

    /// kubectl, as administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(self.parts.kubectl());
        command.env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.folder);
        command
    }

    /// Applies `manifests/overlays/standalone`, and a cluster's Subnets.
    pub fn furnish(&self) -> Result<()> {
        let manifest = |name: &str, text: &str| -> Result<PathBuf> {
            let path = self.folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            Ok(path)
        };
        let multus = manifest("multus.yaml", include_str!("manifests/multus.yaml"))?;
        let cluster = manifest("cluster.yaml", include_str!("manifests/alone.yaml"))?;
        let overlay = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests/overlays/standalone");
        // What is not of our manifests is not applied in their name.
        let theirs = ["apply", "--server-side", "-f"];
        let ours = [&APPLY[..], &["-k"]].concat();
        for (words, path) in [(&theirs[..], multus), (&ours[..], overlay), (&theirs[..], cluster)] {
            // A kind is known a moment after its definition.
            let mut said = String::new();
            let taken = eventually(&format!("{} is taken", path.display()), START, || {
                let result = output(self.kubectl().args(words).arg(&path));
                said = result.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
                Ok(result.is_ok())
            });
            taken.with_context(|| said.clone())?;
        }
        Ok(())
    }

    /// What an audited user did, but for its Lease: `verb resource[/subresource] [namespace/]name` of each request that ended.
    pub fn requests(&self, user: &str) -> Result<Vec<String>> {
        let text = fs::read_to_string(self.folder.join("audit.log")).context("read the audit log")?;
        let mut all = Vec::new();
        for line in text.lines() {
            // The last line may still be written.
            let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
            let of = &event["objectRef"];
            if event["user"]["username"] != user || event["stage"] != "ResponseComplete" || of["resource"] == "leases" {
                continue;
            }
            let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let place: Vec<String> =
                [&of["namespace"], &of["name"]].map(word).into_iter().filter(|it| !it.is_empty()).collect();
            let resource: Vec<String> =
                [&of["resource"], &of["subresource"]].map(word).into_iter().filter(|it| !it.is_empty()).collect();
            all.push(format!("{} {} {}", word(&event["verb"]), resource.join("/"), place.join("/")));
        }
        Ok(all)
    }

    /// Starts `egress-agent controller` as a user.
    pub fn controller(&self, name: &str, user: &str, arguments: &[&str]) -> Result<Controller> {
        let config = self.user(name, user, None)?;
        let log = self.folder.join(format!("{name}.log"));
        let file = File::create(&log).context("create a log")?;
        let mut command = Command::new(agent_binary());
        command.arg("controller").args(arguments).env("KUBECONFIG", config).env("POD_NAME", name);
        command.stdin(Stdio::null()).stdout(file.try_clone().context("open a log")?).stderr(file);
        Ok(Controller { child: spawn(command)?, log })
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = (child.kill(), child.wait());
        }
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{}: {error}", self.folder.display());
        }
    }
}

/// A running controller.
pub struct Controller {
    child: Child,
    log: PathBuf,
}

impl Controller {
    /// What it said so far.
    pub fn log(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("read {}", self.log.display()))
    }

    /// Returns when it has said this.
    pub fn says(&mut self, words: &str) -> Result<()> {
        eventually(&format!("the controller says {words:?}"), END, || {
            let log = self.log()?;
            ensure!(self.child.try_wait()?.is_none(), "it ended: {log}");
            Ok(log.contains(words))
        })
    }

    /// Resident memory, bytes.
    pub fn memory(&self) -> Result<u64> {
        let text =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).context("the controller's status")?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>().context("VmRSS")? * 1024)
    }

    /// Ends it as the kubelet does; it gives its Lease back.
    pub fn stop(&mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM).context("SIGTERM")?;
        match wait(&mut self.child, END)? {
            Some(status) if status.success() => Ok(()),
            other => bail!("the controller ended by {other:?}: {}", self.log()?),
        }
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        *port = listener.local_addr().context("find a free port")?.port();
        held.push(listener);
    }
    Ok(ports)
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("; ")
}
