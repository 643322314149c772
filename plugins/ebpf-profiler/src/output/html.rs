//! An icicle, root on top, and a table of functions: one page that asks for nothing from outside.

use std::io::{self, Write};

use super::heading::{self, Heading};
use super::text::escape;
use super::tree::Tree;
use super::{data, web};
use crate::profile::Profile;

const STYLE: &str = include_str!("web/html.css");
const START: &str = include_str!("web/html.js");

/// What may run and look: our script and our style, by their SHA-256. A test tells when they changed.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; \
     script-src 'sha256-EGCgZ/vyMt2jNgRZYvqQwZ7ZJDd8voy5m1MP4JfF1nE='; \
     style-src 'sha256-RlQ+Y0Bxmgmzw0BqeyuGR+yIpDhanZ2fPR0M+GVbHuI='";

pub(super) fn write(profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
    let tree = Tree::of(profile);
    let heading = Heading::of(profile, &tree);
    let (title, facts) = (escape(&heading.title), escape(&heading.facts));
    writeln!(
        out,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>{}</style>\n</head>\n<body class=\"perigee\">\n\
         <h1>{title}</h1>\n<p class=\"facts\">{facts}</p>\n<div class=\"bar\">\n<ul class=\"legend\">",
        style()
    )?;
    for (class, label) in heading::legend(&tree) {
        writeln!(
            out,
            "<li><svg width=\"14\" height=\"14\" aria-hidden=\"true\">\
             <rect class=\"{class}\" width=\"14\" height=\"14\" rx=\"2\"/></svg> {label}</li>"
        )?;
    }
    writeln!(
        out,
        "</ul>\n</div>\n<svg class=\"graph\" width=\"100%\"><g class=\"frames\"></g></svg>\n\
         <h2>Functions</h2>\n<table></table>\n\
         <noscript>The picture and the table need JavaScript.</noscript>\n\
         <script type=\"application/json\">{}</script>\n<script>{}</script>\n</body>\n</html>",
        data::json(&tree, true)?,
        web::script(START)
    )
}

fn style() -> String {
    format!("\n{}{STYLE}", web::STYLE)
}

#[cfg(test)]
mod tests;
