//! Names as programmers wrote them.

use std::fmt::{self, Write};

/// Longer names are cut: a few bytes of a hostile symbol demangle to gigabytes.
const LONGEST: usize = 1024;

/// The readable form of a symbol: Rust without hashes, C++ with parameters, others as they are.
pub fn demangled(symbol: &str) -> String {
    let rust = rustc_demangle::try_demangle(symbol).ok();
    if let Some(name) = rust.and_then(|name| bounded(|out| write!(out, "{name:#}"))) {
        return name;
    }
    let cpp = symbol
        .starts_with("_Z")
        .then(|| cpp_demangle::Symbol::new(symbol).ok());
    let options = cpp_demangle::DemangleOptions::new();
    let cpp = cpp.flatten().and_then(|name| {
        let write = |out: &mut Bounded| name.structured_demangle(out, &options);
        bounded(|out| write(out).map_err(|_| fmt::Error))
    });
    cpp.unwrap_or_else(|| {
        let mut out = Bounded::default();
        // Full is what an error means.
        let _ = out.write_str(symbol);
        out.text
    })
}

/// What was written, cut if it was too long; `None` if it failed for another reason.
fn bounded(write: impl FnOnce(&mut Bounded) -> fmt::Result) -> Option<String> {
    let mut out = Bounded::default();
    let result = write(&mut out);
    (result.is_ok() || out.full).then_some(out.text)
}

#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for c in part.chars() {
            if self.text.len() >= LONGEST {
                self.full = true;
                return Err(fmt::Error);
            }
            // Names go into files of lines and onto terminals.
            self.text.push(if c.is_control() { '\u{fffd}' } else { c });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rust_names_lose_their_hash() {
        let legacy = "_ZN4core9panicking9panic_fmt17h5f1a6fd39197ad62E";
        assert_eq!(demangled(legacy), "core::panicking::panic_fmt");
        let v0 = "_RNvCs1234_7mycrate3foo";
        assert_eq!(demangled(v0), "mycrate::foo");
    }

    #[test]
    fn cpp_names_keep_their_parameters() {
        assert_eq!(demangled("_ZN4shop4sellEid"), "shop::sell(int, double)");
    }

    #[test]
    fn other_names_stay() {
        for name in ["main", "_start", "_Zebra", "JS:*spin", ""] {
            assert_eq!(demangled(name), name);
        }
    }

    #[test]
    fn a_name_that_would_fill_the_memory_is_cut() {
        // Each pair is of the pair before it, twice.
        let mut bomb = String::from("_Z1f4pairIiiE");
        for depth in 0..60 {
            let last = match depth {
                0 => String::from("S0_"),
                _ => format!(
                    "S{}_",
                    String::from(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"[depth % 36] as char)
                ),
            };
            bomb.push_str(&format!("S_I{last}{last}E"));
        }
        assert!(demangled(&bomb).len() <= LONGEST + 3);
        assert!(demangled(&"x".repeat(1 << 20)).len() <= LONGEST + 3);
    }

    #[test]
    fn a_name_cannot_break_a_line() {
        assert_eq!(demangled("a\nb\x1b[2J"), "a\u{fffd}b\u{fffd}[2J");
    }
}
