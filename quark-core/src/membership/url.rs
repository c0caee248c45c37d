//! The URL that says who is in the cluster. Pure parsing; the providers get what they need from here.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::error::{Error, Result, shortened};
use crate::id::SiloId;
use crate::membership::RedisUrl;

/// A parsed membership URL.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MembershipUrl {
    /// Rows in Redis, with TLS where it says `rediss`:
    /// - `redis://[user:password@]host[:port][/db]`: one server;
    /// - `redis+sentinel://[user:password@]host:port,host:port/service[/db]`: the primary of this service, which the
    ///   sentinels at these hosts name; `?sentinel_user=…&sentinel_password=…` if they want to know who asks;
    /// - `redis+cluster://[user:password@]host:port,host:port`: a Redis Cluster, found by these nodes.
    ///
    /// With TLS, `?ca=/path/to/ca.pem` names the CA that the servers' certificates must come from instead of one of the
    /// system's. What is special in a user or password is percent-encoded.
    Redis(RedisUrl),
    /// `gossip://bind-host:port?seed=host:port&seed=…`
    Gossip {
        /// Where this silo's gossip listens, UDP. Port 0 lets the system choose.
        bind: Endpoint,
        /// Where others may be found; may be empty.
        seeds: Vec<Endpoint>,
    },
    /// `static://id@host:port,id@host:port`: the others, possibly none.
    Static(Vec<(SiloId, Endpoint)>),
    /// `memory://name?lag_ms=N`: silos of this process that name the same, for tests.
    Memory {
        /// What they name.
        name: String,
        /// How late at most each of them hears of a change; nothing unless given.
        lag: Duration,
    },
}

const FORMS: &str = "must be one of redis://host:port, redis+sentinel://host:port,…/service, \
                     redis+cluster://host:port,… (each also with rediss for TLS), gossip://host:port?seed=host:port, \
                     static://id@host:port,… or memory://name";

impl FromStr for MembershipUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (scheme, rest) =
            text.split_once("://").ok_or_else(|| Error::invalid("membership", quoted(text), FORMS))?;
        // Never echo a Redis URL that does not parse: it may hold a password.
        let invalid = |problem: &str| Error::invalid("membership", hidden(text), problem);
        match scheme {
            "redis" | "rediss" | "redis+sentinel" | "rediss+sentinel" | "redis+cluster"
            | "rediss+cluster" => {
                RedisUrl::parse(scheme, rest).map(Self::Redis).map_err(|problem| invalid(&problem))
            }
            "gossip" => gossip(text, rest),
            "static" => fixed(text, rest),
            "memory" => memory(text, rest),
            _ if is_scheme(scheme) => {
                Err(invalid(&format!("unknown scheme {}; {FORMS}", shortened(&scheme))))
            }
            _ => Err(invalid(&format!("unknown scheme; {FORMS}"))),
        }
    }
}

/// Whether it is a scheme, and not more of a text than that.
fn is_scheme(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

/// The scheme alone, if that is one.
fn hidden(text: &str) -> String {
    match text.split_once("://").filter(|(scheme, _)| is_scheme(scheme)) {
        Some((scheme, _)) => format!("{scheme}://…"),
        None => "…".to_owned(),
    }
}

/// The text, unless it may hold a password: before an `@`, or as an option.
fn quoted(text: &str) -> String {
    let has_options = text.split(['?', '&']).skip(1).any(|option| !option.starts_with("seed="));
    if has_options || text.contains('@') { hidden(text) } else { text.to_owned() }
}

fn gossip(text: &str, rest: &str) -> Result<MembershipUrl> {
    let (bind, query) = rest.split_once('?').unwrap_or((rest, ""));
    let invalid = |problem: &str| Error::invalid("membership", quoted(text), problem);
    if rest.contains('@') {
        return Err(invalid("gossip:// takes neither user nor password"));
    }
    let bind = Endpoint::parse("membership", bind.trim_end_matches('/')).map_err(|_| {
        invalid(
            "gossip:// needs the UDP address to listen on, as in gossip://127.0.0.1:7946?seed=127.0.0.1:7947",
        )
    })?;
    let mut seeds = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some(("seed", seed)) = pair.split_once('=') else {
            return Err(invalid("unknown option; gossip:// takes seed=host:port"));
        };
        let seed = Endpoint::parse("seed", seed).map_err(|e| invalid(e.message()))?;
        if seed.port() == 0 {
            return Err(invalid("a seed needs a port other than 0"));
        }
        seeds.push(seed);
    }
    Ok(MembershipUrl::Gossip { bind, seeds })
}

fn memory(text: &str, rest: &str) -> Result<MembershipUrl> {
    let invalid = |problem: &str| Error::invalid("membership", text, problem);
    let (name, query) = rest.split_once('?').unwrap_or((rest, ""));
    if name.is_empty() || name.chars().any(|c| c.is_control() || c == '/') {
        return Err(invalid("memory:// needs a name, as in memory://test"));
    }
    let lag = match query.split_once('=') {
        None if query.is_empty() => Duration::ZERO,
        Some(("lag_ms", ms)) => {
            Duration::from_millis(ms.parse::<u32>().map_err(|_| invalid("lag_ms must be a number"))?.into())
        }
        _ => return Err(invalid(&format!("unknown option {}; memory:// takes lag_ms=N", shortened(&query)))),
    };
    Ok(MembershipUrl::Memory { name: name.to_owned(), lag })
}

