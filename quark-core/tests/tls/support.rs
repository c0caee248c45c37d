//! Certificates in folders of their own, and transports that use them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration as Wait;

use quark_certs::{Folder, Issued};
use quark_core::{
    Endpoint, Envelope, Error, ErrorKind, Handler, Identity, Request, Result, SiloInfo, Tls, Transport,
    TransportConfig, Transports,
};
use time::Duration;

/// Far above what it takes, for machines that are busy.
pub(crate) const LIMIT: Wait = Wait::from_secs(20);
const DAY: Duration = Duration::days(1);

/// An authority in a folder that goes with it.
pub(crate) struct Certificates {
    path: PathBuf,
    folder: Folder,
    over: Transports,
}

impl Certificates {
    pub(crate) fn new(over: Transports) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("quark-tls-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        let folder = Folder::new(&path);
        folder.create(DAY).unwrap();
        Self { path, folder, over }
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.authority()
    }

    /// Makes or renews files.
    pub(crate) fn files(&self, identity: &Identity, valid: Duration) -> (PathBuf, PathBuf) {
        self.folder.issue(identity, valid).unwrap()
    }

    /// Puts files there that were made otherwise.
    pub(crate) fn put(&self, name: &str, issued: &Issued) -> (PathBuf, PathBuf) {
        let paths = (self.path.join(format!("{name}.pem")), self.path.join(format!("{name}.key")));
        std::fs::write(&paths.0, &issued.certificate).unwrap();
        std::fs::write(&paths.1, &issued.key).unwrap();
        paths
    }

    /// Trusts these authorities from now on.
    pub(crate) fn trust(&self, all: &[&Self]) {
        let texts: Vec<_> =
            all.iter().map(|other| std::fs::read_to_string(other.authority()).unwrap()).collect();
        std::fs::write(self.authority(), texts.concat()).unwrap();
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn config(&self, identity: &Identity, valid: Duration) -> TransportConfig {
        let (certificate, key) = self.files(identity, valid);
        let tls = Tls::new(self.authority()).certificate(certificate, key);
        but(with(tls), |config| config.transport = self.over)
    }

    pub(crate) fn silo(&self, id: &str) -> TransportConfig {
        self.silo_for(id, DAY)
    }

    pub(crate) fn silo_for(&self, id: &str, valid: Duration) -> TransportConfig {
        self.config(&silo_identity(id), valid)
    }

    pub(crate) fn silo_of(&self, cluster: &str, id: &str) -> TransportConfig {
        self.config(&Identity::silo(cluster, id).unwrap(), DAY)
    }

    pub(crate) fn client(&self, name: &str) -> TransportConfig {
        self.config(&Identity::client("quark", name).unwrap(), DAY)
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

pub(crate) fn silo_identity(id: &str) -> Identity {
    Identity::silo("quark", id).unwrap()
}

pub(crate) fn plain() -> TransportConfig {
    TransportConfig::default()
}

/// A configuration with these certificates.
pub(crate) fn with(tls: Tls) -> TransportConfig {
    but(plain(), |config| config.tls = Some(tls))
}

/// This configuration, but.
pub(crate) fn but(mut config: TransportConfig, change: impl FnOnce(&mut TransportConfig)) -> TransportConfig {
    change(&mut config);
    config
}

/// A transport that says what it heard, and from whom.
pub(crate) struct Host {
    pub(crate) id: String,
    pub(crate) transport: Transport,
    echo: Arc<Echo>,
}

struct Echo {
    id: String,
    heard: AtomicUsize,
}

impl Handler for Echo {
    fn handle(&self, mut request: Request) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        let said = String::from_utf8_lossy(request.payload()).into_owned();
        let text = format!("{} heard {said} from {}", self.id, request.caller());
        request.reply(text).unwrap();
    }
}

impl Host {
    pub(crate) async fn start(id: &str, config: TransportConfig) -> Self {
        let listen = if id.starts_with("client:") { None } else { Some("127.0.0.1:0") };
        Self::make(id, listen, config).await.unwrap()
    }

    pub(crate) async fn try_listening(id: &str, listen: &str, config: TransportConfig) -> Result<Self> {
        Self::make(id, Some(listen), config).await
    }

    async fn make(id: &str, listen: Option<&str>, config: TransportConfig) -> Result<Self> {
        let echo = Arc::new(Echo { id: id.to_owned(), heard: AtomicUsize::new(0) });
        let listen = listen.map(|listen| listen.parse().unwrap());
        let transport = Transport::new(id.parse().unwrap(), listen, config, echo.clone())?;
        transport.start().await?;
        Ok(Self { id: id.to_owned(), transport, echo })
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.transport.local_endpoint().unwrap()
    }

    /// Requests that reached the handler.
    pub(crate) fn heard(&self) -> usize {
        self.echo.heard.load(Ordering::Relaxed)
    }

    pub(crate) async fn connect(&self, to: &Self) -> Result<()> {
        self.connect_as(&to.id, to).await
    }

    /// Dials somebody and takes him for another one.
    pub(crate) async fn connect_as(&self, id: &str, to: &Self) -> Result<()> {
        let mut info = SiloInfo::new(id.parse().unwrap(), to.endpoint());
        info.transports = to.transport.transports();
        self.transport.connect(&info).await
    }

    pub(crate) async fn connect_to(&self, id: &str, endpoint: &str) -> Result<()> {
        let info = SiloInfo::new(id.parse().unwrap(), endpoint.parse().unwrap());
        self.transport.connect(&info).await
    }

    pub(crate) async fn call(&self, to: &Self, text: &'static str) -> Result<String> {
        let request = Envelope::request("T", "1", "say", text);
        let answer = self.transport.send(&to.id, request, LIMIT).await?.into_result()?;
        Ok(String::from_utf8(answer.to_vec()).unwrap())
    }
}

/// The error of somebody who was not let in.
pub(crate) fn refused<T>(result: Result<T>) -> Error {
    let Err(error) = result else { panic!("was let in") };
    assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
    error
}

/// The message of a transport that is not even made.
pub(crate) fn not_made(id: &str, config: TransportConfig) -> String {
    let echo = Arc::new(Echo { id: id.to_owned(), heard: AtomicUsize::new(0) });
    let error = Transport::new(id.parse().unwrap(), None, config, echo).err().expect("it cannot be made");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    error.message().to_owned()
}

/// Until dialling is refused.
pub(crate) async fn until_refused(from: &Host, to: &Host) -> Error {
    let attempts = async {
        loop {
            from.transport.disconnect(&to.id);
            if let Err(error) = from.connect(to).await {
                return refused::<()>(Err(error));
            }
            tokio::time::sleep(Wait::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LIMIT, attempts).await.expect("refused in time")
}

/// Until dialling succeeds.
pub(crate) async fn until_connected(from: &Host, to: &Host) {
    let attempts = async {
        loop {
            from.transport.disconnect(&to.id);
            if from.connect(to).await.is_ok() {
                return;
            }
            tokio::time::sleep(Wait::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LIMIT, attempts).await.expect("connected in time");
}
