//! `host:port`, with IPv6 hosts in brackets: where a transport listens and where it can be reached.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::error::{Error, Result};

/// A host (name or address, IPv6 without its brackets) and a port.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    host: Box<str>,
    port: u16,
}

impl Endpoint {
    /// An endpoint from its parts; `host` is a name, an IPv4 or an IPv6 address, with or without brackets.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming `host` when it cannot be one.
    pub fn new(host: &str, port: u16) -> Result<Self> {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let forbidden = |c: char| c.is_whitespace() || c.is_control() || "/@?#[]".contains(c);
        if bare.is_empty() || bare.contains(forbidden) {
            return Err(Error::invalid("host", host, "is not a host name or address"));
        }
        if bare.contains(':') && bare.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(Error::invalid("host", host, "has a colon but is not an IPv6 address"));
        }
        Ok(Self { host: bare.into(), port })
    }

    /// `127.0.0.1:0`: loopback, on a port that the system chooses.
    pub(crate) fn loopback() -> Self {
        Self { host: "127.0.0.1".into(), port: 0 }
    }

    /// Parses `host:port`, naming `argument` when it cannot.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming `argument` and the value.
    pub fn parse(argument: &str, text: &str) -> Result<Self> {
        let problem = "must be host:port, with an IPv6 host in brackets and a port of 0 to 65535";
        let (host, port) = text.rsplit_once(':').ok_or_else(|| Error::invalid(argument, text, problem))?;
        let port = port.parse().map_err(|_| Error::invalid(argument, text, problem))?;
        if host.contains(':') && !host.starts_with('[') {
            return Err(Error::invalid(argument, text, problem));
        }
        Self::new(host, port).map_err(|_| Error::invalid(argument, text, problem))
    }

    /// The host, IPv6 without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The same host with another port.
    #[must_use]
    pub fn with_port(&self, port: u16) -> Self {
        Self { host: self.host.clone(), port }
    }

    /// Whether the host means "every address of this machine".
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }

    /// Whether the host is surely this machine's loopback.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        &*self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
    }
}

impl FromStr for Endpoint {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::parse("endpoint", text)
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string().into(), port: address.port() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_parsed_back() {
        for text in ["127.0.0.1:0", "localhost:5000", "[::1]:1", "redis.example:6379"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_its_text() {
        for text in ["", "host", ":1", "h:", "h:70000", "h:-1", "::1:5", "a b:1", "h/x:1", "u@h:1"] {
            let error = Endpoint::parse("listen", text).unwrap_err();
            assert!(error.message().starts_with("listen="), "{text}: {error}");
        }
    }
}
