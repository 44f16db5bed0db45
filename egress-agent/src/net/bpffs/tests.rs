use super::*;

fn facts(here: bool, shared: Option<bool>, lasting: bool) -> Facts {
    Facts { here, below: true, shared, lasting }
}

#[test]
fn a_mounted_file_system_is_used_where_it_lasts() {
    assert_eq!(decide(facts(true, Some(true), true)), Verdict::Fine);
    // A container that sees one folder of the machine's file system, with the machine's PIDs.
    assert_eq!(decide(facts(true, Some(false), true)), Verdict::Fine);
    // Process 1 may not be looked at.
    assert_eq!(decide(facts(true, None, false)), Verdict::Fine);
}

#[test]
fn a_private_mount_namespace_is_refused() {
    // `ip netns exec`: a fresh sysfs hides the machine's BPF file system.
    assert_eq!(decide(facts(false, Some(false), false)), Verdict::Private);
    // The same after something inside it has mounted one.
    assert_eq!(decide(facts(true, Some(false), false)), Verdict::Private);
}

#[test]
fn a_missing_one_is_mounted_below_the_mount_point_only() {
    assert_eq!(decide(facts(false, Some(true), false)), Verdict::Mount);
    assert_eq!(decide(facts(false, None, false)), Verdict::Mount);
    let elsewhere = Facts { below: false, ..facts(false, Some(true), false) };
    assert_eq!(decide(elsewhere), Verdict::Elsewhere);
}

#[test]
fn mountinfo_is_read_with_and_without_optional_fields() {
    let text = "23 27 0:22 / /sys rw,relatime - sysfs sysfs rw\n\
                43 23 0:39 / /sys/fs/bpf rw,relatime shared:7 master:2 - bpf bpf rw,mode=700\n\
                44 23 0:41 /a /run/x\\040- rw - bpf none rw\n\
                45 23 0:50 / /bpf rw - tmpfs bpf rw\n\
                garbage\n";
    let mounts = Mounts::parse(text);
    assert_eq!(mounts.ids, BTreeSet::from([23, 43, 44, 45]));
    assert_eq!(mounts.bpf, BTreeSet::from([(0, 39), (0, 41)]));
}

#[test]
fn the_refusal_names_the_right_way() {
    let text = Error::Private { root: "/sys/fs/bpf/x".into() }.to_string();
    assert!(text.contains("--netns PATH") && text.contains("/sys/fs/bpf/x"), "{text}");
}

#[test]
fn a_folder_that_is_not_in_a_bpf_file_system_is_refused() {
    let err = ensure(Path::new("/proc/no/such/folder")).unwrap_err();
    assert!(matches!(err, Error::Elsewhere { .. } | Error::Private { .. }), "{err}");
}
