//! Every refusal: the whole message with file, document, object, field and what would be right.

use super::*;

const VEG: &str = "gateway.yaml, document 3, VpcEgressGateway default/gateway1";
const EXTERNAL: &str = "gateway.yaml, document 2, Subnet underlay-ext";
const SAME: (&str, &str) = ("", "");

/// What `edited` refuses, one message per line, `VEG` and `EXTERNAL` cut short.
fn refused(gateway: (&str, &str), cluster: (&str, &str), observed: &Observed) -> String {
    match edited(gateway, cluster, observed) {
        Ok(plan) => panic!("{gateway:?} {cluster:?} was accepted: {plan:#?}"),
        Err(errors) => errors.to_string().replace(VEG, "VEG").replace(EXTERNAL, "EXTERNAL"),
    }
}

fn table(rows: &[((&str, &str), &str)]) {
    for (edit, want) in rows {
        assert_eq!(refused(*edit, SAME, &single()), *want, "{edit:?}");
    }
}

#[test]
fn fields_of_the_gateway() {
    let only = "172.17.0.11\n    - 172.17.0.12";
    table(&[
        (
            ("replicas: 1", "replicas: 3"),
            "VEG, spec.externalIPs: 2 for 3 replicas; give at least one for each, better one more",
        ),
        (("replicas: 1", "replicas: -1"), "VEG, spec.replicas: -1 gateway Pods cannot be; write 0 or more"),
        (
            ("replicas: 1", "replicas: 2\n  internalIPs: [10.16.0.12]"),
            "VEG, spec.internalIPs: 1 for 2 replicas; give at least one for each, better one more",
        ),
        (
            ("replicas: 1", "externalIPPool: p"),
            "VEG, spec.externalIPPool: externalIPs is given too; give one of the two",
        ),
        (
            ("replicas: 1", "internalIPs: [10.16.0.12]\n  internalIPPool: p"),
            "VEG, spec.internalIPPool: internalIPs is given too; give one of the two",
        ),
        (
            ("replicas: 1", "internalIPs: [10.17.0.12]"),
            "VEG, spec.internalIPs[0]: 10.17.0.12 is outside Subnet ovn-default (10.16.0.0/16,fd00:10:16::/112); \
             name an address of that Subnet",
        ),
        (("replicas: 1", "trafficPolicy: Foo"), "VEG, spec.trafficPolicy: \"Foo\" is unknown; write Cluster or Local"),
        (
            ("externalSubnet: underlay-ext", ""),
            "VEG, spec.externalSubnet: is missing; name the Subnet of the external network",
        ),
        (
            ("externalSubnet: underlay-ext", "externalSubnet: nope"),
            "VEG, spec.externalSubnet: Subnet \"nope\" is not in the files; known: ovn-default, subnet1, underlay-ext",
        ),
        (
            ("internalSubnet: ovn-default", "internalSubnet: nope"),
            "VEG, spec.internalSubnet: Subnet \"nope\" is not in the files; known: ovn-default, subnet1, underlay-ext",
        ),
        (
            ("internalSubnet: ovn-default", "internalSubnet: underlay-ext"),
            "VEG, spec.externalSubnet: Subnet underlay-ext is the internal one too; they must differ",
        ),
        (
            ("replicas: 1", "vpc: vpc1"),
            "VEG, spec.vpc: Vpc vpc1 is not in the files; known: ovn-cluster\n\
             VEG, spec.internalSubnet: Subnet ovn-default belongs to Vpc ovn-cluster, the gateway to vpc1; name a Subnet of vpc1",
        ),
        (
            (only, "172.18.0.11\n    - 172.17.0.12"),
            "VEG, spec.externalIPs[0]: 172.18.0.11 is outside Subnet underlay-ext (172.17.0.0/16); name an address of that Subnet",
        ),
        (
            (only, "172.17.0.1"),
            "VEG, spec.externalIPs[0]: 172.17.0.1 is the gateway of Subnet underlay-ext (172.17.0.0/16); name an address that is free",
        ),
        (
            (only, "172.17.0.0"),
            "VEG, spec.externalIPs[0]: 172.17.0.0 is the network or broadcast address of its Subnet; name another",
        ),
        (
            (only, "172.17.255.255"),
            "VEG, spec.externalIPs[0]: 172.17.255.255 is the network or broadcast address of its Subnet; name another",
        ),
        (
            (only, "172.17.0.21\n    - 172.17.0.22"),
            "VEG, spec.externalIPs: there is no egress address: net1 has none of 172.17.0.21, 172.17.0.22",
        ),
        (
            (only, "172.17.0.11\n    - 172.17.0.11"),
            "VEG, spec.externalIPs[1]: 172.17.0.11 is listed twice; each address is listed once",
        ),
        (
            (only, "172.17.0.11,172.17.0.12"),
            "VEG, spec.externalIPs[0]: \"172.17.0.11,172.17.0.12\" names IPv4 twice; write one of each family at most",
        ),
        ((only, "foo"), "VEG, spec.externalIPs[0]: \"foo\" is no IP address; write it as 172.17.0.11 or fd00::11"),
    ]);
}

