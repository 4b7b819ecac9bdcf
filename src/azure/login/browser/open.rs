//! Opening a page in the system's browser.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::settings::Environment;

/// An opener that still runs after this long has a page to show.
const SETTLED: Duration = Duration::from_secs(5);

/// The commands that may open a page, in the order in which they are tried.
#[derive(Debug, Clone)]
pub(super) struct Browsers(Vec<Vec<String>>);

impl Browsers {
    /// `BROWSER`'s, then the system's own.
    pub(super) fn of(environment: &Environment) -> Self {
        let words = |line: &str| {
            line.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let given = environment.text("BROWSER").unwrap_or_default();
        // A list, as xdg-open and Python's webbrowser read it.
        let given = given.split(':').map(words);
        let own: &[&str] = if cfg!(target_os = "macos") {
            &["open"]
        } else {
            &["xdg-open", "wslview", "gio open", "x-www-browser"]
        };
        let own = own.iter().copied().map(words);
        Self(given.chain(own).filter(|words| !words.is_empty()).collect())
    }

    /// Opens `url` with the first that works. If none does there is still the address on stderr.
    ///
    /// Cancel safe: a browser that has begun to open stays.
    pub(super) async fn open(&self, url: &str) {
        for words in &self.0 {
            match run(words, url).await {
                Ok(true) => return,
                Ok(false) => tracing::debug!(?words, "opened no browser"),
                Err(error) => tracing::debug!(?words, %error, "opened no browser"),
            }
        }
        tracing::info!("no browser could be opened");
    }
}

/// Whether the command shows the page.
async fn run(words: &[String], url: &str) -> std::io::Result<bool> {
    let (program, arguments) = words.split_first().ok_or(std::io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    if arguments.iter().any(|word| word.contains("%s")) {
        command.args(arguments.iter().map(|word| word.replace("%s", url)));
    } else {
        command.args(arguments).arg(url);
    }
    // stdout is az's lines or the command's; a browser's chatter belongs nowhere.
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Ctrl+C here is not for the browser.
        .process_group(0)
        .spawn()?;
    match timeout(SETTLED, child.wait()).await {
        Ok(status) => Ok(status?.success()),
        // It is reaped by the runtime.
        Err(_) => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_own_choice_comes_first() {
        let chosen = Environment::of([("BROWSER", "firefox --new-tab %s:lynx")]);
        let Browsers(all) = Browsers::of(&chosen);
        assert_eq!(all[0], ["firefox", "--new-tab", "%s"]);
        assert_eq!(all[1], ["lynx"]);
        let Browsers(own) = Browsers::of(&Environment::default());
        assert_eq!(all[2..], own);
    }

    #[tokio::test]
    async fn what_does_not_open_it_is_passed_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("url");
        let copy = format!("cp %s {}", file.display());
        let page = folder.path().join("page");
        std::fs::write(&page, "a").expect("writes");
        let list = ["/nonexistent/browser", "false", &copy, "rm"].join(":");
        let browsers = Browsers::of(&Environment::of([("BROWSER", list.as_str())]));
        browsers.open(page.to_str().expect("text")).await;
        assert!(file.exists(), "the first that works opens it");
        assert!(page.exists(), "those after it do not");
    }
}
