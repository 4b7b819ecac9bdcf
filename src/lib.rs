//! arcproxy
