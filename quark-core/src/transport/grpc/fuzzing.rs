//! Fuzz targets of the wire: frames, metadata, health.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::Full;
use prost::Message as _;
use tonic::metadata::MetadataMap;
use tonic::{Request, Status, Streaming};

use super::client::poll_message;
use super::codec::EnvelopeCodec;
use super::health::{Health, HealthCheckRequest, HealthCheckResponse};
use super::{announce, announced, error_of, status_of};
use crate::envelope::Envelope;
use crate::error::{Error, ErrorKind};
use crate::transport::carrier::Inbound;

/// A stream as it comes in: gRPC's frames, one after the other.
pub(crate) fn frames(bytes: &[u8]) {
    const LIMIT: usize = 1_000;
    let body = Full::new(Bytes::copy_from_slice(bytes));
    let mut messages = Streaming::new_request(EnvelopeCodec, body, None, Some(LIMIT));
    let mut left = bytes;
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        match poll_message(&mut messages, &mut cx) {
            std::task::Poll::Ready(Some(Ok(Inbound::Envelope(envelope)))) => {
                let (head, rest) = left.split_at(5);
                let length = u32::from_be_bytes(head[1..].try_into().unwrap()) as usize;
                assert!(head[0] == 0 && length <= LIMIT);
                assert_eq!(Envelope::decode(&rest[..length]).unwrap(), *envelope);
                left = &rest[length..];
            }
            std::task::Poll::Ready(Some(Ok(Inbound::Hello(_)))) => {
                unreachable!("a message is no announcement")
            }
            std::task::Poll::Ready(Some(Err(_)) | None) => break,
            std::task::Poll::Pending => unreachable!("everything is there"),
        }
    }
}

/// Lines of `name: value`: as the announcement of a peer, and as its refusal.
pub(crate) fn metadata(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b": ").unwrap_or(value);
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    let status = Status::from_header_map(&headers);
    match announced(&MetadataMap::from_headers(headers)) {
        Ok(None) => {}
        Ok(Some(hello)) => {
            let mut again = MetadataMap::new();
            announce(&hello, &mut again);
            assert_eq!(announced(&again).unwrap(), Some(hello));
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Protocol);
            travels(&error);
        }
    }
    if let Some(status) = status {
        travels(&error_of(&status, ErrorKind::ConnectionLost));
    }
}

/// A refusal is understood as it was meant.
fn travels(error: &Error) {
    let again = error_of(&status_of(error), ErrorKind::Internal);
    assert_eq!((again.kind(), again.message()), (error.kind(), error.message()));
}

pub(crate) fn health(bytes: &[u8]) {
    if let Ok(request) = HealthCheckRequest::decode(bytes) {
        assert_eq!(HealthCheckRequest::decode(request.encode_to_vec().as_slice()).unwrap(), request);
        if let Err(status) = Health::check(&Request::new(request)) {
            assert!(status.message().len() < 1_024, "{} bytes are repeated", status.message().len());
        }
    }
    if let Ok(response) = HealthCheckResponse::decode(bytes) {
        assert_eq!(HealthCheckResponse::decode(response.encode_to_vec().as_slice()).unwrap(), response);
    }
}
