use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::unwind::{Rule, Rules};

/// A rule like no other of its kind.
fn rule(kind: u8) -> Rule {
    match kind {
        0 => Rule::UNKNOWN,
        1 => Rule::END,
        _ => Rule::stack(8 * i32::from(kind)),
    }
}

fn build(rows: &[Row], most_words: usize) -> (Vec<Table>, Rules) {
    let mut rules = Rules::default();
    let mut builder = Builder::new(most_words, &mut rules);
    for &row in rows {
        builder.push(row);
    }
    (builder.finish().tables, rules)
}

fn look_up(tables: &[Table], rules: &Rules, address: u64) -> Rule {
    let number = tables
        .iter()
        .find_map(|table| table.lookup(address))
        .unwrap_or(Rules::UNKNOWN);
    rules.all()[usize::from(number)]
}

#[test]
fn words_are_page_indices_and_then_rows() {
    let row = |address, kind| Row {
        address,
        rule: rule(kind),
    };
    let rows = [
        row(0x1410, 2),
        row(0x1420, 3),
        row(0x1c00, 2),
        row(0x1c08, 0),
    ];
    let (tables, rules) = build(&rows, LEAST_WORDS);
    assert_eq!(
        rules.all(),
        [Rule::UNSUPPORTED, Rule::UNKNOWN, rule(2), rule(3)]
    );
    let words = vec![
        4,
        7,
        8,
        10, // three pages, and the end
        1,
        0x10 << 16 | 2,
        0x20 << 16 | 3, // 0x1400
        3,              // 0x1800: still the same rule
        2,
        8 << 16 | 1, // 0x1c00
    ];
    assert_eq!(
        tables,
        [Table {
            first: 0x1400,
            pages: 3,
            words
        }]
    );
    assert_eq!(tables[0].lookup(0x13ff), None);
    assert_eq!(tables[0].lookup(0x2000), None);
}

#[test]
fn a_wide_gap_begins_a_new_table() {
    let far = 0x1000 + (GAP + 2) * PAGE;
    let rows = [(0x1000, 2), (0x1010, 0), (far, 3), (far + 16, 0)];
    let rows = rows.map(|(address, kind)| Row {
        address,
        rule: rule(kind),
    });
    let (tables, rules) = build(&rows, LEAST_WORDS);
    assert_eq!(
        tables
            .iter()
            .map(|table| (table.first, table.pages))
            .collect::<Vec<_>>(),
        [(0x1000, 1), (far, 1)]
    );
    assert_eq!(look_up(&tables, &rules, far), rule(3));
    assert_eq!(look_up(&tables, &rules, far - 1), Rule::UNKNOWN);
}

#[test]
fn a_row_out_of_order_is_left_out() {
    let rows = [
        (0x1000, 2),
        (0x1800, 3),
        (0x1400, 4),
        (0x1010, 5),
        (0x1900, 0),
    ];
    let rows = rows.map(|(address, kind)| Row {
        address,
        rule: rule(kind),
    });
    let (tables, rules) = build(&rows, LEAST_WORDS);
    assert_eq!(look_up(&tables, &rules, 0x1410), rule(2));
    assert_eq!(look_up(&tables, &rules, 0x1810), rule(3));
    assert_eq!(look_up(&tables, &rules, 0x1900), Rule::UNKNOWN);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// For all rows and limits: the rule at an address is that of the last row up to it, no table is over
    /// the limit, and each lies after the one before.
    #[test]
    fn tables_say_what_their_rows_say(
        steps in vec((prop_oneof![10 => 1..64_u64, 3 => 64..5000_u64, 1 => 1_000_000..3_000_000_u64], 0..20_u8), 1..500),
        most_words in LEAST_WORDS..3 * LEAST_WORDS,
    ) {
        let mut address = 0;
        let mut rows: Vec<Row> = steps.iter().map(|&(step, kind)| {
            address += step;
            Row { address, rule: rule(kind) }
        }).collect();
        rows.push(Row { address: address + 1, rule: Rule::UNKNOWN });
        let (tables, rules) = build(&rows, most_words);
        for (row, next) in rows.iter().zip(&rows[1..]) {
            for at in [row.address, next.address - 1, (row.address | (PAGE - 1)).min(next.address - 1)] {
                prop_assert_eq!(look_up(&tables, &rules, at), row.rule, "at {:#x}", at);
            }
        }
        let mut end = 0;
        for table in &tables {
            prop_assert!(table.words.len() <= most_words && table.first >= end);
            end = table.first + u64::from(table.pages) * PAGE;
        }
    }
}
