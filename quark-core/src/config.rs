//! Every setting, its default and its validation, in one place.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::id::{MAX_ACTOR_NAME_BYTES, SiloId, check_name};
use crate::membership::{MembershipConfig, MembershipUrl};
use crate::placement::Placement;
use crate::silo_info::DEFAULT_VIRTUAL_NODES;
use crate::tls::Tls;
use crate::transports::Transports;

/// The longest timeout that is taken; longer ones are cut to it, so that adding one to a clock cannot overflow.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(366 * 24 * 3600);

/// How a transport behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TransportConfig {
    /// The cluster's name; peers of another one are refused. Default `quark`.
    pub cluster: String,
    /// Largest payload of a request or a reply, in bytes. Default 4 MiB.
    pub max_payload: usize,
    /// Calls of this process that may wait for their ending at once. Default 262,144.
    pub max_pending: usize,
    /// What may wait to be sent to one silo: requests, each KiB of payload counting as one more. Default 16,384.
    pub outbox_capacity: u32,
    /// Bytes of answers that may wait for one peer to read them; while there are more, its requests are refused with
    /// `OVERLOADED`. Default 64 MiB.
    pub answer_capacity: usize,
    /// How long one attempt to connect may take. Default 3 s.
    pub connect_timeout: Duration,
    /// Largest list of headers of a request or a response, in bytes as HTTP/2 counts them: names, values and 32 for each. Default
    /// 16 KiB.
    pub max_metadata: u32,
    /// Streams that one connection may have open at once; more are refused. Silos use one. Default 32.
    pub max_streams: u32,
    /// Bytes that one connection may have on their way to us before they are read; one stream may have a sixteenth of them.
    /// Default 64 MiB.
    pub connection_window: u32,
    /// Links that one silo may have to this one at once; more are refused. Two are usual while both dial, or one dials
    /// again. Default 8.
    pub max_links_per_peer: usize,
    /// Connections that others may have to this silo at once; more are hung up on. Default 10,000.
    pub max_connections: usize,
    /// Connections that one address may have to this silo at once, or one network of 2^64 addresses of IPv6; more are hung
    /// up on. Default 1,000.
    pub max_connections_per_address: usize,
    /// How long a connection may take from being accepted until its first request; then it is closed. Default 5 s.
    pub handshake_timeout: Duration,
    /// The deadline of requests that say nothing of theirs. Default 30 s.
    pub default_timeout: Duration,
    /// How long a connection may be silent before it is probed. Default 3 s.
    pub probe_interval: Duration,
    /// How long a probe may go unanswered before the connection is closed. Default 5 s.
    pub probe_timeout: Duration,
    /// Which networks to listen on and to dial by. HTTP/3 needs `tls`, and listens on UDP at the number of the listening port.
    /// Two silos meet on HTTP/3 where both speak it. Default HTTP/2.
    pub transport: Transports,
    /// Certificates. With them nothing is spoken without TLS, on this machine neither. Default none.
    pub tls: Option<Tls>,
    /// Whether clients get in that show no certificate: they may call, and be anybody. Silos never do. Default no.
    pub anonymous_clients: bool,
    /// Whether to speak without TLS beyond this machine: to listen there, to dial silos there, to gossip there. Default no.
    pub allow_plaintext: bool,
}

impl Default for TransportConfig {
    fn default() -> Self {
        Self {
            cluster: "quark".to_owned(),
            max_payload: 4 * 1024 * 1024,
            max_pending: 256 * 1024,
            outbox_capacity: 16 * 1024,
            answer_capacity: 64 * 1024 * 1024,
            connect_timeout: Duration::from_secs(3),
            max_metadata: 16 * 1024,
            max_streams: 32,
            connection_window: 64 * 1024 * 1024,
            max_links_per_peer: 8,
            max_connections: 10_000,
            max_connections_per_address: 1_000,
            handshake_timeout: Duration::from_secs(5),
            default_timeout: Duration::from_secs(30),
            probe_interval: Duration::from_secs(3),
            probe_timeout: Duration::from_secs(5),
            transport: Transports::HTTP2,
            tls: None,
            anonymous_clients: false,
            allow_plaintext: false,
        }
    }
}

