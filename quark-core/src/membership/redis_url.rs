//! `redis://` and its kin: one server, sentinels that know the server, or a cluster; with or without TLS. Pure parsing.

use std::fmt;
use std::path::PathBuf;

use crate::endpoint::Endpoint;
use crate::error::shortened;

/// Where a Redis listens unless told otherwise.
const DEFAULT_PORT: u16 = 6379;

/// A Redis URL. `Debug` and `Display` hide the passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub(crate) form: RedisForm,
    /// The server, the sentinels, or some nodes of the cluster: at least one.
    pub(crate) hosts: Vec<Endpoint>,
    /// For the servers that hold the keys.
    pub(crate) login: Option<Login>,
    pub(crate) database: u32,
    pub(crate) tls: bool,
    /// The file with the certificate of the CA that the servers' own must come from, instead of the system's CAs.
    pub(crate) ca: Option<PathBuf>,
    shown: String,
}

/// Who holds the keys.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum RedisForm {
    /// The one host.
    Single,
    /// Whichever server the sentinels name as the primary of this service.
    Sentinel {
        service: String,
        /// For the sentinels themselves.
        login: Option<Login>,
    },
    /// The nodes of a cluster, each its part.
    Cluster,
}

/// Who one is for a server. Has no `Debug`: the password is for the server only.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    /// `default` unless given.
    pub(crate) user: Option<String>,
    pub(crate) password: String,
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// What is wrong with a URL. Never holds a piece of it that might be a password.
type Problem = String;

const ENCODE: &str = "an @ / ? # : or % in a user or password must be written as %40 %2F %3F %23 %3A %25";

impl RedisUrl {
    /// Whether there is something that `Display` hides.
    #[cfg(any(test, quark_fuzzing))]
    pub(crate) fn has_password(&self) -> bool {
        self.login.is_some() || matches!(self.form, RedisForm::Sentinel { login: Some(_), .. })
    }

    /// Reads what follows `scheme://`.
    pub(super) fn parse(scheme: &str, rest: &str) -> Result<Self, Problem> {
        if let Some((_, fragment)) = rest.split_once('#') {
            return Err(match fragment {
                "insecure" => "#insecure is refused: a server's certificate is always verified; \
                               ?ca=/path/to/ca.pem names a CA of one's own"
                    .to_owned(),
                _ => format!("a # has no meaning here; {ENCODE}"),
            });
        }
        let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if tail.contains('@') {
            return Err(ENCODE.to_owned());
        }
        let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
        let (userinfo, hosts_text) = match authority.rsplit_once('@') {
            Some((userinfo, hosts)) => (Some(userinfo), hosts),
            None => (None, authority),
        };
        let login = userinfo.map(login).transpose()?;
        let tls = scheme.starts_with("rediss");
        let mut options = Options::read(query)?;
        let ca = options.take("ca")?.map(PathBuf::from);
        if ca.is_some() && !tls {
            return Err("ca= is for TLS: rediss://, rediss+sentinel://, rediss+cluster://".to_owned());
        }
        let mut segments = path.strip_prefix('/').unwrap_or_default().split('/');
        let (form, hosts, example) = match scheme.split_once('+') {
            None => (RedisForm::Single, vec![single_host(hosts_text)?], "redis://host:6379/0"),
            Some((_, "sentinel")) => {
                let service = decode(segments.next().unwrap_or_default())?;
                if service.is_empty() {
                    return Err(
                        "names no service; it is redis+sentinel://host:port,host:port/service".to_owned()
                    );
                }
                let login = match (options.take("sentinel_user")?, options.take("sentinel_password")?) {
                    (Some(_), None) => return Err("sentinel_user= needs sentinel_password=".to_owned()),
                    (user, password) => password.map(|password| Login { user, password }),
                };
                (
                    RedisForm::Sentinel { service, login },
                    host_list(hosts_text)?,
                    "redis+sentinel://host:port/service/0",
                )
            }
            Some(_) => (RedisForm::Cluster, host_list(hosts_text)?, "redis+cluster://host:port,host:port"),
        };
        options.none_left()?;
        let database = match (segments.next().unwrap_or_default(), &form) {
            ("", _) => 0,
            (_, RedisForm::Cluster) => return Err(format!("a cluster has no databases; it is {example}")),
            (number, _) => {
                number.parse().map_err(|_| format!("the database must be a number, as in {example}"))?
            }
        };
        if segments.next().is_some() {
            return Err(format!("has too many parts; it is {example}"));
        }
        let shown = shown(scheme, userinfo, hosts_text, path, query);
        Ok(Self { form, hosts, login, database, tls, ca, shown })
    }
}

