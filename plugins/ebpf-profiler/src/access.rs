//! Which processes may be looked at, be it to report or to capture them.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

/// Regular expressions on command lines, as [`command::line`](crate::process::command::line) has them.
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

/// An entry of a list does not compile.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{list}[{index}]: \"{value}\" is no regular expression: {source}")]
pub struct AccessError {
    /// `allow` or `deny`.
    pub list: &'static str,
    /// Which entry of it, from 0.
    pub index: usize,
    /// What stands there.
    pub value: String,
    /// Why not.
    pub source: Box<regex::Error>,
}

/// Why a process may not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// It is on one list.
    #[error("its command line matches `{0}` in deny")]
    Denied(String),
    /// It is not on the other.
    #[error("its command line matches nothing in allow")]
    NotAllowed,
}

impl Access {
    /// Compiles the lists.
    ///
    /// # Errors
    /// An expression is not one.
    pub fn new(settings: &AccessSettings) -> Result<Self, AccessError> {
        Ok(Self {
            allow: compiled("allow", &settings.allow)?,
            deny: compiled("deny", &settings.deny)?,
        })
    }

    /// Whether every process may be looked at, whatever its command line.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Says no to a process with this command line.
    ///
    /// # Errors
    /// The lists forbid to look at it.
    pub fn judge(&self, command: &str) -> Result<(), Reason> {
        if let Some(deny) = self.deny.iter().find(|it| it.is_match(command)) {
            return Err(Reason::Denied(deny.to_string()));
        }
        if !self.allow.is_empty() && !self.allow.iter().any(|it| it.is_match(command)) {
            return Err(Reason::NotAllowed);
        }
        Ok(())
    }
}

fn compiled(list: &'static str, texts: &[String]) -> Result<Vec<Regex>, AccessError> {
    let each = texts.iter().enumerate();
    each.map(|(index, text)| {
        // An argument may have lines, as a script on a command line has.
        let compiled = RegexBuilder::new(text).dot_matches_new_line(true).build();
        compiled.map_err(|error| AccessError {
            list,
            index,
            value: text.clone(),
            source: Box::new(error),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], deny: &[&str]) -> Access {
        let owned = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect();
        let (allow, deny) = (owned(allow), owned(deny));
        Access::new(&AccessSettings { allow, deny }).unwrap()
    }

    #[test]
    fn lines_within_a_command_do_not_end_what_an_expression_matches() {
        let access = access(&[], &["^python3 .*secret$"]);
        assert!(
            access
                .judge("python3 -c import os\nprint('secret').secret")
                .is_err()
        );
    }

    #[test]
    fn empty_lists_permit_everything() {
        let access = access(&[], &[]);
        assert!(access.is_open());
        assert_eq!(access.judge("anything"), Ok(()));
        assert_eq!(access.judge(""), Ok(()));
    }

    #[test]
    fn an_allow_list_forbids_all_else() {
        let access = access(&["^java ", "nginx"], &[]);
        assert!(!access.is_open());
        assert_eq!(access.judge("java -jar a.jar"), Ok(()));
        assert_eq!(access.judge("/usr/sbin/nginx -g daemon"), Ok(()));
        let forbidden = access.judge("/usr/bin/java -jar a.jar");
        assert_eq!(forbidden, Err(Reason::NotAllowed));
    }

    #[test]
    fn deny_wins_over_allow() {
        let access = access(&["java"], &["secret", "vault"]);
        let denied = Err(Reason::Denied("vault".to_owned()));
        assert_eq!(access.judge("java -jar shop.jar"), Ok(()));
        assert_eq!(access.judge("java -jar vault.jar"), denied);
        assert_eq!(access.judge("vault server"), denied);
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
