//! What the program can be told to do. Here the parts are joined.

mod clusters;
mod connect;
mod logout;
mod probe;
mod upstream;

pub use connect::connect;
pub use logout::logout;
