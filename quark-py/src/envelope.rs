//! `quark.Envelope`.

use std::sync::Mutex;

use bytes::Bytes;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use quark_core::{Delivered, Envelope as CoreEnvelope, EnvelopeKind, Error};

use crate::args;
use crate::errors::{OrRaise as _, raise};

/// One message, with every field of the wire. An empty string or 0 means that a field is absent.
#[pyclass(frozen, eq, module = "quark")]
pub(crate) struct Envelope(Mutex<CoreEnvelope>);

impl From<CoreEnvelope> for Envelope {
    fn from(envelope: CoreEnvelope) -> Self {
        Self(Mutex::new(envelope))
    }
}

impl PartialEq for Envelope {
    fn eq(&self, other: &Self) -> bool {
        self.to_core() == other.to_core()
    }
}

impl Envelope {
    /// The envelope that an argument is.
    pub(crate) fn of(name: &str, value: &Bound<'_, PyAny>) -> PyResult<CoreEnvelope> {
        let envelope = value.cast::<Self>().map_err(|_| args::wrong_type(name, value, "quark.Envelope"))?;
        Ok(envelope.get().to_core())
    }

    pub(crate) fn to_core(&self) -> CoreEnvelope {
        self.0.lock().expect("no panic while an envelope is locked").clone()
    }
}

/// The fields by kind, named once for reading, writing and listing.
macro_rules! fields {
    (text: $($text:ident)+; bytes: $($bytes:ident)+; number: $($number:ident)+; flag: $($flag:ident)+;) => {
        const FIELDS: &[&str] = &[
            $(stringify!($text),)+ $(stringify!($bytes),)+ $(stringify!($number),)+ $(stringify!($flag),)+
            "kind", "delivered",
        ];

        fn get(envelope: &CoreEnvelope, py: Python<'_>, name: &str) -> PyResult<Option<Py<PyAny>>> {
            Ok(Some(match name {
                $(stringify!($text) => envelope.$text.as_str().into_pyobject(py)?.into_any().unbind(),)+
                $(stringify!($bytes) => PyBytes::new(py, &envelope.$bytes).into_any().unbind(),)+
                $(stringify!($number) => envelope.$number.into_pyobject(py)?.into_any().unbind(),)+
                $(stringify!($flag) => envelope.$flag.into_pyobject(py)?.to_owned().into_any().unbind(),)+
                "kind" => (envelope.kind as i32).into_pyobject(py)?.into_any().unbind(),
                "delivered" => envelope.delivered.map(Delivered::as_str).into_pyobject(py)?.unbind(),
                _ => return Ok(None),
            }))
        }

        fn set(envelope: &mut CoreEnvelope, name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
            match name {
                $(stringify!($text) => envelope.$text = args::borrowed_text(name, value)?.into(),)+
                $(stringify!($bytes) => envelope.$bytes = args::payload(name, value)?,)+
                $(stringify!($number) => envelope.$number = args::number(name, value)?,)+
                $(stringify!($flag) => envelope.$flag = args::flag(name, value)?,)+
                "kind" => {
                    let number: i32 = args::number(name, value)?;
                    let unknown = || raise(value.py(), &Error::invalid(name, number, "must be 0 to 3"));
                    envelope.kind = EnvelopeKind::from_number(number).ok_or_else(unknown)?;
                }
                "delivered" => {
                    let text = args::text_or_none(name, value)?;
                    let known = [Delivered::No, Delivered::Yes, Delivered::Unknown];
                    let unknown = |text: &str| raise(value.py(), &Error::invalid(name, text, "must be no, yes or unknown"));
                    let find = |text: String| {
                        known.into_iter().find(|d| d.as_str() == text).ok_or_else(|| unknown(&text))
                    };
                    envelope.delivered = text.map(find).transpose()?;
                }
                _ => return Ok(false),
            }
            Ok(true)
        }
    };
}

fields! {
    text: message_id actor_id actor_type method_name correlation_id error_message origin traceparent;
    bytes: payload response_payload;
    number: timestamp timeout_ms error_code hop_count view_version;
    flag: is_error one_way anywhere retryable;
}

#[pymethods]
impl Envelope {
    #[new]
    #[pyo3(signature = (**fields))]
    fn new(fields: Option<&Bound<'_, pyo3::types::PyDict>>) -> PyResult<Self> {
        let mut envelope = CoreEnvelope::default();
        for (name, value) in fields.into_iter().flatten() {
            let name = args::text("field", &name)?;
            if !set(&mut envelope, &name, &value)? {
                return Err(pyo3::exceptions::PyTypeError::new_err(format!(
                    "an envelope has no field {name}"
                )));
            }
        }
        Ok(envelope.into())
    }

    /// Reads an envelope from the wire's bytes; what is none raises `ProtocolError`.
    #[staticmethod]
    fn decode(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let bytes: Bytes = args::payload("data", data)?;
        Ok(CoreEnvelope::decode(bytes).or_raise(py)?.into())
    }

    /// The envelope as it stands on the wire, without gRPC's frame.
    fn encode<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.to_core().encode())
    }

    /// The reply of a response; raises the error that it carries.
    fn result<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.to_core().into_result().or_raise(py)?))
    }

    fn __getattr__(&self, py: Python<'_>, name: &str) -> PyResult<Py<PyAny>> {
        let absent =
            || pyo3::exceptions::PyAttributeError::new_err(format!("an envelope has no field {name}"));
        get(&self.to_core(), py, name)?.ok_or_else(absent)
    }

    fn __dir__(&self) -> Vec<&'static str> {
        FIELDS.iter().copied().chain(["decode", "encode", "result"]).collect()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, (Bound<'py, PyBytes>,))> {
        Ok((slf.get_type().getattr("decode")?, (slf.get().encode(slf.py()),)))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let envelope = self.to_core();
        let absent = CoreEnvelope::default();
        let mut shown = Vec::new();
        for name in FIELDS {
            let (Some(value), Some(default)) = (get(&envelope, py, name)?, get(&absent, py, name)?) else {
                continue;
            };
            if value.bind(py).ne(default)? {
                let text = value.bind(py).repr()?.to_string();
                shown.push(format!("{name}={}", text.chars().take(80).collect::<String>()));
            }
        }
        Ok(format!("quark.Envelope({})", shown.join(", ")))
    }
}
