//! What is accepted, and what follows from it.

use super::*;

const SAME: (&str, &str) = ("", "");

fn accepted(gateway: (&str, &str), cluster: (&str, &str), observed: &Observed) -> Desired {
    edited(gateway, cluster, observed).unwrap_or_else(|errors| panic!("{gateway:?} {cluster:?}: {errors}"))
}

/// Warnings about this field.
fn about(plan: &Desired, field: &str) -> Vec<String> {
    let mark = format!("{field}: ");
    plan.warnings.iter().filter_map(|w| w.split_once(&mark).map(|(_, reason)| reason.to_owned())).collect()
}

fn selected(selectors: &str, cluster: (&str, &str)) -> (Vec<String>, Desired) {
    let all = GATEWAY1.find("  selectors:").unwrap()..GATEWAY1.find("  policies:").unwrap();
    let plan = accepted((&GATEWAY1[all], &format!("  selectors: {selectors}\n")), cluster, &single());
    (plan.selected.iter().map(ToString::to_string).collect(), plan)
}

#[test]
fn host_bits_and_single_addresses() {
    let plan = accepted(("- 10.18.0.0/16", "- 10.18.3.4/16\n        - 192.0.2.7"), SAME, &single());
    assert_eq!(plan.no_snat, nets(&["10.18.0.0/16", "192.0.2.7/32"]));
    assert_eq!(plan.routes, nets(&["10.17.0.0/16", "10.18.0.0/16", "192.0.2.7/32"]));
}

#[test]
fn snat_false_wins() {
    let plan = accepted(
        ("- snat: true\n", "- snat: true\n      ipBlocks: [10.18.0.0/16, 10.18.5.0/24, 10.0.0.0/8]\n"),
        SAME,
        &single(),
    );
    assert_eq!(plan.no_snat, nets(&["10.18.0.0/16"]));
    let because = "10.18.0.0/16 in spec.policies[1].ipBlocks[0] says snat: false";
    assert_eq!(about(&plan, "spec.policies[0].ipBlocks[0]"), [format!("10.18.0.0/16 is not translated: {because}")]);
    assert_eq!(about(&plan, "spec.policies[0].ipBlocks[1]"), [format!("10.18.5.0/24 is not translated: {because}")]);
    assert_eq!(about(&plan, "spec.policies[0].ipBlocks[2]"), Vec::<String>::new());
}

#[test]
fn routes_leave_the_outside_alone() {
    let blocks =
        "- 10.16.5.0/24\n        - 10.0.0.0/8\n        - 0.0.0.0/0\n        - 172.17.0.0/16\n        - 172.16.0.0/12";
    let plan = accepted(("- 10.18.0.0/16", blocks), SAME, &single());
    assert_eq!(plan.no_snat, nets(&["10.16.5.0/24", "10.0.0.0/8", "0.0.0.0/0", "172.17.0.0/16", "172.16.0.0/12"]));
    assert_eq!(plan.routes, nets(&["10.17.0.0/16", "10.0.0.0/8", "172.16.0.0/12"]));
    for (i, net) in [(2, "0.0.0.0/0"), (3, "172.17.0.0/16")] {
        let want = format!("{net} leads to the external network; no route through the internal gateway is set for it");
        assert_eq!(about(&plan, &format!("spec.policies[1].ipBlocks[{i}]")), [want]);
    }
}

#[test]
fn listed_addresses_that_the_interface_has() {
    let second = observed(&["eth0 10.16.0.13/16", "net1 172.17.0.12/16 172.17.0.99/16"]);
    assert_eq!(accepted(SAME, SAME, &second).egress, ips(&["172.17.0.12"]));
    let reversed = observed(&["eth0 10.16.0.13/16", "net1 172.17.0.12/16 172.17.0.11/16"]);
    assert_eq!(accepted(SAME, SAME, &reversed).egress, ips(&["172.17.0.11", "172.17.0.12"]));
}

#[test]
fn without_a_list_the_first_address_of_each_family() {
    let gateway = GATEWAY2.replace(
        "  externalIPs:\n    - 172.17.0.11,fd00:172:17::11\n    - 172.17.0.12,fd00:172:17::12\n",
        "  externalIPPool: pool\n",
    );
    let files = [("g", &*gateway), ("c", CLUSTER)];
    let interfaces = observed(&[
        "eth0 10.16.0.12/16 fd00:10:16::c/112",
        "net1 10.1.1.1/24 172.17.0.4/16:link 172.17.0.12/16 172.17.0.11/16 fd00:172:17::1:2/64:dynamic \
         fd00:172:17::1:3/64:tentative fd00:172:17::12/64",
    ]);
    let plan = run(&files, None, &interfaces, &Flags::default()).unwrap();
    assert_eq!(plan.egress, ips(&["172.17.0.12", "fd00:172:17::12"]));
    assert_eq!(
        about(&plan, "spec.externalIPPool"),
        ["is not served yet: the addresses that the interface has are taken"]
    );
}