/// The URL without its passwords. The rest is as it was written, so that it means the same when it is read again.
fn shown(scheme: &str, userinfo: Option<&str>, hosts: &str, path: &str, query: &str) -> String {
    let mut shown = format!("{scheme}://");
    if let Some((user, _)) = userinfo.and_then(|userinfo| userinfo.split_once(':')) {
        shown += &format!("{user}:***@");
    }
    shown += hosts;
    shown += path;
    for (i, option) in query.split('&').filter(|option| !option.is_empty()).enumerate() {
        shown.push(if i == 0 { '?' } else { '&' });
        shown += if option.starts_with("sentinel_password=") { "sentinel_password=***" } else { option };
    }
    shown
}

fn login(userinfo: &str) -> Result<Login, Problem> {
    let (user, password) = userinfo
        .split_once(':')
        .ok_or("has a user without a password; it is user:password@, or :password@ for the default user")?;
    let (user, password) = (decode(user)?, decode(password)?);
    if password.is_empty() {
        return Err("has an empty password; leave user:password@ out where there is none".to_owned());
    }
    Ok(Login { user: Some(user).filter(|user| !user.is_empty()), password })
}

fn single_host(text: &str) -> Result<Endpoint, Problem> {
    if text.contains(',') {
        return Err("names several hosts, which is for redis+sentinel:// and redis+cluster://".to_owned());
    }
    let has_port = text.rsplit_once(']').map_or(text, |(_, port)| port).contains(':');
    if has_port || text.is_empty() {
        return host(text, "the host must be a name or an address, with :port or without");
    }
    host(&format!("{text}:{DEFAULT_PORT}"), "the host must be a name or an address, IPv6 in brackets")
}

fn host_list(text: &str) -> Result<Vec<Endpoint>, Problem> {
    text.split(',').map(|text| host(text, "needs host:port,host:port with at least one of them")).collect()
}

fn host(text: &str, problem: &str) -> Result<Endpoint, Problem> {
    let endpoint = Endpoint::parse("host", text).map_err(|_| problem.to_owned())?;
    if endpoint.port() == 0 || endpoint.is_wildcard() {
        return Err("needs an address that one can connect to, with a port other than 0".to_owned());
    }
    Ok(endpoint)
}

/// The options after the `?`, each taken out by whoever knows it.
struct Options(Vec<(String, String)>);

impl Options {
    fn read(query: &str) -> Result<Self, Problem> {
        let mut options: Vec<(String, String)> = Vec::new();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let value = decode(value)?;
            if options.iter().any(|(other, _)| other == name) {
                return Err(format!("has {} twice", shortened(&name)));
            }
            options.push((name.to_owned(), value));
        }
        Ok(Self(options))
    }

    fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let Some(at) = self.0.iter().position(|(other, _)| other == name) else { return Ok(None) };
        let value = self.0.remove(at).1;
        if value.is_empty() { Err(format!("{name}= is empty")) } else { Ok(Some(value)) }
    }

    fn none_left(self) -> Result<(), Problem> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(format!(
                "unknown option {}; there are ca= with TLS, sentinel_user= and sentinel_password= with sentinels",
                shortened(name)
            )),
        }
    }
}

