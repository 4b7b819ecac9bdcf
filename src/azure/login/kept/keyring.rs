//! Sign-ins in the desktop's keyring, through libsecret's own program, `secret-tool`.
//!
//! The document goes through pipes, never on a command line. A keyring that is locked asks its user
//! to unlock it, which only works on a desktop: elsewhere it is taken for missing.

use std::io::{self, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::super::tool;
use super::Source;
use crate::settings::Environment;

const PROGRAM: &str = "secret-tool";
/// What the document is found by.
const ATTRIBUTES: [&str; 4] = ["application", "arcproxy", "kind", "sign-ins"];
/// How long somebody may take to unlock the keyring.
const DEADLINE: Duration = Duration::from_mins(1);

/// The keyring.
#[derive(Debug, Clone)]
pub(super) struct Keyring {
    program: PathBuf,
}

impl Keyring {
    /// The keyring of the desktop that `environment` tells of.
    pub(super) fn find(environment: &Environment) -> Option<Self> {
        let desktop = ["DISPLAY", "WAYLAND_DISPLAY"];
        if !desktop.iter().any(|name| environment.text(name).is_some()) {
            return None;
        }
        let bus = environment.text("DBUS_SESSION_BUS_ADDRESS").is_some()
            || environment
                .path("XDG_RUNTIME_DIR")
                .is_some_and(|folder| folder.join("bus").exists());
        let path = environment.path("PATH").filter(|_| bus)?;
        let program = tool::find(PROGRAM, Some(path.as_os_str()))?;
        Some(Self { program })
    }

    /// Runs the program with `arguments` and `input`; whether it succeeded, and what it printed.
    fn run(&self, arguments: &[&str], input: &str) -> io::Result<(bool, Zeroizing<String>)> {
        let mut child = Command::new(&self.program)
            .args(arguments)
            .args(ATTRIBUTES)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let talked = talk(&mut child, input);
        if talked.is_err() {
            // It may be gone already.
            let _gone = child.kill();
        }
        let status = child.wait()?;
        talked.map(|output| (status.success(), output))
    }
}

fn talk(child: &mut Child, input: &str) -> io::Result<Zeroizing<String>> {
    if let Some(mut stdin) = child.stdin.take() {
        // A document is smaller than a pipe, and who reads none of it closes it.
        match stdin.write_all(input.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let stdout = child.stdout.take();
    let (done, ended) = mpsc::channel();
    // Ends with the program, which the caller sees to.
    std::thread::spawn(move || {
        let mut text = Zeroizing::new(String::new());
        let read = stdout.map_or(Ok(0), |mut stdout| stdout.read_to_string(&mut text));
        let _gone = done.send(read.map(|_| text));
    });
    ended
        .recv_timeout(DEADLINE)
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

impl Source for Keyring {
    fn read(&self) -> io::Result<Option<Zeroizing<String>>> {
        // It fails alike where nothing is kept and where there is no keyring.
        let (found, text) = self.run(&["lookup"], "")?;
        Ok(found.then_some(text).filter(|text| !text.is_empty()))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        match self.run(&["store", "--label", "arcproxy: sign-ins"], text)? {
            (true, _) => Ok(()),
            (false, _) => Err(io::Error::other("the keyring did not take it")),
        }
    }

    fn clear(&self) -> io::Result<()> {
        // That it fails may mean that there is nothing; only what can still be read is left.
        self.run(&["clear"], "")?;
        match self.read()? {
            None => Ok(()),
            Some(_) => Err(io::Error::other("the keyring did not let go of it")),
        }
    }
}
