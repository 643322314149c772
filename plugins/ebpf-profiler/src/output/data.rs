//! A call tree as the JSON that `web/tree.js` reads.

use serde::Serialize;

use super::text;
use super::tree::{Amount, Function, Origin, Tree};
use crate::profile::Kind;

/// How many frames a file carries: with names of 60 characters about 2 MB at the very most.
const NODES: usize = 30_000;

/// How many functions a table carries.
const ROWS: usize = 1_000;

/// Columns by node, each node before what is below it.
#[derive(Serialize)]
struct Data<'a> {
    waits: bool,
    functions: Vec<(&'a str, String, &'a str)>,
    depth: Vec<u32>,
    function: Vec<u32>,
    count: Vec<u64>,
    nanos: Vec<u64>,
    /// Node, frames left out below it, what they held.
    missing: Vec<(usize, u32, u64, u64)>,
    /// Function, its own, its total.
    top: Vec<(u32, [u64; 2], [u64; 2])>,
}

/// The tree for a script, safe inside XML and HTML; with rows for a table where asked for.
pub(super) fn json(tree: &Tree, table: bool) -> serde_json::Result<String> {
    let small = tree.heaviest(NODES);
    let mut names = Names::new(tree);
    let mut top = Vec::new();
    if table {
        let rows = tree.tops().into_iter().take(ROWS);
        top.extend(rows.map(|(function, own, total)| (names.of(function), pair(own), pair(total))));
    }
    let nodes = &small.nodes;
    let missing = nodes.iter().enumerate().filter(|(_, it)| it.missing > 0);
    let data = Data {
        waits: tree.kind == Kind::OffCpu,
        depth: nodes.iter().map(|it| it.depth).collect(),
        function: nodes.iter().map(|it| names.of(it.function)).collect(),
        count: nodes.iter().map(|it| it.own.count).collect(),
        nanos: nodes.iter().map(|it| it.own.nanos).collect(),
        missing: missing
            .map(|(index, it)| (index, it.missing, it.missed.count, it.missed.nanos))
            .collect(),
        top,
        functions: names.used,
    };
    Ok(text::inert(&serde_json::to_string(&data)?))
}

fn pair(amount: Amount) -> [u64; 2] {
    [amount.count, amount.nanos]
}

/// The class that colours a function: what it is code of, and a shade that tells neighbours apart and is
/// the same in every file.
pub(super) fn class(function: &Function) -> String {
    let origin = match function.origin {
        Origin::Group => 'g',
        Origin::Kernel => 'k',
        Origin::Native => 'n',
        Origin::Jit => 'j',
        Origin::Unknown => 'u',
    };
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = function.name.bytes().fold(0x811c_9dc5, mix);
    format!("{origin}{}", (hash ^ (hash >> 15)) & 3)
}

/// The functions that are referred to, numbered anew.
struct Names<'a> {
    tree: &'a Tree,
    numbers: Vec<Option<u32>>,
    used: Vec<(&'a str, String, &'a str)>,
}

impl<'a> Names<'a> {
    fn new(tree: &'a Tree) -> Self {
        Self {
            tree,
            numbers: vec![None; tree.functions.len()],
            used: Vec::new(),
        }
    }

    fn of(&mut self, function: u32) -> u32 {
        let function = function as usize;
        if let Some(number) = self.numbers[function] {
            return number;
        }
        let number = self.used.len() as u32;
        let it = &self.tree.functions[function];
        self.used.push((&it.name, class(it), &it.place));
        self.numbers[function] = Some(number);
        number
    }
}
