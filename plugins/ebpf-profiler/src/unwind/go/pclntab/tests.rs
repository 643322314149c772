use super::*;

const TEXT: u64 = 0x40_1000;

/// A table of two functions of 0x40 bytes, as a release writes it: `main.leaf` without a frame, and
/// `main.outer` with 8 bytes from byte 1 on, 300 from byte 5 on, none from byte 0x3f on.
fn table(layout: Layout) -> Vec<u8> {
    let names = b"\0main.leaf\0main.outer\0";
    // Twice the change, less one if it is negative; 584 and 599 take two bytes each.
    let depths = [0, 2, 0x40, 0, 2, 1, 16, 4, 0xc8, 4, 0x3a, 0xd7, 4, 1, 0];
    let (magic, entry) = match layout {
        Layout::Go116 => (0xfa, 8),
        Layout::Go118 => (0xf0, 4),
        Layout::Go120 => (0xf1, 4),
    };
    let absolute = entry == 8;
    let number = |value: u64| value.to_le_bytes()[..entry].to_vec();
    let place = |address: u64| number(if absolute { address } else { address - TEXT });
    let mut functions = Vec::new();
    let index = 5 * entry;
    for (at, record) in [(0, index), (1, index + 44)] {
        functions.extend(place(TEXT + 0x40 * at));
        functions.extend(number(record as u64));
    }
    functions.extend(place(TEXT + 0x80));
    for (at, name, depths, flags) in [(0, 1_u32, 1_u32, 0), (1, 11, 4, TOP_FRAME | SP_WRITE)] {
        let mut record = place(TEXT + 0x40 * at);
        record.extend(
            [name, 0, 0, depths]
                .iter()
                .flat_map(|word| word.to_le_bytes()),
        );
        record.resize(44, 0);
        record[if layout == Layout::Go118 { 37 } else { 41 }] = flags;
        functions.extend(record);
    }
    let mut data = vec![magic, 0xff, 0xff, 0xff, 0, 0, 1, 8];
    let header = if absolute { 8 * 8 } else { 8 * 9 };
    let offsets = [
        0,
        names.len(),
        names.len(),
        names.len(),
        names.len() + depths.len(),
    ];
    let mut words = vec![2, 0];
    words.extend((!absolute).then_some(TEXT));
    words.extend(offsets.map(|offset| (header + offset) as u64));
    data.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    assert_eq!(data.len(), header);
    data.extend(names.iter().chain(&depths).chain(&functions));
    data
}

#[test]
fn each_layout_gives_the_same_functions() {
    for layout in [Layout::Go116, Layout::Go118, Layout::Go120] {
        let data = table(layout);
        let table = Pclntab::parse(&data).expect("a table");
        assert_eq!(
            (table.len(), table.range()),
            (2, TEXT..TEXT + 0x80),
            "{layout:?}"
        );
        assert_eq!(table.index_at(TEXT - 1), None);
        assert_eq!(table.index_at(TEXT + 0x80), None);
        let [leaf, outer] = [TEXT + 0x3f, TEXT + 0x40].map(|address| {
            table
                .function(table.index_at(address).expect("a function"))
                .expect("a record")
        });
        assert_eq!(
            [table.name(&leaf), table.name(&outer)],
            [Some("main.leaf"), Some("main.outer")]
        );
        assert_eq!(
            (leaf.is_first(), leaf.switches_stacks(), leaf.is_assembler()),
            (false, false, false)
        );
        assert_eq!(
            (
                outer.is_first(),
                outer.switches_stacks(),
                outer.is_assembler()
            ),
            (true, true, false)
        );
        assert_eq!(
            table.depths(&leaf).collect::<Vec<_>>(),
            [(leaf.range.clone(), 0)]
        );
        let start = outer.range.start;
        let depths = [
            (start..start + 1, 0),
            (start + 1..start + 5, 8),
            (start + 5..start + 0x3f, 300),
        ];
        let last = (start + 0x3f..start + 0x40, 0);
        assert_eq!(
            table.depths(&outer).collect::<Vec<_>>(),
            [&depths[..], &[last]].concat()
        );
    }
}

#[test]
fn a_table_cut_short_anywhere_is_read_without_a_panic() {
    let data = table(Layout::Go120);
    for length in 0..data.len() {
        let Some(table) = Pclntab::parse(&data[..length]) else {
            continue;
        };
        for index in 0..3 {
            if let Some(function) = table.function(index) {
                let _ = (table.name(&function), table.depths(&function).count());
            }
        }
    }
    assert!(Pclntab::parse(&[]).is_none());
}

#[test]
fn a_table_that_lacks_its_text_says_so() {
    let mut data = table(Layout::Go120);
    data[24..32].fill(0);
    let bare = Pclntab::parse(&data).expect("a table");
    assert!(bare.lacks_text());
    assert_eq!(bare.with_text(0x1000).range(), 0x1000..0x1080);
}

#[test]
fn a_function_outside_of_all_code_is_left_out() {
    let mut data = table(Layout::Go116);
    let second = data.len() - 2 * 44 - 8 - 16;
    assert_eq!(u64_at(&data, second), Some(TEXT + 0x40));
    data[second..second + 8].copy_from_slice(&(1_u64 << 60).to_le_bytes());
    let table = Pclntab::parse(&data).expect("a table");
    assert_eq!(table.range(), TEXT..TEXT + 0x80);
    assert!(table.function(0).is_none() && table.function(1).is_none());
}
