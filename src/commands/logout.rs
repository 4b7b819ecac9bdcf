//! Signing out: nothing of earlier sign-ins is left for a later run.

use crate::azure::login::Kept;
use crate::error::Error;
use crate::printer::{Event, Printer};

/// Removes what is kept, and tells whose it was. Returns the exit code.
///
/// # Errors
/// Something is still there, or may be.
pub async fn logout(kept: &Kept, printer: Printer) -> Result<u8, Error> {
    let (gone, done) = kept.remove_all().await;
    for (who, from) in &gone {
        printer.tell(&Event::SignedOut { who, from });
    }
    done?;
    if gone.is_empty() {
        printer.tell(&Event::NobodySignedIn);
    }
    Ok(0)
}
