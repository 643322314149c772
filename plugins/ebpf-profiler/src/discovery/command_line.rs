//! A command line as it may be shown to others: what looks like a secret is masked.
//!
//! Masked is the value of a word whose name says password, secret, token, key for an API or credential
//! (`--password=X`, `-Ddb.password=X`, `DB_PASSWORD=X`, `--api-key X`, `Authorization: X`), what stands
//! before the host in a URL (but a user who has a password), the password of `-u user:X`, and that of
//! `mysql -pX` and `sshpass -p X`. Names of files that hold a secret are no secret.

use super::facts::Facts;

/// Bytes of a command line that are reported.
const SHOWN: usize = 4096;
const MASK: &str = "***";

/// Names that are a secret's by their end.
const ENDS: [&str; 17] = [
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "auth",
    "authorization",
    "secret",
    "secrets",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "credential",
    "credentials",
];
/// Words that end so and are no secret's.
const ORDINARY: [&str; 6] = [
    "bypass",
    "compass",
    "encompass",
    "noauth",
    "surpass",
    "trespass",
];
/// Options whose value is a user and perhaps a password.
const LOGINS: [&str; 4] = ["-u", "--user", "-U", "--proxy-user"];

/// The process's arguments with spaces between, secrets masked, cut to 4 KiB; the name in brackets where
/// there are none.
pub(super) fn shown(facts: &Facts) -> String {
    if facts.arguments.is_empty() {
        return format!("[{}]", facts.comm);
    }
    let mut line = Line::default();
    for (index, argument) in facts.arguments.iter().enumerate() {
        if index > 0 {
            line.shown.push(' ');
        }
        line.add(argument);
        if line.shown.len() > SHOWN {
            break;
        }
    }
    let mut shown = line.shown;
    shown.truncate(shown.floor_char_boundary(SHOWN));
    shown
}

/// One argument; a process may write a whole line over its first.
pub(super) fn shown_alone(argument: &str) -> String {
    let mut line = Line::default();
    line.add(argument);
    line.shown
}

/// What the next word is by the one before.
#[derive(Clone, Copy, Default)]
enum Next {
    #[default]
    Plain,
    Secret,
    Login,
}

/// Whose options follow.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Program {
    #[default]
    Other,
    Mysql,
    Sshpass,
}

#[derive(Default)]
struct Line {
    shown: String,
    next: Next,
    program: Program,
}

impl Line {
    /// Adds an argument. It may be a whole script; an option's value may have spaces and is all of the
    /// rest.
    fn add(&mut self, argument: &str) {
        match std::mem::take(&mut self.next) {
            Next::Secret => {
                self.shown.push_str(MASK);
                // If it was no value, it may have one.
                self.next = self.after(argument);
                return;
            }
            Next::Login if self.add_login("", argument) => return,
            _ => {}
        }
        if self.add_joined(argument) {
            return;
        }
        let name = argument.split_inclusive('=').next().unwrap_or_default();
        if is_option(name) && name.ends_with('=') && is_secret(name) {
            self.shown.push_str(name);
            self.shown.push_str(MASK);
            return;
        }
        self.add_words(argument);
    }

    fn add_words(&mut self, mut rest: &str) {
        while !rest.is_empty() {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, after) = rest.split_at(end);
            if !word.is_empty() && self.add_word(word) {
                return;
            }
            let gap = after.len() - after.trim_start().len();
            self.shown.push_str(&after[..gap]);
            rest = &after[gap..];
        }
    }

    /// Adds a word; whether the rest of the argument was masked with it. A value may be several words
    /// (`Bearer X`, `"a b"`), and where it ends nobody can say.
    fn add_word(&mut self, word: &str) -> bool {
        let is_quoted = |value: &str| value.starts_with(['"', '\'']);
        match std::mem::take(&mut self.next) {
            Next::Secret => {
                self.shown.push_str(MASK);
                return true;
            }
            Next::Login if self.add_login("", word) => return is_quoted(word),
            _ => {}
        }
        if self.add_joined(word) {
            return word.contains(['"', '\'']);
        }
        let mut separators = word.match_indices(['=', ':']).map(|(at, _)| at);
        let Some(at) = separators.find(|at| is_secret(&word[..*at])) else {
            self.shown.push_str(&without_credentials(word));
            self.next = self.after(word);
            self.notice(word);
            return false;
        };
        let (name, value) = word.split_at(at + 1);
        self.shown.push_str(&without_credentials(name));
        if value.is_empty() {
            self.next = Next::Secret;
            return false;
        }
        self.shown.push_str(MASK);
        is_quoted(value)
    }

    /// Adds an option that has its value in the same word, if it is one that is known by its name alone.
    fn add_joined(&mut self, word: &str) -> bool {
        let password = word.strip_prefix("-p").filter(|value| !value.is_empty());
        if password.is_some() && self.program != Program::Other {
            self.shown.push_str("-p");
            self.shown.push_str(MASK);
            return true;
        }
        let logins = LOGINS.into_iter().filter_map(|option| {
            let value = word.strip_prefix(option)?;
            let is_joined = !option.starts_with("--") || value.starts_with('=');
            is_joined.then_some((option, value))
        });
        for (option, value) in logins {
            if self.add_login(option, value) {
                return true;
            }
        }
        false
    }

    /// Adds `user:password` without the password, if it is that.
    fn add_login(&mut self, before: &str, login: &str) -> bool {
        let Some((user, password)) = login.split_once(':') else {
            return false;
        };
        if is_option(user) || password.starts_with("//") {
            return false;
        }
        for part in [before, user, ":", MASK] {
            self.shown.push_str(part);
        }
        true
    }

    /// What follows an option that has no value yet.
    fn after(&self, word: &str) -> Next {
        if !is_option(word) || word.contains('=') {
            Next::Plain
        } else if LOGINS.contains(&word) {
            Next::Login
        } else if is_secret(word) || (self.program == Program::Sshpass && word == "-p") {
            Next::Secret
        } else {
            Next::Plain
        }
    }

    /// Programs are called by others (`sudo`, `docker exec`, `sh -c`): any word may be one.
    fn notice(&mut self, word: &str) {
        let name = word.rsplit(['/', '"', '\'', '(', '`']).next();
        let name = name.unwrap_or_default();
        if name.starts_with("mysql") || name.starts_with("mariadb") {
            self.program = Program::Mysql;
        } else if name == "sshpass" {
            self.program = Program::Sshpass;
        }
    }
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
    let says = |name: &str| ENDS.iter().any(|end| name.ends_with(end));
    let pair = words.len().checked_sub(2).map(|at| words[at..].concat());
    !ORDINARY.contains(&last) && (says(last) || pair.is_some_and(|pair| says(&pair)))
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

