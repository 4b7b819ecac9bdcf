//! arc-emulator binary
fn main() {}