impl TransportConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        crate::id::check_cluster(&self.cluster)?;
        check_range("max_payload", self.max_payload, 1, 1 << 30)?;
        check_range("max_pending", self.max_pending, 1, 1 << 24)?;
        check_range("outbox_capacity", self.outbox_capacity as usize, 1, 1 << 24)?;
        check_range("answer_capacity", self.answer_capacity, 1 << 16, isize::MAX as usize)?;
        check_range("max_metadata", self.max_metadata as usize, 4 << 10, 1 << 20)?;
        check_range("max_streams", self.max_streams as usize, 1, 1 << 16)?;
        check_range("connection_window", self.connection_window as usize, 1 << 20, (1 << 31) - 1)?;
        check_range("max_links_per_peer", self.max_links_per_peer, 2, 1 << 16)?;
        check_range("max_connections", self.max_connections, 1, 1 << 20)?;
        check_range("max_connections_per_address", self.max_connections_per_address, 1, 1 << 20)?;
        for (name, value) in [
            ("connect_timeout", self.connect_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("default_timeout", self.default_timeout),
            ("probe_interval", self.probe_interval),
            ("probe_timeout", self.probe_timeout),
        ] {
            check_timeout(name, value)?;
        }
        if self.transport.has_http3() && self.tls.is_none() {
            return Err(Error::invalid(
                "transport",
                self.transport.to_string(),
                "needs tls: HTTP/3 is never spoken without",
            ));
        }
        Ok(())
    }
}

/// Everything that a silo or a client can be told. Made by their builders; public for those who keep it in files.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SiloConfig {
    /// The id. Clients have one of their own making.
    pub silo_id: SiloId,
    /// Who is in the cluster.
    pub membership: Option<MembershipUrl>,
    /// Where to listen. Default `127.0.0.1:0`, a port chosen by the system.
    pub listen: Endpoint,
    /// What others dial, when it is not what is listened on; needed for wildcards.
    pub advertise: Option<Endpoint>,
    /// Points on the ring; the silo's weight. Default 150.
    pub virtual_nodes: u32,
    /// The zone, of a client too: `stateless-worker` prefers silos of the caller's, and successors are spread over zones.
    pub zone: Option<String>,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Requests that one handler may have at once, queued or running. Default 65,536.
    pub inbox_capacity: usize,
    /// Bytes of payloads that one handler may have at once; a single request may always come. Default 256 MiB.
    pub inbox_bytes: usize,
    /// How actors of a type are placed; consistent hash for types not named.
    pub placement: HashMap<String, Placement>,
    /// The transport's part.
    pub transport: TransportConfig,
    /// The membership's part.
    pub timing: MembershipConfig,
}

impl SiloConfig {
    /// All defaults.
    #[must_use]
    pub fn new(silo_id: SiloId) -> Self {
        Self {
            silo_id,
            membership: None,
            listen: Endpoint::loopback(),
            advertise: None,
            virtual_nodes: DEFAULT_VIRTUAL_NODES,
            zone: None,
            labels: BTreeMap::new(),
            inbox_capacity: 64 * 1024,
            inbox_bytes: 256 * 1024 * 1024,
            placement: HashMap::new(),
            transport: TransportConfig::default(),
            timing: MembershipConfig::default(),
        }
    }

    /// Whether to speak without TLS beyond this machine; for the transport and for the membership. Default no.
    pub fn set_allow_plaintext(&mut self, allow: bool) {
        self.transport.allow_plaintext = allow;
        self.timing.allow_plaintext = allow;
    }

    /// The membership URL.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when none was given.
    pub(crate) fn membership_url(&self) -> Result<&MembershipUrl> {
        self.membership.as_ref().ok_or_else(|| {
            Error::invalid("membership", "", "is required, as in redis://localhost or gossip://127.0.0.1:0")
        })
    }

