//! Images of what Debian has installed on this machine: the daemons' packages, with all that they depend on, and nothing
//! fetched from anywhere.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::docker::Docker;

/// What the topologies start, and what their `exec` and the Dockerfile of the speaker's image run.
const WANTED: &str = "apt bash bird2 coreutils dash findutils frr grep hostname iproute2 iputils-ping libc-bin \
                      perl-base procps sed tar";

/// Files that no package holds.
const ADDED: &str =
    "/bin /sbin /lib /lib64 /tmp /etc/passwd /etc/group /etc/nsswitch.conf /var/lib/dpkg/status";

const SKIPPED: [&str; 4] = ["/usr/share/doc/", "/usr/share/info/", "/usr/share/locale/", "/usr/share/man/"];

/// As FRR's own image starts it.
const START: &str =
    "#!/bin/bash\nsource /usr/lib/frr/frrcommon.sh\nexec /usr/lib/frr/watchfrr $(daemon_list)\n";

const FRR: &str = r#"FROM lab/debian
RUN install -d -o frr -g frr /run/frr && echo 'root:*:19000:0:99999:7:::' >/etc/shadow
COPY docker-start /usr/lib/frr/docker-start
ENTRYPOINT ["/usr/lib/frr/docker-start"]
"#;
const BIRD: &str = r#"FROM lab/debian
RUN mkdir -p /run/bird
CMD ["bird", "-f", "-c", "/etc/bird.conf"]
"#;

/// The variables by which topologies name images, and the images, which are made here.
pub(super) const IMAGES: [(&str, &str); 3] =
    [("FRR_IMAGE", "lab/frr:lab"), ("BIRD_IMAGE", "lab/bird:lab"), ("SPEAKER_IMAGE", "lab/speaker:lab")];

/// Makes the images. `dir` is a folder for what they are made of.
pub(super) fn make(docker: &Docker, dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    root_file_system(&dir.join("root.tar"));
    docker.build_from("lab/debian", dir, "FROM scratch\nADD root.tar /\n");
    let small = dir.join("frr");
    fs::create_dir_all(&small).unwrap();
    let start = small.join("docker-start");
    fs::write(&start, START).unwrap();
    fs::set_permissions(&start, fs::Permissions::from_mode(0o755)).unwrap();
    for (dockerfile, (_, name)) in [FRR, BIRD].iter().zip(IMAGES) {
        docker.build_from(name, &small, dockerfile);
    }
    docker.build_containerlab(IMAGES[2].1, "lab/debian");
}

fn root_file_system(archive: &Path) {
    let packages: Vec<String> = closure();
    let listed = output(Command::new("dpkg").arg("-L").args(&packages));
    let mut paths: Vec<PathBuf> = ADDED.split(' ').map(PathBuf::from).collect();
    let files = listed.lines().filter(|file| file.starts_with('/') && *file != "/.");
    let files = files.filter(|file| !SKIPPED.iter().any(|skipped| file.starts_with(skipped)));
    // Where they really are: /bin is a link.
    let real = |file: &str| {
        let path = Path::new(file);
        let parent = path.parent()?.canonicalize().ok()?;
        path.symlink_metadata().ok()?;
        Some(parent.join(path.file_name()?))
    };
    let all: BTreeSet<PathBuf> = files.filter_map(real).filter(|path| !paths.contains(path)).collect();
    paths.extend(all);
    let mut tar = Command::new("tar");
    tar.args(["-C", "/", "--no-recursion", "-cf"]).arg(archive).args(["-T", "-"]);
    let mut tar = tar.stdin(Stdio::piped()).spawn().expect("tar");
    let mut names = tar.stdin.take().expect("standard input");
    for path in &paths {
        writeln!(names, "{}", path.strip_prefix("/").unwrap().display()).expect("tar reads names");
    }
    drop(names);
    assert!(tar.wait().unwrap().success(), "tar has failed");
}

/// The installed packages that those which are wanted depend on, and they themselves.
fn closure() -> Vec<String> {
    let format = "${db:Status-Abbrev}\t${Package}\t${Provides}\t${Pre-Depends}, ${Depends}\n";
    let installed = output(Command::new("dpkg-query").args(["-W", "-f", format]));
    // Without versions, architectures; an alternative counts as wanted if it is there.
    let names = |list: &str| -> Vec<String> {
        let all = list.split([',', '|']).filter_map(|one| one.split_whitespace().next());
        all.map(|one| one.split(':').next().unwrap_or(one).to_owned()).collect()
    };
    let mut found = BTreeSet::new();
    let mut open: Vec<String> = WANTED.split_whitespace().map(str::to_owned).collect();
    while let Some(next) = open.pop() {
        for line in installed.lines().filter_map(|line| line.strip_prefix("ii \t")) {
            let mut fields = line.split('\t').map(names);
            let mut field = || fields.next().unwrap_or_default();
            let (package, provides, depends) = (field(), field(), field());
            let is = package.first() == Some(&next) || provides.contains(&next);
            if is && found.insert(package.first().cloned().unwrap_or_default()) {
                open.extend(depends);
            }
        }
    }
    for wanted in WANTED.split_whitespace() {
        assert!(found.contains(wanted), "the package {wanted} is not installed: tests/run installs it");
    }
    found.into_iter().collect()
}

fn output(command: &mut Command) -> String {
    let ran = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    String::from_utf8_lossy(&ran.stdout).into_owned()
}
