//! The certificates that are in force, read from their files, and the handshakes made with them.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::reason::{NoHandshake, text};
use super::verify::{Chain, identity_of};
use super::{Identity, Proof, Tls};
use crate::config::TransportConfig;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::telemetry::LINK;

/// How long what was read from the files is taken for what is in them.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long, and for how many bytes, a refused peer is listened to.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 64 * 1024;
/// What is spoken over TLS here: the one over TCP, the other over QUIC.
const HTTP2: &[u8] = b"h2";
const HTTP3: &[u8] = b"h3";
/// A name must be given to whoever is dialled; nobody looks at it, and it is not sent.
pub(crate) const NAME: &str = "silo.quark.invalid";

/// The certificates of one silo or client, as they are in force now.
pub(crate) struct Credentials {
    about: About,
    loaded: ArcSwap<Loaded>,
    looked: Mutex<Instant>,
}

/// Whose they are, and what they are for.
struct About {
    files: Tls,
    cluster: String,
    local: SiloId,
    anonymous_clients: bool,
}

/// What the files held, and what was made of it.
pub(super) struct Loaded {
    pub(super) files: Vec<Vec<u8>>,
    pub(super) client: Configs<ClientConfig>,
    /// Nothing without an own certificate.
    pub(super) server: Option<Configs<ServerConfig>>,
}

/// The same configuration, for either protocol.
pub(super) struct Configs<C> {
    http2: Arc<C>,
    pub(super) http3: Arc<C>,
}

impl<C: Clone> Configs<C> {
    fn new(config: C, protocols: impl Fn(&mut C) -> &mut Vec<Vec<u8>>) -> Self {
        let with = |protocol: &[u8]| {
            let mut config = config.clone();
            *protocols(&mut config) = vec![protocol.to_vec()];
            Arc::new(config)
        };
        Self { http2: with(HTTP2), http3: with(HTTP3) }
    }
}

impl Credentials {
    /// Reads the files and checks that they fit each other and this silo.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming the file and what is wrong with it.
    pub(crate) fn load(files: &Tls, local: &SiloId, config: &TransportConfig) -> Result<Arc<Self>> {
        let about = About {
            files: files.clone(),
            cluster: config.cluster.clone(),
            local: local.clone(),
            anonymous_clients: config.anonymous_clients,
        };
        let loaded = ArcSwap::from_pointee(Files::read(files)?.check(&about)?);
        Ok(Arc::new(Self { about, loaded, looked: Mutex::new(Instant::now()) }))
    }

    /// What is in force, after a look at the files when the last one was a while ago. Files that cannot be used change nothing.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<Loaded> {
        {
            let mut looked = self.looked.lock().expect("no panic while locked");
            if looked.elapsed() < LOOK_AGAIN {
                return self.loaded.load_full();
            }
            *looked = Instant::now();
        }
        let this = self.clone();
        // A file system may take its time.
        let _ = tokio::task::spawn_blocking(move || this.look()).await;
        self.loaded.load_full()
    }

    pub(super) fn loaded(&self) -> Arc<Loaded> {
        self.loaded.load_full()
    }

    fn look(&self) {
        let About { files, local, .. } = &self.about;
        let read = Files::read(files);
        if let Ok(Files(files)) = &read
            && *files == self.loaded.load().files
        {
            return;
        }
        match read.and_then(|files| files.check(&self.about)) {
            Ok(loaded) => {
                self.loaded.store(Arc::new(loaded));
                tracing::info!(target: LINK, silo = %local, "took new certificates");
            }
            Err(error) => {
                tracing::warn!(target: LINK, silo = %local, %error, "the changed certificates cannot be used, the old ones stay");
            }
        }
    }

    /// The dialling side's handshake: the other side is silo `expected`, or it fails.
    pub(crate) async fn connect<S>(
        self: &Arc<Self>,
        socket: S,
        expected: &SiloId,
    ) -> Result<TlsStream<S>, NoHandshake>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.current().await.client.http2.clone();
        let name = ServerName::try_from(NAME).expect("a host name");
        let stream = TlsConnector::from(config).connect(name, socket).await.map_err(NoHandshake::of)?;
        let stream = TlsStream::from(stream);
        self.expect(stream.get_ref().1.peer_certificates(), expected)?;
        Ok(stream)
    }

    /// Checks that who answered is silo `expected`.
    pub(super) fn expect(
        &self,
        certificates: Option<&[CertificateDer<'_>]>,
        expected: &SiloId,
    ) -> Result<(), NoHandshake> {
        match self.proof(certificates).map_err(NoHandshake::Untrusted)? {
            Proof::Certificate(Identity::Silo { id, .. }) if id == *expected => Ok(()),
            Proof::Certificate(other) => {
                let message = format!("silo {expected} was dialled, the certificate there is of {other}");
                Err(NoHandshake::SomebodyElse(refused(message)))
            }
            Proof::Plaintext | Proof::Anonymous => {
                Err(NoHandshake::Untrusted(refused("the peer shows no certificate")))
            }
        }
    }

    /// The accepting side's handshake, and who dialled.
    pub(crate) async fn accept<S>(self: &Arc<Self>, socket: S) -> Result<(TlsStream<S>, Proof), NoHandshake>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let current = self.current().await;
        let Some(server) = &current.server else {
            return Err(NoHandshake::Untrusted(refused("there is no certificate to show")));
        };
        let config = server.http2.clone();
        let stream = match TlsAcceptor::from(config).accept(socket).into_fallible().await {
            Ok(stream) => TlsStream::from(stream),
            Err((error, socket)) => {
                linger(socket).await;
                return Err(NoHandshake::of(error));
            }
        };
        let proof = self.proof(stream.get_ref().1.peer_certificates()).map_err(NoHandshake::Untrusted)?;
        Ok((stream, proof))
    }

    /// What the handshake proved. The chain is verified by then.
    pub(super) fn proof(&self, certificates: Option<&[CertificateDer<'_>]>) -> Result<Proof> {
        let Some([certificate, ..]) = certificates else {
            return Ok(Proof::Anonymous);
        };
        let identity = identity_of(certificate)?;
        let cluster = &self.about.cluster;
        if identity.cluster() != cluster {
            return Err(refused(format!("the certificate is of {identity}, this is cluster {cluster}")));
        }
        Ok(Proof::Certificate(identity))
    }
}

