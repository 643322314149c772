//! Go's string literals (`strconv.Unquote`).

/// The length of the literal that begins here, quotes included.
pub(super) fn length(text: &str) -> Option<usize> {
    if let Some(inner) = text.strip_prefix('`') {
        return inner.find('`').map(|at| at + 2);
    }
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'\n' => return None,
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// What a literal stands for, where it is well formed and UTF-8.
pub(super) fn value(literal: &str) -> Option<String> {
    let inner = &literal[1..literal.len() - 1];
    if literal.starts_with('`') {
        return Some(inner.replace('\r', ""));
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some((before, after)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        rest = escape(after, &mut bytes)?;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).ok()
}

/// Adds what an escape stands for; what follows it.
fn escape<'a>(text: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let letter = text.chars().next()?;
    let digits = |start: usize, count: usize, radix: u32| {
        let digits = text.get(start..start + count)?;
        let fits = digits.chars().all(|digit| digit.is_digit(radix));
        let number = u32::from_str_radix(digits, radix).ok().filter(|_| fits)?;
        Some((number, &text[start + count..]))
    };
    let simple = match letter {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' | '"' => letter as u8,
        '0'..='7' => {
            let (number, rest) = digits(0, 3, 8)?;
            bytes.push(u8::try_from(number).ok()?);
            return Some(rest);
        }
        'x' => {
            let (number, rest) = digits(1, 2, 16)?;
            bytes.push(u8::try_from(number).ok()?);
            return Some(rest);
        }
        'u' | 'U' => {
            let (number, rest) = digits(1, if letter == 'u' { 4 } else { 8 }, 16)?;
            let letter = char::from_u32(number)?;
            bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(rest);
        }
        _ => return None,
    };
    bytes.push(simple);
    Some(&text[1..])
}
