//! The keyword arguments of silos, clients and transports, checked one by one.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use quark_core::{Endpoint, Error, SiloConfig};

use crate::args;
use crate::errors::{OrRaise as _, raise};

/// One keyword argument of `quark.Silo` and `quark.Client`.
pub(crate) fn configure(
    config: &mut SiloConfig,
    threads: &mut usize,
    name: &str,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = value.py();
    let text = || args::text(name, value);
    let timeout = || Ok::<_, PyErr>(args::timeout(name, value)?.unwrap_or_default());
    match name {
        "membership" => config.membership = Some(text()?.parse().or_raise(py)?),
        "listen" => config.listen = Endpoint::parse(name, &text()?).or_raise(py)?,
        "advertise" => config.advertise = Some(Endpoint::parse(name, &text()?).or_raise(py)?),
        "cluster" => {
            config.transport.cluster = text()?;
            config.timing.cluster.clone_from(&config.transport.cluster);
        }
        "virtual_nodes" => config.virtual_nodes = args::number(name, value)?,
        "allow_plaintext" => config.set_allow_plaintext(args::flag(name, value)?),
        "anonymous_clients" => config.transport.anonymous_clients = args::flag(name, value)?,
        "transport" => config.transport.transport = text()?.parse().or_raise(py)?,
        "tls" => config.transport.tls = Some(args::tls(name, value)?),
        "default_timeout" => config.transport.default_timeout = timeout()?,
        "max_payload" => config.transport.max_payload = args::number(name, value)?,
        "inbox_capacity" => config.inbox_capacity = args::number(name, value)?,
        "inbox_bytes" => config.inbox_bytes = args::number(name, value)?,
        "outbox_capacity" => config.transport.outbox_capacity = args::number(name, value)?,
        "max_pending" => config.transport.max_pending = args::number(name, value)?,
        "answer_capacity" => config.transport.answer_capacity = args::number(name, value)?,
        "max_metadata" => config.transport.max_metadata = args::number(name, value)?,
        "max_streams" => config.transport.max_streams = args::number(name, value)?,
        "connection_window" => config.transport.connection_window = args::number(name, value)?,
        "max_links_per_peer" => config.transport.max_links_per_peer = args::number(name, value)?,
        "max_connections" => config.transport.max_connections = args::number(name, value)?,
        "max_connections_per_address" => {
            config.transport.max_connections_per_address = args::number(name, value)?;
        }
        "handshake_timeout" => config.transport.handshake_timeout = timeout()?,
        "zone" => config.zone = Some(text()?),
        "labels" => config.labels = args::pairs(name, value)?.into_iter().collect(),
        "ttl" => config.timing.ttl = timeout()?,
        "heartbeat" => config.timing.heartbeat = timeout()?,
        "start_timeout" => config.timing.start_timeout = timeout()?,
        "redis_credentials" => config.timing.redis_credentials = Some(args::credentials(name, value)?),
        "handler_threads" => {
            *threads = args::number(name, value)?;
            if !(1..=256).contains(threads) {
                return Err(raise(py, &Error::invalid(name, *threads, "must be 1 to 256")));
            }
        }
        _ => return Err(PyTypeError::new_err(format!("unknown option {name}"))),
    }
    Ok(())
}
