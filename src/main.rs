//! The `arcproxy` binary.

fn main() {}
