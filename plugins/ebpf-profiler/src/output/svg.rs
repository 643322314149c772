//! An interactive flame graph in one SVG: root at the bottom, the heavier callee first.
//!
//! The file is a picture of 1200 pixels where scripts do not run (`<img>`, viewers), and carries the tree
//! (`<metadata>`) from which its script draws anew in the width there is, so that zooming shows what the
//! picture has no room for.

use std::io::{self, Write};

use super::heading::{self, Heading};
use super::text::escape;
use super::tree::{Function, Tree};
use super::{data, web};
use crate::profile::Profile;

const STYLE: &str = include_str!("web/svg.css");
const START: &str = include_str!("web/svg.js");

const WIDTH: f64 = 1200.0;
const PAD: f64 = 10.0;
/// Where the frames begin, below the heading; `web/svg.js` knows it too.
const TOP: usize = 104;
/// Height of a frame and of the gap below it; `web/graph.js` has the same.
const ROW: usize = 18;
/// Frames narrower than this are not drawn, in pixels; `web/graph.js` has the same.
const NARROWEST: f64 = 0.3;
/// How many frames the picture draws at most: a script draws more.
const DRAWN: usize = 8_000;
/// Width of a character of 12 pixels in the usual fixed-width fonts.
const CELL: f64 = 7.3;

pub(super) fn write(profile: &Profile, out: &mut dyn Write) -> io::Result<()> {
    let tree = Tree::of(profile);
    let heading = Heading::of(profile, &tree);
    let drawn = tree.heaviest(DRAWN);
    let boxes = boxes(&drawn);
    let rows = boxes.iter().map(|it| it.depth + 1).max().unwrap_or(1);
    let height = TOP + rows * ROW + PAD as usize;
    let (title, facts) = (escape(&heading.title), escape(&heading.facts));
    writeln!(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" \
         class=\"perigee\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\">\n\
         <title>{title}</title>\n<style>\n{}{STYLE}</style>\n\
         <rect class=\"paper\" width=\"100%\" height=\"100%\"/>",
        web::STYLE
    )?;
    writeln!(out, "<g class=\"frames\">")?;
    for it in &boxes {
        it.draw(TOP + (rows - 1 - it.depth) * ROW, out)?;
    }
    writeln!(
        out,
        "</g>\n<g class=\"head\">\n<rect class=\"paper\" width=\"100%\" height=\"{TOP}\"/>\n\
         <text class=\"title\" x=\"{PAD}\" y=\"28\">{title}</text>\n\
         <text class=\"facts\" x=\"{PAD}\" y=\"50\">{facts}</text>"
    )?;
    legend(&tree, out)?;
    let (json, script) = (data::json(&tree, false)?, web::script(START));
    writeln!(
        out,
        "</g>\n<metadata>{json}</metadata>\n<script><![CDATA[{script}]]></script>\n</svg>"
    )
}

fn legend(tree: &Tree, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "<g class=\"legend\">")?;
    let mut x = PAD;
    for (class, label) in heading::legend(tree) {
        writeln!(
            out,
            "<rect class=\"{class}\" x=\"{x}\" y=\"70\" width=\"14\" height=\"14\" rx=\"2\"/>\
             <text x=\"{}\" y=\"81\">{label}</text>",
            x + 20.0
        )?;
        x += 40.0 + 7.0 * label.len() as f64;
    }
    writeln!(out, "</g>")
}

/// A frame in the picture.
struct Frame<'a> {
    function: &'a Function,
    depth: usize,
    left: f64,
    width: f64,
}

fn boxes(tree: &Tree) -> Vec<Frame<'_>> {
    let scale = (WIDTH - 2.0 * PAD) / tree.weight(0).max(1) as f64;
    let mut boxes: Vec<Frame<'_>> = Vec::new();
    // Where the next frame of each depth begins, as deep as there is one drawn to stand on.
    let mut next = vec![PAD];
    for (index, node) in tree.nodes.iter().enumerate() {
        let depth = node.depth as usize;
        if depth >= next.len() {
            continue;
        }
        next.truncate(depth + 1);
        let left = next[depth];
        let width = match index {
            0 => WIDTH - 2.0 * PAD,
            _ => tree.weight(index) as f64 * scale,
        };
        next[depth] += width;
        if width >= NARROWEST {
            next.push(left);
            let function = tree.function(node);
            boxes.push(Frame {
                function,
                depth,
                left,
                width,
            });
        }
    }
    boxes
}

impl Frame<'_> {
    fn draw(&self, y: usize, out: &mut dyn Write) -> io::Result<()> {
        let gap = if self.width > 3.0 { 0.6 } else { 0.0 };
        writeln!(
            out,
            "<rect class=\"{}\" x=\"{:.1}\" y=\"{y}\" width=\"{:.1}\" height=\"{}\"/>",
            data::class(self.function),
            self.left,
            self.width - gap,
            ROW - 1
        )?;
        let text = cut(&self.function.name, self.width - 8.0);
        if text.is_empty() {
            return Ok(());
        }
        let (x, y) = (self.left + 4.0, y + 13);
        writeln!(out, "<text x=\"{x:.1}\" y=\"{y}\">{}</text>", escape(&text))
    }
}

/// As much of a name as fits, or nothing.
fn cut(name: &str, width: f64) -> String {
    // Fonts draw Chinese and the like in two cells.
    let cells = |it: char| if it < '\u{1100}' { 1 } else { 2 };
    let room = (width / CELL).max(0.0) as usize;
    if name.chars().map(cells).sum::<usize>() <= room {
        return name.to_owned();
    }
    if room < 4 {
        return String::new();
    }
    let mut used = 2;
    let kept = name.chars().take_while(|it| {
        used += cells(*it);
        used <= room
    });
    kept.chain("..".chars()).collect()
}

#[cfg(test)]
mod tests;
