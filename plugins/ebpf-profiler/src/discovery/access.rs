//! Which processes may be looked at.

use regex::Regex;
use serde::Deserialize;

use super::facts::Facts;
use super::settings::{SettingsError, regex};

/// Regular expressions on command lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSettings {
    /// Only processes that one of these matches are looked at; empty: all are.
    pub allow: Vec<String>,
    /// Processes that one of these matches are never looked at, allowed or not.
    pub deny: Vec<String>,
}

/// The allow-list and the deny-list of an operator. Deny wins.
#[derive(Clone, Debug, Default)]
pub struct Access {
    allow: Vec<Regex>,
    deny: Vec<Regex>,
}

impl Access {
    /// Compiles the lists.
    ///
    /// # Errors
    /// An expression is not one.
    pub fn new(settings: &AccessSettings) -> Result<Self, SettingsError> {
        let list = |name: &str, list: &[String]| {
            let each = list.iter().enumerate();
            each.map(|(index, text)| regex(format!("{name}[{index}]"), text))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            allow: list("allow", &settings.allow)?,
            deny: list("deny", &settings.deny)?,
        })
    }

    /// Whether the process may be looked at. One without a command line goes by its name.
    pub fn permits(&self, facts: &Facts) -> bool {
        if self.allow.is_empty() && self.deny.is_empty() {
            return true;
        }
        let command = facts.command();
        let matches = |list: &[Regex]| list.iter().any(|it| it.is_match(&command));
        !matches(&self.deny) && (self.allow.is_empty() || matches(&self.allow))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], deny: &[&str]) -> Access {
        let owned = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
        let (allow, deny) = (owned(allow), owned(deny));
        Access::new(&AccessSettings { allow, deny }).unwrap()
    }

    fn running(command: &str) -> Facts {
        let arguments = command.split(' ').filter(|it| !it.is_empty());
        Facts {
            comm: "name".to_owned(),
            arguments: arguments.map(str::to_owned).collect(),
            ..Facts::default()
        }
    }

    #[test]
    fn empty_lists_permit_everything() {
        assert!(access(&[], &[]).permits(&running("anything")));
        assert!(access(&[], &[]).permits(&running("")));
    }

    #[test]
    fn an_allow_list_forbids_all_else() {
        let access = access(&["^java ", "nginx"], &[]);
        assert!(access.permits(&running("java -jar a.jar")));
        assert!(access.permits(&running("/usr/sbin/nginx -g daemon")));
        assert!(!access.permits(&running("/usr/bin/java -jar a.jar")));
    }

    #[test]
    fn deny_wins_over_allow() {
        let access = access(&["java"], &["vault"]);
        assert!(access.permits(&running("java -jar shop.jar")));
        assert!(!access.permits(&running("java -jar vault.jar")));
        assert!(!access.permits(&running("vault server")));
    }

    #[test]
    fn a_process_without_a_command_line_goes_by_its_name() {
        assert!(access(&["^name$"], &[]).permits(&running("")));
        assert!(!access(&[], &["^name$"]).permits(&running("")));
    }

    #[test]
    fn a_bad_expression_is_named_with_its_place() {
        let settings = AccessSettings {
            allow: vec!["ok".to_owned()],
            deny: vec!["ok".to_owned(), "a(".to_owned()],
        };
        let error = Access::new(&settings).unwrap_err().to_string();
        assert!(
            error.starts_with("deny[1]: \"a(\" is no regular expression: "),
            "{error}"
        );
    }
}
