use std::collections::HashSet;

use super::super::samples;
use super::*;

fn drawn(profile: &Profile) -> String {
    let mut out = Vec::new();
    write(profile, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Fails where this is no XML; prints its elements by name, and the texts of the picture.
const READ: &str = r"
import sys, json, xml.etree.ElementTree as tree
root = tree.parse(sys.stdin.buffer).getroot()
names = sorted({it.tag.split('}')[1] for it in root.iter()})
data = json.loads(root.find('{*}metadata').text)
print(' '.join(names))
print(len(root.findall('{*}script')), len(data['depth']))
for it in root.find('{*}g[@class=\'frames\']'):
    print(ascii(it.text))
";

#[test]
fn every_profile_is_well_formed_with_our_elements_and_one_script() {
    for (name, profile) in samples::every() {
        let Some(read) = samples::python(READ, drawn(&profile).as_bytes()) else {
            return;
        };
        let mut lines = read.lines();
        let elements = lines.next().unwrap();
        assert_eq!(
            elements, "g metadata rect script style svg text title",
            "{name}"
        );
        let nodes = Tree::of(&profile).nodes.len().min(30_000);
        assert_eq!(lines.next().unwrap(), format!("1 {nodes}"), "{name}");
        assert_ne!(lines.count(), 0, "{name}");
    }
}

#[test]
fn only_characters_of_xml_are_written() {
    let svg = drawn(&samples::hostile());
    let stray = |it: &char| matches!(it, '\0'..='\x08' | '\x0b'..='\x1f' | '\u{fffe}' | '\u{ffff}');
    assert_eq!(svg.chars().find(stray), None);
    assert!(svg.len() < 200_000, "{}", svg.len());
}

#[test]
fn twenty_thousand_stacks_stay_below_three_megabytes() {
    let profile = samples::distinct(20_000);
    let distinct: HashSet<&[u32]> = profile.stacks.iter().map(|it| it.user.as_slice()).collect();
    assert!(distinct.len() >= 20_000);
    let svg = drawn(&profile);
    println!("{} bytes", svg.len());
    assert!(svg.len() < 3_000_000, "{}", svg.len());
}

#[test]
fn the_picture_stacks_callees_on_callers_and_cuts_their_names() {
    let svg = drawn(&samples::shop());
    let frames = svg.split("<g class=\"frames\">").nth(1).unwrap();
    let frames = frames.split("</g>").next().unwrap().trim();
    let lines: Vec<&str> = frames.lines().collect();
    let (_, place) = lines[0].split_once(' ').unwrap();
    let (class, place) = place.split_once(' ').unwrap();
    assert!(class.starts_with("class=\"g"), "{class}");
    let expected = "x=\"10.0\" y=\"212\" width=\"1179.4\" height=\"17\"/>";
    assert_eq!(place, expected);
    // Seven tenths of the width, two, and half of one with room for six characters.
    for expected in [
        "<text x=\"14.0\" y=\"225\">all</text>",
        "<text x=\"14.0\" y=\"153\">hot</text>",
        "<text x=\"840.0\" y=\"153\">warm</text>",
        "<text x=\"1076.0\" y=\"153\">libs..</text>",
    ] {
        assert!(lines.contains(&expected), "{expected}: {frames}");
    }
}

#[test]
fn what_is_too_narrow_is_not_in_the_picture_but_in_the_data() {
    let mut profile = samples::chain(&["main", "thin"], 1);
    let mut wide = profile.stacks[0].clone();
    wide.user.remove(0);
    wide.count = 10_000;
    profile.stacks.push(wide);
    let svg = drawn(&profile);
    let frames = svg.split("<metadata>").next().unwrap();
    assert_eq!(
        frames.matches("<rect class=\"n").count() + frames.matches("<rect class=\"j").count(),
        2
    );
    assert!(svg.contains("\"thin\""));
}

#[test]
fn names_are_cut_at_whole_characters_and_wide_ones_count_twice() {
    assert_eq!(cut("main", 4.0 * CELL + 0.1), "main");
    assert_eq!(cut("_start", 4.0 * CELL + 0.1), "_s..");
    assert_eq!(cut("main", 3.0 * CELL + 0.1), "");
    assert_eq!(
        cut("\u{4e2d}\u{4e2d}\u{4e2d}", 5.0 * CELL + 0.1),
        "\u{4e2d}.."
    );
    assert_eq!(cut("main", -8.0), "");
}
