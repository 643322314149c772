//! Mistakes in the names of keys for TLS and tokens, and of those that say whom not to capture.
//!
//! An unknown key is ignored with a warning, since it may be for a later version. Not where one of
//! these was probably meant: a gateway that is believed to be closed must not be open, and who is
//! believed to be left alone must be.

use super::{Map, by_likeness, likeness, nearest};
use crate::config::keys::{self, Key};

/// Least likeness of a name that was meant for one of these keys. More than for a mere hint.
const ALIKE: f64 = 0.75;

/// What a key is for, by the words of its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Exemption,
    Token,
    Roots,
    PrivateKey,
    Chain,
    Verification,
    Tls,
}

/// Beginnings of words. The first that fits counts: `tls_client_ca_file` is about roots.
const WORDS: [(Purpose, &[&str]); 7] = [
    (Purpose::Exemption, &["exempt"]),
    (Purpose::Token, &["auth", "token"]),
    (Purpose::Roots, &["ca", "root", "truststore"]),
    (Purpose::PrivateKey, &["key", "private"]),
    (Purpose::Chain, &["cert", "pem", "chain"]),
    (Purpose::Verification, &["verify", "insecure"]),
    (Purpose::Tls, &["tls", "ssl", "mtls", "https"]),
];

impl Purpose {
    fn of(name: &str) -> Option<Self> {
        let words = || name.split(|letter: char| !letter.is_ascii_alphanumeric());
        let begins = |begin: &str| {
            words().any(|word| match begin {
                // Too short to be a beginning.
                "ca" => word == "ca" || word == "cacert" || word == "cacerts",
                begin => word.starts_with(begin),
            })
        };
        let found = WORDS
            .iter()
            .find(|(_, begins_with)| begins_with.iter().any(|word| begins(word)));
        found.map(|(purpose, _)| *purpose)
    }
}

/// Where [`SCOPE`] stands.
const CAPTURE: &str = "capture";

/// Lists of who is captured and who is not.
const SCOPE: [&str; 2] = ["allow", "deny"];

/// Beginnings of what such lists are called elsewhere.
const SCOPE_WORDS: [(&str, &str); 2] = [("allow", "allow"), ("den", "deny")];

/// What to say of an unknown name that was probably meant for one of these keys.
pub(super) fn mistaken(map: &Map<'_>, name: &str) -> Option<String> {
    if let Some(list) = scope(map, name) {
        let place = match map.general {
            CAPTURE => list.to_owned(),
            _ => format!("{CAPTURE}.{list}"),
        };
        return Some(format!("unknown key; did you mean {place}?"));
    }
    let here: Vec<_> = guards().filter(|key| is_in(map, key)).collect();
    if here.is_empty() {
        let meant = guards().filter(|key| likeness(name, key.name()) >= ALIKE);
        let places: Vec<_> = meant.map(|key| key.path).collect();
        let places = places.join(" or ");
        return (!places.is_empty()).then(|| format!("unknown key; did you mean {places}?"));
    }
    let purpose = Purpose::of(name);
    let alike = here.iter().any(|key| likeness(name, key.name()) >= ALIKE);
    if purpose.is_none() && !alike {
        return None;
    }
    let absent = || here.iter().filter(|key| !map.has(key.path));
    let same = absent().filter(|key| Purpose::of(key.name()) == purpose);
    let nearest = same.max_by(|a, b| by_likeness(name, a.name(), b.name()));
    let misspelt = || absent().find(|key| likeness(name, key.name()) >= ALIKE);
    Some(match nearest.or_else(misspelt) {
        Some(key) => format!("unknown key; did you mean {}?", key.name()),
        None => {
            let known: Vec<_> = here.iter().map(|key| key.name()).collect();
            let known = known.join(", ");
            format!("unknown key; those for TLS and tokens are {known}")
        }
    })
}

/// The list that a name under `capture` was probably meant for, whether it stands there already or not.
fn scope(map: &Map<'_>, name: &str) -> Option<&'static str> {
    if map.general != CAPTURE {
        // Elsewhere only what is a name for nothing else.
        let is_below = map.general.starts_with("capture.");
        return is_scope(name).filter(|_| is_below);
    }
    let siblings = keys::all().filter_map(|key| map.rest(key.path)?.split(['.', '[']).next());
    let nearest = nearest(name, siblings).and_then(is_scope);
    let by_word = || SCOPE_WORDS.iter().find(|(word, _)| name.starts_with(word));
    nearest.or_else(|| by_word().map(|(_, list)| *list))
}

fn is_scope(name: &str) -> Option<&'static str> {
    SCOPE.into_iter().find(|list| *list == name)
}

fn guards() -> impl Iterator<Item = &'static Key> {
    keys::all().filter(|key| key.guards)
}

fn is_in(map: &Map<'_>, key: &Key) -> bool {
    map.rest(key.path) == Some(key.name())
}
