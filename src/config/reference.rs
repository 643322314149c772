//! Writes `config/README.md` from the table of keys, our own file and the protocol table.

use std::collections::BTreeMap;
use std::fmt::Write;

use perigee_plugin_api::protocol::Origin;
use perigee_protocols::PROTOCOLS;

use super::keys::{self, Key, Usage};
use super::{EMBEDDED, placeholder, yaml};

const HEAD: &str = "\
# Configuration

This page is generated from `src/config/keys` by `perigee::config::reference`; a test keeps it up to
date. `satellite_config.yaml` is the file that `perigee start` uses when it is given none; `examples`
has shorter ones.

- A file of Apache SkyWalking Satellite works as it is. Keys marked *ours* are Perigee's.
- `${NAME:default}` as a whole value is taken from the environment. Unset and empty mean the default;
  two quotes (`\"\"`) mean the empty text.
- Unknown keys are ignored with a warning that names the nearest known one, but for those that were
  probably meant for a key of TLS or tokens or for `capture.allow` or `capture.deny`, which are errors;
  `perigee check --strict` makes errors of warnings.
- Numbers may be written as Satellite reads them (`007` is 7); texts are kept letter for letter.
- A path with `[]` stands for every item of a list.
";

const SECTIONS: [(&str, &str); 7] = [
    ("logger.", "Logging"),
    ("telemetry.", "Telemetry"),
    ("limits.", "Limits"),
    ("sharing.clients", "Client: towards the OAP"),
    ("sharing.servers", "Server: towards agents"),
    ("pipes", "Pipes"),
    ("capture.", "Capture: the eBPF profiler"),
];

/// The reference of every option, as Markdown.
pub fn reference() -> String {
    let variables = variables();
    let mut page = HEAD.to_owned();
    for (prefix, title) in SECTIONS {
        let _ = write!(
            page,
            "\n## {title}\n\n| Key | Allowed | Default | Environment | Meaning |\n|---|---|---|---|---|\n"
        );
        for key in keys::all().filter(|key| key.path.starts_with(prefix)) {
            let _ = writeln!(page, "{}", row(key, variables.get(key.path)));
        }
    }
    pipes(&mut page);
    environment(&mut page, &variables);
    page
}

/// Path to name of every placeholder, by general path.
type Variables = BTreeMap<String, Vec<(String, String)>>;

fn variables() -> Variables {
    let mut variables = Variables::new();
    if let Ok(mut tree) = yaml::parse(EMBEDDED) {
        placeholder::expand(&mut tree, &|_| None);
        tree.each_scalar("", &mut |path, scalar| {
            if let Some(variable) = &scalar.variable {
                let names = variables.entry(keys::general(path)).or_default();
                names.push((path.to_owned(), variable.name.clone()));
            }
        });
    }
    variables
}

fn row(key: &Key, names: Option<&Vec<(String, String)>>) -> String {
    let environment = match names.map(Vec::as_slice) {
        None | Some([]) => String::new(),
        Some([(_, first), rest @ ..]) if rest.iter().all(|(_, name)| name == first) => {
            format!("`{first}`")
        }
        Some(_) => "by pipe, see below".to_owned(),
    };
    let default = match key.default {
        "" | "auto" => String::new(),
        default => format!("`{default}`"),
    };
    let mark = match key.usage {
        Usage::Satellite => "",
        Usage::Ours => "*Ours.* ",
        Usage::Ignored => "*No effect.* ",
    };
    format!(
        "| `{}` | {} | {default} | {environment} | {mark}{} |",
        key.path,
        key.kind.allowed(),
        key.doc
    )
}

fn pipes(page: &mut String) {
    page.push_str(
        "\n## Receivers and forwarders\n\n\
         A protocol of Satellite without a pipe in the file is off. Built-in pipes are there unless a\n\
         pipe of the same receiver stands in the file; `enabled: false` there switches them off. They\n\
         have the defaults above and 4 partitions.\n\n\
         | Pipe | Receiver | Forwarder | Built in |\n|---|---|---|---|\n",
    );
    for protocol in PROTOCOLS {
        let built_in = match protocol.origin {
            Origin::Satellite => "",
            Origin::BuiltIn => "yes",
        };
        let _ = writeln!(
            page,
            "| `{}` | `{}` | `{}` | {built_in} |",
            protocol.pipe, protocol.receiver, protocol.forwarder
        );
    }
}

fn environment(page: &mut String, variables: &Variables) {
    page.push_str(
        "\n## Environment names by pipe\n\n\
         In the order of the stock file. Some pipes share names, and some names are not what one would\n\
         expect: they are Satellite's.\n\n\
         | Key | Environment |\n|---|---|\n",
    );
    for names in variables.values() {
        let same = names.iter().all(|(_, name)| *name == names[0].1);
        for (path, name) in names.iter().filter(|_| !same) {
            let _ = writeln!(page, "| `{path}` | `{name}` |");
        }
    }
}
