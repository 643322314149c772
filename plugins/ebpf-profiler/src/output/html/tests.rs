use super::super::samples;
use super::*;

fn drawn(profile: &Profile) -> String {
    let mut out = Vec::new();
    write(profile, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_policy_names_the_script_and_the_style() {
    const HASH: &str = "
import sys, hashlib, base64
print(base64.b64encode(hashlib.sha256(sys.stdin.buffer.read()).digest()).decode(), end='')";
    for (what, text) in [("script", web::script(START)), ("style", style())] {
        if let Some(hash) = samples::python(HASH, text.as_bytes()) {
            let source = format!("{what}-src 'sha256-{hash}'");
            assert!(POLICY.contains(&source), "POLICY should have {source}");
        }
    }
}

/// Prints the page's elements with their attributes' names, and whether the data can be read.
const READ: &str = r"
import sys, json, html.parser
class Page(html.parser.HTMLParser):
    kinds, texts, last = set(), {}, None
    def handle_starttag(self, tag, attributes):
        self.kinds.add(' '.join([tag] + [name for name, _ in attributes]))
        self.last = tag
    def handle_data(self, text):
        if self.last == 'script':
            self.texts[len(self.texts)] = text
            self.last = None
page = Page()
page.feed(sys.stdin.read())
print(len(page.texts), len(json.loads(page.texts[0])['top']))
for kind in sorted(page.kinds): print(kind)
";

#[test]
fn a_name_adds_no_element_and_no_attribute() {
    let page = |profile: &Profile| samples::python(READ, drawn(profile).as_bytes());
    let (Some(shop), Some(hostile)) = (page(&samples::shop()), page(&samples::hostile())) else {
        return;
    };
    let kinds = |read: &str| read.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(kinds(&shop), kinds(&hostile));
    assert_eq!(shop.lines().next(), Some("2 9"));
    assert_eq!(hostile.lines().next(), Some("2 9"));
}

#[test]
fn a_page_asks_for_nothing_from_outside() {
    let html = drawn(&samples::shop());
    for link in ["src=", "href=", "@import", "url(", "fetch(", "import("] {
        assert!(!html.contains(link), "{link}");
    }
}

#[test]
fn twenty_thousand_stacks_stay_below_three_megabytes() {
    let html = drawn(&samples::distinct(20_000));
    assert!(html.len() < 3_000_000, "{}", html.len());
}

#[test]
fn scripts_and_styles_can_stand_in_xml_and_html() {
    for text in [
        web::script(START),
        web::script(include_str!("../web/svg.js")),
        style(),
    ] {
        assert!(text.is_ascii());
        for stray in ["]]>", "</", "<!--"] {
            assert!(!text.contains(stray), "{stray}");
        }
    }
    // A style in an SVG is XML.
    assert!(!style().contains(['<', '&']));
}
