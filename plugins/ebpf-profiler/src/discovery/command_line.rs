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
mod tests;