#[test]
fn policies() {
    let block = "ipBlocks:\n        - 10.18.0.0/16";
    let subnets = "subnets:\n        - subnet1";
    table(&[
        ((block, ""), "VEG, spec.policies[1]: has neither ipBlocks nor subnets; give at least one of them"),
        ((block, "ipBlocks: []"), "VEG, spec.policies[1]: has neither ipBlocks nor subnets; give at least one of them"),
        (
            (block, "ipBlocks: [10.18.0.0/16, 10.0.0.0/33, not-a-cidr]"),
            "VEG, spec.policies[1].ipBlocks[1]: \"10.0.0.0/33\" is no CIDR; write it as 10.18.0.0/16 or fd00:10:18::/112\n\
             VEG, spec.policies[1].ipBlocks[2]: \"not-a-cidr\" is no CIDR; write it as 10.18.0.0/16 or fd00:10:18::/112",
        ),
        (
            (block, "ipBlocks: ['fd00:10:18::/112']"),
            "VEG, spec.policies[1].ipBlocks[0]: fd00:10:18::/112 is IPv6, a family with no gateway: external Subnet \
             underlay-ext has no IPv6 CIDR; remove it or give the gateway IPv6",
        ),
        (
            (subnets, "subnets: [nope]"),
            "VEG, spec.policies[0].subnets[0]: Subnet \"nope\" is not in the files; known: ovn-default, subnet1, underlay-ext",
        ),
    ]);
    let only_v6 = ("cidrBlock: 10.17.0.0/16,fd00:10:17::/112", "cidrBlock: fd00:10:17::/112");
    assert_eq!(
        refused(SAME, only_v6, &single()),
        "VEG, spec.policies[0].subnets[0]: fd00:10:17::/112 of Subnet subnet1 is of a family with no gateway: external \
         Subnet underlay-ext has no IPv6 CIDR; name another Subnet or give the gateway that family"
    );
    let bad = ("cidrBlock: 10.17.0.0/16,fd00:10:17::/112", "cidrBlock: 10.17.0.0");
    assert_eq!(
        refused(SAME, bad, &single()),
        "cluster.yaml, document 3, Subnet subnet1, spec.cidrBlock: \"10.17.0.0\" has no prefix length; write 10.17.0.0/32"
    );
    let neither = GATEWAY1.split("  selectors:").next().unwrap();
    let errors = run(&[("gateway.yaml", neither), ("c", CLUSTER)], None, &single(), &Flags::default()).unwrap_err();
    let want = format!("{VEG}, spec: has neither policies nor selectors; give at least one of them");
    assert_eq!(errors.to_string(), want);
}

#[test]
fn selectors() {
    let labels = "matchLabels:\n          app: myapp";
    let path = "VEG, spec.selectors[1].podSelector.matchExpressions[0]";
    for (expression, want) in [
        ("operator: Foo", ".operator: \"Foo\" is unknown; write In, NotIn, Exists or DoesNotExist"),
        ("operator: In", ".values: In needs values"),
        ("operator: NotIn, values: []", ".values: NotIn needs values"),
        ("operator: Exists, values: [b]", ".values: Exists takes no values"),
    ] {
        let edit = format!("matchExpressions: [{{key: a, {expression}}}]");
        assert_eq!(refused((labels, &edit), SAME, &single()), format!("{path}{want}"));
    }
    let path = "VEG, spec.selectors[1].podSelector";
    let (long, value) = ("a".repeat(64), "can be the value of no label; write up to 63 letters");
    for (edit, want) in [
        ("matchLabels: {a b: c}", ".matchLabels[a b]: \"a b\" can be the key of no label; write up to 63"),
        (&format!("matchLabels: {{app: {long}}}"), &format!(".matchLabels[app]: \"{long}\" {value}")),
        (
            "matchExpressions: [{key: '-', operator: Exists}]",
            ".matchExpressions[0].key: \"-\" can be the key of no label",
        ),
        (
            "matchExpressions: [{key: a, operator: In, values: [b, c/d]}]",
            &format!(".matchExpressions[0].values[1]: \"c/d\" {value}"),
        ),
    ] {
        let got = refused((labels, edit), SAME, &single());
        assert!(got.starts_with(&format!("{path}{want}")) && got.lines().count() == 1, "{got}");
    }
    let pod = ("ip: 10.17.0.9", "ip: nowhere");
    assert_eq!(
        refused(SAME, pod, &single()),
        "cluster.yaml, document 6, Pod ns1/client1, status.podIPs: \"nowhere\" is no IP address; write it as 172.17.0.11 or fd00::11"
    );
}

