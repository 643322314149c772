//! A command line as it may be shown to others: what looks like a secret is masked.
//!
//! Masked is the value of a word whose name says password, secret, token, key for an API or credential
//! (`--password=X`, `-Ddb.password=X`, `DB_PASSWORD=X`, `--api-key X`, `Authorization: X`) and the
//! password in a URL. Names of files that hold a secret are no secret.

use super::facts::Facts;

/// Bytes of a command line that are reported.
const SHOWN: usize = 4096;
const MASK: &str = "***";

/// Names that are a secret's by their end.
const ENDS: [&str; 12] = [
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "secret",
    "secrets",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "credentials",
];
/// Names that are a secret's as a whole word.
const WORDS: [&str; 5] = ["pwd", "pass", "auth", "authorization", "credential"];

/// The process's arguments with spaces between, secrets masked, cut to 4 KiB; the name in brackets where
/// there are none.
pub(super) fn shown(facts: &Facts) -> String {
    if facts.arguments.is_empty() {
        return format!("[{}]", facts.comm);
    }
    let mut shown = String::new();
    let mut mask_next = false;
    for (index, argument) in facts.arguments.iter().enumerate() {
        if index > 0 {
            shown.push(' ');
        }
        if std::mem::take(&mut mask_next) && !argument.starts_with('-') {
            shown.push_str(MASK);
        } else {
            mask_next = add(&mut shown, argument);
        }
        if shown.len() > SHOWN {
            break;
        }
    }
    shown.truncate(shown.floor_char_boundary(SHOWN));
    shown
}

/// Adds an argument; whether the next one is a secret. An argument may be a whole script; an option's
/// value may have spaces and is all of the rest.
fn add(shown: &mut String, argument: &str) -> bool {
    let name = argument.split_inclusive('=').next().unwrap_or_default();
    if is_option(name) && name.ends_with('=') && is_secret(name) {
        shown.push_str(name);
        shown.push_str(MASK);
        return false;
    }
    let mut rest = argument;
    let mut mask_next = false;
    loop {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let gap = after.len() - after.trim_start().len();
        if mask_next && !word.is_empty() && !word.starts_with('-') {
            // A value may be several words (`Bearer X`, `"a b"`), and where it ends nobody can say.
            shown.push_str(MASK);
            return false;
        }
        mask_next = add_word(shown, word);
        if mask_next && shown.ends_with(MASK) {
            return false;
        }
        shown.push_str(&after[..gap]);
        rest = &after[gap..];
        if rest.is_empty() {
            return mask_next;
        }
    }
}

/// Adds a word; whether what comes next is a secret, or the rest of one if a mask was added.
fn add_word(shown: &mut String, word: &str) -> bool {
    let mut separators = word.match_indices(['=', ':']).map(|(at, _)| at);
    let Some(at) = separators.find(|at| is_secret(&word[..*at])) else {
        shown.push_str(&without_credentials(word));
        return is_option(word) && is_secret(word);
    };
    let (name, value) = word.split_at(at + 1);
    shown.push_str(&without_credentials(name));
    if value.is_empty() {
        return true;
    }
    shown.push_str(MASK);
    // Of a quoted value only the first word is here.
    value.starts_with(['"', '\''])
}

fn is_option(word: &str) -> bool {
    word.starts_with('-')
}

/// Whether this is what people call a secret.
fn is_secret(name: &str) -> bool {
    let words = words(name);
    let Some(last) = words.last().map(String::as_str) else {
        return false;
    };
    let pair = words.len().checked_sub(2).map(|at| words[at..].concat());
    ENDS.iter().any(|end| last.ends_with(end))
        || WORDS.contains(&last)
        || pair.is_some_and(|pair| ENDS.contains(&pair.as_str()))
}

