//! What a silo tells the others of itself: the row in Redis, the value in gossip, the argument of `connect`.
//!
//! Written in camelCase, read in PascalCase too, because the original Quark wrote both; unknown members are ignored.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::drain::Drain;
use crate::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::id::SiloId;
use crate::ring::MAX_VIRTUAL_NODES;
use crate::transports::Transports;

/// Virtual nodes of a silo that does not say otherwise; what original silos count for everybody.
pub const DEFAULT_VIRTUAL_NODES: u32 = 150;
/// The protocol version that this build speaks.
pub const PROTOCOL_VERSION: u32 = 1;

/// Where a silo stands in its life. The numbers are those of the JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SiloStatus {
    /// Starting; not yet in the ring.
    Joining = 0,
    /// Serving; in the ring.
    Active = 1,
    /// Finishing what runs; no longer in the ring.
    ShuttingDown = 2,
    /// Gone.
    Dead = 3,
}

impl SiloStatus {
    /// The status with this number.
    #[must_use]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Self::Joining),
            1 => Some(Self::Active),
            2 => Some(Self::ShuttingDown),
            3 => Some(Self::Dead),
            _ => None,
        }
    }
}

/// One silo as the others see it. Immutable; views share it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SiloInfo {
    /// Its id, unique in the cluster.
    pub silo_id: SiloId,
    /// Where its transport can be reached.
    pub endpoint: Endpoint,
    /// Where it stands in its life.
    pub status: SiloStatus,
    /// When it last said so, by its own clock; for people, no decision depends on it.
    pub last_heartbeat: OffsetDateTime,
    /// Which life of the id this is; higher is later. 0 for silos that do not say.
    pub incarnation: u64,
    /// How many points it has on the ring; its weight.
    pub virtual_nodes: u32,
    /// The actor types it serves; `None` serves all.
    pub actor_types: Option<Vec<String>>,
    /// Its zone, if it has one.
    pub zone: Option<String>,
    /// Free labels of the user.
    pub labels: BTreeMap<String, String>,
    /// The protocol it speaks; `None` for an original silo.
    pub protocol_version: Option<u32>,
    /// Which networks its transport speaks; HTTP/2 for silos that do not say. Names of networks that this build does not
    /// know are not in it.
    pub transports: Transports,
    /// That it drains, and what it keeps; `None` for a silo that does not.
    pub drain: Option<Drain>,
}

impl SiloInfo {
    /// An active silo of this build at `endpoint`, with nothing else said.
    #[must_use]
    pub fn new(silo_id: SiloId, endpoint: Endpoint) -> Self {
        Self {
            silo_id,
            endpoint,
            status: SiloStatus::Active,
            last_heartbeat: OffsetDateTime::now_utc(),
            incarnation: 0,
            virtual_nodes: DEFAULT_VIRTUAL_NODES,
            actor_types: None,
            zone: None,
            labels: BTreeMap::new(),
            protocol_version: Some(PROTOCOL_VERSION),
            transports: Transports::HTTP2,
            drain: None,
        }
    }

    /// Whether this is a silo of the original Quark.
    #[must_use]
    pub fn is_original(&self) -> bool {
        self.protocol_version.is_none()
    }

    /// Whether it serves actors of this type.
    #[must_use]
    pub fn serves(&self, actor_type: &str) -> bool {
        self.actor_types.as_ref().is_none_or(|types| types.iter().any(|t| t == actor_type))
    }

    /// Whether it keeps what it has and gets nothing new.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    /// Whether everything but the heartbeat is the same.
    #[must_use]
    pub fn same_but_heartbeat(&self, other: &Self) -> bool {
        Self { last_heartbeat: other.last_heartbeat, ..self.clone() } == *other
    }