/// Reads on for a while after the handshake was refused: if there is something unread when a connection is closed, the peer may
/// lose what was written last, and that says why.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut socket: S) {
    let read_all = async {
        socket.shutdown().await?;
        tokio::io::copy(&mut socket.take(LINGER_BYTES), &mut tokio::io::sink()).await
    };
    let _ = tokio::time::timeout(LINGER, read_all).await;
}

pub(super) fn refused(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unauthenticated, problem.into())
}

/// What the files hold, in the order of [`Tls::files`].
struct Files(Vec<Vec<u8>>);

impl Files {
    fn read(files: &Tls) -> Result<Self> {
        let read = |(argument, path): (&str, &std::path::Path)| {
            std::fs::read(path).map_err(|error| Error::invalid(argument, path, &error.to_string()))
        };
        files.files().map(read).collect::<Result<_>>().map(Self)
    }

    /// Makes configurations of them, if they fit each other, this cluster and this silo.
    fn check(self, about: &About) -> Result<Loaded> {
        let settings = &about.files;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(self.roots(settings)?);
        let chain = Chain { roots: roots.clone(), algorithms: provider.signature_verification_algorithms };
        let clients = clients(about, roots, provider.clone())?;
        let own = match &settings.own {
            None => None,
            Some(_) => Some(self.own(about, (&chain, &*clients))?),
        };
        let refused = |error: rustls::Error| own_problem(settings, &text(&error));
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(chain));
        let mut client = match &own {
            None => builder.with_no_client_auth(),
            Some((certificates, key)) => {
                builder.with_client_auth_cert(certificates.clone(), key.clone_key()).map_err(refused)?
            }
        };
        client.enable_sni = false;
        // A link lives long; a resumed one would skip the look at certificates that may have changed.
        client.resumption = rustls::client::Resumption::disabled();
        let server = own.map(|own| server(own, settings, clients, provider)).transpose()?;
        let client = Configs::new(client, |client| &mut client.alpn_protocols);
        let server = server.map(|server| Configs::new(server, |server| &mut server.alpn_protocols));
        Ok(Loaded { files: self.0, client, server })
    }

    fn roots(&self, settings: &Tls) -> Result<RootCertStore> {
        let certificates =
            certificates(&self.0[0]).map_err(|problem| authority_problem(settings, &problem))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates {
            roots.add(certificate).map_err(|error| authority_problem(settings, &text(&error)))?;
        }
        Ok(roots)
    }

    /// The own certificates and key: they lead to an authority that the others, who have the same, trust too, and name this silo.
    fn own(&self, about: &About, (silos, clients): (&Chain, &dyn ClientCertVerifier)) -> Result<Own> {
        let About { files: settings, cluster, local, .. } = about;
        let certificates = certificates(&self.0[1]).map_err(|problem| own_problem(settings, &problem))?;
        let (own, between, now) = (&certificates[0], &certificates[1..], UnixTime::now());
        // A silo is dialled and dials, a client only dials.
        let dialled = if local.is_client() { Ok(()) } else { silos.check(own, between, now) };
        let dials = clients.verify_client_cert(own, between, now);
        dialled.and(dials.map(drop)).map_err(|error| {
            own_problem(settings, &text(&error).replace("the peer's certificate", "the certificate"))
        })?;
        let identity =
            identity_of(&certificates[0]).map_err(|error| own_problem(settings, error.message()))?;
        let fits = match &identity {
            Identity::Silo { id, .. } => id == local,
            Identity::Client { .. } => local.is_client(),
        };
        if !fits || identity.cluster() != cluster {
            let role = if local.is_client() { "a client".to_owned() } else { format!("silo {local}") };
            let problem = format!("the certificate is of {identity}, this is {role} of cluster {cluster}");
            return Err(own_problem(settings, &problem));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.0[2]).map_err(|error| {
            let path = settings.own.as_ref().map(|(_, key)| key.display().to_string());
            Error::invalid("tls.key", path.unwrap_or_default(), &format!("holds no private key: {error}"))
        })?;
        Ok((certificates, key))
    }
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn authority_problem(settings: &Tls, problem: &str) -> Error {
    Error::invalid("tls.authority", &settings.authority, problem)
}

fn own_problem(settings: &Tls, problem: &str) -> Error {
    let path = settings.own.as_ref().map(|(certificate, _)| certificate.display().to_string());
    Error::invalid("tls.certificate", path.unwrap_or_default(), problem)
}

/// # Errors
/// What is wrong, when there is no certificate or one that cannot be read.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())?;
    if certificates.is_empty() { Err("holds no certificate".to_owned()) } else { Ok(certificates) }
}

/// Verifies the chains of those who dial.
fn clients(
    about: &About,
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
    let verifier = if about.anonymous_clients { verifier.allow_unauthenticated() } else { verifier };
    verifier.build().map_err(|error| authority_problem(&about.files, &error.to_string()))
}

fn server(
    (certificates, key): Own,
    settings: &Tls,
    clients: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig> {
    let refused = |error: rustls::Error| own_problem(settings, &text(&error));
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(refused)?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates, key)
        .map_err(refused)?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    Ok(server)
}