/// Percent-decodes. A plus is a plus.
fn decode(text: &str) -> Result<String, Problem> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).ok_or(ENCODE)?;
        if !code.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(ENCODE.to_owned());
        }
        bytes.push(u8::from_str_radix(code, 16).map_err(|_| ENCODE)?);
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).map_err(|_| "is not UTF-8 when decoded".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::MembershipUrl;

    fn parsed(text: &str) -> RedisUrl {
        match text.parse() {
            Ok(MembershipUrl::Redis(url)) => url,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn hosts(url: &RedisUrl) -> Vec<String> {
        url.hosts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_server() {
        let url = parsed("redis://localhost");
        assert!(hosts(&url) == ["localhost:6379"] && url.login.is_none() && url.database == 0 && !url.tls);
        let url = parsed("rediss://ann:p%40%3A%2Fs+%25@[::1]:7/3?ca=/etc/my%20ca.pem");
        let login = url.login.as_ref().unwrap();
        assert_eq!((login.user.as_deref(), login.password.as_str()), (Some("ann"), "p@:/s+%"));
        assert!(hosts(&url) == ["[::1]:7"] && url.database == 3 && url.tls);
        assert_eq!(url.ca, Some("/etc/my ca.pem".into()));
        assert_eq!(hosts(&parsed("redis://[::1]")), ["[::1]:6379"]);
        assert_eq!(parsed("redis://:only@h/").login.unwrap().user, None);
    }

    #[test]
    fn sentinels() {
        let url = parsed("redis+sentinel://a:b@h:1,i:2/my%2Fservice/4?sentinel_user=c&sentinel_password=d");
        assert!(hosts(&url) == ["h:1", "i:2"] && url.database == 4 && !url.tls);
        let RedisForm::Sentinel { service, login: Some(login) } = &url.form else { panic!("{url}") };
        assert_eq!(
            (service.as_str(), login.user.as_deref(), login.password.as_str()),
            ("my/service", Some("c"), "d")
        );
        let url = parsed("rediss+sentinel://h:1/s?ca=x");
        assert!(url.tls && url.ca.is_some() && matches!(url.form, RedisForm::Sentinel { login: None, .. }));
    }

    #[test]
    fn a_cluster() {
        let url = parsed("redis+cluster://a:b@h:1,i:2");
        assert!(hosts(&url) == ["h:1", "i:2"] && url.login.is_some() && !url.tls);
        assert!(matches!(url.form, RedisForm::Cluster));
        assert!(parsed("rediss+cluster://h:1/?ca=x").tls);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, reason) in [
            ("redis://", "the host must"),
            ("redis://ann:canary-s3cret@", "the host must"),
            ("redis://h:0", "other than 0"),
            ("redis://0.0.0.0", "can connect to"),
            ("redis://user:canary-s3cret", "the host must"),
            ("redis://::1", "the host must"),
            ("redis://h,i", "redis+sentinel://"),
            ("redis://ann@h", "without a password"),
            ("redis://ann:@h", "empty password"),
            ("redis://:s3/cret@h", "%2F"),
            ("redis://:s3?cret@h", "%3F"),
            ("redis://:s3#cret@h", "%23"),
            ("redis://:s3%cret@h", "%25"),
            ("redis://:s3%ffcret@h", "UTF-8"),
            ("redis://h/canary-s3cret", "must be a number"),
            ("redis://h/-1", "must be a number"),
            ("redis://h/1/2", "too many parts"),
            ("redis://h?protocol=resp3", "\"protocol\""),
            ("redis://h?ca=x", "rediss://"),
            ("rediss://h?ca=", "ca= is empty"),
            ("rediss://h?ca=x&ca=y", "twice"),
            ("rediss://h#insecure", "always verified"),
            ("rediss://h?sentinel_password=canary-s3cret", "\"sentinel_password\""),
            ("redis+sentinel://h:1", "service"),
            ("redis+sentinel://h:1/", "service"),
            ("redis+sentinel://h/s", "host:port"),
            ("redis+sentinel:///s", "host:port"),
            ("redis+sentinel://h:1,/s", "host:port"),
            ("redis+sentinel://h:1/s/x", "must be a number"),
            ("redis+sentinel://h:1/s?sentinel_user=x", "sentinel_password="),
            ("redis+cluster://h", "host:port"),
            ("redis+cluster://h:1/0", "no databases"),
            ("redis+unix://h:1", "unknown scheme"),
        ] {
            let error = text.parse::<MembershipUrl>().unwrap_err();
            assert!(error.message().starts_with("membership="), "{text}: {error}");
            assert!(error.message().contains(reason), "{text}: {error}");
            assert!(!format!("{error:?}").contains("s3"), "{error:?}");
        }
    }

    #[test]
    fn what_is_shown_has_no_password() {
        for (text, shown) in [
            ("redis://ann:canary-s3cret@localhost/0", "redis://ann:***@localhost/0"),
            ("rediss://:canary-s3cret@h:1?ca=x", "rediss://:***@h:1?ca=x"),
            (
                "redis+sentinel://a:canary-s3cret@h:1,i:2/s/0?sentinel_password=canary-s3cret&sentinel_user=c",
                "redis+sentinel://a:***@h:1,i:2/s/0?sentinel_password=***&sentinel_user=c",
            ),
            ("redis+cluster://a:canary-s3cret@h:1,i:2", "redis+cluster://a:***@h:1,i:2"),
            ("redis://a%40b%2F:canary-s3cret@h:1", "redis://a%40b%2F:***@h:1"),
        ] {
            let url = parsed(text);
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
            assert_eq!(parsed(shown).login.unwrap().user, url.login.unwrap().user);
        }
    }
}
