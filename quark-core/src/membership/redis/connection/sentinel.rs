//! Finding the primary of a service by asking its sentinels, anew for every connection: it is the sentinels that know of a
//! failover.

use ::redis::aio::MultiplexedConnection;

use super::super::refusal::{Answer, Refusal};
use super::server::Access;
use super::{ANSWER_LIMIT, Place, SEED_LIMIT};
use crate::endpoint::Endpoint;
use crate::membership::redis_url::Login;

/// The primary that a sentinel names and that says itself that it is one, with a connection to it.
pub(super) async fn primary(
    place: &Place,
    service: &str,
    login: Option<&Login>,
) -> Answer<(Endpoint, MultiplexedConnection)> {
    let Place { access, seeds, .. } = place;
    let mut refused = Refusal::no_answer();
    for sentinel in seeds.in_turn() {
        let primary = match named_by(access, sentinel, service, login).await {
            Ok(primary) => primary,
            Err(refusal) => {
                refused = refused.or(refusal.at(sentinel));
                continue;
            }
        };
        match open(place, &primary).await {
            Ok(connection) => return Ok((primary, connection)),
            Err(refusal) => refused = refused.or(refusal.at(&primary)),
        }
    }
    Err(refused)
}

/// The primary, as this sentinel knows it.
async fn named_by(
    access: &Access,
    sentinel: &Endpoint,
    service: &str,
    login: Option<&Login>,
) -> Answer<Endpoint> {
    let mut connection = access.open(sentinel, login, 0, SEED_LIMIT).await?;
    let mut ask = ::redis::cmd("SENTINEL");
    ask.arg("GET-MASTER-ADDR-BY-NAME").arg(service);
    let named: Option<(String, u16)> = ask.query_async(&mut connection).await?;
    let (host, port) =
        named.ok_or_else(|| Refusal::other(format!("this sentinel knows no service {service:?}"), true))?;
    Endpoint::new(&host, port)
        .map_err(|error| Refusal::other(format!("this sentinel names a strange primary: {error}"), false))
}

/// Connects to a primary. A sentinel may be late: what it names may have become a replica.
async fn open(place: &Place, primary: &Endpoint) -> Answer<MultiplexedConnection> {
    let login = place.login().await?;
    let database = place.url.database;
    let mut connection = place.access.open(primary, login.as_ref(), database, ANSWER_LIMIT).await?;
    let role: Vec<::redis::Value> = ::redis::cmd("ROLE").query_async(&mut connection).await?;
    match role.into_iter().next().map(::redis::from_redis_value::<String>) {
        Some(Ok(role)) if role == "master" => Ok(connection),
        _ => Err(Refusal::other(
            "a sentinel names it, but it is no primary (any more, or yet)".to_owned(),
            false,
        )),
    }
}
