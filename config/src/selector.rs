//! Label selectors: the rules that hold wherever one is written.

use std::collections::BTreeSet;

use crate::diagnostic::nearest;
use crate::objects::{Labels, Operator, Requirement, Selector};

/// A selector as written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Written {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) expressions: Vec<WrittenRequirement>,
}

/// One entry of `matchExpressions` as written.
#[derive(Debug, Clone, Default)]
pub(crate) struct WrittenRequirement {
    pub(crate) key: String,
    pub(crate) operator: String,
    pub(crate) values: Vec<String>,
}

/// What is wrong with a part of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// The part, from the selector down: `matchExpressions[0].operator`.
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) help: String,
}

const OPERATORS: [(&str, Operator); 4] = [
    ("In", Operator::In),
    ("NotIn", Operator::NotIn),
    ("Exists", Operator::Exists),
    ("DoesNotExist", Operator::DoesNotExist),
];
/// And those that only a selector of one line has.
const OF_LINES: [(&str, Operator); 2] = [("Gt", Operator::Gt), ("Lt", Operator::Lt)];

/// Checks a selector as the API server and Cilium's runtime together do.
pub(crate) fn check(written: &Written) -> Result<Selector, Vec<Fault>> {
    check_with(written, &OPERATORS)
}

fn check_with(written: &Written, operators: &[(&str, Operator)]) -> Result<Selector, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut match_labels = Labels::new();
    for (key, value) in &written.labels {
        let path = format!("matchLabels.{key}");
        faults.extend(check_key(key, &path));
        faults.extend(check_value(value, &path));
        match_labels.insert(key.clone(), value.clone());
    }
    let mut match_expressions = Vec::new();
    for (index, requirement) in written.expressions.iter().enumerate() {
        match check_requirement(requirement, &format!("matchExpressions[{index}]"), operators) {
            Ok(requirement) => match_expressions.push(requirement),
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() { Ok(Selector { match_labels, match_expressions }) } else { Err(faults) }
}

fn check_requirement(
    written: &WrittenRequirement,
    path: &str,
    operators: &[(&str, Operator)],
) -> Result<Requirement, Vec<Fault>> {
    let mut faults: Vec<Fault> = check_key(&written.key, &format!("{path}.key")).into_iter().collect();
    for (index, value) in written.values.iter().enumerate() {
        faults.extend(check_value(value, &format!("{path}.values[{index}]")));
    }
    let operator =
        operators.iter().find(|(name, _)| *name == written.operator).map(|(_, operator)| *operator);
    match operator {
        None => faults.push(Fault {
            path: format!("{path}.operator"),
            message: format!("{:?} is not an operator", written.operator),
            help: match nearest(&written.operator, operators.iter().map(|(name, _)| *name)) {
                Some(name) => format!("did you mean {name}?"),
                None => "write In, NotIn, Exists or DoesNotExist".to_owned(),
            },
        }),
        Some(Operator::In | Operator::NotIn) if written.values.is_empty() => faults.push(Fault {
            path: format!("{path}.values"),
            message: format!("{} needs at least one value", written.operator),
            help: "add values, or use Exists or DoesNotExist".to_owned(),
        }),
        Some(Operator::Exists | Operator::DoesNotExist) if !written.values.is_empty() => faults.push(Fault {
            path: format!("{path}.values"),
            message: format!("{} takes no values", written.operator),
            help: "remove the values, or use In or NotIn".to_owned(),
        }),
        Some(Operator::Gt | Operator::Lt) => {
            let wrong = |value: &&String| value.parse::<i64>().is_err();
            faults.extend(written.values.iter().find(wrong).map(|value| Fault {
                path: format!("{path}.values"),
                message: format!("{value:?} is not a whole number"),
                help: "> and < compare whole numbers".to_owned(),
            }));
        }
        Some(_) => {}
    }
    match operator {
        Some(operator) if faults.is_empty() => {
            let values: BTreeSet<String> = written.values.iter().cloned().collect();
            Ok(Requirement { key: written.key.clone(), operator, values })
        }
        _ => Err(faults),
    }
}

/// `[A-Za-z0-9]` at both ends and `[-A-Za-z0-9_.]` between, at most 63 characters.
fn is_name(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

fn check_key(key: &str, path: &str) -> Option<Fault> {
    let valid = match key.split_once('/') {
        None => is_name(key),
        Some((domain, name)) => is_dns_subdomain(domain) && is_name(name),
    };
    (!valid).then(|| Fault {
        path: path.to_owned(),
        message: format!("{key:?} is not a label key"),
        help:
            "write a name of at most 63 letters, digits, '-', '_' and '.', with a domain and '/' before it \
               where it has one"
                .to_owned(),
    })
}

fn check_value(value: &str, path: &str) -> Option<Fault> {
    (!value.is_empty() && !is_name(value)).then(|| Fault {
        path: path.to_owned(),
        message: format!("{value:?} is not a label value"),
        help: "write at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends"
            .to_owned(),
    })
}

/// Whether `text` may name an object (RFC 1123 subdomain).
pub(crate) fn is_dns_subdomain(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= 253
        && text.split('.').all(|label| {
            label.starts_with(edge) && label.ends_with(edge) && label.chars().all(|c| edge(c) || c == '-')
        })
}

mod query;
pub use query::selector_query;

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(key: &str, operator: &str, values: &[&str]) -> Written {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Written {
            labels: Vec::new(),
            expressions: vec![WrittenRequirement {
                key: key.to_owned(),
                operator: operator.to_owned(),
                values,
            }],
        }
    }

    #[test]
    fn the_empty_selector_selects_everything() {
        assert_eq!(check(&Written::default()), Ok(Selector::default()));
        assert!(Selector::default().matches(&Labels::new()));
    }

    #[test]
    fn each_fault_names_its_part() {
        for (written, path, message, help) in [
            (
                requirement("a", "in", &["b"]),
                "matchExpressions[0].operator",
                "not an operator",
                "did you mean In?",
            ),
            (requirement("a", "Equals", &["b"]), "matchExpressions[0].operator", "not an operator", "NotIn"),
            (requirement("a", "In", &[]), "matchExpressions[0].values", "at least one", "Exists"),
            (requirement("a", "NotIn", &[]), "matchExpressions[0].values", "at least one", "Exists"),
            (requirement("a", "Exists", &["b"]), "matchExpressions[0].values", "no values", "In"),
            (requirement("", "Exists", &[]), "matchExpressions[0].key", "label key", "63"),
            (requirement("Bad_Domain/x", "Exists", &[]), "matchExpressions[0].key", "label key", "domain"),
            (requirement("a", "In", &["-b"]), "matchExpressions[0].values[0]", "label value", "letter"),
        ] {
            let faults = check(&written).unwrap_err();
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert_eq!(faults[0].path, path);
            assert!(faults[0].message.contains(message), "{faults:?}");
            assert!(faults[0].help.contains(help), "{faults:?}");
        }
    }

    #[test]
    fn keys_may_have_a_domain_and_values_may_be_empty() {
        let selector = check(&requirement("topology.kubernetes.io/zone", "In", &["", "a.b_c-d"])).unwrap();
        assert_eq!(selector.match_expressions[0].values.len(), 2);
    }
}
