//! What gimli says of an address, compared with what a table says.

use gimli::{CfaRule, Register, RegisterRule, UnwindTableRow};
use perigee_ebpf_profiler::unwind::{Cfa, FramePointer, ReturnAddress, Rule, Rules, Table};

/// Words of a whole arena.
pub(crate) const MOST_WORDS: usize = 262_144;

/// The tables of one file.
pub(crate) struct Read {
    pub(crate) tables: Vec<Table>,
    pub(crate) rules: Rules,
}

impl Read {
    pub(crate) fn of(file: &[u8]) -> Self {
        Self::in_pieces(file, MOST_WORDS)
    }

    pub(crate) fn in_pieces(file: &[u8], most_words: usize) -> Self {
        let mut rules = Rules::default();
        let tables = Table::read(file, most_words, &mut rules).expect("an ELF file");
        Self { tables, rules }
    }

    pub(crate) fn rule(&self, address: u64) -> Rule {
        let number = self.tables.iter().find_map(|table| table.lookup(address));
        self.rules.all()[usize::from(number.unwrap_or(Rules::UNKNOWN))]
    }

    pub(crate) fn words(&self) -> usize {
        self.tables.iter().map(|table| table.words.len()).sum()
    }
}

/// DWARF's numbers of the registers that rules speak of.
pub(crate) struct Numbers {
    pub(crate) stack: u16,
    pub(crate) frame: u16,
    pub(crate) return_address: u16,
}

/// x86-64.
pub(crate) const X86_64: Numbers = Numbers {
    stack: 7,
    frame: 6,
    return_address: 16,
};

/// Why a rule is not what the row says; none if it is.
pub(crate) fn difference(
    rule: &Rule,
    row: &UnwindTableRow<usize>,
    numbers: &Numbers,
) -> Option<String> {
    let return_address = row.register(Register(numbers.return_address));
    if return_address == Some(RegisterRule::Undefined) {
        return (rule.cfa != Cfa::End).then(|| format!("should end: {rule:?}"));
    }
    if let Some(RegisterRule::Register(_)) = return_address {
        return (rule.cfa != Cfa::Unsupported)
            .then(|| format!("should not be supported: {rule:?}"));
    }
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => match register.0 {
            number if number == numbers.stack => {
                rule.cfa == Cfa::Stack && i64::from(rule.cfa_offset) == *offset
            }
            number if number == numbers.frame => {
                rule.cfa == Cfa::Frame && i64::from(rule.cfa_offset) == *offset
            }
            _ => rule.cfa == Cfa::Unsupported,
        },
        CfaRule::Expression(_) => {
            use Cfa::{FrameIndirect, Plt, Signal, StackIndirect, Unsupported};
            matches!(
                rule.cfa,
                Plt | Signal | StackIndirect | FrameIndirect | Unsupported
            )
        }
    };
    let plain = !matches!(rule.cfa, Cfa::Unsupported | Cfa::Signal);
    let address = !plain
        || match return_address {
            Some(RegisterRule::Offset(offset)) => {
                rule.return_address == ReturnAddress::Saved
                    && i64::from(rule.return_address_offset) == offset
            }
            None => rule.return_address == ReturnAddress::Link,
            _ => false,
        };
    let frame = !plain
        || match row.register(Register(numbers.frame)) {
            None | Some(RegisterRule::SameValue) => rule.frame_pointer == FramePointer::Same,
            Some(RegisterRule::Offset(offset)) => {
                rule.frame_pointer == FramePointer::Saved
                    && i64::from(rule.frame_pointer_offset) == offset
            }
            _ => matches!(
                rule.frame_pointer,
                FramePointer::Lost | FramePointer::SavedAtFrame
            ),
        };
    (!(cfa && address && frame)).then(|| format!("{rule:?} is not {row:?}"))
}
