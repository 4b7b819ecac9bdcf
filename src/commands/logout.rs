//! Signing out: nothing of earlier sign-ins is left for a later run.

use crate::azure::login::Kept;
use crate::error::Error;
use crate::printer::{Event, Printer};

/// Removes what is kept, and tells whose it was. Returns the exit code.
///
/// # Errors
/// It is still there.
pub fn logout(kept: &Kept, printer: Printer) -> Result<u8, Error> {
    let gone = kept.remove_all()?;
    for (who, from) in &gone {
        printer.tell(&Event::SignedOut { who, from });
    }
    if gone.is_empty() {
        printer.tell(&Event::NobodySignedIn);
    }
    Ok(0)
}
