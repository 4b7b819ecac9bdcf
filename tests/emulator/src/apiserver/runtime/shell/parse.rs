//! From the text of a script to its commands.
//!
//! A recursive descent over characters, as the shell's grammar is not regular: quotes nest in
//! substitutions and those in quotes. Words are read in `words`; the rest of the grammar stays in
//! one file, as its rules call each other.

use super::syntax::{Command, List, Part, Pipeline, Redirect, Stage, Target, Text, When};

/// How deep constructs may nest, so that no input exhausts the stack.
const DEPTH: usize = 64;

/// Why a script does not parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ParseError {
    /// More lines may complete it.
    Incomplete,
    /// Nothing can: what was found where it does not belong.
    Unexpected(String),
}

/// Parses a whole script.
pub(super) fn parse(script: &str) -> Result<List, ParseError> {
    let mut parser = Parser {
        text: script.chars().collect(),
        at: 0,
        depth: 0,
    };
    let list = parser.list(&[])?;
    match parser.peek() {
        None => Ok(list),
        Some(found) => Err(ParseError::Unexpected(found.to_string())),
    }
}

const RESERVED: [&str; 11] = [
    "then", "elif", "else", "fi", "do", "done", "in", "}", "esac", "case", "function",
];

pub(super) struct Parser {
    text: Vec<char>,
    at: usize,
    depth: usize,
}