    pub(crate) fn validate(&self) -> Result<()> {
        self.membership_url()?;
        self.transport.validate()?;
        crate::ring::check_virtual_nodes(self.virtual_nodes)?;
        for actor_type in self.placement.keys() {
            check_name("actor_type", actor_type, MAX_ACTOR_NAME_BYTES)
                .map_err(|error| Error::new(error.kind(), format!("placement: {}", error.message())))?;
        }
        check_range("inbox_capacity", self.inbox_capacity, 1, 1 << 24)?;
        check_range("inbox_bytes", self.inbox_bytes, 1, isize::MAX as usize)?;
        if self.listen.is_wildcard() && self.advertise.is_none() {
            return Err(Error::invalid(
                "listen",
                &self.listen,
                "listens on every address; say by advertise which one others dial",
            ));
        }
        if let Some(advertise) = &self.advertise
            && advertise.is_wildcard()
        {
            return Err(Error::invalid("advertise", advertise, "nobody can dial a wildcard"));
        }
        if let Some(MembershipUrl::Gossip { bind, .. }) = &self.membership
            && self.transport.transport.has_http3()
            && bind.port() != 0
            && bind.port() == self.listen.port()
        {
            let problem = format!(
                "HTTP/3 listens on UDP port {} too (listen={}); give gossip another",
                bind.port(),
                self.listen
            );
            return Err(Error::invalid("membership", format!("gossip://{bind}"), &problem));
        }
        let TransportConfig { tls, allow_plaintext, .. } = &self.transport;
        if !self.listen.is_loopback() && tls.is_none() && !allow_plaintext {
            let problem = "is reachable beyond this machine and there is no TLS; set tls, or allow_plaintext to accept that";
            return Err(Error::invalid("listen", &self.listen, problem));
        }
        if let Some(tls) = tls
            && tls.own.is_none()
            && !self.silo_id.is_client()
        {
            return Err(Error::invalid("tls.certificate", "", "is required: only clients may do without"));
        }
        Ok(())
    }
}

/// # Errors
/// `INVALID_ARGUMENT` naming `argument`.
pub(crate) fn check_range(argument: &str, value: usize, least: usize, most: usize) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(argument, value, &format!("must be {least} to {most}")))
}

/// # Errors
/// `INVALID_ARGUMENT` naming `argument` when the duration is zero.
pub(crate) fn check_timeout(argument: &str, value: Duration) -> Result<()> {
    if value.is_zero() { Err(Error::invalid(argument, value, "must be more than nothing")) } else { Ok(()) }
}

/// A timeout in seconds as programs in other languages give it.
///
/// # Errors
/// `INVALID_ARGUMENT` naming `argument` for what is negative, zero, infinite or no number.
pub fn timeout_from_seconds(argument: &str, seconds: f64) -> Result<Duration> {
    if !seconds.is_finite() || seconds <= 0.0 {
        return Err(Error::invalid(argument, seconds, "must be a positive, finite number of seconds"));
    }
    Ok(Duration::try_from_secs_f64(seconds)
        .map_or(MAX_TIMEOUT, |timeout| timeout.clamp(Duration::from_millis(1), MAX_TIMEOUT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_a_positive_finite_number() {
        assert_eq!(timeout_from_seconds("timeout", 0.5).unwrap(), Duration::from_millis(500));
        assert_eq!(timeout_from_seconds("timeout", 1e300).unwrap(), MAX_TIMEOUT);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(timeout_from_seconds("timeout", bad).unwrap_err().message().starts_with("timeout="));
        }
    }

    #[test]
    fn beyond_loopback_nothing_happens_by_accident() {
        let mut config = SiloConfig::new("a".parse().unwrap());
        config.membership = Some("memory://x".parse().unwrap());
        assert!(config.validate().is_ok());
        config.listen = "0.0.0.0:0".parse().unwrap();
        assert!(config.validate().unwrap_err().message().contains("advertise"));
        config.advertise = Some("10.0.0.1:1".parse().unwrap());
        assert!(config.validate().unwrap_err().message().contains("allow_plaintext"));
        config.set_allow_plaintext(true);
        assert!(config.validate().is_ok());
    }

    #[test]
    fn only_an_actor_type_can_be_placed() {
        let mut config = SiloConfig::new("a".parse().unwrap());
        config.membership = Some("memory://x".parse().unwrap());
        config.placement.insert("tab\t".to_owned(), Placement::Random);
        let error = config.validate().unwrap_err();
        assert!(error.message().starts_with("placement: actor_type=\"tab\\t\": must not contain"), "{error}");
    }

    #[test]
    fn http3_needs_tls_and_a_udp_port_of_its_own() {
        let mut config = SiloConfig::new("a".parse().unwrap());
        config.membership = Some("gossip://127.0.0.1:7946".parse().unwrap());
        config.listen = "127.0.0.1:7946".parse().unwrap();
        assert!(config.validate().is_ok());
        config.transport.transport = Transports::BOTH;
        let error = config.validate().unwrap_err();
        assert!(error.message().starts_with("transport=\"http2+http3\": needs tls"), "{error}");
        config.transport.tls = Some(Tls::new("ca.pem").certificate("a.pem", "a.key"));
        let error = config.validate().unwrap_err();
        assert!(error.message().contains("HTTP/3 listens on UDP port 7946 too"), "{error}");
        config.listen = "127.0.0.1:7947".parse().unwrap();
        assert!(config.validate().is_ok());
    }
}
