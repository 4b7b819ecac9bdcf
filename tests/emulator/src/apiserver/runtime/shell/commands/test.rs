//! `test` and `[`.

use super::{Call, Ended};
use crate::apiserver::runtime::filesystem::Kind;

impl Call<'_> {
    pub(super) async fn test(&mut self) -> Ended {
        let mut arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        if self.name == "[" && arguments.pop() != Some("]") {
            self.complain("missing ]").await?;
            return Ok(2);
        }
        match self.either(&arguments) {
            Ok(held) => Ok(u8::from(!held)),
            Err(message) => {
                self.complain(message).await?;
                Ok(2)
            }
        }
    }

    /// `-o` binds looser than `-a`.
    fn either(&self, arguments: &[&str]) -> Result<bool, String> {
        let mut held = false;
        for part in arguments.split(|argument| *argument == "-o") {
            let mut all = true;
            for part in part.split(|argument| *argument == "-a") {
                all &= self.holds(part)?;
            }
            held |= all;
        }
        Ok(held)
    }

    fn holds(&self, arguments: &[&str]) -> Result<bool, String> {
        let number = |text: &str| {
            text.trim()
                .parse::<i64>()
                .map_err(|_| format!("{text}: bad number"))
        };
        Ok(match arguments {
            [] => false,
            ["!", rest @ ..] => !self.holds(rest)?,
            [text] | ["-n", text] => !text.is_empty(),
            ["-z", text] => text.is_empty(),
            ["-t", _] => self.shell.terminal.is_some(),
            [
                operator @ ("-e" | "-f" | "-d" | "-s" | "-r" | "-w" | "-x" | "-L" | "-h"),
                path,
            ] => {
                let path = self.shell.absolute(path);
                let files = &self.shell.container.files;
                let metadata = if matches!(*operator, "-L" | "-h") {
                    files.link_metadata(&path)
                } else {
                    files.metadata(&path)
                };
                let Ok(metadata) = metadata else {
                    return Ok(false);
                };
                match *operator {
                    "-f" => matches!(metadata.kind, Kind::File(_)),
                    "-d" => metadata.is_directory(),
                    "-s" => !matches!(metadata.kind, Kind::File(0)),
                    "-x" => metadata.mode & 0o111 != 0,
                    "-L" | "-h" => matches!(metadata.kind, Kind::Link(_)),
                    _ => true,
                }
            }
            [left, "=" | "==", right] => left == right,
            [left, "!=", right] => left != right,
            [left, "-eq", right] => number(left)? == number(right)?,
            [left, "-ne", right] => number(left)? != number(right)?,
            [left, "-lt", right] => number(left)? < number(right)?,
            [left, "-le", right] => number(left)? <= number(right)?,
            [left, "-gt", right] => number(left)? > number(right)?,
            [left, "-ge", right] => number(left)? >= number(right)?,
            [other, ..] => return Err(format!("{other}: unknown operand")),
        })
    }
}
