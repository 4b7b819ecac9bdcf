//! Ends of every kind: nothing is lost, nothing is left behind.

mod killed;
