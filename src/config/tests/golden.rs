//! The stock file means what it means to Satellite.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{EMBEDDED, fixture, load_with};
use crate::config::keys::{self, Usage};
use crate::config::tree::{Node, Raw, Scalar, Style, Value};
use crate::config::{placeholder, yaml};

type Flat = BTreeMap<String, Json>;

fn expected() -> Option<Flat> {
    Some(serde_json::from_str(&fixture("effective-defaults.json")?).expect("a flat object"))
}

/// Satellite's values are all there and unchanged, and everything else is ours.
fn assert_same(text: &str, variables: &BTreeMap<String, String>, expected: &Flat) {
    let config = load_with(text, variables).unwrap_or_else(|errors| panic!("{errors}"));
    let flat = config.flat();
    for (path, value) in expected {
        assert_eq!(flat.get(path), Some(value), "{path}");
    }
    for path in flat.keys().filter(|path| !expected.contains_key(*path)) {
        let usage = keys::find(path).map(|key| key.usage);
        assert_eq!(usage, Some(Usage::Ours), "{path} should not be there");
    }
}

#[test]
fn the_stock_file_resolves_to_the_275_values_of_satellite() {
    let (Some(stock), Some(expected)) = (fixture("satellite_config.yaml"), expected()) else {
        return;
    };
    assert_eq!(expected.len(), 275);
    assert_same(&stock, &BTreeMap::new(), &expected);
}

#[test]
fn our_own_file_resolves_to_the_same_values() {
    let Some(expected) = expected() else { return };
    assert_same(EMBEDDED, &BTreeMap::new(), &expected);
}

#[test]
fn the_stock_file_gives_no_warning() {
    let Some(stock) = fixture("satellite_config.yaml") else {
        return;
    };
    for text in [stock.as_str(), EMBEDDED] {
        let config = super::good(text);
        assert_eq!(config.warnings, []);
    }
}

#[test]
fn every_one_of_the_103_variables_sets_its_values() {
    let (Some(stock), Some(mut expected)) = (fixture("satellite_config.yaml"), expected()) else {
        return;
    };
    let mut by_path = BTreeMap::new();
    names(&mut by_path, "", &yaml::parse(&stock).expect("a tree"));
    let mut variables = BTreeMap::new();
    for (path, name) in by_path {
        let before = expected.get(&path).expect("a stock value").clone();
        let value = another(&name, &before);
        let text = match &value {
            Json::String(text) => text.clone(),
            value => value.to_string(),
        };
        variables.insert(name, text);
        expected.insert(path, value);
    }
    assert_eq!(variables.len(), 103);
    assert_same(&stock, &variables, &expected);
    assert_same(EMBEDDED, &variables, &expected);
}

/// Another valid value of the same type.
fn another(name: &str, before: &Json) -> Json {
    match (name, before) {
        // A valid value other than `static` would need a finder that is not built yet.
        ("SATELLITE_GRPC_CLIENT_FINDER", _) => Json::from("static"),
        ("SATELLITE_LOGGER_LEVEL", _) => Json::from("debug"),
        ("SATELLITE_TELEMETRY_EXPORT_TYPE", _) => Json::from("prometheus,metrics_service"),
        ("SATELLITE_TELEMETRY_METRICS_SERVICE_CLIENT_NAME", _) => Json::from("other-client"),
        ("SATELLITE_TELEMETRY_PROMETHEUS_ENDPOINT", _) => Json::from("/other/metrics"),
        (_, Json::Bool(value)) => Json::from(!value),
        (_, Json::Number(number)) => Json::from(number.as_i64().expect("a whole number") + 1),
        (_, Json::String(text)) if text.ends_with("0s") || text.ends_with("5s") => {
            Json::from("1m30s")
        }
        (name, Json::String(_)) if name.ends_with("INSECURE_SKIP_VERIFY") => Json::from(true),
        (name, Json::String(text)) if name.ends_with("ADDRESS") || text.contains(":11800") => {
            Json::from("127.0.0.1:7")
        }
        // Texts that Satellite's coercion would spoil stay as they are.
        (name, Json::String(_)) if name.ends_with("TOKEN") || name.ends_with("AUTHENTICATION") => {
            Json::from("007")
        }
        (_, Json::String(_)) => Json::from("infinity"),
        (name, other) => panic!("{name}: {other}"),
    }
}

fn names(by_path: &mut BTreeMap<String, String>, path: &str, node: &Node) {
    match &node.value {
        Value::Map(entries) => {
            for (name, node) in entries {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                names(by_path, &path, node);
            }
        }
        Value::List(items) => {
            for (index, node) in items.iter().enumerate() {
                names(by_path, &format!("{path}[{index}]"), node);
            }
        }
        Value::Scalar(scalar) => {
            if let Some(placeholder) = placeholder::Placeholder::parse(&scalar.text) {
                by_path.insert(path.to_owned(), placeholder.name.to_owned());
            }
        }
    }
}

#[test]
fn coercion_follows_satellite_where_no_key_says_otherwise() {
    let raw = |text: &str| Scalar::new(text, Style::Expanded).raw();
    assert_eq!(raw("007"), Raw::Whole(7));
    assert_eq!(raw("-5"), Raw::Whole(-5));
    assert_eq!(raw("1.5"), Raw::Real(1.5));
    assert_eq!(raw("0x10p2"), Raw::Real(64.0));
    assert_eq!(raw("infinity"), Raw::Real(f64::INFINITY));
    assert_eq!(raw("TRUE"), Raw::Bool(true));
    assert_eq!(raw("0x10"), Raw::Text);
    assert_eq!(raw(""), Raw::Text);
}