#[test]
fn a_tentative_family_is_waited_for() {
    let files = [("g", GATEWAY2), ("c", CLUSTER)];
    for (eth0, net1, who) in [
        ("fd00:10:16::c/112:tentative", "fd00:172:17::11/64", "fd00:10:16::c of eth0"),
        ("fd00:10:16::c/112", "fd00:172:17::11/64:tentative", "fd00:172:17::11, fd00:172:17::12 of net1"),
    ] {
        let interfaces = observed(&[&format!("eth0 10.16.0.12/16 {eth0}"), &format!("net1 172.17.0.11/16 {net1}")]);
        let plan = run(&files, None, &interfaces, &Flags::default()).unwrap();
        let want = format!("fd00:10:18::/112 is not served yet: {who} is tentative");
        assert_eq!(about(&plan, "spec.policies[1].ipBlocks[1]"), [want]);
        assert!(plan.no_snat.contains(&"fd00:10:18::/112".parse().unwrap()));
    }
    // An address that is not there at all is a mistake.
    let interfaces = observed(&["eth0 10.16.0.12/16", "net1 172.17.0.11/16 fd00:172:17::11/64"]);
    let errors = run(&files, None, &interfaces, &Flags::default()).unwrap_err().to_string();
    let want = "fd00:10:18::/112 is IPv6, a family with no gateway: eth0 has no address in fd00:10:16::/112";
    assert!(errors.contains(want), "{errors}");
}

#[test]
fn flags_choose_among_several() {
    let interfaces =
        observed(&["eth0 10.16.0.12/16", "eth1 10.16.0.13/16", "net1 172.17.0.11/16", "net2 172.17.0.12/16"]);
    let flags = Flags {
        internal: Some("eth1".to_owned()),
        external: Some("net2".to_owned()),
        forward: Some(profile::Forward::Stack),
    };
    let plan = run(&[("g", GATEWAY1), ("c", CLUSTER), ("p", PROFILE)], None, &interfaces, &flags).unwrap();
    assert_eq!((plan.internal.interface.as_str(), plan.external.interface.as_str()), ("eth1", "net2"));
    assert_eq!((plan.egress, plan.profile.forward), (ips(&["172.17.0.12"]), profile::Forward::Stack));
}

#[test]
fn selectors_match_namespaces_and_pods() {
    let both = ["10.17.0.9", "10.17.0.10", "10.18.0.5"];
    let expressions = |e: &str| format!("[{{podSelector: {{matchExpressions: [{{key: app, {e}}}]}}}}]");
    for (selectors, want) in [
        ("[{}]", &both[..]),
        ("[{podSelector: {}}]", &both),
        ("[{namespaceSelector: {}}]", &both),
        ("[{podSelector: {matchLabels: {app: myapp}}}]", &["10.17.0.10"]),
        ("[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ns2}}}]", &both[1..]),
        ("[{namespaceSelector: {matchLabels: {team: a}}}]", &[]),
        (&expressions("operator: In, values: [x, myapp]"), &["10.17.0.10"]),
        (&expressions("operator: NotIn, values: [myapp]"), &["10.17.0.9", "10.18.0.5"]),
        (&expressions("operator: Exists"), &["10.17.0.10"]),
        (&expressions("operator: DoesNotExist"), &["10.17.0.9", "10.18.0.5"]),
        (
            "[{podSelector: {matchLabels: {app: myapp, x: z}}}, {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ns1}}}]",
            &["10.17.0.9"],
        ),
    ] {
        assert_eq!(selected(selectors, SAME).0, want, "{selectors}");
    }
}

#[test]
fn a_namespace_that_is_not_in_the_files_has_its_name() {
    let missing = (
        "kind: Namespace\nmetadata:\n  name: ns1\n  labels:\n    kubernetes.io/metadata.name: ns1",
        "kind: Namespace\nmetadata: {name: other}",
    );
    let by_name = "[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ns1}}}]";
    assert_eq!(selected(by_name, missing).0, ["10.17.0.9"]);
}

