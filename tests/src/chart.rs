//! The Helm chart of deploy/, rendered by Helm's own packages, and the one-file manifest that is made of it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::speaker::target;

/// The repository's folder.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Renders the chart with `values` (YAML), as release `speaker` in `speaker-system`.
///
/// # Errors
/// What Helm has against the values or the templates.
///
/// # Panics
/// If `tests/helm/build` has not run.
pub fn try_render(values: &str, flags: &[&str]) -> Result<String, String> {
    let helm = target().join("helm/helm");
    assert!(helm.exists(), "no {}: run tests/helm/build first", helm.display());
    let name = format!("spk-values-{}-{:?}.yaml", std::process::id(), std::thread::current().id());
    let file = std::env::temp_dir().join(name.replace(['(', ')'], ""));
    std::fs::write(&file, values).expect("values");
    let chart = root().join("deploy/chart");
    let ran = Command::new(helm)
        .args(["-namespace", "speaker-system", "-f"])
        .arg(&file)
        .args(flags)
        .arg(chart)
        .output()
        .expect("helm");
    std::fs::remove_file(&file).expect("values");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if ran.status.success() { Ok(text(&ran.stdout)) } else { Err(text(&ran.stderr)) }
}

/// As [`try_render`].
///
/// # Panics
/// With what Helm has against it.
#[must_use]
#[track_caller]
pub fn render(values: &str) -> String {
    try_render(values, &[]).unwrap_or_else(|error| panic!("{error}\n{values}"))
}

/// The documents of a manifest; `31.0` and `31` are one number, as they are for the API server.
///
/// # Panics
/// If one is no YAML.
#[must_use]
#[track_caller]
pub fn objects(text: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(text);
    documents
        .map(|document| serde::Deserialize::deserialize(document).unwrap_or_else(|e| panic!("{e}\n{text}")))
        .filter(|object: &Value| !object.is_null())
        .map(whole)
        .collect()
}

fn whole(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let text = number.to_string();
            let integer = text.strip_suffix(".0").and_then(|text| text.parse::<i64>().ok());
            integer.map_or(Value::Number(number), Value::from)
        }
        Value::Array(all) => all.into_iter().map(whole).collect(),
        Value::Object(all) => all.into_iter().map(|(key, value)| (key, whole(value))).collect(),
        other => other,
    }
}

/// The object of this kind and name.
///
/// # Panics
/// If there is none.
#[must_use]
#[track_caller]
pub fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = objects.iter().find(|one| one["kind"] == kind && one["metadata"]["name"] == name);
    found.unwrap_or_else(|| {
        let all: Vec<String> =
            objects.iter().map(|one| format!("{} {}", one["kind"], one["metadata"]["name"])).collect();
        panic!("no {kind} {name} among {all:#?}")
    })
}

/// The order in which a newcomer's cluster takes objects.
const ORDER: [&str; 14] = [
    "Namespace",
    "CustomResourceDefinition",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ConfigMap",
    "Service",
    "DaemonSet",
    "Deployment",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "ServiceMonitor",
];

/// The one-file manifest: the chart rendered with `values`, in the order of installation, without what only
/// Helm understands.
///
/// # Panics
/// If the chart does not render, or has a kind without a place in the order.
#[must_use]
pub fn manifest(values: &str, heading: &str) -> String {
    let rendered = render(values);
    let place = |document: &str| {
        let kind = document.lines().find_map(|line| line.strip_prefix("kind: ")).unwrap_or_default();
        ORDER.iter().position(|one| *one == kind).unwrap_or_else(|| panic!("no place for kind {kind:?}"))
    };
    let mut documents: Vec<String> = format!("\n{rendered}")
        .split("\n---\n")
        .map(|document| document.trim().to_owned())
        .filter(|document| document.lines().any(|line| line.starts_with("kind: ")))
        .map(|document| {
            let helms = |line: &&str| {
                let line = line.trim_start();
                !line.starts_with("helm.sh/chart:")
                    && !line.starts_with("app.kubernetes.io/managed-by:")
                    && !line.starts_with("# Source: ")
            };
            document.lines().filter(helms).collect::<Vec<_>>().join("\n")
        })
        .collect();
    documents.sort_by_key(|document| place(document));
    format!("{heading}---\n{}\n", documents.join("\n---\n"))
}
