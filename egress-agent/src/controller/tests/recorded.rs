//! The Deployments of every recorded case beside what Kube-OVN made of the same input.

use std::{collections::BTreeMap, fs};

use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use serde_json::Value;

use super::{fixture, objects, text};
use crate::{
    controller::{Compat, Settings, render::render},
    spec::manifest::values,
};

/// Cases where something else is made than Kube-OVN made, and why.
enum Intended {
    /// Nothing: the input is refused with this.
    Refused(&'static str),
    /// Another value at this pointer of the Deployment.
    Other(&'static str, &'static str),
    /// Kube-OVN made none, for this reason.
    Ours(&'static str),
}

use Intended::{Other, Ours, Refused};

const ROUTES: &str = "/spec/template/metadata/annotations/ovn.kubernetes.io~1routes";

/// Every other case agrees.
const INTENDED: &[(&str, &[Intended])] = &[
    ("10-selector-all-pods", &[Ours("Kube-OVN's Update of the spec dropped the empty matchLabels, and was refused")]),
    ("12-ipblocks-forms-prefix", &[Refused("IPv6, a family with no gateway")]),
    ("16-replicas-0", &[Other("/spec/replicas", "Kube-OVN's Update of the spec made 1 of 0")]),
    ("20-bfd-vpc-port-missing", &[Refused("BFD is not enabled on Vpc ovn-cluster")]),
    ("21-bfd-vpc-port-enabled-later", &[Ours("recorded before Kube-OVN noticed")]),
    (
        "25-bfd-port-ip-changed",
        &[Other(ROUTES, "Kube-OVN does not notice that the Vpc's BFD port has another address")],
    ),
    ("26-bfd-port-disabled", &[Refused("BFD is not enabled on Vpc ovn-cluster")]),
    ("55-deployment-deleted-by-hand", &[Ours("Kube-OVN does not notice that its Deployment is gone")]),
    ("56-deployment-deleted-26s", &[Ours("Kube-OVN does not notice that its Deployment is gone")]),
    ("60-policy-subnet-missing", &[Refused("Subnet \"later\" is not in the files")]),
    ("90-apiserver-forbids-privileged", &[Ours("the API server of that case refused it")]),
];

/// What must agree.
const SAME: [&str; 11] = [
    "/metadata/name",
    "/metadata/namespace",
    "/metadata/labels",
    "/spec/replicas",
    "/spec/selector",
    "/spec/strategy",
    "/spec/template/metadata/labels",
    "/spec/template/metadata/annotations",
    "/spec/template/spec/affinity",
    "/spec/template/spec/tolerations",
    "/spec/template/spec/securityContext",
];

fn cases() -> Vec<String> {
    let entries = fs::read_dir(fixture("")).unwrap().map(|entry| entry.unwrap());
    let folders = entries.filter(|entry| entry.path().is_dir());
    let mut cases: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    cases.sort();
    assert!(cases.len() >= 44, "{cases:?}");
    cases
}

/// The Deployment of a case, or why there is none.
fn ours(case: &str, compat: Compat) -> Result<Value, String> {
    let objects = objects(&[&text("base.yaml"), &text(&format!("{case}/input.yaml"))]);
    let settings = Settings { compat, ..Settings::default() };
    let (list, _) = render(&objects, &settings).map_err(|errors| errors.to_string())?;
    let items = list["items"].as_array().unwrap();
    let kinds: Vec<&str> = items.iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["ConfigMap", "Deployment"]);
    Ok(items[1].clone())
}

/// The paths and values of what must agree; nothing empty, because an empty nodeAffinity says as much as none.
fn leaves(deployment: &Value) -> BTreeMap<String, Value> {
    fn collect(value: &Value, at: &str, found: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    collect(value, &format!("{at}/{}", name.replace('/', "~1")), found);
                }
            }
            Value::Array(items) => {
                for (i, value) in items.iter().enumerate() {
                    collect(value, &format!("{at}/{i}"), found);
                }
            }
            _ => drop(found.insert(at.to_owned(), value.clone())),
        }
    }
    let mut found = BTreeMap::new();
    for pointer in SAME {
        collect(deployment.pointer(pointer).unwrap_or(&Value::Null), pointer, &mut found);
    }
    found.retain(|_, value| !value.is_null());
    found
}

