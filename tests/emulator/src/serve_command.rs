//! `arc-emulator serve`: printing how to reach the emulator, and waiting.

use std::io::{self, Write as _};

use arc_emulator::emulator::{DEMO_CLUSTER, DEMO_GROUP, Emulator};
use tokio::signal::unix::{SignalKind, signal};

/// Prints the settings that a client needs, and returns once it is told to stop.
pub(crate) async fn until_stopped(emulator: &Emulator) -> io::Result<()> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    print(emulator)?;
    tokio::select! {
        _ = interrupts.recv() => {}
        _ = terminations.recv() => {}
    }
    Ok(())
}

fn print(emulator: &Emulator) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "# Azure Arc is running on this machine. Ctrl+C stops it."
    )?;
    writeln!(out, "# Cloud file: {}", emulator.cloud_file().display())?;
    for (name, value) in emulator.env() {
        writeln!(out, "export {name}={}", quoted(&value))?;
    }
    writeln!(out, "# In another terminal, with these set, try:")?;
    writeln!(
        out,
        "#   arcproxy -n {DEMO_CLUSTER} -g {DEMO_GROUP} -- kubectl get pods -A"
    )?;
    out.flush()
}

/// `value` as a shell reads it as one word.
fn quoted(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:~@%+=,".contains(&byte);
    if !value.is_empty() && value.bytes().all(plain) && !value.starts_with('~') {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_every_value_as_one_word() {
        assert_eq!(quoted("/tmp/a-b.json"), "/tmp/a-b.json");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("~x"), "'~x'");
        assert_eq!(quoted(""), "''");
    }
}
