//! What the language bindings have in common: the process-wide runtime, the fork check, blocking waits, and the ways
//! batches cross from the runtime's thread to the host's.
//!
//! Rust programs do not need it: they start silos on their own tokio runtime.

mod mailbox;
mod runtime;
mod workers;

pub use mailbox::Mailbox;
pub use runtime::{Waiter, check_fork, check_may_block, done_and_waiter, handle, run};
pub use workers::Workers;

pub use crate::batch::run as batch;
