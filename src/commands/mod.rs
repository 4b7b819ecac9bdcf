//! What the program can be told to do. Here the parts are joined.

mod clusters;
mod connect;
mod probe;
mod upstream;

pub use connect::connect;
