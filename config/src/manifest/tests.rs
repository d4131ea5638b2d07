use super::*;

fn objects(text: &str) -> Vec<Object> {
    let content = |document: Document| match document.content {
        Content::Object(object) => object,
        other => panic!("{other:?}"),
    };
    parse(text).into_iter().map(content).collect()
}

fn broken(text: &str) -> String {
    let documents = parse(text);
    match documents.as_slice() {
        [Document { content: Content::Broken(error), .. }] => error.to_string(),
        other => panic!("{other:?}"),
    }
}

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n";

#[test]
fn documents_are_split_and_numbered() {
    let text = format!("%YAML 1.2\n---\n# nothing\n---\n\n{SERVICE}---\n--- # again\n{SERVICE}...\n# end\n");
    let lines: Vec<usize> = parse(&text).iter().map(|document| document.line).collect();
    assert_eq!(lines, [6, 11]);
    assert_eq!(parse(""), []);
    assert_eq!(parse("---\n"), []);
    assert_eq!(parse("\u{feff}"), []);
}

#[test]
fn a_broken_document_does_not_hold_back_its_neighbours() {
    let text =
        format!("{SERVICE}---\nkind: [\n---\n{SERVICE}---\n{SERVICE}spec: {{ports: [{{port: eighty}}]}}\n");
    let documents = parse(&text);
    assert_eq!(documents.len(), 4);
    assert!(matches!(documents[0].content, Content::Object(_)));
    let Content::Broken(error) = &documents[1].content else { panic!("{documents:?}") };
    assert!((5..=6).contains(&error.line), "{error}");
    assert!(matches!(documents[2].content, Content::Object(_)));
    let Content::Broken(error) = &documents[3].content else { panic!("{documents:?}") };
    assert_eq!(
        error.to_string(),
        "14:23: Service default/web: spec.ports[0].port: invalid type: string \"eighty\", expected i32"
    );
}

#[test]
fn lists_are_taken_apart() {
    let text = "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Node, metadata: {name: a}}\n- apiVersion: v1\n  kind: ServiceList\n  items:\n  - metadata: {name: b, namespace: x}\n  - metadata:\n      name: B_\n";
    let documents = parse(text);
    let lines: Vec<usize> = documents.iter().map(|document| document.line).collect();
    assert_eq!(lines, [4, 8, 9]);
    let Content::Object(Object::Service(service)) = &documents[1].content else { panic!("{documents:?}") };
    assert_eq!(service.key.to_string(), "x/b");
    let Content::Broken(error) = &documents[2].content else { panic!("{documents:?}") };
    assert!(
        error.to_string().starts_with("10:13: Service default/B_: metadata.name: \"B_\" is not a name"),
        "{error}"
    );
}

#[test]
fn json_is_read_alone_and_in_a_stream() {
    let one = "{\n\t\"apiVersion\": \"v1\", \"kind\": \"Node\",\n\t\"metadata\": {\"name\": \"a\"}\n}\n";
    let documents = parse(&format!("{one}{one}"));
    let lines: Vec<usize> = documents.iter().map(|document| document.line).collect();
    assert_eq!(lines, [1, 5]);
    assert_eq!(objects(one).len(), 1);
}

#[test]
fn other_kinds_and_versions_are_passed_over_by_name() {
    let documents = parse(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n---\napiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\n",
    );
    let kinds: Vec<(usize, &str, Option<&str>)> = documents
        .iter()
        .map(|document| match &document.content {
            Content::Skipped { kind, name, .. } => (document.line, kind.as_str(), name.as_deref()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, [(1, "Deployment", Some("web")), (5, "EndpointSlice", None)]);
}

#[test]
fn what_is_no_object_is_an_error() {
    assert!(broken("just words").contains("no apiVersion"));
    assert!(broken("- a\n- b\n").contains("no apiVersion"));
    assert!(broken("apiVersion: v1\nmetadata: {name: a}\n").contains("no kind"));
    assert!(broken("apiVersion: v1\nkind: Service\n").contains("metadata.name: the object has no name"));
    assert!(broken("apiVersion: v1\nkind: Service\nmetadata: 7\n").contains("metadata: invalid type"));
    assert!(broken("kind: cilium.io/v2\napiVersion: v1\nkind: Service\n").contains("duplicate"));
}

#[test]
fn a_line_is_found_in_a_large_file() {
    let mut text = String::new();
    for index in 0..2000 {
        text.push_str(&format!("apiVersion: v1\nkind: Node\nmetadata:\n  name: n{index}\n---\n"));
    }
    text.push_str("apiVersion: v1\nkind: Node\nmetadata:\n  name: N\n");
    let documents = parse(&text);
    assert_eq!(documents.len(), 2001);
    let Content::Broken(error) = &documents[2000].content else { panic!("{:?}", documents[2000]) };
    assert_eq!((error.line, error.column), (10004, 9));
}

#[test]
fn every_kind_of_the_readme_is_read() {
    let readme = include_str!("../../README.md");
    let table = readme.split_once("| kind | versions |").unwrap().1;
    let rows: Vec<&str> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!(rows.len() > 5, "{rows:?}");
    for row in rows {
        let [_, kinds, versions, _] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            panic!("{row}");
        };
        for version in versions.split(", ").map(|version| version.trim_matches('`')) {
            for kind in kinds.split(", ") {
                assert!(convert(version, kind, &Json::Null).is_some(), "{version} {kind}");
            }
        }
    }
}

#[test]
fn tabs_are_called_by_their_name() {
    let text = format!("{SERVICE}spec:\n\tports: []\n");
    assert_eq!(
        broken(&text),
        "5:1: a tab stands in the indentation, where YAML has spaces alone; write spaces"
    );
}

#[test]
fn brackets_without_end_are_refused_before_they_cost_minutes() {
    let text = format!("{SERVICE}spec:\n  a: {}\n", "[".repeat(1_000_000));
    assert_eq!(broken(&text), "5:1: more than 4000 brackets are open; no object nests so deep");
    // As many that end are text like other text.
    let text = format!("{SERVICE}spec:\n  clusterIP: \"\"\n  x: \"{}\"\n", "[]".repeat(100_000));
    assert_eq!(objects(&text).len(), 1);
}
