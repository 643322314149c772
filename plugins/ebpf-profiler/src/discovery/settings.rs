//! What can be configured, and how mistakes in it are told.

use std::path::PathBuf;

use regex::Regex;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

use super::kubernetes::KubernetesSettings;
use super::rules::RuleSettings;
use super::template::TemplateError;
use crate::access::{AccessError, AccessSettings};

/// How processes are found and named.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the host's `/proc` is mounted. Default `/proc`. Source: Rover's `ROVER_HOST_PROC_MAPPING`.
    pub proc_root: PathBuf,
    /// Put before service names that have none, as `cluster::service`. Source: Rover's
    /// `core.cluster_name`.
    pub cluster_name: String,
    /// Whether processes of systemd services that no rule names are reported under the unit's name.
    /// Default: only where there are no rules.
    pub units: Option<bool>,
    /// How processes of a plain host are named. The first that matches names it.
    pub rules: Vec<RuleSettings>,
    /// Which processes may be looked at.
    pub access: AccessSettings,
    /// How processes in pods are named. Default: there are no pods.
    pub kubernetes: KubernetesSettings,
    /// `.Rover.InstanceID` of templates: what the OAP knows this agent by. Not from the file.
    #[serde(skip)]
    pub agent_id: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proc_root: PathBuf::from("/proc"),
            cluster_name: String::new(),
            units: None,
            rules: Vec::new(),
            access: AccessSettings::default(),
            kubernetes: KubernetesSettings::default(),
            agent_id: String::new(),
        }
    }
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// An expression does not compile.
    #[error("{field}: \"{value}\" is no regular expression: {source}")]
    Expression {
        /// Path of the key.
        field: String,
        /// What stands there.
        value: String,
        /// Why not.
        source: Box<regex::Error>,
    },
    /// A template does not parse.
    #[error("{field}: \"{value}\" is no template: {source}")]
    Template {
        /// Path of the key.
        field: String,
        /// What stands there.
        value: String,
        /// Why not, and where.
        source: TemplateError,
    },
    /// Nothing stands where something must.
    #[error("{field} is empty: expected {expected}")]
    Empty {
        /// Path of the key.
        field: String,
        /// What should stand there.
        expected: &'static str,
    },
}

impl SettingsError {
    /// The same error, seen from one level further out.
    pub(super) fn within(mut self, outer: &str) -> Self {
        let (Self::Expression { field, .. }
        | Self::Template { field, .. }
        | Self::Empty { field, .. }) = &mut self;
        *field = format!("{outer}.{field}");
        self
    }
}

impl From<AccessError> for SettingsError {
    fn from(error: AccessError) -> Self {
        Self::Expression {
            field: format!("access.{}[{}]", error.list, error.index),
            value: error.value,
            source: error.source,
        }
    }
}

pub(super) fn regex(field: String, text: &str) -> Result<Regex, SettingsError> {
    Regex::new(text).map_err(|error| SettingsError::Expression {
        field,
        value: text.to_owned(),
        source: Box::new(error),
    })
}

/// A list, or Rover's form of one: words with commas between.
pub(super) fn words<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<String>, D::Error> {
    struct Words;

    impl<'de> Visitor<'de> for Words {
        type Value = Vec<String>;

        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("a list of words, or words with commas between")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            let words = text.split(',').map(str::trim);
            Ok(words
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
            Vec::deserialize(de::value::SeqAccessDeserializer::new(list))
        }
    }

    input.deserialize_any(Words)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings(value: serde_json::Value) -> Result<Settings, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn nothing_has_to_be_set() {
        let settings = settings(json!({})).unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.proc_root, PathBuf::from("/proc"));
        assert!(!settings.kubernetes.active);
    }

    #[test]
    fn an_unknown_key_is_named_at_every_level() {
        let cases = [
            json!({"proc_rot": "/proc"}),
            json!({"access": {"alow": []}}),
            json!({"rules": [{"service": "a", "match": {}, "sevice": "b"}]}),
            json!({"rules": [{"service": "a", "match": {"comand": "b"}}]}),
            json!({"kubernetes": {"pods": "x"}}),
            json!({"kubernetes": {"analyzers": [{"service": "x"}]}}),
        ];
        for case in cases {
            let error = settings(case.clone()).unwrap_err().to_string();
            assert!(error.starts_with("unknown field `"), "{case}: {error}");
        }
    }

    #[test]
    fn labels_and_namespaces_are_lists_or_rovers_words() {
        for (given, expected) in [
            (json!(["a", "b"]), vec!["a", "b"]),
            (json!("a, b,"), vec!["a", "b"]),
            (json!(""), vec![]),
        ] {
            let settings = settings(json!({
                "kubernetes": {"namespaces": given},
                "rules": [{"match": {}, "service": "x", "labels": given}],
            }));
            let settings = settings.unwrap();
            assert_eq!(settings.kubernetes.namespaces, expected);
            assert_eq!(settings.rules[0].labels, expected);
        }
        let error = settings(json!({"kubernetes": {"namespaces": 5}})).unwrap_err();
        assert!(
            error.to_string().contains("expected a list of words"),
            "{error}"
        );
    }
}
