//! An authority of one's own, for development and tests: makes the certificates that Quark's TLS asks for. The command
//! `quark certs` of the wheel and `cargo xtask certs` are [`command::run`].
//!
//! In production a real authority does this; what it must put into a certificate is what [`Authority::issue`] puts there.

mod authority;
pub mod command;
mod folder;

pub use authority::{Authority, Issued};
pub use folder::Folder;
