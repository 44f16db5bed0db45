//! The documents that the product implements, and our samples.

use super::*;

const UNDERLAY: &str = include_str!("../testdata/underlay-gateway1.yaml");
const UNDERLAY_BFD: &str = include_str!("../testdata/underlay-gateway2-bfd.yaml");
const MACVLAN: &str = include_str!("../testdata/macvlan-network.yaml");
const MACVLAN_GATEWAY: &str = include_str!("../testdata/macvlan-gateway1.yaml");
const VPC1: &str = include_str!("../testdata/vpc1.yaml");
const VPC1_BFD: &str = include_str!("../testdata/vpc1-gateway2-bfd.yaml");

#[test]
fn gateway1() {
    assert_eq!(GATEWAY1, UNDERLAY, "the sample is the document's text, unchanged");
    let plan = run(&[("g", GATEWAY1), ("c", CLUSTER)], None, &single(), &Flags::default()).unwrap();
    let want = Desired {
        gateway: "default/gateway1".to_owned(),
        internal: Side {
            interface: "eth0".to_owned(),
            gateway4: Some("10.16.0.1".parse().unwrap()),
            gateway6: Some("fd00:10:16::1".parse().unwrap()),
        },
        external: Side { interface: "net1".to_owned(), gateway4: Some("172.17.0.1".parse().unwrap()), gateway6: None },
        egress: ips(&["172.17.0.11", "172.17.0.12"]),
        no_snat: nets(&["10.18.0.0/16"]),
        selected: ips(&["10.17.0.9", "10.17.0.10"]).into_iter().collect(),
        routes: nets(&["10.17.0.0/16", "10.18.0.0/16"]),
        profile: Profile::default(),
        warnings: [
            "g, document 3, VpcEgressGateway default/gateway1, spec.policies[0].subnets[0]: fd00:10:17::/112 of Subnet \
             subnet1 is of a family with no gateway: external Subnet underlay-ext has no IPv6 CIDR; it is not served",
            "g, document 3, VpcEgressGateway default/gateway1, spec.selectors: 2 addresses of selected Pods, such as \
             fd00:10:17::9, are of a family with no gateway: external Subnet underlay-ext has no IPv6 CIDR",
        ]
        .map(str::to_owned)
        .to_vec(),
    };
    assert_eq!(plan, want);
}

#[test]
fn gateway2_dual_stack() {
    let plan = run(&[("g", GATEWAY2), ("c", CLUSTER)], None, &dual(), &Flags::default()).unwrap();
    assert_eq!(plan.egress, ips(&["172.17.0.11", "fd00:172:17::11", "172.17.0.12", "fd00:172:17::12"]));
    assert_eq!(plan.external.gateway6, Some("fd00:172:17::1".parse().unwrap()));
    assert_eq!(plan.no_snat, nets(&["10.18.0.0/16", "fd00:10:18::/112"]));
    assert_eq!(plan.routes, nets(&["10.17.0.0/16", "fd00:10:17::/112", "10.18.0.0/16", "fd00:10:18::/112"]));
    let pods = ["10.17.0.9", "10.17.0.10", "fd00:10:17::9", "fd00:10:17::a"];
    assert_eq!(plan.selected, ips(&pods).into_iter().collect());
    assert_eq!(plan.warnings, Vec::<String>::new());
}

/// The default route of the other family is the cluster's, through `eth0`.
#[test]
fn a_family_that_is_not_listed_has_no_way_out() {
    for (listed, block, v4, v6) in
        [("172.17.0.11", "fd00:10:18::/112", true, false), ("fd00:172:17::11", "10.18.0.0/16", false, true)]
    {
        let one = GATEWAY2
            .replace("    - 172.17.0.11,fd00:172:17::11\n", &format!("    - \"{listed}\"\n"))
            .replace("    - 172.17.0.12,fd00:172:17::12\n", "")
            .replace(&format!("        - {block}\n"), "");
        assert_ne!(one, GATEWAY2);
        let plan = run(&[("g", &one), ("c", CLUSTER)], None, &dual(), &Flags::default()).unwrap();
        assert_eq!((plan.external.gateway4.is_some(), plan.external.gateway6.is_some()), (v4, v6), "{listed}");
    }
}

