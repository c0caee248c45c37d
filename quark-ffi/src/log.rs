//! What Quark has to say, for a callback of C's; the queue and the thread behind it are the core's.

use std::ffi::{c_char, c_void};

use quark_core::host::{self, LogSink};

use crate::callback::{UserData, quark_finalizer_fn};
use crate::guard;
use crate::status::quark_status_t;
use crate::text::c_string;

/// Log level: something is broken.
pub const QUARK_LOG_ERROR: i32 = 1;
/// Log level: something is wrong, and Quark goes on.
pub const QUARK_LOG_WARN: i32 = 2;
/// Log level: what an operator wants to read: starts, stops, silos that come and go.
pub const QUARK_LOG_INFO: i32 = 3;
/// Log level: for finding out.
pub const QUARK_LOG_DEBUG: i32 = 4;
/// Log level: everything.
pub const QUARK_LOG_TRACE: i32 = 5;

/// Takes a log message. `target` is `quark::silo`, `quark::membership`, `quark::link` or `quark::handler`; `message` ends with the
/// event's fields as ` key=value`. Both live until the callback returns.
pub type quark_log_fn = Option<
    unsafe extern "C" fn(user_data: *mut c_void, level: i32, target: *const c_char, message: *const c_char),
>;

type LogFn = unsafe extern "C" fn(*mut c_void, i32, *const c_char, *const c_char);

/// Gives log messages of `max_level` (`QUARK_LOG_...`) and graver ones to a callback, one at a time, on a thread that does
/// nothing else; NULL as the callback ends that. The callback that was there before gets what was logged before, then
/// its finalizer runs, and then this returns; called inside the log callback it does not wait for that. Messages
/// beyond 4,096 waiting ones are dropped, and their number is logged. Without a callback logging costs nothing.
///
/// `QUARK_INVALID_ARGUMENT`; `QUARK_NOT_RUNNING` in a forked child; `QUARK_INTERNAL` in a Rust program that has a `tracing`
/// subscriber of its own, which gets the messages.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_set_log_callback(
    callback: quark_log_fn,
    user_data: *mut c_void,
    finalizer: quark_finalizer_fn,
    max_level: i32,
) -> quark_status_t {
    let data = UserData::new(user_data, finalizer);
    guard::status(|| {
        let sink = callback.map(|function: LogFn| {
            Box::new(move |level: i32, target: &str, message: &str| {
                let (target, message) = (c_string(target), c_string(message));
                // SAFETY: the data lives as long as the sink; the texts live until the callback has returned.
                unsafe { function(data.pointer(), level, target.as_ptr(), message.as_ptr()) };
            }) as LogSink
        });
        host::set_log_sink(max_level, sink)
    })
}
