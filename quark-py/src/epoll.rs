//! The epoll of an event loop, which the runtime watches while that loop drives it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime in whose context this is called watch the epoll of that descriptor, which is open. By a descriptor of its own: the loop
/// closes the other.
pub(crate) fn watched(descriptor: RawFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: it is open, and used no longer than this call takes.
    let epoll = unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()?;
    // SAFETY: nobody else has this one, and who has it closes it when it is no longer registered.
    let watched = unsafe { AsyncFd::register_with_interest(epoll, Interest::READABLE) };
    watched.map_err(|error| error.into_parts().1)
}