#[test]
fn samples_go_together() {
    let files = [("1", GATEWAY1), ("2", GATEWAY2), ("c", CLUSTER), ("p", PROFILE)];
    for name in ["default/gateway1", "default/gateway2"] {
        let plan = run(&files, Some(name), &dual(), &Flags::default()).unwrap();
        assert_eq!(plan.gateway, name);
        assert_eq!(plan.profile, Profile { name: Some("default/default".to_owned()), ..Profile::default() });
    }
    let errors = run(&files, None, &dual(), &Flags::default()).unwrap_err().to_string();
    let want = "--veg: the files hold several VpcEgressGateways; choose one of default/gateway1 (1, document 3), \
                default/gateway2 (2, document 3)";
    assert_eq!(errors, want);
}

#[test]
fn bfd_gateway_of_the_underlay() {
    let cluster = CLUSTER.replace("name: ovn-cluster\nspec: {}\nstatus:", "name: other\nspec: {}\nstatus:");
    let network = UNDERLAY.split("---\napiVersion: kubeovn.io/v1\nkind: VpcEgressGateway").next().unwrap();
    let files = [("b", UNDERLAY_BFD), ("n", network), ("c", &*cluster)];
    let plan = run(&files, None, &single(), &Flags::default()).unwrap();
    assert_eq!((plan.gateway.as_str(), &plan.egress), ("default/gateway2", &ips(&["172.17.0.11", "172.17.0.12"])));
    assert_eq!((plan.routes, plan.no_snat), (nets(&["10.18.0.0/16"]), nets(&[])));
    let want =
        "b, document 2, VpcEgressGateway default/gateway2, spec.bfd: is not served yet: OVN's probes are not answered";
    assert_eq!(plan.warnings, [want]);
}

#[test]
fn macvlan_gateway_without_address_list() {
    let interfaces = observed(&["eth0 10.16.0.12/16", "eth1 172.17.0.4/16:dynamic 172.17.0.5/16 172.17.0.6/16"]);
    let files = [("n", MACVLAN), ("g", MACVLAN_GATEWAY), ("c", CLUSTER)];
    let plan = run(&files, None, &interfaces, &Flags::default()).unwrap();
    assert_eq!((plan.internal.interface.as_str(), plan.external.interface.as_str()), ("eth0", "eth1"));
    assert_eq!(plan.egress, ips(&["172.17.0.5"]));
    assert_eq!((plan.routes, plan.no_snat, plan.selected.len()), (nets(&[]), nets(&[]), 0));
}

#[test]
fn custom_vpc() {
    let interfaces = observed(&["eth0 192.168.0.2/24", "eth1 172.17.0.13/16"]);
    // The document calls the Subnet macvlan1 in one place and macvlan in the other.
    let files = [("n", MACVLAN), ("v", VPC1), ("g", VPC1_BFD)];
    let errors = run(&files, None, &interfaces, &Flags::default()).unwrap_err().to_string();
    let want = "g, document 1, VpcEgressGateway default/gateway2, spec.externalSubnet: Subnet \"macvlan\" is not in the \
                files; known: macvlan1, subnet1";
    assert_eq!(errors, want);

    let right = VPC1_BFD.replace("externalSubnet: macvlan", "externalSubnet: macvlan1");
    let plan = run(&[("n", MACVLAN), ("v", VPC1), ("g", &right)], None, &interfaces, &Flags::default()).unwrap();
    assert_eq!(plan.internal.gateway4, Some("192.168.0.1".parse().unwrap()));
    assert!(plan.warnings.iter().any(|w| {
        w == "v, document 2, Subnet subnet1, spec.gateway: has no IPv4 gateway; 192.168.0.1 is taken, as Kube-OVN does"
    }));
}
