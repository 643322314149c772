//! Scripts and styles that the SVG and the HTML page share. They are ASCII and contain neither `]]>` nor
//! `</`, so they can stand in either.

const SHARED: [&str; 3] = [
    include_str!("web/tree.js"),
    include_str!("web/graph.js"),
    include_str!("web/toolbar.js"),
];

/// Colours and sizes of frames, tooltip and toolbar.
pub(super) const STYLE: &str = include_str!("web/frames.css");

/// The shared scripts and the one that starts them, without a trace in the page's own names.
pub(super) fn script(start: &str) -> String {
    format!(
        "\n(() => {{\n'use strict';\n{}{start}}})();\n",
        SHARED.concat()
    )
}