#[test]
fn networks() {
    let provider = "provider: underlay-ext.default.ovn\n  cidrBlock";
    let names = "names no NetworkAttachmentDefinition; write <name>.<namespace> or <name>.<namespace>.ovn";
    table(&[
        ((provider, "cidrBlock"), &format!("EXTERNAL, spec.provider: \"\" {names}")),
        ((provider, "provider: ovn\n  cidrBlock"), &format!("EXTERNAL, spec.provider: \"ovn\" {names}")),
        ((provider, "provider: a.b.c\n  cidrBlock"), &format!("EXTERNAL, spec.provider: \"a.b.c\" {names}")),
        (
            (provider, "provider: other.kube-system.ovn\n  cidrBlock"),
            "EXTERNAL, spec.provider: other.kube-system.ovn: NetworkAttachmentDefinition kube-system/other is not in the \
             files; known: default/underlay-ext",
        ),
        (
            ("gateway: 172.17.0.1", "gateway: 172.18.0.1"),
            "EXTERNAL, spec.gateway: 172.18.0.1 is outside 172.17.0.0/16; it must be an address of the Subnet",
        ),
        (
            ("gateway: 172.17.0.1", "gateway: 172.17.0.1,fd00::1"),
            "EXTERNAL, spec.gateway: fd00::1 is IPv6, but cidrBlock has no IPv6 CIDR",
        ),
        (
            ("gateway: 172.17.0.1", "gateway: x"),
            "EXTERNAL, spec.gateway: \"x\" is no IP address; write it as 172.17.0.11 or fd00::11",
        ),
        (
            ("cidrBlock: 172.17.0.0/16", "cidrBlock: ''"),
            "EXTERNAL, spec.cidrBlock: \"\" is no CIDR; write it as 10.18.0.0/16 or fd00:10:18::/112",
        ),
    ]);
    let default = ("internalSubnet: ovn-default", "");
    assert_eq!(
        refused(default, ("defaultLogicalSwitch: ovn-default", ""), &single()),
        "VEG, spec.internalSubnet: is empty and Vpc ovn-cluster has no default Subnet (status.defaultLogicalSwitch); \
         set spec.internalSubnet to a Subnet of ovn-cluster"
    );
    assert_eq!(
        refused(default, ("name: ovn-cluster", "name: vpc1"), &single()),
        "VEG, spec.internalSubnet: is empty and Vpc ovn-cluster is not in the files; name the Subnet or give a file with the Vpc"
    );
    assert_eq!(
        refused(SAME, ("vpc: ovn-cluster", "vpc: vpc1"), &single()),
        "VEG, spec.internalSubnet: Subnet ovn-default belongs to Vpc vpc1, the gateway to ovn-cluster; name a Subnet of ovn-cluster"
    );
}

#[test]
fn interfaces() {
    let internal = "VEG, spec.internalSubnet";
    let nets = "Subnet ovn-default (10.16.0.0/16,fd00:10:16::/112)";
    for (lines, want) in [
        (
            vec!["eth0 10.99.0.1/16", "net1 172.17.0.11/16", "dummy0"],
            format!(
                "{internal}: no interface has an address in {nets}; seen: eth0 10.99.0.1/16, net1 172.17.0.11/16, dummy0 no address"
            ),
        ),
        (
            vec!["eth0 10.16.0.1/16", "eth1 10.16.0.2/16", "net1 172.17.0.11/16"],
            format!(
                "{internal}: several interfaces have an address in {nets}: eth0 10.16.0.1/16, eth1 10.16.0.2/16; choose one with --internal"
            ),
        ),
        (
            vec!["eth0 10.16.0.1/16"],
            "VEG, spec.externalSubnet: no interface has an address in Subnet underlay-ext (172.17.0.0/16); seen: eth0 10.16.0.1/16".to_owned(),
        ),
        (
            vec!["eth0 10.16.0.1/16 172.17.0.11/16"],
            format!("VEG, spec.externalSubnet: eth0 has addresses in {nets} and in Subnet underlay-ext (172.17.0.0/16); a gateway needs two interfaces"),
        ),
        (
            vec!["eth0 10.16.0.1/16", "net1 172.17.0.11/16:tentative"],
            "VEG, spec.externalIPs: there is no egress address: 172.17.0.11, 172.17.0.12 of net1 is tentative".to_owned(),
        ),
    ] {
        assert_eq!(refused(SAME, SAME, &observed(&lines)), want);
    }
    let list = "externalIPs:\n    - 172.17.0.11\n    - 172.17.0.12";
    let lines = ["eth0 10.16.0.1/16", "net1 172.17.0.11/16:dynamic"];
    assert_eq!(
        refused((list, ""), SAME, &observed(&lines)),
        "VEG, spec.externalIPs: there is no egress address: net1 has no permanent global address in 172.17.0.0/16"
    );
}