    /// The JSON of the row.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Row<'a, D> {
            silo_id: &'a str,
            address: &'a str,
            port: u16,
            status: u8,
            last_heartbeat: String,
            incarnation: u64,
            virtual_nodes: u32,
            #[serde(skip_serializing_if = "Option::is_none")]
            actor_types: Option<&'a [String]>,
            #[serde(skip_serializing_if = "Option::is_none")]
            zone: Option<&'a str>,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            labels: &'a BTreeMap<String, String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            protocol_version: Option<u32>,
            #[serde(skip_serializing_if = "Option::is_none")]
            transports: Option<Vec<&'static str>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            draining: Option<D>,
        }
        let row = Row {
            silo_id: self.silo_id.as_str(),
            address: self.endpoint.host(),
            port: self.endpoint.port(),
            status: self.status as u8,
            last_heartbeat: self.last_heartbeat.format(&Rfc3339).unwrap_or_default(),
            incarnation: self.incarnation,
            virtual_nodes: self.virtual_nodes,
            actor_types: self.actor_types.as_deref(),
            zone: self.zone.as_deref(),
            labels: &self.labels,
            protocol_version: self.protocol_version,
            transports: (self.transports != Transports::HTTP2).then(|| self.transports.names().collect()),
            draining: self.drain.as_ref().map(Drain::to_json),
        };
        serde_json::to_string(&row).expect("a struct of strings and numbers always becomes JSON")
    }

    /// Reads a row of ours or of an original silo.
    ///
    /// # Errors
    /// `PROTOCOL` saying which member is missing or out of range. Callers skip and count such rows.
    pub fn from_json(json: &str) -> Result<Self> {
        let unreadable =
            |what: &dyn fmt::Display| Error::new(ErrorKind::Protocol, format!("silo row: {what}"));
        let Ok(Value::Object(row)) = serde_json::from_str(json) else {
            return Err(unreadable(&"not a JSON object"));
        };
        let row = Row(row);
        let number = |name: &str, max: u64| match row.member(name) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(number) if number <= max => Ok(Some(number)),
                _ => {
                    Err(unreadable(&format_args!("{name}={} is out of range", beginning(&value.to_string()))))
                }
            },
        };
        let text = |name: &str| row.member(name).and_then(Value::as_str);

        let silo_id =
            SiloId::new(text("siloId").unwrap_or_default()).map_err(|e| unreadable(&e.message()))?;
        let port = number("port", 65_535)?.filter(|port| *port > 0).ok_or_else(|| unreadable(&"no port"))?;
        let endpoint = Endpoint::new(text("address").unwrap_or_default(), u16::try_from(port).unwrap_or(0))
            .map_err(|e| unreadable(&e.message()))?;
        let status = number("status", u64::MAX)?.unwrap_or(SiloStatus::Active as u64);
        let virtual_nodes =
            number("virtualNodes", MAX_VIRTUAL_NODES.into())?.unwrap_or(DEFAULT_VIRTUAL_NODES.into());
        let labels = match row.member("labels") {
            Some(Value::Object(labels)) => {
                labels.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
            }
            _ => BTreeMap::new(),
        };
        Ok(Self {
            silo_id,
            endpoint,
            status: SiloStatus::from_number(status)
                .ok_or_else(|| unreadable(&format_args!("status={status} is unknown")))?,
            last_heartbeat: text("lastHeartbeat")
                .and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok())
                .unwrap_or(OffsetDateTime::UNIX_EPOCH),
            incarnation: number("incarnation", u64::MAX)?.unwrap_or(0),
            virtual_nodes: u32::try_from(virtual_nodes).unwrap_or(DEFAULT_VIRTUAL_NODES).max(1),
            actor_types: match row.member("actorTypes") {
                Some(Value::Array(types)) => {
                    Some(types.iter().filter_map(Value::as_str).map(str::to_owned).collect())
                }
                _ => None,
            },
            zone: text("zone").map(str::to_owned),
            labels,
            protocol_version: number("protocolVersion", u32::MAX.into())?
                .map(|version| u32::try_from(version).unwrap_or(u32::MAX)),
            transports: match row.member("transports") {
                Some(Value::Array(names)) => Transports::among(names.iter().filter_map(Value::as_str)),
                _ => Transports::HTTP2,
            },
            drain: row.member("draining").and_then(Drain::from_json),
        })
    }
}

