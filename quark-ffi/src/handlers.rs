//! The callbacks that a config takes: handlers, and who hears of silos and of endings.

use std::ffi::{c_char, c_void};

use quark_core::{Error, RedisCredentials, Result};

use crate::callback::{
    Callback, CredentialsFn, RequestFn, UserData, quark_credentials_fn, quark_ending_batch_fn,
    quark_finalizer_fn, quark_membership_fn, quark_request_batch_fn, quark_request_fn,
};
use crate::config::{quark_config_t, set};
use crate::handle;
use crate::status::quark_status_t;

impl quark_config_t {
    /// Takes the handler of a type or, for `None`, of every type that has none of its own.
    fn add_handler(&mut self, actor_type: Option<&str>, handler: Callback<RequestFn>) -> Result<()> {
        let Some(actor_type) = actor_type else {
            return give_once(&mut self.handler, handler, "handler");
        };
        if self.handlers.contains_key(actor_type) {
            return Err(Error::invalid("handlers", actor_type, "the actor type has a handler already"));
        }
        self.handlers.insert(actor_type.to_owned(), handler);
        Ok(())
    }
}

/// Fills a place that is filled once.
fn give_once<T>(place: &mut Option<T>, value: T, setting: &str) -> Result<()> {
    if place.is_some() {
        return Err(Error::invalid(setting, "", "was given twice"));
    }
    *place = Some(value);
    Ok(())
}

/// The handler of requests for every actor type that has none of its own. Once per config.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_handler(
    config: *mut quark_config_t,
    handler: quark_request_fn,
    user_data: *mut c_void,
    finalizer: quark_finalizer_fn,
) -> quark_status_t {
    let data = UserData::new(user_data, finalizer);
    // SAFETY: the header demands NULL or a live config, and a function that may be called with this data.
    unsafe {
        set(config, "handler", |config| {
            config.add_handler(None, Callback::new(handler.map(RequestFn::Each), data, "handler")?)
        })
    }
}

/// The handler of requests for one actor type. A silo that has such handlers only declares these types and owns no
/// actor of another one. Once per type.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_handler_for(
    config: *mut quark_config_t,
    actor_type: *const c_char,
    handler: quark_request_fn,
    user_data: *mut c_void,
    finalizer: quark_finalizer_fn,
) -> quark_status_t {
    let data = UserData::new(user_data, finalizer);
    // SAFETY: the header demands NULL or a live config, NULL or a string, and a function that may be called with
    // this data.
    unsafe {
        set(config, "handler_for", |config| {
            let actor_type = handle::text(actor_type, "actor_type")?;
            let handler = Callback::new(handler.map(RequestFn::Each), data, "handler")?;
            config.add_handler(Some(actor_type), handler)
        })
    }
}

/// A handler that takes as many requests at once as have come, for one actor type or, for NULL, for every type that has no
/// handler of its own; in place of `quark_config_set_handler_for` or `quark_config_set_handler`. It waits for no request
/// to make a batch fuller. Calls that it makes inherit nothing from the requests.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_batch_handler(
    config: *mut quark_config_t,
    actor_type: *const c_char,
    handler: quark_request_batch_fn,
    user_data: *mut c_void,
    finalizer: quark_finalizer_fn,
) -> quark_status_t {
    let data = UserData::new(user_data, finalizer);
    // SAFETY: the header demands NULL or a live config, NULL or a string, and a function that may be called with
    // this data.
    unsafe {
        set(config, "batch_handler", |config| {
            let actor_type = handle::optional_text(actor_type, "actor_type")?;
            let handler = Callback::new(handler.map(RequestFn::Batch), data, "handler")?;
            config.add_handler(actor_type, handler)
        })
    }
}

/// Takes the endings of asynchronous calls that were made without a callback of their own, as many at once as there are.
/// Once per config.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_ending_batch_callback(
    config: *mut quark_config_t,
    callback: quark_ending_batch_fn,
    user_data: *mut c_void,
    finalizer: quark_finalizer_fn,
) -> quark_status_t {
    let data = UserData::new(user_data, finalizer);
    // SAFETY: the header demands NULL or a live config, and a function that may be called with this data.
    unsafe {
        set(config, "ending_batch_callback", |config| {
            give_once(
                &mut config.on_endings,
                Callback::new(callback, data, "callback")?,
                "ending_batch_callback",
            )
        })
    }
}

/// Asked for the user and the password before each connection to a Redis whose URL has none, by one thread at a time, which is
/// neither the runtime's nor one of those of handlers, and may wait; what is not given within 3 s counts as no answer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_redis_credentials(
    config: *mut quark_config_t,
    callback: quark_credentials_fn,
    user_data: *mut c_void,
    finalizer: quark_finalizer_fn,
) -> quark_status_t {
    let data = UserData::new(user_data, finalizer);
    // SAFETY: the header demands NULL or a live config, and a function that may be called with this data.
    unsafe {
        set(config, "redis_credentials", |config| {
            let callback: Callback<CredentialsFn> = Callback::new(callback, data, "callback")?;
            let credentials = RedisCredentials::new(move || callback.credentials());
            config.settings.timing.redis_credentials = Some(credentials);
            Ok(())
        })
    }
}

/// Hears of silos that join, leave and change, in order, beginning with those of the first view. On the same threads as
/// handlers. Once per config.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_membership_callback(
    config: *mut quark_config_t,
    callback: quark_membership_fn,
    user_data: *mut c_void,
    finalizer: quark_finalizer_fn,
) -> quark_status_t {
    let data = UserData::new(user_data, finalizer);
    // SAFETY: the header demands NULL or a live config, and a function that may be called with this data.
    unsafe {
        set(config, "membership_callback", |config| {
            give_once(
                &mut config.on_membership,
                Callback::new(callback, data, "callback")?,
                "membership_callback",
            )
        })
    }
}