#[test]
fn flags() {
    let both = [("gateway.yaml", GATEWAY1), ("c", CLUSTER)];
    let run = |choice: Option<&str>, internal: Option<&str>, external: Option<&str>| {
        let flags =
            Flags { internal: internal.map(str::to_owned), external: external.map(str::to_owned), forward: None };
        run(&both, choice, &single(), &flags).map_err(|errors| errors.to_string())
    };
    let refuse = |choice, internal, external| run(choice, internal, external).unwrap_err();
    assert_eq!(
        refuse(Some("default/nope"), None, None),
        "--veg: VpcEgressGateway default/nope is not in the files; known: default/gateway1"
    );
    assert_eq!(
        refuse(None, Some("eth9"), None),
        "--internal: there is no interface eth9; seen: lo 127.0.0.1/8 ::1/128, net1 172.17.0.11/16 172.17.0.12/16 \
         fe80::1/64, eth0 10.16.0.12/16"
    );
    assert_eq!(
        refuse(None, None, Some("eth0")),
        "--external: eth0 has no address in Subnet underlay-ext (172.17.0.0/16); seen: eth0 10.16.0.12/16"
    );
    assert!(run(Some("default/gateway1"), Some("eth0"), Some("net1")).is_ok());
    let errors = super::run(&[("c", CLUSTER)], None, &single(), &Flags::default()).unwrap_err();
    assert_eq!(errors.to_string(), "the files hold no VpcEgressGateway (kubeovn.io/v1); give one with --file");
}

#[test]
fn too_many_egress_addresses() {
    let addresses: Vec<String> = (11..60).map(|i| format!("172.17.0.{i}")).collect();
    let list = format!("externalIPs: [{}]", addresses.join(", "));
    let net1 = format!("net1 {}/16", addresses.join("/16 "));
    let edit = ("externalIPs:\n    - 172.17.0.11\n    - 172.17.0.12", &*list);
    assert_eq!(
        refused(edit, SAME, &observed(&["eth0 10.16.0.12/16", &net1])),
        "VEG, spec.externalIPs: 49 IPv4 addresses are on net1; a gateway uses 32 at most"
    );
}

#[test]
fn profiles() {
    let annotated = |name: &str| {
        let gateway = GATEWAY1.replace(
            "name: gateway1\n",
            &format!("name: gateway1\n  annotations:\n    egress-ebpf.dev/profile: {name}\n"),
        );
        let files = [("gateway.yaml", &*gateway), ("c", CLUSTER), ("p", PROFILE)];
        run(&files, None, &single(), &Flags::default()).map_err(|errors| errors.to_string())
    };
    assert_eq!(
        annotated("fast").unwrap_err(),
        format!(
            "{VEG}, metadata.annotations[egress-ebpf.dev/profile]: EgressGatewayProfile default/fast is not in the files; \
             known: default/default"
        )
    );
    assert!(annotated("other/default").unwrap_err().contains("EgressGatewayProfile other/default is not in the files"));
    assert_eq!(annotated("default/default").unwrap().profile.name.as_deref(), Some("default/default"));
    assert_eq!(annotated("default").unwrap().profile.name.as_deref(), Some("default/default"));
}

#[test]
fn all_mistakes_at_once() {
    let gateway = GATEWAY1
        .replace("replicas: 1", "replicas: 3")
        .replace("- 172.17.0.12", "- 172.18.0.12")
        .replace("- subnet1", "- nope")
        .replace("10.18.0.0/16", "10.18.0.0")
        .replace("underlay-ext.default.ovn\n  cidrBlock", "underlay-ext\n  cidrBlock")
        .replace("app: myapp", "app: myapp\n        matchExpressions: [{key: a, operator: Is}]");
    let files = [("gateway.yaml", &*gateway), ("cluster.yaml", CLUSTER)];
    let SpecErrors(errors) = run(&files, None, &single(), &Flags::default()).unwrap_err();
    let fields: Vec<&str> = errors.iter().map(|e| e.field.as_deref().unwrap()).collect();
    let want = [
        "spec.externalIPs",
        "spec.provider",
        "spec.externalIPs[1]",
        "spec.policies[0].subnets[0]",
        "spec.selectors[1].podSelector.matchExpressions[0].operator",
    ];
    assert_eq!(fields, want);
}