/// Enough of a value to know it again: a row may be as long as its author likes, and what is wrong with it is logged.
fn beginning(value: &str) -> &str {
    &value[..value.floor_char_boundary(120)]
}

/// A JSON object whose members are found in camelCase and, failing that, in PascalCase; `null` is absent.
struct Row(Map<String, Value>);

impl Row {
    fn member(&self, camel: &str) -> Option<&Value> {
        let found = self.0.get(camel).or_else(|| {
            let (first, rest) = camel.split_at(1);
            self.0.get(&format!("{}{rest}", first.to_ascii_uppercase()))
        });
        found.filter(|value| !value.is_null())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_every_age_are_read_as_the_vectors_say() {
        let vectors: Value = serde_json::from_str(include_str!("../../testdata/silo_info.json")).unwrap();
        let cases = vectors["cases"].as_array().unwrap();
        assert!(cases.len() >= 7);
        for case in cases {
            let read = SiloInfo::from_json(case["json"].as_str().unwrap());
            if case.get("reject").is_some() {
                assert_eq!(read.unwrap_err().kind(), ErrorKind::Protocol, "{}", case["name"]);
                continue;
            }
            let info = read.unwrap();
            assert_eq!(info.silo_id.as_str(), case["silo_id"], "{}", case["name"]);
            assert_eq!(info.endpoint.to_string(), case["endpoint"], "{}", case["name"]);
            assert_eq!(format!("{:?}", info.status), case["status"], "{}", case["name"]);
            assert_eq!(info.is_original(), case["original"], "{}", case["name"]);
            let transports = case.get("transports").and_then(Value::as_str).unwrap_or("http2");
            assert_eq!(info.transports.to_string(), transports, "{}", case["name"]);
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut info = SiloInfo::new("a:b".parse().unwrap(), "[::1]:5000".parse().unwrap());
        info.actor_types = Some(vec!["Counter".into()]);
        info.zone = Some("z".into());
        info.labels.insert("k".into(), "v".into());
        info.incarnation = 7;
        info.virtual_nodes = 300;
        assert!(!info.to_json().contains("transports"), "what everybody speaks is not said");
        info.transports = Transports::BOTH;
        info.drain = Some(Drain::default());
        assert_eq!(SiloInfo::from_json(&info.to_json()).unwrap(), info);
        assert_eq!(SiloInfo::from_json(&info.to_json()).unwrap(), info);
        assert!(info.to_json().contains("\"siloId\":\"a:b\",\"address\":\"::1\",\"port\":5000,\"status\":1"));
    }

    #[test]
    fn what_is_wrong_with_a_row_is_not_as_long_as_the_row() {
        let json = format!(r#"{{"siloId":"a","address":"h","port":"{}"}}"#, "é".repeat(100_000));
        let error = SiloInfo::from_json(&json).unwrap_err();
        assert!(error.message().starts_with("silo row: port=") && error.message().len() < 200, "{error}");
    }

    #[test]
    fn a_row_with_more_virtual_nodes_than_a_silo_may_have_is_none() {
        let row = |nodes: u32| format!(r#"{{"siloId":"a","address":"h","port":1,"virtualNodes":{nodes}}}"#);
        assert_eq!(SiloInfo::from_json(&row(100_000)).unwrap().virtual_nodes, 100_000);
        let error = SiloInfo::from_json(&row(100_001)).unwrap_err();
        assert_eq!(error.message(), "silo row: virtualNodes=100001 is out of range");
    }

    #[test]
    fn absent_actor_types_serve_all() {
        let mut info = SiloInfo::new("a".parse().unwrap(), "h:1".parse().unwrap());
        assert!(info.serves("Anything"));
        info.actor_types = Some(vec!["Counter".into()]);
        assert!(info.serves("Counter") && !info.serves("Anything"));
    }
}
