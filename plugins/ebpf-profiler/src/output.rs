//! Profiles as files: an interactive flame graph, an icicle page with a table, folded lines, pprof.
//!
//! [`Format::of`] reads the format off a path's ending, [`Destination`] says before a capture whether the
//! file can be written and replaces it as a whole after it, [`write()`] writes anywhere.
//!
//! # Decisions
//! - Names are those of other processes and not trusted: each writer cleans or escapes them.
//! - Processes of one name are one in the pictures and in folded lines: who looks at a pool of workers or
//!   at 500 runs of a compiler wants their sum, and `--pid` tells two apart. pprof keeps PIDs as labels.
//! - Waits that the scheduler imposed lie under a frame `[preempted]` of their process, apart from those
//!   that the program asked for.
//! - The flame graph is our own: the known writers and their scripts are CDDL.

mod data;
mod file;
mod folded;
mod heading;
mod html;
mod pprof;
#[cfg(test)]
mod samples;
mod svg;
mod text;
mod tree;
mod web;

use std::io;
use std::path::{Path, PathBuf};

pub use file::Destination;

use crate::profile::Profile;

/// What a profile can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// A flame graph, root at the bottom: a picture anywhere, interactive in a browser.
    Svg,
    /// An icicle, root on top, and a table of functions: one page without anything external.
    Html,
    /// `process;outermost;...;innermost COUNT`, for tools that read folded stacks.
    Folded,
    /// pprof's `profile.proto`, compressed.
    Pprof,
}

impl Format {
    /// Each format with the ending that chooses it.
    const ENDINGS: [(&str, Self); 4] = [
        (".svg", Self::Svg),
        (".html", Self::Html),
        (".folded", Self::Folded),
        (".pb.gz", Self::Pprof),
    ];

    /// The format that a path's ending names, in either case.
    ///
    /// # Errors
    /// The path ends otherwise.
    pub fn of(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().unwrap_or_default();
        let name = name.to_string_lossy().to_ascii_lowercase();
        let mut endings = Self::ENDINGS.iter();
        match endings.find(|(ending, _)| name.ends_with(ending)) {
            Some((_, format)) => Ok(*format),
            None => Err(Error::Ending(path.to_path_buf())),
        }
    }
}

/// Why a profile cannot be written to a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The path does not tell the format.
    #[error("{}: a profile's name ends in .svg, .html, .folded or .pb.gz", .0.display())]
    Ending(PathBuf),
    /// The file system refused.
    #[error("{}: cannot be written", path.display())]
    Refused {
        /// The file asked for.
        path: PathBuf,
        /// What refused it.
        source: io::Error,
    },
}

/// Writes a profile.
///
/// # Errors
/// Only those of `out`.
pub fn write(profile: &Profile, format: Format, out: &mut dyn io::Write) -> io::Result<()> {
    match format {
        Format::Svg => svg::write(profile, out),
        Format::Html => html::write(profile, out),
        Format::Folded => folded::write(profile, out),
        Format::Pprof => pprof::write(profile, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_chooses_the_format_in_either_case() {
        for (ending, format) in Format::ENDINGS {
            let path = format!("/tmp/a.b/profile{ending}");
            assert_eq!(Format::of(Path::new(&path)).unwrap(), format);
            let path = path.to_uppercase();
            assert_eq!(Format::of(Path::new(&path)).unwrap(), format);
        }
    }

    #[test]
    fn another_ending_is_named_together_with_the_four() {
        for path in ["/tmp/a.svg/profile.txt", "profile", "a.pb", "svg", "/"] {
            let error = Format::of(Path::new(path)).unwrap_err().to_string();
            let expected =
                format!("{path}: a profile's name ends in .svg, .html, .folded or .pb.gz");
            assert_eq!(error, expected);
        }
    }
}