/// `--db.userPassword` is `db`, `user`, `password`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut lower = false;
    for letter in name.chars() {
        if !letter.is_alphanumeric() || lower && letter.is_uppercase() {
            words.push(String::new());
        }
        lower = letter.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// `scheme://user:password@host` without the password.
fn without_credentials(word: &str) -> String {
    let masked = word.split_once("://").and_then(|(scheme, rest)| {
        let authority = rest.split(['/', '?', '#']).next()?;
        let (credentials, _) = authority.rsplit_once('@')?;
        let (user, _) = credentials.split_once(':')?;
        let rest = &rest[credentials.len()..];
        Some(format!("{scheme}://{user}:{MASK}{rest}"))
    });
    masked.unwrap_or_else(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(arguments: &[&str]) -> String {
        shown(&Facts {
            comm: "comm".to_owned(),
            arguments: arguments.iter().map(|it| (*it).to_owned()).collect(),
            ..Facts::default()
        })
    }

    #[test]
    fn an_ordinary_command_line_stays_as_it_is() {
        let lines: [&[&str]; 5] = [
            &["nginx:", "worker", "process"],
            &["java", "-Xmx1g", "-Dserver.port=80", "-jar", "/a b/c.jar"],
            &["app", "--token-file=/run/token", "--passwordFile", "/run/p"],
            &["app", "--tokenizer=x", "--compass", "--bypass", "north"],
            &["sh", "-c", "exec  app --a=b\n\t--c   "],
        ];
        for line in lines {
            assert_eq!(of(line), line.join(" "));
        }
        assert_eq!(of(&[]), "[comm]");
    }

    #[test]
    fn secrets_are_masked_wherever_they_stand() {
        let cases: [(&[&str], &str); 19] = [
            (&["a", "--password=x", "b"], "a --password=*** b"),
            (&["a", "--password", "x", "b"], "a --password *** b"),
            (&["a", "--password=x y", "b"], "a --password=*** b"),
            (&["a", "--password", "--b", "c"], "a --password --b c"),
            (
                &["a", "-Dspring.datasource.password=x"],
                "a -Dspring.datasource.password=***",
            ),
            (
                &["env", "DB_PASSWORD=x", "PGPASSWORD=y", "a"],
                "env DB_PASSWORD=*** PGPASSWORD=*** a",
            ),
            (
                &["a", "--api-key", "x", "--apiKey=y"],
                "a --api-key *** --apiKey=***",
            ),
            (
                &["a", "--accessToken=x", "--TOKEN=y"],
                "a --accessToken=*** --TOKEN=***",
            ),
            (&["a", "--client-secret=x=y=="], "a --client-secret=***"),
            (
                &["docker", "--env=A_PASSWORD=x"],
                "docker --env=A_PASSWORD=***",
            ),
            (&["a", "{\"secret\":\"x\"}"], "a {\"secret\":***"),
            (
                &["a", "db://me:x@db/?password=y"],
                "a db://me:***@db/?password=***",
            ),
            (
                &["curl", "-H", "Authorization: Bearer x y"],
                "curl -H Authorization: ***",
            ),
            (
                &["curl", "-H", "X-Auth-Token:x"],
                "curl -H X-Auth-Token:***",
            ),
            (
                &["a", "postgres://me:x@db/shop?a=b"],
                "a postgres://me:***@db/shop?a=b",
            ),
            (&["a", "--url=amqp://me:x@y@mq"], "a --url=amqp://me:***@mq"),
            (
                &["sh", "-c", "mysql --user a --password x b"],
                "sh -c mysql --user a --password ***",
            ),
            (&["sh", "-c", "P_TOKEN='a b' run"], "sh -c P_TOKEN=***"),
            (&["sh", "-c", "TOKEN=a run -v"], "sh -c TOKEN=*** run -v"),
        ];
        for (arguments, expected) in cases {
            assert_eq!(of(arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn a_long_command_line_is_cut_between_letters() {
        let long = "\u{e4}".repeat(SHOWN);
        let shown = of(&["a", &long, "--password=x"]);
        assert_eq!(shown.len(), SHOWN);
        assert!(shown.ends_with('\u{e4}'));
    }

    proptest! {
        #[test]
        fn no_arguments_panic_and_no_option_shows_its_secret(
            arguments in proptest::collection::vec(".{0,20}", 0..6),
            secret in "[a-zA-Z0-9 /:@-]{0,8}Q7Z",
        ) {
            let option = format!("--token={secret}");
            let mut all: Vec<&str> = arguments.iter().map(String::as_str).collect();
            all.push(&option);
            prop_assert!(!of(&all).contains("Q7Z"));
        }
    }
}
