//! From text to objects.

use std::fs;

use super::*;

fn errors(text: &str) -> String {
    parse(&sources(&[("a.yaml", text)])).map(|_| "accepted".to_owned()).unwrap_or_else(|errors| errors.to_string())
}

fn warnings(text: &str) -> Vec<String> {
    parse(&sources(&[("a.yaml", text)])).unwrap().warnings.iter().map(ToString::to_string).collect()
}

const POD: &str = "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: ns}}";

#[test]
fn refused_text() {
    for (text, want) in [
        ("a: [", "a.yaml, document 1: line 1, column 4: unclosed bracket"),
        (
            "--- {apiVersion: v1, kind: Pod, metadata: {name: a}}\n---\na: 1\na: 2\n",
            "a.yaml, document 2: line 4, column 1: duplicate mapping key: a",
        ),
        ("- 1\n", "a.yaml, document 1: is no object; a manifest is a mapping with apiVersion, kind and metadata"),
        ("hello", "a.yaml, document 1: is no object;"),
        ("kind: Pod\n", "a.yaml, document 1, apiVersion: is missing or no text;"),
        ("apiVersion: v1\nkind: 3\n", "a.yaml, document 1, kind: is missing or no text;"),
        ("apiVersion: v1\nkind: Pod\n", "a.yaml, document 1, Pod without a name, metadata.name: is missing;"),
        ("{apiVersion: v1, kind: Pod, metadata: {name: ''}}", "a.yaml, document 1, Pod , metadata.name: is missing;"),
        (
            "{apiVersion: kubeovn.io/v1, kind: VpcEgressGateway, metadata: {name: g}, spec: {replicas: many}}",
            "a.yaml, document 1, VpcEgressGateway g, spec.replicas: is the text \"many\"; there must be a whole number",
        ),
        (
            "{apiVersion: kubeovn.io/v1, kind: VpcEgressGateway, metadata: {name: g}, spec: {policies: [{ipBlocks: [1]}]}}",
            "a.yaml, document 1, VpcEgressGateway g, spec.policies[0].ipBlocks[0]: is the number 1; there must be a text: write \"1\" in quotes",
        ),
        (
            "{apiVersion: v1, kind: Pod, metadata: {name: p, labels: [a]}}",
            "a.yaml, document 1, Pod p, metadata.labels: is a list; there must be a mapping",
        ),
        (
            "{apiVersion: kubeovn.io/v2, kind: VpcEgressGateway, metadata: {name: g}}",
            "a.yaml, document 1, VpcEgressGateway g, apiVersion: kubeovn.io/v2 of VpcEgressGateway cannot be read; write kubeovn.io/v1",
        ),
        (
            "{apiVersion: egress-ebpf.dev/v1alpha1, kind: EgressGatewayProfil, metadata: {name: g}}",
            "a.yaml, document 1, EgressGatewayProfil g, kind: egress-ebpf.dev has no kind EgressGatewayProfil;",
        ),
        (
            "{apiVersion: egress-ebpf.dev/v1alpha1, kind: EgressGatewayProfile, metadata: {name: g}, sepc: {forward: stack}}",
            "a.yaml, document 1, EgressGatewayProfile default/g, sepc: is no field of an EgressGatewayProfile; remove it",
        ),
        (
            "{apiVersion: egress-ebpf.dev/v1alpha1, kind: EgressGatewayProfile, metadata: {name: g}, spec: {timeouts: {tcpOpenin: 3}}}",
            "a.yaml, document 1, EgressGatewayProfile g, spec.timeouts.tcpOpenin: unknown field `tcpOpenin`, expected one of",
        ),
        ("{apiVersion: v1, kind: List, items: 3}", "a.yaml, document 1, items: must be a list of objects"),
        (
            "{apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: PodList, items: []}]}",
            "a.yaml, document 1, items[0], PodList without a name, kind: a PodList inside a list is not read;",
        ),
        (
            "{apiVersion: v1, kind: List, items: [{kind: Pod}]}",
            "a.yaml, document 1, items[0], apiVersion: is missing or no text;",
        ),
    ] {
        let got = errors(text);
        assert!(got.starts_with(want), "{text}\n got {got}\nwant {want}");
    }
}

#[test]
fn a_broken_document_does_not_hide_the_others() {
    let got = errors(&format!("a: [\n---\n{POD}\n---\nkind: Pod\n"));
    let places: Vec<&str> = got.lines().map(|line| &line[..line.find(':').unwrap()]).collect();
    assert_eq!(places, ["a.yaml, document 1", "a.yaml, document 3, apiVersion"]);
}

/// What an API server would refuse is told beside what cannot be read, of other documents and of the same; a gateway minds only
/// what it cannot read.
#[test]
fn what_cannot_be_read_does_not_hide_what_is_refused() {
    let gateway = |name: &str, spec: &str| {
        format!("{{apiVersion: kubeovn.io/v1, kind: VpcEgressGateway, metadata: {{name: {name}}}, spec: {spec}}}\n")
    };
    let text = [
        gateway("a", "{externalSubnet: x, replicas: '2', bfd: {minRX: 0}}"),
        gateway("b", "{externalSubnet: x, trafficPolicy: Nowhere, policies: [{snat: true}]}"),
        "a: [\n".to_owned(),
    ]
    .join("---\n");
    let places = |errors: SpecErrors| -> Vec<String> {
        let place =
            |it: &Problem| format!("{} {}", it.origin.as_ref().unwrap(), it.field.as_deref().unwrap_or_default());
        errors.0.iter().map(place).collect()
    };
    let sources = sources(&[("a", &text)]);
    let unread = ["a, document 1 spec.replicas", "a, document 3 "];
    assert_eq!(places(parse(&sources).unwrap_err()), unread);
    let refused = ["a, document 1 spec.bfd.minRX", "a, document 2 spec.trafficPolicy"];
    assert_eq!(places(parse_for_api(&sources).unwrap_err()), [unread, refused].concat());
}

