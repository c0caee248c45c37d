//! Knocking at a silo's endpoint without asking for its name: for a membership that is used alone, without a transport.
//! That somebody accepts the connection does not suffice: the kernel does so for a process that is stopped.

use std::io;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::endpoint::Endpoint;
use crate::id::SiloId;
use crate::probe::{Probe, Prober};
use crate::silo_info::SiloInfo;

/// How a client of HTTP/2 begins: the preface, and SETTINGS that set nothing. A server answers with its own at once.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

/// Says hello at an endpoint, waits for a word and hangs up.
pub(super) struct Knock;

impl Prober for Knock {
    fn probe(&self, _from: &SiloId, silo: &SiloInfo, limit: Duration) -> BoxFuture<'static, Probe> {
        if !silo.transports.has_http2() {
            // Whoever cannot look has seen nothing that speaks against the silo.
            return std::future::ready(Probe::Answered).boxed();
        }
        let endpoint = silo.endpoint.clone();
        async move { knock(&endpoint, limit).await }.boxed()
    }
}

async fn knock(endpoint: &Endpoint, limit: Duration) -> Probe {
    match tokio::time::timeout(limit, hello(endpoint)).await {
        Ok(Ok(())) => Probe::Answered,
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Probe::Refused,
        Ok(Err(_)) | Err(_) => Probe::Silent,
    }
}

async fn hello(endpoint: &Endpoint) -> io::Result<()> {
    let mut stream = TcpStream::connect((endpoint.host(), endpoint.port())).await?;
    // Whatever comes then, be it only the end of the connection, comes from a process that runs.
    let _ = stream.write_all(HELLO).await;
    let _ = stream.read(&mut [0; 9]).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const LIMIT: Duration = Duration::from_millis(300);

    #[tokio::test]
    async fn a_connection_that_nobody_accepts_is_silence() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().into();
        assert_eq!(knock(&endpoint, LIMIT).await, Probe::Silent);
        let hanging_up = async {
            // The one before waits in the queue still.
            drop(listener.accept().await);
            drop(listener.accept().await);
        };
        let (answer, ()) = tokio::join!(knock(&endpoint, LIMIT), hanging_up);
        assert_eq!(answer, Probe::Answered);
        drop(listener);
        assert_eq!(knock(&endpoint, LIMIT).await, Probe::Refused);
    }
}
