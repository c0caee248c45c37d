//! What the Rust programs of all runs have in common: a silo or a client, and commands on the standard input.

use std::io::BufRead as _;
use std::time::Duration;

use quark_core::{Caller, Client, Request, Silo};
use tokio::sync::mpsc;

use crate::Result;
use crate::record::now;
use crate::security;

/// The one actor type.
pub(crate) const ACTOR_TYPE: &str = "Ledger";
/// How long a leaving program may take over what runs.
const DRAIN: Duration = Duration::from_secs(5);

/// A silo or a client.
pub(crate) enum Node {
    Silo(Silo),
    Client(Client),
}

/// What a program is told of the cluster.
pub(crate) struct Surroundings<'a> {
    pub(crate) url: &'a str,
    pub(crate) cluster: &'a str,
    /// Where a silo listens.
    pub(crate) host: &'a str,
}

impl Node {
    /// Starts a silo whose handler for the one actor type is `handler`.
    pub(crate) async fn silo<F>(
        id: &str,
        around: &Surroundings<'_>,
        handler: impl Fn(Request) -> F + Send + Sync + 'static,
    ) -> Result<Self>
    where
        F: Future<Output = quark_core::Result<String>> + Send + 'static,
    {
        let mut silo = Silo::builder(id)
            .cluster(around.cluster)
            .membership(around.url.parse()?)
            .listen(format!("{}:0", around.host).parse()?)
            .allow_plaintext(true)
            .handler_for(ACTOR_TYPE, handler);
        if let Some((transports, tls)) = security::told()? {
            silo = silo.transport(transports).tls(tls);
        }
        Ok(Self::Silo(silo.start().await?))
    }

    pub(crate) async fn client(around: &Surroundings<'_>) -> Result<Self> {
        let mut client =
            Client::builder().cluster(around.cluster).membership(around.url.parse()?).allow_plaintext(true);
        if let Some((transports, tls)) = security::told()? {
            client = client.transport(transports).tls(tls);
        }
        Ok(Self::Client(client.start().await?))
    }

    pub(crate) fn caller(&self) -> &Caller {
        match self {
            Self::Silo(silo) => silo.caller(),
            Self::Client(client) => client.caller(),
        }
    }

    /// Where a silo can be reached.
    pub(crate) fn endpoint(&self) -> String {
        match self {
            Self::Silo(silo) => silo.endpoint().to_string(),
            Self::Client(_) => "-".to_owned(),
        }
    }

    pub(crate) async fn stop(&self) {
        match self {
            Self::Silo(silo) => silo.stop(DRAIN).await,
            Self::Client(client) => client.stop(DRAIN).await,
        }
    }
}

/// Has what the core logs written to the standard error.
pub(crate) fn log_to_stderr() -> Result<()> {
    let log = |level, target: &str, message: &str| eprintln!("{} {level} {target} {message}", now());
    Ok(quark_core::host::set_log_sink(4, Some(Box::new(log)))?)
}

/// The lines of the standard input; none any more when it is closed.
pub(crate) fn commands() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(std::io::Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
