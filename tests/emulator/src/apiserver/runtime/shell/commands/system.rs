//! Commands that tell about the machine, the process or a path.

use std::time::Duration;

use jiff::Timestamp;

use super::{Call, Ended};

impl Call<'_> {
    pub(super) async fn system(&mut self) -> Ended {
        let (options, operands) = self.options();
        let text = match self.name {
            "sleep" => return self.sleep(&operands).await,
            "stty" => return self.stty(&operands).await,
            "tty" if self.shell.terminal.is_some() => "/dev/pts/0\n".to_owned(),
            "tty" => {
                self.print("not a tty\n").await?;
                return Ok(1);
            }
            "clear" => "\u{1b}[H\u{1b}[J".to_owned(),
            "pwd" => format!("{}\n", self.shell.directory),
            "date" => date(
                operands
                    .iter()
                    .find_map(|operand| operand.strip_prefix('+')),
            ),
            "hostname" => format!("{}\n", self.shell.container.pod.name),
            "whoami" => "root\n".to_owned(),
            "id" if options.contains('u') || options.contains('g') => "0\n".to_owned(),
            "id" => "uid=0(root) gid=0(root) groups=0(root)\n".to_owned(),
            "nproc" => "2\n".to_owned(),
            "uname" => self.uname(&options),
            "ps" => {
                "PID   USER     TIME  COMMAND\n    1 root      0:00 main\n    7 root      0:00 ps\n"
                    .to_owned()
            }
            "basename" => match operands.as_slice() {
                [path, rest @ ..] => {
                    let name = path.trim_end_matches('/').rsplit('/').next().unwrap_or("/");
                    let suffix = rest.first().copied().unwrap_or_default();
                    format!("{}\n", name.strip_suffix(suffix).unwrap_or(name))
                }
                [] => return self.complain("missing operand").await,
            },
            "dirname" => match operands.first() {
                Some(path) => match path.trim_end_matches('/').rsplit_once('/') {
                    Some(("", _)) => "/\n".to_owned(),
                    Some((above, _)) => format!("{above}\n"),
                    None => ".\n".to_owned(),
                },
                None => return self.complain("missing operand").await,
            },
            "realpath" => match operands.first() {
                Some(path) => format!("{}\n", self.shell.absolute(path)),
                None => return self.complain("missing operand").await,
            },
            other => return self.complain(format!("{other}: not supported")).await,
        };
        self.print(text).await?;
        Ok(0)
    }

    async fn sleep(&self, operands: &[&str]) -> Ended {
        let mut total = Duration::ZERO;
        for operand in operands {
            if *operand == "infinity" {
                std::future::pending::<()>().await;
            }
            match duration(operand) {
                Some(duration) => total = total.saturating_add(duration),
                None => {
                    return self.complain(format!("invalid number '{operand}'")).await;
                }
            }
        }
        tokio::time::sleep(total).await;
        Ok(0)
    }

    async fn stty(&self, operands: &[&str]) -> Ended {
        let Some(terminal) = &self.shell.terminal else {
            return self.complain("standard input: Not a tty").await;
        };
        let size = terminal.size();
        match operands.first() {
            Some(&"size") => {
                self.print(format!("{} {}\n", size.rows, size.columns))
                    .await?;
            }
            Some(_) => {}
            None => {
                self.print(format!(
                    "speed 38400 baud; rows {}; columns {};\n",
                    size.rows, size.columns
                ))
                .await?;
            }
        }
        Ok(0)
    }

    fn uname(&self, options: &str) -> String {
        let facts = [
            ('s', "Linux"),
            ('n', self.shell.container.pod.name.as_str()),
            ('r', "6.8.0-emulated"),
            ('v', "#1 SMP"),
            ('m', "x86_64"),
        ];
        let wanted: Vec<&str> = facts
            .into_iter()
            .filter(|(letter, _)| {
                options.contains(*letter)
                    || options.contains('a')
                    || (options.is_empty() && *letter == 's')
            })
            .map(|(_, fact)| fact)
            .collect();
        wanted.join(" ") + "\n"
    }
}

/// A number of seconds, or of what its suffix says.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(['s', 'm', 'h', 'd']);
    let seconds: f64 = number.parse().ok()?;
    let factor = match &text[number.len()..] {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds * factor).ok()
}

fn date(format: Option<&str>) -> String {
    let now = Timestamp::now();
    let format = format.unwrap_or("%a %b %e %H:%M:%S UTC %Y");
    // A format of the user's may be wrong: it is then shown as it is.
    let text = jiff::fmt::strtime::format(format, now).unwrap_or_else(|_| format.to_owned());
    text + "\n"
}
