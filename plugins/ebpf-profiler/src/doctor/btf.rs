//! Finding a type in the kernel's BTF. Layout: `Documentation/bpf/btf.rst`.

const KIND_TYPEDEF: u32 = 8;

/// The id of the type that programs for a tracepoint (`tp_btf`) name.
pub(super) fn tracepoint(btf: &[u8], event: &str) -> Option<u32> {
    let wanted = format!("btf_trace_{event}");
    let word = |at: usize| {
        btf.get(at..at + 4)?
            .first_chunk()
            .copied()
            .map(u32::from_ne_bytes)
    };
    // Magic, version 1.
    if btf.get(..3)? != [0x9f, 0xeb, 1] {
        return None;
    }
    let header = word(4)? as usize;
    let types = header.checked_add(word(8)? as usize)?;
    let types = btf.get(types..types.checked_add(word(12)? as usize)?)?;
    let strings = btf.get(header.checked_add(word(16)? as usize)?..)?;
    let word = |at: usize| {
        types
            .get(at..at + 4)?
            .first_chunk()
            .copied()
            .map(u32::from_ne_bytes)
    };
    let named = |name: u32| {
        let rest = strings
            .get(name as usize..)?
            .strip_prefix(wanted.as_bytes())?;
        (rest.first() == Some(&0)).then_some(())
    };
    let (mut at, mut id) = (0, 1);
    while at < types.len() {
        let (name, described) = (word(at)?, word(at + 4)?);
        let kind = described >> 24 & 31;
        if kind == KIND_TYPEDEF && named(name).is_some() {
            return Some(id);
        }
        at += 12 + extra(kind, (described & 0xffff) as usize)?;
        id += 1;
    }
    None
}

/// Bytes after the common ones.
fn extra(kind: u32, members: usize) -> Option<usize> {
    match kind {
        // Pointer, forward, typedef, qualifiers, function, float, type tag.
        2 | 7..=12 | 16 | 18 => Some(0),
        // Integer, variable, declaration tag.
        1 | 14 | 17 => Some(4),
        // Array.
        3 => Some(12),
        // Structure, union, section, enumeration of 64 bits.
        4 | 5 | 15 | 19 => Some(members * 12),
        // Enumeration, prototype.
        6 | 13 => Some(members * 8),
        // Newer than we are: what follows cannot be found.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `int`, `struct { int a; }`, `typedef int btf_trace_a`, `typedef int btf_trace_ab`.
    fn small() -> Vec<u8> {
        let strings = b"\0int\0btf_trace_ab\0btf_trace_a\0";
        let types = [
            [1, 1 << 24, 4, 32].as_slice(),
            &[0, 4 << 24 | 1, 4, 0, 1, 0],
            &[5, 8 << 24, 1],
            &[18, 8 << 24, 1],
        ];
        let types = types.concat();
        let length = types.len() as u32 * 4;
        let mut btf = vec![0x9f, 0xeb, 1, 0];
        let header = [24, 0, length, length, strings.len() as u32];
        btf.extend(
            header
                .iter()
                .chain(&types)
                .flat_map(|it: &u32| it.to_ne_bytes()),
        );
        btf.extend(strings);
        btf
    }

    #[test]
    fn a_tracepoint_is_found_by_its_whole_name() {
        assert_eq!(tracepoint(&small(), "ab"), Some(3));
        assert_eq!(tracepoint(&small(), "a"), Some(4));
        assert_eq!(tracepoint(&small(), "b"), None);
    }

    #[test]
    fn broken_types_end_the_search() {
        let whole = small();
        for length in 0..whole.len() - 13 {
            assert_eq!(tracepoint(&whole[..length], "a"), None, "cut to {length}");
        }
        let mut unknown_kind = whole;
        unknown_kind[31] = 31;
        assert_eq!(tracepoint(&unknown_kind, "a"), None);
    }
}