impl Parser {
    /// Counts one construct deeper.
    pub(super) fn deepen(&mut self) -> Result<(), ParseError> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(ParseError::Unexpected("nesting".to_owned()));
        }
        Ok(())
    }

    /// Counts it back.
    pub(super) fn surface(&mut self) {
        self.depth -= 1;
    }

    /// Commands up to one of the words `ends`, a `)` or the end of the text, none of them consumed.
    pub(super) fn list(&mut self, ends: &[&str]) -> Result<List, ParseError> {
        self.deepen()?;
        let mut list = List::default();
        let mut when = When::Always;
        loop {
            self.blanks(true);
            if self.peek().is_none_or(|next| next == ')') || self.word_is(ends) {
                if when != When::Always {
                    return Err(self.unexpected());
                }
                self.surface();
                return Ok(list);
            }
            list.0.push((when, self.pipeline()?));
            self.blanks(false);
            when = if self.eat("&&") {
                When::Succeeded
            } else if self.eat("||") {
                When::Failed
            } else if self.eat(";")
                || self.eat("\n")
                || self.peek().is_none_or(|next| next == ')')
                || self.word_is(ends)
            {
                When::Always
            } else {
                return Err(self.unexpected());
            };
        }
    }

    fn pipeline(&mut self) -> Result<Pipeline, ParseError> {
        let negated = self.eat_word("!");
        let mut stages = Vec::new();
        loop {
            self.blanks(!stages.is_empty());
            stages.push(self.stage()?);
            self.blanks(false);
            if self.looking_at("||") || !self.eat("|") {
                return Ok(Pipeline { negated, stages });
            }
        }
    }

    fn stage(&mut self) -> Result<Stage, ParseError> {
        let mut redirects = Vec::new();
        let command = if self.eat("(") {
            let list = self.list(&[])?;
            self.expect(")")?;
            Command::Subshell(list)
        } else if self.eat_word("{") {
            let list = self.list(&["}"])?;
            self.expect_word("}")?;
            Command::Group(list)
        } else if self.eat_word("if") {
            self.conditional()?
        } else if self.word_is(&["while", "until"]) {
            let until = self.eat_word("until") || !self.eat_word("while");
            let condition = self.list(&["do"])?;
            Command::Loop {
                until,
                condition,
                body: self.body()?,
            }
        } else if self.eat_word("for") {
            self.for_each()?
        } else if self.word_is(&RESERVED) {
            return Err(self.unexpected());
        } else {
            return self.simple();
        };
        loop {
            self.blanks(false);
            match self.redirect()? {
                Some(redirect) => redirects.push(redirect),
                None => return Ok(Stage { command, redirects }),
            }
        }
    }

    fn conditional(&mut self) -> Result<Command, ParseError> {
        let mut branches = Vec::new();
        loop {
            let condition = self.list(&["then"])?;
            self.expect_word("then")?;
            let body = self.list(&["elif", "else", "fi"])?;
            branches.push((condition, body));
            if !self.eat_word("elif") {
                break;
            }
        }
        let otherwise = if self.eat_word("else") {
            self.list(&["fi"])?
        } else {
            List::default()
        };
        self.expect_word("fi")?;
        Ok(Command::If {
            branches,
            otherwise,
        })
    }

    fn for_each(&mut self) -> Result<Command, ParseError> {
        self.blanks(false);
        let name = self.name();
        if name.is_empty() {
            return Err(self.unexpected());
        }
        self.blanks(true);
        let mut words = Vec::new();
        if self.eat_word("in") {
            loop {
                self.blanks(false);
                let word = self.word()?;
                if word.0.is_empty() {
                    break;
                }
                words.push(word);
            }
        }
        if self.eat(";") || self.eat("\n") {
            self.blanks(true);
        }
        let body = self.body()?;
        Ok(Command::For { name, words, body })
    }

    fn body(&mut self) -> Result<List, ParseError> {
        self.expect_word("do")?;
        let body = self.list(&["done"])?;
        self.expect_word("done")?;
        Ok(body)
    }

    fn simple(&mut self) -> Result<Stage, ParseError> {
        let (mut assignments, mut words, mut redirects) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            self.blanks(false);
            if let Some(redirect) = self.redirect()? {
                redirects.push(redirect);
            } else if words.is_empty()
                && let Some(name) = self.assignment()
            {
                assignments.push((name, self.word()?));
            } else {
                let word = self.word()?;
                if word.0.is_empty() {
                    break;
                }
                words.push(word);
            }
        }
        if words.is_empty() && assignments.is_empty() && redirects.is_empty() {
            return Err(self.unexpected());
        }
        Ok(Stage {
            command: Command::Simple { assignments, words },
            redirects,
        })
    }

    /// `NAME=` at this place, consumed.
    fn assignment(&mut self) -> Option<String> {
        let start = self.at;
        let name = self.name();
        if !name.is_empty() && self.eat("=") {
            return Some(name);
        }
        self.at = start;
        None
    }

    fn redirect(&mut self) -> Result<Option<Redirect>, ParseError> {
        let start = self.at;
        let digit = self.peek().and_then(|next| next.to_digit(10));
        if digit.is_some() {
            self.at += 1;
        }
        let both = digit.is_none() && self.looking_at("&>");
        if both {
            self.at += 1;
        }
        let operator = [">>", ">&", "<&", ">", "<"]
            .into_iter()
            .find(|operator| self.eat(operator));
        let Some(operator) = operator else {
            self.at = start;
            return Ok(None);
        };
        if operator == "<" && self.looking_at("<") {
            return Err(self.unexpected());
        }
        let default = u8::from(!operator.starts_with('<'));
        let descriptor = digit
            .and_then(|digit| u8::try_from(digit).ok())
            .unwrap_or(default);
        self.blanks(false);
        let target = self.word()?;
        if target.0.is_empty() {
            return Err(self.unexpected());
        }
        // `&>file` sends both outputs; the parser has one redirect per operator, so it is told
        // apart by a descriptor that no script can name.
        let descriptor = if both { BOTH } else { descriptor };
        let target = match operator {
            "<" => Target::Read(target),
            ">" => Target::Write(target),
            ">>" => Target::Append(target),
            _ => match target.0.as_slice() {
                [
                    Part {
                        text: Text::Literal(digits),
                        ..
                    },
                ] if digits.parse::<u8>().is_ok() => {
                    Target::Duplicate(digits.parse().unwrap_or_default())
                }
                _ => return Err(ParseError::Unexpected("&".to_owned())),
            },
        };
        Ok(Some(Redirect { descriptor, target }))
    }

    /// Skips blanks, comments and joined lines; line ends too if `lines`.
    pub(super) fn blanks(&mut self, lines: bool) {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r') => self.at += 1,
                Some('\n') if lines => self.at += 1,
                Some('\\') if self.looking_at("\\\n") => self.at += 2,
                Some('#') => {
                    while self.peek().is_some_and(|next| next != '\n') {
                        self.at += 1;
                    }
                }
                _ => return,
            }
        }
    }

    pub(super) fn until(&mut self, end: char) -> Result<String, ParseError> {
        let length = self.text[self.at..]
            .iter()
            .position(|&next| next == end)
            .ok_or(ParseError::Incomplete)?;
        let text = self.text[self.at..self.at + length].iter().collect();
        self.at += length + 1;
        Ok(text)
    }

    pub(super) fn name(&mut self) -> String {
        let start = self.at;
        while self.peek().is_some_and(|next| {
            next == '_' || next.is_ascii_alphabetic() || (self.at > start && next.is_ascii_digit())
        }) {
            self.at += 1;
        }
        self.text[start..self.at].iter().collect()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    pub(super) fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    pub(super) fn looking_at(&self, text: &str) -> bool {
        text.chars()
            .enumerate()
            .all(|(offset, wanted)| self.text.get(self.at + offset) == Some(&wanted))
    }

    pub(super) fn eat(&mut self, text: &str) -> bool {
        let found = self.looking_at(text);
        if found {
            self.at += text.chars().count();
        }
        found
    }

    fn word_is(&self, words: &[&str]) -> bool {
        words.iter().any(|word| {
            self.looking_at(word)
                && self
                    .text
                    .get(self.at + word.chars().count())
                    .is_none_or(|next| " \t\r\n;|&<>()".contains(*next))
        })
    }

    fn eat_word(&mut self, word: &str) -> bool {
        self.word_is(&[word]) && self.eat(word)
    }

    pub(super) fn expect(&mut self, text: &str) -> Result<(), ParseError> {
        if self.eat(text) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn expect_word(&mut self, word: &str) -> Result<(), ParseError> {
        self.blanks(true);
        if self.eat_word(word) {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    fn unexpected(&self) -> ParseError {
        match self.peek() {
            None => ParseError::Incomplete,
            Some('\n') => ParseError::Unexpected("newline".to_owned()),
            Some(_) => {
                let rest = self.text[self.at..].iter();
                let word: String = rest
                    .take_while(|next| !next.is_whitespace())
                    .take(16)
                    .collect();
                ParseError::Unexpected(word)
            }
        }
    }
}

/// The descriptor of `&>`: standard output and standard error together.
pub(super) const BOTH: u8 = u8::MAX;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
    use super::*;

    #[test]
    fn unfinished_scripts_wait_for_more() {
        for script in [
            "echo 'one",
            "echo \"one",
            "for i in 1 2; do",
            "if true; then echo",
            "echo one |",
            "true &&",
            "echo $(date",
            "( echo",
            "echo \\",
        ] {
            assert_eq!(parse(script), Err(ParseError::Incomplete), "{script}");
        }
    }

    #[test]
    fn nonsense_is_named() {
        for (script, found) in [
            ("| cat", "|"),
            ("echo one; ;", ";"),
            ("done", "done"),
            ("echo )", ")"),
            ("cat << EOF", "<"),
            ("sleep 1 &", "&"),
        ] {
            assert_eq!(
                parse(script),
                Err(ParseError::Unexpected(found.to_owned())),
                "{script}"
            );
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let script = "(".repeat(100_000);
        assert!(matches!(parse(&script), Err(ParseError::Unexpected(_))));
        let script = "`".repeat(3);
        assert_eq!(parse(&script), Err(ParseError::Incomplete));
    }

    #[test]
    fn lists_keep_their_joints() {
        let list = parse("one && two || three; four").unwrap();
        let joints: Vec<When> = list.0.iter().map(|(when, _)| *when).collect();
        assert_eq!(
            joints,
            [When::Always, When::Succeeded, When::Failed, When::Always]
        );
    }
}
