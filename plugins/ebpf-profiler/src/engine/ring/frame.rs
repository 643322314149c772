//! Callers by frame pointers, in a copy of a stack.

use super::{Registers, Unwinder};

/// As many frames as the kernel's programs walk.
const MOST: usize = 127;

/// Follows frame pointers: right for programs that keep them, which is what generated code and Go do and
/// what `-fno-omit-frame-pointer` makes of others.
#[derive(Clone, Copy, Debug, Default)]
pub struct FramePointers;

impl Unwinder for FramePointers {
    fn unwind(&mut self, _pid: u32, at: Registers, stack: &[u8]) -> (Vec<u64>, bool) {
        let word = |address: u64| {
            let offset = usize::try_from(address.checked_sub(at.sp)?).ok()?;
            let bytes = stack.get(offset..offset.checked_add(8)?)?;
            bytes.first_chunk().copied().map(u64::from_ne_bytes)
        };
        let mut frames = vec![at.ip];
        let mut pointer = at.fp;
        // A frame's pointer points to its caller's, and the address to return to is behind that.
        while frames.len() < MOST {
            let frame = word(pointer).zip(pointer.checked_add(8).and_then(word));
            let Some((caller, address)) = frame.filter(|_| pointer.is_multiple_of(8)) else {
                return (frames, false);
            };
            if address == 0 {
                return (frames, true);
            }
            frames.push(address);
            // What starts threads begins with a pointer of 0.
            if caller == 0 {
                return (frames, true);
            }
            if caller <= pointer {
                return (frames, false);
            }
            pointer = caller;
        }
        (frames, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SP: u64 = 0x7000;

    fn unwind(fp: u64, words: &[u64]) -> (Vec<u64>, bool) {
        let stack: Vec<u8> = words.iter().flat_map(|it| it.to_ne_bytes()).collect();
        FramePointers.unwind(
            1,
            Registers {
                ip: 0x10,
                sp: SP,
                fp,
                link: 0,
            },
            &stack,
        )
    }

    #[test]
    fn frames_are_followed_to_the_pointer_of_zero() {
        let stack = [7, 7, SP + 40, 0x20, 7, 0, 0x30];
        assert_eq!(unwind(SP + 16, &stack), (vec![0x10, 0x20, 0x30], true));
    }

    #[test]
    fn a_chain_that_leaves_the_copy_is_incomplete() {
        assert_eq!(unwind(SP, &[SP + 4096, 0x20]), (vec![0x10, 0x20], false));
        assert_eq!(
            unwind(0, &[0, 0x20]),
            (vec![0x10], false),
            "no frame pointer at all"
        );
        assert_eq!(unwind(u64::MAX - 3, &[0, 0x20]), (vec![0x10], false));
        assert_eq!(
            unwind(SP + 4, &[0, 0x20, 0x30]),
            (vec![0x10], false),
            "not aligned"
        );
    }

    #[test]
    fn a_chain_that_goes_back_ends() {
        assert_eq!(
            unwind(SP + 16, &[0, 0, SP, 0x20]),
            (vec![0x10, 0x20], false)
        );
        assert_eq!(unwind(SP, &[SP, 0x20]), (vec![0x10, 0x20], false));
    }

    #[test]
    fn a_long_chain_is_cut() {
        let chain: Vec<u64> = (1..400).flat_map(|it| [SP + it * 16, 0x20]).collect();
        let (frames, complete) = unwind(SP, &chain);
        assert_eq!((frames.len(), complete), (MOST, false));
    }
}
