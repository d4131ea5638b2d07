//! The topologies of `containerlab/`, each realised in network namespaces and walked through its steps.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::fs;

use tests::clab;

/// One test for each topology, and one that holds this list to the folders.
macro_rules! topologies {
    ($($test:ident: $folder:literal,)*) => {
        $(
            #[test]
            fn $test() {
                clab::realise($folder);
            }
        )*

        #[test]
        fn every_topology_has_a_test_and_a_line_in_the_readme() {
            assert_eq!(clab::names(), [$($folder),*]);
            let readme = fs::read_to_string(clab::folder().join("README.md")).unwrap();
            for name in clab::names() {
                assert!(readme.contains(&format!("| [{name}]({name}) |")), "README.md has no row for {name}");
            }
        }
    };
}

topologies! {
    frr_pool_prefix: "01-frr-pool-prefix",
    bird_dual_stack: "02-bird-dual-stack",
    leaf_spine: "03-leaf-spine",
    unnumbered: "04-unnumbered",
}

#[test]
fn topologies_are_of_containerlabs_shape() {
    let mut names = Vec::new();
    for name in clab::names() {
        let folder = clab::folder().join(&name);
        let topology = clab::read(&folder).unwrap_or_else(|faults| panic!("{name}: {faults:#?}"));
        assert!(!clab::steps(&folder).is_empty(), "{name} expects nothing");
        names.push(topology.name().to_owned());
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), clab::names().len(), "two topologies of one name cannot run side by side");
}

/// Each change to a sound topology is refused, and the fault says what it is.
#[test]
fn faults_of_a_topology_are_named() {
    let folder = clab::folder().join("01-frr-pool-prefix");
    let sound = fs::read_to_string(folder.join("topology.clab.yml")).unwrap();
    clab::Topology::parse(&sound, &folder).unwrap();
    for (old, new, fault) in [
        ("name: frrpool", "", "missing field `name`"),
        ("name: frrpool", "name: frr-pool", "name \"frr-pool\""),
        ("name: frrpool", "name: frrpool\nmgmnt: {}", "unknown field `mgmnt`"),
        ("    r1:\n      kind: linux\n", "    r1:\n", "missing field `kind`"),
        ("kind: linux", "kind: nokia_srlinux", "kind \"nokia_srlinux\""),
        ("binds:", "bind:", "unknown field `bind`"),
        ("${FRR_IMAGE:=quay.io/frrouting/frr:8.4.2}", "quay.io/frrouting/frr:8.4.2", "${VARIABLE:=default}"),
        ("FRR_IMAGE", "FFR_IMAGE", "${VARIABLE:=default}"),
        ("frr:8.4.2}", "frr}", "has no tag"),
        ("configs/r1/daemons:", "configs/r1/demons:", "there is no configs/r1/demons"),
        ("/etc/frr/daemons", "/opt/daemons", "only what lies in /etc"),
        ("links:", "link:", "unknown field `link`"),
        ("endpoints: [\"r1:eth1\", \"n1:eth1\"]", "endpoints: [\"r1:eth1\"]", "invalid length 1"),
        ("\"r1:eth1\", \"n1:eth1\"", "\"r2:eth1\", \"n1:eth1\"", "\"r2:eth1\": no such node"),
        ("\"r1:eth1\", \"n1:eth1\"", "\"n1:eth1\", \"n1:eth1\"", "\"n1:eth1\" stands twice"),
        ("\"r1:eth1\"", "\"r1:eth0\"", "\"r1:eth0\": not a name"),
    ] {
        assert!(sound.contains(old), "{old:?} is not in the topology");
        let faults = clab::Topology::parse(&sound.replacen(old, new, 1), &folder).unwrap_err();
        assert!(faults.iter().any(|f| f.contains(fault)), "{old:?} as {new:?}: {faults:?}, not {fault:?}");
    }
}
