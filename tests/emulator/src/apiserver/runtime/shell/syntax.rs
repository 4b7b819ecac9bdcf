//! What a script is once it is parsed.

/// Commands that run one after another.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct List(pub(super) Vec<(When, Pipeline)>);

/// Whether a pipeline runs, seen from the status before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// `;` or a new line.
    Always,
    /// `&&`.
    Succeeded,
    /// `||`.
    Failed,
}

/// Commands joined by `|`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pipeline {
    /// `!` turns success and failure round.
    pub(super) negated: bool,
    pub(super) stages: Vec<Stage>,
}

/// One command of a pipeline with its redirections, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) command: Command,
    pub(super) redirects: Vec<Redirect>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Simple {
        assignments: Vec<(String, Word)>,
        words: Vec<Word>,
    },
    If {
        /// Condition and body of `if` and each `elif`.
        branches: Vec<(List, List)>,
        otherwise: List,
    },
    Loop {
        /// `until` instead of `while`.
        until: bool,
        condition: List,
        body: List,
    },
    For {
        name: String,
        words: Vec<Word>,
        body: List,
    },
    /// `( … )`: what it changes is gone when it ends.
    Subshell(List),
    /// `{ …; }`
    Group(List),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redirect {
    pub(super) descriptor: u8,
    pub(super) target: Target,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    Read(Word),
    Write(Word),
    Append(Word),
    /// `2>&1`
    Duplicate(u8),
}

/// A word before expansion.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Word(pub(super) Vec<Part>);

/// A piece of a word. What is quoted is neither split at blanks nor matched against file names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) quoted: bool,
    pub(super) text: Text,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Text {
    Literal(String),
    Variable {
        name: String,
        /// `${NAME:-word}`
        default: Option<Word>,
        /// `${#NAME}`
        length: bool,
    },
    /// `$( … )`
    Output(List),
    /// `$(( … ))`
    Arithmetic(Word),
}
