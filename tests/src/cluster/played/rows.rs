//! Rows of the northbound database, and the commands of `ovn-nbctl` that make and remove them.

use std::collections::BTreeSet;

/// A row, or a few that belong together; in the order in which they are made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Row {
    /// A Vpc's router.
    Router(String),
    /// The router's port in a Subnet: its name, MAC and addresses.
    RouterPort { router: String, port: String, mac: String, networks: Vec<String> },
    /// A Subnet's switch, and its port that leads to the router's.
    Switch { name: String, port: String, router_port: String },
    /// A static route.
    Route { router: String, destination: String, via: String },
    /// A port of a Pod or a Node.
    Port { switch: String, name: String, addresses: String, ids: Vec<(String, String)> },
    /// A port group.
    Group { name: String, ids: Vec<(String, String)> },
    /// What is in it.
    Members { group: String, ports: BTreeSet<String> },
    /// A policy of a router.
    Policy {
        router: String,
        priority: u16,
        matches: String,
        action: String,
        nexthop: Option<String>,
        ids: Vec<(String, String)>,
    },
}

/// One command: its words.
pub(super) type Command = Vec<String>;

/// Words split at blanks.
fn words(text: &str) -> Command {
    text.split(' ').map(ToOwned::to_owned).collect()
}

/// Everything of Kube-OVN's says so.
fn ids(more: &[(String, String)]) -> Command {
    let more = more.iter().map(|(key, value)| format!("external_ids:{key}=\"{value}\""));
    ["external_ids:vendor=kube-ovn".to_owned()].into_iter().chain(more).collect()
}

impl Row {
    /// The commands that make it, whether it is there or not.
    pub(super) fn make(&self) -> Vec<Command> {
        let set = |table: &str, name: &str, more: &[(String, String)]| {
            [words(&format!("set {table} {name}")), ids(more)].concat()
        };
        match self {
            Self::Router(name) => vec![words(&format!("--may-exist lr-add {name}")), set("logical_router", name, &[])],
            Self::RouterPort { router, port, mac, networks } => vec![
                [words(&format!("--may-exist lrp-add {router} {port} {mac}")), networks.clone()].concat(),
                set("logical_router_port", port, &[]),
            ],
            Self::Switch { name, port, router_port } => vec![
                words(&format!("--may-exist ls-add {name}")),
                set("logical_switch", name, &[]),
                words(&format!("--may-exist lsp-add {name} {port}")),
                words(&format!("lsp-set-type {port} router")),
                words(&format!("lsp-set-addresses {port} router")),
                words(&format!("lsp-set-options {port} router-port={router_port}")),
            ],
            Self::Route { router, destination, via } => {
                vec![words(&format!("--may-exist lr-route-add {router} {destination} {via}"))]
            }
            Self::Port { switch, name, addresses, ids } => vec![
                words(&format!("--may-exist lsp-add {switch} {name}")),
                vec!["lsp-set-addresses".to_owned(), name.clone(), addresses.clone()],
                set("logical_switch_port", name, ids),
            ],
            Self::Group { name, ids } => vec![words(&format!("pg-add {name}")), set("port_group", name, ids)],
            Self::Members { group, ports } if ports.is_empty() => {
                vec![words(&format!("clear port_group {group} ports"))]
            }
            Self::Members { group, ports } => {
                vec![words(&format!("pg-set-ports {group}")).into_iter().chain(ports.iter().cloned()).collect()]
            }
            Self::Policy { router, priority, matches, action, nexthop, ids: more } => {
                // Within a transaction no two may have one name.
                let name = format!("p{priority}_{}", matches.replace(|c: char| !c.is_ascii_alphanumeric(), "_"));
                let mut create = words(&format!("--id=@{name} create logical_router_policy"));
                create.extend([
                    format!("priority={priority}"),
                    format!("match=\"{matches}\""),
                    format!("action={action}"),
                ]);
                create.extend(nexthop.iter().map(|nexthop| format!("nexthops=\"{nexthop}\"")));
                create.extend(ids(more));
                vec![create, words(&format!("add logical_router {router} policies @{name}"))]
            }
        }
    }

    /// The commands that remove it, whether it is there or not.
    pub(super) fn unmake(&self) -> Vec<Command> {
        match self {
            Self::Router(name) => vec![words(&format!("--if-exists lr-del {name}"))],
            Self::RouterPort { port, .. } => vec![words(&format!("--if-exists lrp-del {port}"))],
            Self::Switch { name, .. } => vec![words(&format!("--if-exists ls-del {name}"))],
            Self::Route { router, destination, via } => {
                vec![words(&format!("--if-exists lr-route-del {router} {destination} {via}"))]
            }
            Self::Port { name, .. } => vec![words(&format!("--if-exists lsp-del {name}"))],
            Self::Group { name, .. } => vec![words(&format!("--if-exists destroy port_group {name}"))],
            // The row that takes its place says who is in it; OVN forgets ports that go.
            Self::Members { .. } => Vec::new(),
            Self::Policy { router, priority, matches, .. } => {
                let priority = priority.to_string();
                vec![["--if-exists", "lr-policy-del", router, &priority, matches].map(ToOwned::to_owned).into()]
            }
        }
    }
}
