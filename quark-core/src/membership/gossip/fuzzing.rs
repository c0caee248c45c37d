//! Fuzz targets of gossip: what silos say of themselves and of each other, and the datagrams that bring it.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use chitchat::ChitchatId;
use tokio::net::UdpSocket;

use super::gathering::{Gathering, Sighting};
use super::node::{self, Node};
use super::socket::BoundTransport;
use crate::id::SiloId;
use crate::membership::MembershipConfig;
use crate::membership::judge::{Judge, Row};
use crate::silo_info::SiloInfo;

const LOCALHOST: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);

/// A line for each participant: its id, its generation, whether it is heard, then the three values that it set, all with
/// tabs between them. What follows for this silo must follow without a panic.
pub(crate) fn gossip_values(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let sightings: Vec<_> = text.lines().filter_map(sighting).collect();
    let myself = Arc::new(SiloInfo::new("me".parse().unwrap(), "127.0.0.1:1".parse().unwrap()));
    let mut judge = Judge::new(Some((*myself).clone()), Duration::from_secs(15));
    for (second, sightings) in (0..).zip([&sightings[..], &sightings[..sightings.len() / 2], &sightings[..]])
    {
        let now = Duration::from_secs(20 * second);
        let gathering = Gathering::of(sightings);
        for hears_enough in [false, true] {
            for (id, row) in gathering.rows(Some(&myself), hears_enough) {
                if let Row::Readable(info) = &row {
                    assert!(info.silo_id == id && info.incarnation >= gathering.lives(&id));
                }
                judge.row(now, &id, row);
            }
        }
        for (id, incarnation) in gathering.suspected() {
            judge.suspect(id, *incarnation);
        }
        assert!(judge.silos().filter(|silo| silo.silo_id == myself.silo_id).count() <= 1);
    }
}

fn sighting(line: &str) -> Option<Sighting> {
    let mut fields = line.split('\t');
    let id = fields.next()?;
    let generation = fields.next()?.parse().ok()?;
    let live = fields.next()? == "live";
    let chitchat_id = ChitchatId::new(id, generation, ([127, 0, 0, 1], 1).into());
    Some(Sighting {
        id: SiloId::new(id).ok()?,
        generation,
        heartbeat: 1,
        live,
        told_anything: true,
        silo: fields.next().and_then(|json| node::read(&chitchat_id, json)),
        suspects: node::read_marks(fields.next()),
        out: node::read_marks(fields.next()),
    })
}

/// A datagram from a stranger. The format and what follows from it are chitchat's; that no datagram ends it, is ours to
/// know: a node must answer the next one.
pub(crate) fn gossip_datagram(bytes: &[u8]) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(outlive(&bytes[..bytes.len().min(MAX_DATAGRAM)])));
}

const MAX_DATAGRAM: usize = 65_507;
/// SYN of somebody who knows nobody, to the cluster `quark`: magic number, version, kind, no digests, the name.
const SYN: &[u8] = b"\x53\xb0\0\0\0\0\x05\0quark";

async fn outlive(datagram: &[u8]) {
    let transport = BoundTransport::bind(LOCALHOST.into()).await.unwrap();
    let to = transport.address();
    let config = MembershipConfig::default();
    let node = Node::spawn(&"me".parse().unwrap(), 1, to, &transport, Vec::new(), &config).await.unwrap();
    let (stranger, friend) =
        (UdpSocket::bind(LOCALHOST).await.unwrap(), UdpSocket::bind(LOCALHOST).await.unwrap());
    stranger.send_to(datagram, to).await.unwrap();
    friend.send_to(SYN, to).await.unwrap();
    let mut answer = [0; 1_500];
    let answered = tokio::time::timeout(Duration::from_secs(5), friend.recv(&mut answer)).await;
    let length = answered.expect("the node answers after whatever it was sent").unwrap();
    assert_eq!((&answer[..2], answer[3]), (&SYN[..2], 1), "{:?} is no SYN-ACK", &answer[..length]);
    let peers = node.peers().await;
    let _ = Gathering::of(&peers).rows(None, true);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A SYN-ACK that makes the node `b` known, and brings of it one key with the value `x`, version 5.
    fn with_key(key: &str, then: &[u8]) -> Vec<u8> {
        const NODE: &[u8] = b"\x01\0b\x01\0\0\0\0\0\0\0\x04\x7f\0\0\x01\x59\x1b";
        let digest = [b"\x01\0", NODE, b"\x05", &[0; 23]].concat();
        let length = u8::try_from(key.len()).unwrap();
        let value = [&[1, length, 0], key.as_bytes(), b"\x01\0x\x05", &[0; 8]].concat();
        let operations = [b"\0", NODE, &[0; 16], &value, then].concat();
        let length = u16::try_from(operations.len()).unwrap().to_le_bytes();
        [b"\x53\xb0\0\x01", digest.as_slice(), b"\x02", &length, &operations, b"\0"].concat()
    }

    #[test]
    fn a_key_that_begins_with_no_ascii_character_does_not_end_gossip() {
        gossip_datagram(&with_key("é", b""));
    }

    #[test]
    fn a_version_that_is_later_than_the_latest_does_not_end_gossip() {
        gossip_datagram(&with_key("silo", b"\x02\x03\0\0\0\0\0\0\0"));
    }
}
