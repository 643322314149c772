//! What the README shows of the code is what the code says, and what it points at is there.

use std::path::{Path, PathBuf};

const BEGIN: &str = "<!-- protocols: made by tests/readme.rs -->\n";
const END: &str = "<!-- end of protocols -->\n";

/// The pages that people are sent to, from the root of the repository.
const PAGES: [&str; 7] = [
    "README.md",
    "CHANGELOG.md",
    "deploy/README.md",
    "loadtest/README.md",
    "loadtest/agents/README.md",
    "plugins/README.md",
    "src/README.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_protocol_table_of_the_readme_is_up_to_date() {
    let path = root().join("README.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let expected = format!("\n{}\n", perigee_protocols::markdown_table());
    if std::env::var_os("PERIGEE_WRITE_DOCS").is_some() {
        std::fs::write(&path, [before, BEGIN, &expected, END, after].concat()).unwrap();
        return;
    }
    assert!(
        shown == expected,
        "README.md is out of date; run PERIGEE_WRITE_DOCS=1 cargo test --test readme"
    );
}

#[test]
fn every_file_that_a_page_links_to_exists() {
    let mut links = 0;
    for page in PAGES {
        let path = root().join(page);
        let text = std::fs::read_to_string(&path).unwrap();
        for target in local_links(&text) {
            let file: PathBuf = path.parent().unwrap().join(target);
            assert!(
                file.exists(),
                "{page} links to {target}, which is not there"
            );
            links += 1;
        }
    }
    assert!(links > 20, "only {links} links were found");
}

/// Targets of `[text](target)` that are files of ours, without their anchors.
fn local_links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let (target, _) = rest.split_once(')')?;
        let (file, _) = target.split_once('#').unwrap_or((target, ""));
        (!file.is_empty() && !file.contains("://")).then_some(file)
    })
}
