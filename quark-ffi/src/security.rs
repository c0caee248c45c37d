//! Settings of who may connect, and how: networks, certificates, and what strangers are held to.

use std::ffi::c_char;

use quark_core::{Error, Tls, TransportConfig};

use crate::config::{duration, quark_config_t, set};
use crate::handle;
use crate::status::quark_status_t;

/// Which networks to listen on and to dial by: "http2" (the default), "http3", or "http2+http3". HTTP/3 needs
/// `quark_config_set_tls`, and listens on UDP at the number of the listening port. Two silos meet on HTTP/3 where both speak it,
/// else on HTTP/2; see docs/TRANSPORT.md.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_transport(
    config: *mut quark_config_t,
    transport: *const c_char,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config, and NULL or a string.
    unsafe {
        set(config, "transport", |config| {
            config.settings.transport.transport = handle::text(transport, "transport")?.parse()?;
            Ok(())
        })
    }
}

/// Speaks TLS 1.3 and nothing else, with certificates from PEM files: `authority` has the certificates of the authorities
/// that are trusted, `certificate` this one's own (and then those between it and the authority's, if any), `key` its
/// private key. A silo's certificate names it by a URI, `quark://<cluster>/silo/<id>`; see SECURITY.md. `certificate`
/// and `key` may both be NULL for a client of a cluster that lets in clients without. The files are looked at again when a link is
/// made, at most once a second; links that are there go on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_tls(
    config: *mut quark_config_t,
    authority: *const c_char,
    certificate: *const c_char,
    key: *const c_char,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config, and NULL or strings.
    unsafe {
        set(config, "tls", |config| {
            let tls = Tls::new(handle::text(authority, "authority")?);
            let own = [(certificate, "certificate"), (key, "key")];
            let [certificate, key] = own.map(|(path, name)| handle::optional_text(path, name));
            config.settings.transport.tls = Some(match (certificate?, key?) {
                (None, None) => tls,
                (Some(certificate), Some(key)) => tls.certificate(certificate, key),
                (Some(_), None) => {
                    return Err(Error::invalid("key", "NULL", "is the certificate's other half"));
                }
                (None, Some(_)) => {
                    return Err(Error::invalid("certificate", "NULL", "is the key's other half"));
                }
            });
            Ok(())
        })
    }
}

/// Whether clients get in that show no certificate, where there is TLS: they may call, and be anybody. Silos never do.
/// Default false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_anonymous_clients(
    config: *mut quark_config_t,
    let_in: bool,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "anonymous_clients", |config| {
            config.settings.transport.anonymous_clients = let_in;
            Ok(())
        })
    }
}

/// Whether to speak without TLS beyond this machine: to listen there, to dial silos there, to gossip there. Default false.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_allow_plaintext(
    config: *mut quark_config_t,
    allow: bool,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "allow_plaintext", |config| {
            config.settings.set_allow_plaintext(allow);
            Ok(())
        })
    }
}

/// The largest list of headers of a request or a response, in bytes as HTTP/2 counts them (names, values and 32 for each),
/// 4 KiB to 1 MiB. Default 16 KiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_max_metadata(
    config: *mut quark_config_t,
    bytes: u32,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "max_metadata", |config| {
            config.settings.transport.max_metadata = bytes;
            Ok(())
        })
    }
}

/// Streams that one connection to this silo may have open at once, 1 to 65,536; more are refused. Silos use one. Default 32.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_max_streams(
    config: *mut quark_config_t,
    streams: u32,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "max_streams", |config| {
            config.settings.transport.max_streams = streams;
            Ok(())
        })
    }
}

/// Bytes that one connection may have on their way to us before they are read, 1 MiB to 2 GiB less one; one stream may have
/// a sixteenth of them. Default 64 MiB.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_connection_window(
    config: *mut quark_config_t,
    bytes: u32,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "connection_window", |config| {
            config.settings.transport.connection_window = bytes;
            Ok(())
        })
    }
}

/// Links that one silo may have to this one at once, 2 to 65,536; more are refused with `QUARK_UNREACHABLE`. Two are usual
/// while both dial, or one dials again. Default 8.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_max_links_per_peer(
    config: *mut quark_config_t,
    links: usize,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "max_links_per_peer", |config| {
            config.settings.transport.max_links_per_peer = links;
            Ok(())
        })
    }
}

/// Connections that others may have to this silo at once, 1 to 1,048,576; more are hung up on. Default 10,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_max_connections(
    config: *mut quark_config_t,
    connections: usize,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "max_connections", |config| {
            config.settings.transport.max_connections = connections;
            Ok(())
        })
    }
}

/// Connections that one address may have to this silo at once, or one network of 2^64 addresses of IPv6, 1 to 1,048,576;
/// more are hung up on. Default 1,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_max_connections_per_address(
    config: *mut quark_config_t,
    connections: usize,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "max_connections_per_address", |config| {
            config.settings.transport.max_connections_per_address = connections;
            Ok(())
        })
    }
}

/// How long a connection to this silo may take from being accepted until its first request, in milliseconds; then it is
/// closed. Default 5,000.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn quark_config_set_handshake_timeout_ms(
    config: *mut quark_config_t,
    timeout_ms: u64,
) -> quark_status_t {
    // SAFETY: the header demands NULL or a live config.
    unsafe {
        set(config, "handshake_timeout", |config| {
            let default = TransportConfig::default().handshake_timeout;
            config.settings.transport.handshake_timeout = duration(timeout_ms, default);
            Ok(())
        })
    }
}
