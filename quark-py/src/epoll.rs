//! The epoll of an event loop, which the runtime watches while that loop drives it.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::Arc;

use quark_core::host::Watch;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How the runtime comes to watch the epoll of that descriptor, which is open. By a descriptor of its own: the loop closes the other.
pub(crate) fn watch(descriptor: RawFd) -> io::Result<Watch> {
    // SAFETY: it is open, and used no longer than this call takes.
    let epoll = Arc::new(unsafe { BorrowedFd::borrow_raw(descriptor) }.try_clone_to_owned()?);
    Ok(Box::new(move || {
        // SAFETY: nobody closes it before it is no longer registered.
        let watched = unsafe { AsyncFd::register_with_interest(epoll.clone(), Interest::READABLE) };
        watched.map_err(|error| error.into_parts().1)
    }))
}