/// `scheme://user:password@host` without the password; a user alone may be a token.
fn without_credentials(word: &str) -> String {
    let mut shown = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find("://") {
        let (scheme, after) = rest.split_at(at + 3);
        shown.push_str(scheme);
        let mut end = after.find(['/', '?', '#']).unwrap_or(after.len());
        if after[..end].ends_with(':') && after[end..].starts_with("//") {
            // Another URL follows.
            end -= 1;
        }
        let (authority, path) = after.split_at(end);
        let host = match authority.rsplit_once('@') {
            Some((credentials, host)) => {
                if let Some((user, _)) = credentials.split_once(':') {
                    shown.push_str(user);
                    shown.push(':');
                }
                shown.push_str(MASK);
                shown.push('@');
                host
            }
            None => authority,
        };
        shown.push_str(host);
        rest = path;
    }
    shown.push_str(rest);
    shown
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
            (&["a", "--password", "--b", "c"], "a --password *** c"),
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

    #[test]
    fn what_stands_around_a_secret_is_shown() {
        let cases: [(&[&str], &str); 17] = [
            (&["a", "-u", "me:x", "b"], "a -u me:*** b"),
            (&["a", "-ume:x", "--user=me:x"], "a -ume:*** --user=me:***"),
            (&["a", "-u", "root", "b:c"], "a -u root b:c"),
            (&["a", "--users", "b:c"], "a --users b:c"),
            (&["a", "-u", "http://b/c"], "a -u http://b/c"),
            (
                &["mysql", "-uroot", "-px", "-P3306", "-p", "shop"],
                "mysql -uroot -p*** -P3306 -p shop",
            ),
            (
                &["sudo", "/usr/bin/mariadb-dump", "-px y", "shop"],
                "sudo /usr/bin/mariadb-dump -p*** shop",
            ),
            (
                &["sh", "-c", "x=`mysqladmin -px ping`"],
                "sh -c x=`mysqladmin -p*** ping`",
            ),
            (&["tar", "-pxf", "b"], "tar -pxf b"),
            (&["sshpass", "-px", "ssh", "h"], "sshpass -p*** ssh h"),
            (&["sshpass", "-p", "x", "ssh", "h"], "sshpass -p *** ssh h"),
            (&["ssh", "-p", "22", "h"], "ssh -p 22 h"),
            (&["a", "--password", "--token", "x"], "a --password *** ***"),
            (
                &["a", "https://x@h/p,https://me:x@h/q"],
                "a https://***@h/p,https://me:***@h/q",
            ),
            (&["a", "b://c,d://x@e"], "a b://c,d://***@e"),
            (
                &["java", "-Dapi.key=x", "-Da=b"],
                "java -Dapi.key=*** -Da=b",
            ),
            (&["sh", "-c", "curl -u 'me:a b' h"], "sh -c curl -u 'me:***"),
        ];
        for (arguments, expected) in cases {
            assert_eq!(of(arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn secrets_of_well_known_programs_are_masked() {
        let cases: [&[&str]; 10] = [
            &["redis-server", "--requirepass", "Q7Z"],
            &["redis-server", "--masterauth", "Q7Z"],
            &["curl", "-u", "me:Q7Z", "http://h"],
            &["curl", "--user", "me:Q7Z", "http://h"],
            &["mysql", "-uroot", "-pQ7Z"],
            &["sshpass", "-p", "Q7Z", "ssh", "h"],
            &["git", "clone", "https://Q7Z@github.com/a/b"],
            &["a", "--password", "-Q7Z"],
            &["java", "-Dpwd=Q7Z"],
            &["java", "-Djavax.net.ssl.keyStorePass=Q7Z"],
        ];
        let shown: Vec<_> = cases.iter().map(|it| of(it)).collect();
        let leaks: Vec<_> = shown.iter().filter(|it| it.contains("Q7Z")).collect();
        assert!(leaks.is_empty(), "{leaks:#?}");
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