#[test]
fn duplicates_name_both_places() {
    let list = format!("{{apiVersion: v1, kind: List, items: [{POD}]}}");
    let got = parse(&sources(&[("a.yaml", POD), ("b.yaml", &list)])).unwrap_err().to_string();
    let want =
        "b.yaml, document 1, items[0], Pod ns/p, metadata.name: is also in a.yaml, document 1; keep one of the two";
    assert_eq!(got, want);
    // Another namespace is another object; no namespace means default, as for kubectl.
    let other = "{apiVersion: v1, kind: Pod, metadata: {name: p}}";
    let objects = parse(&sources(&[("a", POD), ("b", other)])).unwrap();
    assert_eq!(objects.pods.keys().collect::<Vec<_>>(), ["default/p", "ns/p"]);
}

#[test]
fn lists_of_both_kinds() {
    for list in [
        format!("{{apiVersion: v1, kind: List, items: [{POD}]}}"),
        "{apiVersion: v1, kind: PodList, metadata: {resourceVersion: '1'}, items: [{metadata: {name: p, namespace: ns}}]}".to_owned(),
        "{\"apiVersion\": \"v1\",\n\t\"kind\": \"PodList\", \"items\": [{\"metadata\": {\"name\": \"p\", \"namespace\": \"ns\"}}]}".to_owned(),
    ] {
        let objects = parse(&sources(&[("a", &list)])).unwrap();
        let pod = objects.pods.get("ns/p").unwrap();
        assert_eq!((pod.origin.item, objects.warnings.len()), (Some(0), 0), "{list}");
    }
    let empty = parse(&sources(&[("a", "{apiVersion: v1, kind: PodList, items: []}")])).unwrap();
    assert!(empty.pods.is_empty() && empty.warnings.is_empty());
}

#[test]
fn other_kinds_are_passed_over() {
    assert_eq!(
        warnings("{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}}"),
        ["a.yaml, document 1, Deployment d: apps/v1 Deployment means nothing to an egress gateway and is ignored"]
    );
    // Another group's Subnet is none of ours.
    let objects = parse(&sources(&[("a", "{apiVersion: ec2.aws/v1, kind: Subnet, metadata: {name: s}}")])).unwrap();
    assert_eq!((objects.subnets.len(), objects.warnings.len()), (0, 1));
}

#[test]
fn stored_objects_are_read_liberally() {
    let text = "
apiVersion: kubeovn.io/v1
kind: VpcEgressGateway
metadata: {name: g, generation: 2, managedFields: [{manager: kubectl, fieldsV1: {'f:spec': {}}}], future: 1}
spec:
  policies: null
  selectors: [{namespaceSelector: null, podSelector: {}}]
  bandwidth: {ingress: 10000000000, egress: 1.5G}
  resources: {limits: {cpu: 2}}
  bfd: {enabled: false, minRX: 1000, minTX: 1000, multiplier: 3}
  nodeSelector: [{matchLabels: {a: b}}]
status: {phase: Completed, ready: true, future: {a: 1}, conditions: [{type: Ready, status: 'True', observedGeneration: 2}]}
";
    let objects = parse(&sources(&[("a", text)])).unwrap();
    let gateway = &objects.gateways["default/g"].object;
    assert!(gateway.spec.policies.is_empty());
    assert_eq!(gateway.status.as_ref().unwrap().conditions[0].type_, "Ready");
    assert_eq!(objects.warnings, []);
}

#[test]
fn unknown_fields_of_a_gateway_are_named() {
    let text = "{apiVersion: kubeovn.io/v1, kind: VpcEgressGateway, metadata: {name: g}, \
                spec: {externalIps: [], policies: [{snat: true, ipBlock: 10.0.0.0/8}], bfd: {min: 1}}}";
    let at = "a.yaml, document 1, VpcEgressGateway default/g";
    let want = ["spec.bfd.min", "spec.externalIps", "spec.policies[0].ipBlock"]
        .map(|field| format!("{at}, {field}: is no known field and is ignored"));
    assert_eq!(warnings(text), want);
}

#[test]
fn files_and_directories() {
    let dir = std::env::temp_dir().join(format!("egress-spec-{}", std::process::id()));
    let data = dir.join("..data_1");
    fs::create_dir_all(&data).unwrap();
    // A mounted ConfigMap: links through a hidden one.
    fs::write(data.join("b.yaml"), POD).unwrap();
    std::os::unix::fs::symlink("..data_1", dir.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/b.yaml", dir.join("b.yaml")).unwrap();
    fs::write(dir.join("a.json"), "{}").unwrap();
    fs::write(dir.join("README"), "no manifest").unwrap();
    fs::write(dir.join(".a.yaml"), POD).unwrap();
    let read = read::read(&[dir.clone(), dir.join("README")]);
    let missing = read::read(&[dir.join("nope"), dir.join("b.yaml")]);
    fs::remove_dir_all(&dir).unwrap();
    let name = |source: &Source| source.name.rsplit('/').next().unwrap().to_owned();
    assert_eq!(read.unwrap().iter().map(name).collect::<Vec<_>>(), ["a.json", "b.yaml", "README"]);
    let missing = missing.unwrap_err().to_string();
    assert!(missing.ends_with("/nope: No such file or directory (os error 2)"), "{missing}");
}