fn fixed(text: &str, rest: &str) -> Result<MembershipUrl> {
    let mut silos: Vec<(SiloId, Endpoint)> = Vec::new();
    for item in rest.split(',').filter(|item| !item.is_empty()) {
        let invalid =
            |problem: &str| Error::invalid("membership", text, &format!("{}: {problem}", shortened(&item)));
        let (id, endpoint) = item.rsplit_once('@').ok_or_else(|| invalid("must be id@host:port"))?;
        let id = SiloId::new(id).map_err(|e| invalid(e.message()))?;
        let endpoint = Endpoint::parse("endpoint", endpoint).map_err(|e| invalid(e.message()))?;
        if silos.iter().any(|(other, _)| *other == id) {
            return Err(invalid("the id is there twice"));
        }
        silos.push((id, endpoint));
    }
    Ok(MembershipUrl::Static(silos))
}

impl fmt::Display for MembershipUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(url) => url.fmt(f),
            Self::Gossip { bind, seeds } => {
                write!(f, "gossip://{bind}")?;
                seeds
                    .iter()
                    .enumerate()
                    .try_for_each(|(i, seed)| write!(f, "{}seed={seed}", if i == 0 { '?' } else { '&' }))
            }
            Self::Static(silos) => {
                f.write_str("static://")?;
                silos.iter().enumerate().try_for_each(|(i, (id, endpoint))| {
                    write!(f, "{}{id}@{endpoint}", if i == 0 { "" } else { "," })
                })
            }
            Self::Memory { name, lag } if lag.is_zero() => write!(f, "memory://{name}"),
            Self::Memory { name, lag } => write!(f, "memory://{name}?lag_ms={}", lag.as_millis()),
        }
    }
}

impl fmt::Debug for MembershipUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_printed_back() {
        for text in [
            "redis://localhost:6379/0",
            "rediss://localhost:6380",
            "rediss+sentinel://a:1,b:2/service/0?ca=/x/ca.pem",
            "redis+cluster://a:1,b:2",
            "gossip://127.0.0.1:0",
            "gossip://127.0.0.1:7946?seed=127.0.0.1:7947&seed=host:7948",
            "static://",
            "static://a@127.0.0.1:1,b:c@[::1]:2",
            "memory://test",
            "memory://test?lag_ms=50",
        ] {
            assert_eq!(text.parse::<MembershipUrl>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_membership_url_is_refused_with_its_text() {
        for text in [
            "",
            "localhost",
            "http://x",
            "redis://",
            "redis://h/notanumber",
            "gossip://",
            "gossip://h",
            "gossip://h:1?x=y",
            "gossip://h:1?seed=",
            "gossip://h:1?seed=h:0",
            "static://a",
            "static://a@h",
            "static://a@h:1,a@h:2",
            "memory://",
            "memory://x?lag_ms=soon",
            "memory://x?log_ms=1",
        ] {
            let error = text.parse::<MembershipUrl>().unwrap_err();
            assert!(error.message().starts_with("membership="), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_not_as_long_as_the_url() {
        let long = "\u{1d}".repeat(10_000);
        for form in
            ["", "memory://x?", "static://", "static://a@h", "gossip://", "gossip://h:1?seed=", "redis://h?"]
        {
            let error = format!("{form}{long}").parse::<MembershipUrl>().unwrap_err();
            assert!(error.message().len() < 700, "{form}: {} bytes", error.message().len());
            let unknown = format!("{}://", "s".repeat(10_000)).parse::<MembershipUrl>().unwrap_err();
            assert!(unknown.message().len() < 700, "{} bytes", unknown.message().len());
            let twice = format!("{form}{long}=1&{long}=2").parse::<MembershipUrl>().unwrap_err();
            assert!(twice.message().len() < 700, "{form}: {} bytes", twice.message().len());
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let url: MembershipUrl = "redis://ann:canary-s3cret@localhost".parse().unwrap();
        assert!(!format!("{url} {url:?}").contains("canary-s3cret"));
        for wrong in [
            "redis://ann:canary-s3cret@localhost:99999",
            "redis:/ann:canary-s3cret@localhost",
            "ann:canary-s3cret@localhost:6379",
            "redis:/h/service?sentinel_password=canary-s3cret",
            "ann:canary-s3cret@redis://localhost",
            "http://ann:canary-s3cret@localhost",
            "gossip://ann:canary-s3cret@localhost:1",
            "gossip://h:1?seed=ann:canary-s3cret@h:2",
            "gossip://h:1?sentinel_password=canary-s3cret",
        ] {
            let error = wrong.parse::<MembershipUrl>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary-s3cret"), "{error:?}");
        }
    }
}
