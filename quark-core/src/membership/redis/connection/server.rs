//! A connection to one server.

use std::path::Path;
use std::time::Duration;

use ::redis::aio::{MultiplexedConnection, PubSub};
use ::redis::io::tcp::TcpSettings;
use ::redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    RedisConnectionInfo, RedisResult, TlsCertificates,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::super::refusal::{Answer, Refusal};
use super::ANSWER_LIMIT;
use crate::endpoint::Endpoint;
use crate::error::{Error, Result};
use crate::membership::RedisUrl;
use crate::membership::redis_url::Login;

/// How long a server that hung up may take to say why.
const GREETING_LIMIT: Duration = Duration::from_millis(500);

/// What the connections to all servers of a URL have in common.
pub(super) struct Access {
    tls: bool,
    certificates: Option<TlsCertificates>,
}

impl Access {
    pub(super) fn new(url: &RedisUrl) -> Result<Self> {
        if url.tls {
            // Fails when the program chose a provider before, which is fine too.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let certificates = url.ca.as_deref().map(read_ca).transpose();
        let certificates =
            certificates.map_err(|problem| Error::invalid("membership", url.to_string(), &problem))?;
        Ok(Self { tls: url.tls, certificates })
    }

    fn info(&self, server: &Endpoint, login: Option<&Login>) -> RedisResult<ConnectionInfo> {
        let (host, port) = (server.host().to_owned(), server.port());
        let address = match self.tls {
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host, port),
        };
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        if let Some(login) = login {
            settings = settings.set_password(&login.password);
            if let Some(user) = &login.user {
                settings = settings.set_username(user);
            }
        }
        Ok(address
            .into_connection_info()?
            .set_tcp_settings(TcpSettings::default().set_nodelay(true))
            .set_redis_settings(settings))
    }

    fn client(&self, server: &Endpoint, login: Option<&Login>) -> RedisResult<Client> {
        let info = self.info(server, login)?;
        match &self.certificates {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    /// A connection to this server, logged in and in its database.
    pub(super) async fn open(
        &self,
        server: &Endpoint,
        login: Option<&Login>,
        database: u32,
        limit: Duration,
    ) -> Answer<MultiplexedConnection> {
        let opening = async {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(limit))
                .set_response_timeout(Some(ANSWER_LIMIT));
            let client = self.client(server, None)?;
            let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            // Not left to the client: of whatever the server answers it makes a wrong password.
            let mut hello = ::redis::pipe();
            if let Some(login) = login {
                hello.cmd("AUTH").arg(&login.user).arg(&login.password).ignore();
            }
            if database != 0 {
                hello.cmd("SELECT").arg(database).ignore();
            }
            // A server accepts connections while it loads its data, wants a password, or has too many clients.
            hello.cmd("PING").ignore();
            hello.query_async::<()>(&mut connection).await?;
            Ok(connection)
        };
        let opened = tokio::time::timeout(limit, opening).await.unwrap_or_else(|_| Err(Refusal::no_answer()));
        match opened {
            Err(refusal) if refusal.is_broken_connection() => Err(self.why_it_hung_up(server).await),
            other => other,
        }
    }

    /// A connection that can subscribe.
    pub(super) async fn open_pubsub(&self, server: &Endpoint, login: Option<&Login>) -> Answer<PubSub> {
        Ok(self.client(server, login)?.get_async_pubsub().await?)
    }

    /// A server that has too many clients says so before it is asked anything, which the client does not hear.
    async fn why_it_hung_up(&self, server: &Endpoint) -> Refusal {
        if self.tls {
            return Refusal::other(
                "the server closed the connection; has it too many clients?".to_owned(),
                false,
            );
        }
        let words = tokio::time::timeout(GREETING_LIMIT, greeting(server)).await.ok().flatten();
        let words = words.unwrap_or_else(|| "the server closed the connection; does it want TLS?".to_owned());
        Refusal::other(words, false)
    }
}

/// The error that a server says by itself.
async fn greeting(server: &Endpoint) -> Option<String> {
    let stream = tokio::net::TcpStream::connect((server.host(), server.port())).await.ok()?;
    stream.readable().await.ok()?;
    let mut said = [0; 256];
    let length = stream.try_read(&mut said).ok()?;
    let line = std::str::from_utf8(&said[..length]).ok()?.lines().next()?;
    line.strip_prefix('-').map(str::to_owned)
}

fn read_ca(path: &Path) -> std::result::Result<TlsCertificates, String> {
    let pem = std::fs::read(path).map_err(|error| format!("ca={}: {error}", path.display()))?;
    let read: std::result::Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match read {
        Ok(certificates) if !certificates.is_empty() => {
            Ok(TlsCertificates { client_tls: None, root_cert: Some(pem) })
        }
        _ => Err(format!("ca={} holds no certificate in PEM form", path.display())),
    }
}
