//! Why Redis did not do what was asked, in words that say what to do about it.

use std::error::Error as _;
use std::fmt;
use std::sync::Arc;

use ::redis::{ErrorKind, RedisError};

use crate::endpoint::Endpoint;

/// Why Redis did not do what was asked. Whatever it is, the connection it came over is given up: a time-out, a read-only
/// replica or a cluster that is down does not heal on it.
#[derive(Debug)]
pub(in crate::membership) struct Refusal {
    why: Why,
    /// Which of several servers it was.
    at: Option<Endpoint>,
}

#[derive(Debug)]
enum Why {
    Silence,
    Redis(RedisError),
    /// What none of the client's errors say.
    Other {
        words: String,
        is_final: bool,
    },
}

pub(super) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    pub(super) fn no_answer() -> Self {
        Self { why: Why::Silence, at: None }
    }

    pub(super) fn other(words: String, is_final: bool) -> Self {
        Self { why: Why::Other { words, is_final }, at: None }
    }

    /// The same as an error of the client.
    pub(super) fn into_redis_error(self) -> RedisError {
        match self.why {
            Why::Redis(error) => error,
            _ => std::io::Error::other(self.to_string()).into(),
        }
    }

    /// The same, naming the server, unless one is named already.
    pub(super) fn at(mut self, server: &Endpoint) -> Self {
        self.at.get_or_insert_with(|| server.clone());
        self
    }

    /// Which of two to tell: one that will not pass; else that of the smaller server, so that whoever is asked first, the
    /// reason is the same.
    pub(super) fn or(self, other: Self) -> Self {
        let rank = |refusal: &Self| (!refusal.is_final(), refusal.at.is_none(), refusal.at.clone());
        if rank(&other) < rank(&self) { other } else { self }
    }

    /// Whether trying again is pointless: the password, the address, the certificate or what the user may do is wrong.
    pub(super) fn is_final(&self) -> bool {
        match &self.why {
            Why::Silence => false,
            Why::Other { is_final, .. } => *is_final,
            Why::Redis(error) => {
                let (code, words) = code_and_words(error);
                // Not `AuthenticationFailed`, which is what the client makes of anything that it hears while it logs in.
                error.kind() == ErrorKind::InvalidClientConfig
                    || matches!(code.as_str(), "NOAUTH" | "WRONGPASS" | "NOPERM")
                    || code == "ERR" && FINAL_WORDS.iter().any(|known| words.contains(known))
                    || is_of_tls(error)
            }
        }
    }

    /// Whether the user may not do this.
    pub(super) fn lacks_rights(&self) -> bool {
        matches!(&self.why, Why::Redis(error) if code_and_words(error).0 == "NOPERM")
    }

    /// Whether the server hung up, or never was there.
    pub(super) fn is_broken_connection(&self) -> bool {
        matches!(&self.why, Why::Redis(error) if error.is_connection_dropped() && !error.is_connection_refusal())
    }
}

/// What Redis says, as `ERR …`, when it is not the kind of server that it was taken for.
const FINAL_WORDS: [&str; 4] = ["AUTH", "DB index", "unknown command", "cluster support disabled"];

/// What an answer begins with and what follows; both empty when it is none of the server's.
fn code_and_words(error: &RedisError) -> (String, String) {
    let errors = error.clone().into_server_errors();
    let first = errors.as_deref().and_then(|errors| errors.first()).map(|(_, error)| error);
    first.map_or_else(Default::default, |error| {
        (error.code().to_owned(), error.details().unwrap_or_default().to_owned())
    })
}

/// Whether the two sides did not come to terms on TLS.
fn is_of_tls(error: &RedisError) -> bool {
    type Inner = Arc<dyn std::error::Error + Send + Sync>;
    let io = error.source().and_then(|source| source.downcast_ref::<Inner>());
    let io = io.and_then(|inner| inner.downcast_ref::<std::io::Error>());
    let tls = io.and_then(|io| io.get_ref()?.downcast_ref::<rustls::Error>());
    tls.is_some()
}

/// What to do, where the answer itself does not say.
fn advice(error: &RedisError, code: &str, words: &str) -> &'static str {
    match code {
        "NOAUTH" => "; the URL needs user:password@, or :password@ for the default user",
        "WRONGPASS" => "; the user or the password in the URL is wrong",
        "NOPERM" => "; docs/REDIS.md has the ACL line of a user that may do all that is needed",
        "MOVED" => "; this is a node of a cluster, which needs redis+cluster://",
        "READONLY" => "; this is a replica, and the primary is needed",
        "ERR" if words.contains("cluster support disabled") => "; redis:// is for a single server",
        "ERR" if words.contains("AUTH") => "; it was given a password that the server does not want",
        _ if is_of_tls(error) => {
            "; ?ca=/path/to/ca.pem names the CA whose certificates are trusted, and the host must be one that the \
             certificate names"
        }
        _ => "",
    }
}

impl From<RedisError> for Refusal {
    fn from(error: RedisError) -> Self {
        Self { why: Why::Redis(error), at: None }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = &self.at {
            write!(f, "{at}: ")?;
        }
        match &self.why {
            Why::Silence => f.write_str("no answer in time"),
            Why::Other { words, .. } => f.write_str(words),
            Why::Redis(error) => {
                let (code, words) = code_and_words(error);
                match code.as_str() {
                    "" => write!(f, "{error}")?,
                    _ => write!(f, "{code} {words}")?,
                }
                f.write_str(advice(error, &code, &words))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(words: &str, is_final: bool, at: &str) -> Refusal {
        Refusal::other(words.to_owned(), is_final).at(&at.parse().unwrap())
    }

    #[test]
    fn of_several_servers_the_one_is_told_whose_refusal_will_not_pass_and_else_always_the_same() {
        let told = |one: Refusal, other: Refusal| one.or(other).to_string();
        assert_eq!(told(Refusal::no_answer(), refusal("x", false, "b:1")), "b:1: x");
        for (is_final, expected) in [(false, "a:1: y"), (true, "b:1: x")] {
            assert_eq!(told(refusal("x", is_final, "b:1"), refusal("y", false, "a:1")), expected);
            assert_eq!(told(refusal("y", false, "a:1"), refusal("x", is_final, "b:1")), expected);
        }
    }

    #[test]
    fn what_redis_says_is_repeated_with_what_to_do() {
        let said = |text: &str| {
            let (code, words) = text.split_once(' ').unwrap();
            Refusal::from(::redis::make_extension_error(code.to_owned(), Some(words.to_owned())))
        };
        for (text, is_final, advice) in [
            ("WRONGPASS invalid username-password pair or user is disabled.", true, "in the URL"),
            ("ERR AUTH <password> called without any password configured", true, "does not want"),
            ("ERR max number of clients reached", false, ""),
            ("OOM command not allowed when used memory > 'maxmemory'.", false, ""),
        ] {
            let refusal = said(text);
            assert_eq!(refusal.is_final(), is_final, "{refusal}");
            assert!(
                refusal.to_string().starts_with(text) && refusal.to_string().contains(advice),
                "{refusal}"
            );
        }
    }
}