#[test]
fn deployments_are_kube_ovns() {
    let mut agreed = 0;
    for case in cases() {
        let intended = INTENDED.iter().find(|(name, _)| *name == case).map_or(&[][..], |(_, intended)| intended);
        let recorded = text_if_any(&format!("{case}/deployment.yaml"));
        let ours = ours(&case, Compat::KubeOvn);
        match (intended, recorded) {
            ([Refused(reason)], _) => {
                let error = ours.expect_err(&case);
                assert!(error.contains(reason), "{case}: {error}");
            }
            ([Ours(why)], None) => drop(ours.unwrap_or_else(|error| panic!("{case} ({why}): {error}"))),
            (_, None) => panic!("{case}: nothing was recorded, and no reason is given"),
            (_, Some(recorded)) => {
                let (mut ours, mut theirs) =
                    (leaves(&ours.unwrap_or_else(|e| panic!("{case}: {e}"))), leaves(&recorded));
                for difference in intended {
                    let Other(pointer, why) = difference else { panic!("{case}: something was recorded") };
                    let taken = [&mut ours, &mut theirs].map(|leaves| leaves.remove(*pointer));
                    assert_ne!(taken[0], taken[1], "{case}: {pointer} agrees, not: {why}");
                }
                assert_eq!(ours, theirs, "{case}");
                agreed += 1;
            }
        }
    }
    assert!(agreed >= 34, "{agreed}");
}

fn text_if_any(name: &str) -> Option<Value> {
    let text = fs::read_to_string(fixture(name)).ok()?;
    values(&text).unwrap().into_iter().next()
}

/// What Kube-OVN refuses to see in case 12 is the IPv6 block only; without it the rest agrees, but for one route: it has
/// `10.30.1.5/16` beside `10.30.0.0/16`, which is the same.
#[test]
fn forms_of_ip_blocks() {
    let input = text("12-ipblocks-forms-prefix/input.yaml");
    let objects = objects(&[&text("base.yaml"), &input.replace("    - fd00:30::/64\n", "")]);
    let settings = Settings { compat: Compat::KubeOvn, ..Settings::default() };
    let (list, _) = render(&objects, &settings).unwrap();
    let (mut ours, mut theirs) =
        (leaves(&list["items"][1]), leaves(&text_if_any("12-ipblocks-forms-prefix/deployment.yaml").unwrap()));
    assert_eq!(ours["/metadata/name"], "egw-gateway1");
    let (ours_routes, their_routes) = (ours.remove(ROUTES).unwrap(), theirs.remove(ROUTES).unwrap());
    assert_eq!(ours, theirs);
    assert_eq!(
        ours_routes.as_str().unwrap(),
        their_routes.as_str().unwrap().replace(r#"{"dst":"10.30.1.5/16","gw":"10.16.0.1"},"#, "")
    );
}

/// Without `--compat` the Pod has the routes of BFD only: those of policies are the agent's.
#[test]
fn no_policy_is_in_the_pod() {
    for case in cases() {
        let (Ok(ours), Ok(compat)) = (ours(&case, Compat::None), ours(&case, Compat::KubeOvn)) else { continue };
        let (mut ours, mut compat) = (leaves(&ours), leaves(&compat));
        let routes = ours.remove(ROUTES).map(|routes| routes.as_str().unwrap().to_owned()).unwrap_or_default();
        let more = compat.remove(ROUTES).map(|routes| routes.as_str().unwrap().to_owned()).unwrap_or_default();
        assert_eq!(ours, compat, "{case}");
        assert!(routes.is_empty() || routes.contains("10.255.255.25") && !routes.contains("/16"), "{case}: {routes}");
        assert!(more.len() >= routes.len(), "{case}");
    }
}

/// What is applied is what Kubernetes' own types know: a field of another name would be dropped.
#[test]
fn objects_are_kubernetes_own() {
    for case in cases() {
        let objects = objects(&[&text("base.yaml"), &text(&format!("{case}/input.yaml"))]);
        let Ok((list, _)) = render(&objects, &Settings::default()) else { continue };
        let (config, deployment) = (&list["items"][0], &list["items"][1]);
        let typed: Deployment = serde_json::from_value(deployment.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), *deployment, "{case}");
        let typed: ConfigMap = serde_json::from_value(config.clone()).unwrap();
        assert_eq!(serde_json::to_value(typed).unwrap(), *config, "{case}");
    }
}
