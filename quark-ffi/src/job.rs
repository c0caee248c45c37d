//! What is done on the threads of a host: single callbacks, and several of one kind in one.

use std::ptr;
use std::sync::Arc;

use bytes::Bytes;
use quark_core::host::{self, Handling, Together};
use quark_core::{Request, Result};
use smallvec::SmallVec;

use crate::callback::{
    EndingBatchFn, MembershipFn, Pointer, QUARK_MAX_BATCH, ReplyFn, RequestFn, Unowned, quark_ending_t,
};
use crate::hosting::{Hold, Host, Token, call};
use crate::ownership::Telling;
use crate::request::quark_request_t;
use crate::silo_info::quark_silo_info_t;
use crate::status::quark_error_t;
use crate::view::quark_bytes_t;

/// Jobs in one callback: fewer than may be, so that what one has answered leaves while the next works.
const AT_ONCE: usize = 64;
const _: () = assert!(AT_ONCE <= QUARK_MAX_BATCH);

/// Something that waits for a thread.
pub(crate) enum Job {
    Request {
        callback: Unowned<RequestFn>,
        request: Request,
        token: Token,
    },
    Ending {
        to: Ended,
        result: Result<Bytes>,
        hold: Hold,
    },
    Event {
        callback: Unowned<MembershipFn>,
        kind: i32,
        silo: Box<quark_silo_info_t>,
        token: Token,
    },
    Ownership {
        telling: Box<Telling>,
        token: Token,
    },
    /// Something of Quark's own that may call callbacks.
    Later(Box<dyn FnOnce() + Send>, Token),
    Finish(Arc<Host>),
}

/// Who hears of the ending of a call.
#[derive(Clone, Copy)]
pub(crate) enum Ended {
    /// The call's own callback.
    Own(Unowned<ReplyFn>),
    /// The callback of all calls that have none of their own, with the call's data.
    Shared(Unowned<EndingBatchFn>, Pointer),
}

impl Job {
    /// Which jobs are done in one callback.
    pub(crate) fn together() -> Together<Self> {
        Together { most: AT_ONCE, goes_with: Self::goes_with }
    }

    /// Whether both are for the same callback, which takes several.
    fn goes_with(&self, later: &Self) -> bool {
        match (self, later) {
            (Self::Request { callback: a, token, .. }, Self::Request { callback: b, token: other, .. }) => {
                match (a.function, b.function) {
                    (RequestFn::Batch(f), RequestFn::Batch(g)) => {
                        token.is_of_same_host(other) && ptr::fn_addr_eq(f, g) && a.data.0 == b.data.0
                    }
                    _ => false,
                }
            }
            (
                Self::Ending { to: Ended::Shared(..), hold, .. },
                Self::Ending { to: Ended::Shared(..), hold: other, .. },
            ) => hold.as_ref().is_of_same_host(other.as_ref()),
            _ => false,
        }
    }

    /// Does the first and those that go with it, which are all there are, and takes them out.
    pub(crate) fn run(jobs: &mut Vec<Self>) {
        let mut jobs = jobs.drain(..);
        let Some(first) = jobs.next() else { return };
        match first {
            Self::Request { callback, request, token } => match callback.function {
                RequestFn::Each(function) => {
                    let Some(request) = open(request, &token) else { return };
                    let handling = Handling::of(&request.request);
                    let request = Box::into_raw(request);
                    // SAFETY: the token keeps the data; the request is the callback's from here on.
                    call(token, || handling.run(|| unsafe { function(callback.data.0, request) }));
                }
                RequestFn::Batch(function) => {
                    let mut requests = SmallVec::<[_; AT_ONCE]>::new();
                    requests.extend(open(request, &token).map(Box::into_raw));
                    // The first token stands for all: one more is held than is left when the callback returns.
                    for job in jobs {
                        let Self::Request { request, token, .. } = job else { continue };
                        requests.extend(open(request, &token).map(Box::into_raw));
                    }
                    if !requests.is_empty() {
                        let (first, count) = (requests.as_ptr(), requests.len());
                        // SAFETY: as above; the array lives until the callback has returned.
                        call(token, || unsafe { function(callback.data.0, first, count) });
                    }
                }
            },
            Self::Ending { to: Ended::Own(callback), result, hold } => {
                let (reply, error) = halves(result);
                // SAFETY: the data is the caller's until this one call; reply and error are the callback's.
                call(hold, || unsafe { (callback.function)(callback.data.0, reply, error) });
            }
            Self::Ending { to: Ended::Shared(callback, data), result, hold } => {
                let ending = |data: Pointer, result| {
                    let (reply, error) = halves(result);
                    quark_ending_t { user_data: data.0, reply, error }
                };
                let mut endings = SmallVec::<[_; AT_ONCE]>::new();
                endings.push(ending(data, result));
                for job in jobs {
                    let Self::Ending { to: Ended::Shared(_, data), result, .. } = job else { continue };
                    endings.push(ending(data, result));
                }
                let (first, count) = (endings.as_ptr(), endings.len());
                // SAFETY: the token keeps the callback's data, and the calls' are the caller's until this.
                call(hold, || unsafe { (callback.function)(callback.data.0, first, count) });
            }
            Self::Event { callback, kind, silo, token } => {
                // SAFETY: the token keeps the data; the info lives until the callback has returned.
                call(token, || unsafe { (callback.function)(callback.data.0, kind, &raw const *silo) });
            }
            Self::Ownership { telling, token } => call(token, || telling.tell()),
            Self::Later(work, token) => {
                work();
                drop(token);
            }
            Self::Finish(host) => host.finish(),
        }
    }
}

/// A request as C gets it; nothing when nobody is to handle it any more. Then it is answered by being dropped.
fn open(request: Request, token: &Token) -> Option<Box<quark_request_t>> {
    if token.is_closed() {
        return None;
    }
    host::unless_abandoned(request).map(|request| Box::new(quark_request_t::new(request)))
}

fn halves(result: Result<Bytes>) -> (*mut quark_bytes_t, *mut quark_error_t) {
    match result {
        Ok(reply) => (Box::into_raw(Box::new(quark_bytes_t(reply))), ptr::null_mut()),
        Err(error) => (ptr::null_mut(), quark_error_t::new(error)),
    }
}
