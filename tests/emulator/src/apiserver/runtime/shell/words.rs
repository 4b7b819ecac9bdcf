//! Words of a script: quotes, variables and substitutions.

use super::parse::{ParseError, Parser, parse};
use super::syntax::{Part, Text, Word};

impl Parser {
    /// A word; without parts if there is none here.
    pub(super) fn word(&mut self) -> Result<Word, ParseError> {
        let mut word = Word::default();
        while let Some(next) = self.peek() {
            match next {
                ' ' | '\t' | '\n' | ';' | '|' | '&' | '<' | '>' | '(' | ')' => break,
                '\'' => {
                    self.skip();
                    let text = self.until('\'')?;
                    word.0.push(quoted(Text::Literal(text)));
                }
                '"' => {
                    self.skip();
                    self.double_quoted(&mut word)?;
                }
                '\\' => {
                    self.skip();
                    match self.take().ok_or(ParseError::Incomplete)? {
                        '\n' => {}
                        escaped => word.0.push(quoted(Text::Literal(escaped.to_string()))),
                    }
                }
                '$' | '`' => {
                    let text = self.substitution()?;
                    word.0.push(Part {
                        quoted: false,
                        text,
                    });
                }
                _ => {
                    self.skip();
                    push_literal(&mut word, next, false);
                }
            }
        }
        Ok(word)
    }

    fn double_quoted(&mut self, word: &mut Word) -> Result<(), ParseError> {
        // Quotes around nothing still make a word.
        word.0.push(quoted(Text::Literal(String::new())));
        loop {
            match self.peek().ok_or(ParseError::Incomplete)? {
                '"' => {
                    self.skip();
                    return Ok(());
                }
                '$' | '`' => {
                    let text = self.substitution()?;
                    word.0.push(quoted(text));
                }
                '\\' => {
                    self.skip();
                    match self.take().ok_or(ParseError::Incomplete)? {
                        '\n' => {}
                        escaped @ ('"' | '\\' | '$' | '`') => push_literal(word, escaped, true),
                        other => {
                            push_literal(word, '\\', true);
                            push_literal(word, other, true);
                        }
                    }
                }
                next => {
                    self.skip();
                    push_literal(word, next, true);
                }
            }
        }
    }

    /// What starts with `$` or a backquote.
    fn substitution(&mut self) -> Result<Text, ParseError> {
        self.deepen()?;
        let text = self.substituted()?;
        self.surface();
        Ok(text)
    }

    fn substituted(&mut self) -> Result<Text, ParseError> {
        if self.eat("`") {
            let inner = self.until('`')?;
            return parse(&inner).map(Text::Output);
        }
        self.skip();
        if self.eat("((") {
            let mut word = Word::default();
            let mut open = 0_usize;
            loop {
                match self.peek().ok_or(ParseError::Incomplete)? {
                    '$' => {
                        let text = self.substitution()?;
                        word.0.push(quoted(text));
                        continue;
                    }
                    '(' => open += 1,
                    ')' if open == 0 => break,
                    ')' => open -= 1,
                    _ => {}
                }
                let next = self.take().ok_or(ParseError::Incomplete)?;
                push_literal(&mut word, next, true);
            }
            self.expect("))")?;
            return Ok(Text::Arithmetic(word));
        }
        if self.eat("(") {
            let list = self.list(&[])?;
            self.expect(")")?;
            return Ok(Text::Output(list));
        }
        if self.eat("{") {
            return self.braced();
        }
        let special = self
            .peek()
            .filter(|next| "?$#@*!0123456789".contains(*next));
        let name = if let Some(special) = special {
            self.skip();
            special.to_string()
        } else {
            self.name()
        };
        if name.is_empty() {
            return Ok(Text::Literal("$".to_owned()));
        }
        Ok(Text::Variable {
            name,
            default: None,
            length: false,
        })
    }

    fn braced(&mut self) -> Result<Text, ParseError> {
        let length = self.looking_at("#") && !self.looking_at("#}") && self.eat("#");
        let mut name = self.name();
        if name.is_empty() {
            name = self.take().ok_or(ParseError::Incomplete)?.to_string();
        }
        let default = if self.eat(":-") || self.eat("-") {
            let mut word = Word::default();
            loop {
                match self.peek().ok_or(ParseError::Incomplete)? {
                    '}' => break,
                    '$' | '`' => {
                        let text = self.substitution()?;
                        word.0.push(quoted(text));
                    }
                    next => {
                        self.skip();
                        push_literal(&mut word, next, true);
                    }
                }
            }
            Some(word)
        } else {
            None
        };
        if !self.eat("}") {
            return Err(match self.peek() {
                None => ParseError::Incomplete,
                Some(_) => ParseError::Unexpected("bad substitution".to_owned()),
            });
        }
        Ok(Text::Variable {
            name,
            default,
            length,
        })
    }
}

fn quoted(text: Text) -> Part {
    Part { quoted: true, text }
}

fn push_literal(word: &mut Word, next: char, quoted: bool) {
    if let Some(Part {
        quoted: before,
        text: Text::Literal(text),
    }) = word.0.last_mut()
        && *before == quoted
    {
        text.push(next);
        return;
    }
    word.0.push(Part {
        quoted,
        text: Text::Literal(next.to_string()),
    });
}
