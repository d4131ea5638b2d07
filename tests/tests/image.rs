//! The image: `deploy/image` builds a static binary and puts it into an empty image, and a Docker of the test's own
//! runs it without a network, without a right, and without a place to write to.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "tests"
)]

use std::fs;
use std::process::Output;

use tests::chart::root;
use tests::docker::{Docker, text};

const IMAGE: &str = "speaker:test";

/// A container of the image that may do nothing.
fn speaker(docker: &Docker, flags: &[&str], arguments: &[&str]) -> Output {
    let closed = [
        "run",
        "--rm",
        "--network=none",
        "--read-only",
        "--cap-drop=ALL",
        "--security-opt=no-new-privileges",
    ];
    docker.run(&[&closed, flags, &[IMAGE], arguments].concat())
}

/// The size of the image, its files and its user.
fn inspect(docker: &Docker, what: &str) -> String {
    let ran = docker.run(&["image", "inspect", "--format", what, IMAGE]);
    assert!(ran.status.success(), "{}", text(&ran));
    text(&ran).trim().to_owned()
}

#[test]
fn the_image_is_one_static_file_that_runs_without_rights() {
    let docker = Docker::start();
    docker.build(IMAGE);
    assert_eq!(inspect(&docker, "{{len .RootFS.Layers}} {{.Config.User}}"), "1 65534:65534");

    let ran = speaker(&docker, &[], &["--version"]);
    assert!(ran.status.success(), "{}", text(&ran));
    assert_eq!(text(&ran).trim(), concat!("speaker ", env!("CARGO_PKG_VERSION")));
    let ran = speaker(&docker, &[], &["crds"]);
    assert!(
        ran.status.success() && text(&ran).contains("ciliumloadbalancerippools.cilium.io"),
        "{}",
        text(&ran)
    );

    // As the DaemonSet mounts it: the configuration read-only.
    let examples = root().join("config/examples");
    let mount = format!("--volume={}:/etc/speaker:ro", fs::canonicalize(&examples).unwrap().display());
    let ran = speaker(&docker, &[&mount], &["check", "--config", "/etc/speaker/two-tors.yaml"]);
    assert!(ran.status.success() && text(&ran).contains(" 0 error(s)"), "{}", text(&ran));

    // Real sessions over the container's own loopback; it alone writes, into a folder in memory.
    let ran = speaker(&docker, &["--tmpfs=/tmp:mode=1777"], &["demo"]);
    assert!(ran.status.success(), "{}", text(&ran));
    assert!(text(&ran).contains("203.0.113."), "{}", text(&ran));
}