#[test]
fn pods_without_an_address_of_their_own() {
    let client1 = "status:\n  phase: Running\n  podIPs:\n    - ip: 10.17.0.9\n    - ip: fd00:10:17::9";
    let annotation = "metadata.annotations[ovn.kubernetes.io/ip_address]";
    for (edit, want, field) in [
        ("status: {phase: Pending}", &[][..], "status.podIPs"),
        ("status: {phase: Running, podIP: 10.17.0.20}", &["10.17.0.20"], ""),
        ("spec: {hostNetwork: true}\nstatus: {podIPs: [{ip: 192.0.2.1}]}", &[], "spec.hostNetwork"),
        ("status: {phase: Succeeded, podIPs: [{ip: 10.17.0.9}]}", &[], "status.phase"),
        ("status: {phase: Failed, podIPs: [{ip: 10.17.0.9}]}", &[], "status.phase"),
    ] {
        let (pods, plan) =
            selected("[{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ns1}}}]", (client1, edit));
        assert_eq!(pods, want, "{edit}");
        let at = "cluster.yaml, document 6, Pod ns1/client1";
        let named = plan.warnings.iter().any(|w| w.starts_with(&format!("{at}, {field}: ")));
        assert_eq!(named, !field.is_empty(), "{edit}: {:?}", plan.warnings);
    }
    let annotated = |value: &str| {
        let edit = format!("  annotations: {{ovn.kubernetes.io/ip_address: '{value}'}}");
        edited(SAME, (client1, &edit), &single())
    };
    assert_eq!(
        annotated("10.17.0.21,fd00:10:17::21").unwrap().selected,
        ips(&["10.17.0.10", "10.17.0.21"]).into_iter().collect()
    );
    assert!(annotated("10.17.0").unwrap_err().to_string().contains(annotation));
}

#[test]
fn gateways_and_pods_of_other_vpcs_never_match() {
    for edit in [
        "name: client1\n  labels: {ovn.kubernetes.io/vpc-egress-gateway: gateway9}",
        "name: client1\n  annotations: {ovn.kubernetes.io/logical_router: vpc1}",
    ] {
        assert_eq!(selected("[{}]", ("name: client1", edit)).0, ["10.17.0.10", "10.18.0.5"], "{edit}");
    }
    let ours = "name: client1\n  annotations: {ovn.kubernetes.io/logical_router: ovn-cluster}";
    assert_eq!(selected("[{}]", ("name: client1", ours)).0.len(), 3);
}

#[test]
fn fields_that_are_not_served_yet() {
    for (field, yaml, known) in [
        ("spec.bfd", "bfd: {enabled: true}", true),
        ("spec.bfd", "bfd: {enabled: false, minRX: 1000, minTX: 1000, multiplier: 3}", false),
        ("spec.bgpConf", "bgpConf: b", true),
        ("spec.evpnConf", "evpnConf: e", true),
        ("spec.bandwidth.ingress", "bandwidth: {ingress: 100}", true),
        ("spec.bandwidth.egress", "bandwidth: {egress: 1.5G}", true),
        ("spec.bandwidth.egress", "bandwidth: {ingress: 100, egress: '0'}", false),
        ("spec.observability", "observability: {interfaceMetrics: {enabled: true}}", true),
        ("spec.trafficPolicy", "trafficPolicy: Local", true),
        ("spec.trafficPolicy", "trafficPolicy: Cluster", false),
        ("spec.internalIPPool", "internalIPPool: p", true),
    ] {
        let plan = accepted(("replicas: 1", yaml), SAME, &single());
        let told = about(&plan, field);
        assert_eq!(told.len(), usize::from(known), "{yaml}: {told:?}");
        assert!(told.iter().all(|reason| reason.starts_with("is not served yet: ")), "{told:?}");
    }
}

#[test]
fn other_oddities_are_told() {
    let provider = ("\"provider\": \"underlay-ext.default.ovn\"", "\"provider\": \"other.default.ovn\"");
    assert_eq!(
        about(&accepted(provider, SAME, &single()), "spec.config"),
        ["has provider other.default.ovn, Subnet underlay-ext has underlay-ext.default.ovn; they must be equal"]
    );
    let broken = accepted(("\"cniVersion\": \"0.3.0\",", "\"cniVersion\""), SAME, &single());
    assert!(about(&broken, "spec.config")[0].starts_with("is no JSON: "));
    let foreign = "name: subnet1\nspec:\n  protocol: Dual\n  vpc: ";
    let plan = accepted(SAME, (&format!("{foreign}ovn-cluster"), &format!("{foreign}vpc1")), &single());
    assert_eq!(
        about(&plan, "spec.policies[0].subnets[0]")[0],
        "Subnet subnet1 belongs to Vpc vpc1, whose Pods do not reach a gateway of ovn-cluster"
    );
    let vpc = accepted(("replicas: 1", "vpc: ovn-cluster"), SAME, &single());
    assert_eq!(vpc.internal.interface, "eth0");
}

#[test]
fn a_dual_stack_network_with_an_ipv4_list() {
    let gateway = GATEWAY2
        .replace(",fd00:172:17::11\n", "\n")
        .replace(",fd00:172:17::12\n", "\n")
        .replace("        - fd00:10:18::/112\n", "");
    let plan = run(&[("g", &*gateway), ("c", CLUSTER)], None, &dual(), &Flags::default()).unwrap();
    assert_eq!(plan.egress, ips(&["172.17.0.11", "172.17.0.12"]));
    assert_eq!(about(&plan, "spec.externalIPs"), ["no IPv6 egress address: externalIPs lists no IPv6 address"]);
}
