//! A parsed template.

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Text(String),
    Print(Pipeline),
    If {
        /// Conditions and what they are for, in order.
        branches: Vec<(Pipeline, Vec<Node>)>,
        otherwise: Vec<Node>,
    },
}

/// Commands; what one yields is the next one's last argument. Never empty.
#[derive(Clone, Debug)]
pub(super) struct Pipeline(pub(super) Vec<Command>);

/// A part of a pipeline.
#[derive(Clone, Debug)]
pub(super) enum Command {
    /// A function of arguments.
    Call(Function, Vec<Operand>),
    /// An operand, and arguments for the last of its members.
    Operand(Operand, Vec<Operand>),
}

/// A value, or the way to one.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    Text(String),
    Flag(bool),
    Number(i64),
    /// Members of members, from the root or from what a pipeline yields; possibly none.
    Path(Base, Vec<String>),
}

/// Where a path begins.
#[derive(Clone, Debug)]
pub(super) enum Base {
    Root,
    Pipeline(Box<Pipeline>),
}

/// The functions of templates. `equalsOrDefault` is Rover's, the rest are Go's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::discovery) enum Function {
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Len,
    Print,
    Printf,
    EqualsOrDefault,
}

impl Function {
    pub(super) const ALL: [Self; 13] = [
        Self::And,
        Self::Or,
        Self::Not,
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
        Self::Len,
        Self::Print,
        Self::Printf,
        Self::EqualsOrDefault,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::And => "and",
            Self::Or => "or",
            Self::Not => "not",
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Len => "len",
            Self::Print => "print",
            Self::Printf => "printf",
            Self::EqualsOrDefault => "equalsOrDefault",
        }
    }

    /// The fewest and the most arguments.
    pub(super) fn arguments(self) -> (usize, usize) {
        match self {
            Self::And | Self::Or | Self::Printf => (1, usize::MAX),
            Self::Eq => (2, usize::MAX),
            Self::Print => (0, usize::MAX),
            Self::Not | Self::Len => (1, 1),
            Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge => (2, 2),
            Self::EqualsOrDefault => (3, 3),
        }
    }
}
