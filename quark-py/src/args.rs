//! What comes in from Python: every value is checked here, and refused with the name of its argument.
//!
//! A wrong type is a `TypeError`, a wrong value an `InvalidArgumentError`; both name the argument and the value.

use std::ffi::c_char;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString};
use quark_core::{Error, ErrorKind, RedisCredentials, Tls};

use crate::buffer;
use crate::errors::raise;
use crate::foreign;

/// `TypeError` in its one form.
pub(crate) fn wrong_type(name: &str, value: &Bound<'_, PyAny>, wanted: &str) -> PyErr {
    let shown = value.repr().map_or_else(|_| "?".to_owned(), |repr| repr.to_string_lossy().into_owned());
    let shown: String = shown.chars().take(120).collect();
    let kind = value.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!("{name}={shown}: must be {wanted}, not {kind}"))
}

/// A string.
pub(crate) fn text(name: &str, value: &Bound<'_, PyAny>) -> PyResult<String> {
    borrowed_text(name, value).map(str::to_owned)
}

/// The same without a copy: Python keeps the UTF-8 of a string with it.
pub(crate) fn borrowed_text<'a>(name: &str, value: &'a Bound<'_, PyAny>) -> PyResult<&'a str> {
    let text = value.cast::<PyString>().map_err(|_| wrong_type(name, value, "str"))?;
    let mut length = 0;
    // SAFETY: a string, and a place for a number.
    let start = unsafe { PyUnicode_AsUTF8AndSize(text.as_ptr(), &raw mut length) };
    if start.is_null() {
        // A lone surrogate has no UTF-8.
        drop(PyErr::take(value.py()));
        let shown = text.to_string_lossy().into_owned();
        return Err(raise(value.py(), &Error::invalid(name, shown, "is not valid Unicode")));
    }
    // SAFETY: so many bytes of UTF-8, which stay there as long as the string, and that as long as the reference.
    Ok(unsafe {
        std::str::from_utf8_unchecked(std::slice::from_raw_parts(start.cast(), length.unsigned_abs()))
    })
}

unsafe extern "C" {
    // Exported by every CPython since 3.3, and of the stable ABI since 3.10, from which on PyO3 offers it.
    fn PyUnicode_AsUTF8AndSize(string: *mut ffi::PyObject, length: *mut isize) -> *const c_char;
}

/// A string, or nothing.
pub(crate) fn text_or_none(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
    if value.is_none() { Ok(None) } else { text(name, value).map(Some) }
}

/// A timeout in seconds: positive and finite, or nothing.
pub(crate) fn timeout(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Option<Duration>> {
    if value.is_none() {
        return Ok(None);
    }
    let seconds = seconds(name, value, "a number of seconds or None")?;
    quark_core::timeout_from_seconds(name, seconds).map(Some).map_err(|error| raise(value.py(), &error))
}

/// A duration in seconds that may be zero.
pub(crate) fn duration(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let seconds = seconds(name, value, "a number of seconds")?;
    if seconds == 0.0 {
        return Ok(Duration::ZERO);
    }
    let problem = "must be 0 or a positive, finite number of seconds";
    quark_core::timeout_from_seconds(name, seconds)
        .map_err(|_| raise(value.py(), &Error::invalid(name, seconds, problem)))
}

fn seconds(name: &str, value: &Bound<'_, PyAny>, wanted: &str) -> PyResult<f64> {
    let number = value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>();
    if !number || value.is_instance_of::<PyBool>() {
        return Err(wrong_type(name, value, wanted));
    }
    // Only an int beyond the floats fails.
    Ok(value.extract().unwrap_or(f64::INFINITY))
}

/// An integer of a width; one that does not fit is a wrong value.
pub(crate) fn number<T>(name: &str, value: &Bound<'_, PyAny>) -> PyResult<T>
where
    T: for<'a, 'py> FromPyObject<'a, 'py>,
{
    if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
        return Err(wrong_type(name, value, "int"));
    }
    value.extract::<T>().map_err(|_| {
        let shown = value.str().map_or_else(|_| "?".to_owned(), |shown| shown.to_string());
        let problem =
            Error::new(ErrorKind::InvalidArgument, format!("{name}={shown}: is negative or too large"));
        raise(value.py(), &problem)
    })
}

/// A truth value.
pub(crate) fn flag(name: &str, value: &Bound<'_, PyAny>) -> PyResult<bool> {
    match value.cast::<PyBool>() {
        Ok(flag) => Ok(flag.is_true()),
        Err(_) => Err(wrong_type(name, value, "bool")),
    }
}

/// A `quark.Tls`.
pub(crate) fn tls(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Tls> {
    let file = |part: &str| {
        let path = value.getattr(part).map_err(|_| wrong_type(name, value, "quark.Tls"))?;
        if path.is_none() {
            return Ok(None);
        }
        let whole = format!("{name}.{part}");
        path.extract::<PathBuf>().map(Some).map_err(|_| wrong_type(&whole, &path, "a path"))
    };
    let missing = |part: &str, problem: &str| {
        raise(value.py(), &Error::invalid(&format!("{name}.{part}"), "None", problem))
    };
    let authority = file("authority")?.ok_or_else(|| missing("authority", "is required"))?;
    match (file("certificate")?, file("key")?) {
        (None, None) => Ok(Tls::new(authority)),
        (Some(certificate), Some(key)) => Ok(Tls::new(authority).certificate(certificate, key)),
        (Some(_), None) => Err(missing("key", "is the certificate's other half")),
        (None, Some(_)) => Err(missing("certificate", "is the key's other half")),
    }
}

/// A function that gives a password, or a user and a password. What it gives is never shown.
pub(crate) fn credentials(name: &str, value: &Bound<'_, PyAny>) -> PyResult<RedisCredentials> {
    if !value.is_callable() {
        return Err(wrong_type(name, value, "callable"));
    }
    let give = value.clone().unbind();
    let failed = |problem: String| Error::new(ErrorKind::MembershipUnavailable, problem);
    Ok(RedisCredentials::new(move || {
        let asked = Python::try_attach(|py| {
            let given = foreign::call(give.bind(py), ()).map_err(|error| failed(error.to_string()))?;
            let pair = given.extract::<(Option<String>, String)>();
            pair.or_else(|_| given.extract().map(|password| (None, password))).map_err(|_| {
                let kind = given.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
                failed(format!("must give a password or (user, password), not {kind}"))
            })
        });
        asked.unwrap_or_else(|| Err(failed("the interpreter is ending".to_owned())))
    }))
}

/// A dict of strings.
pub(crate) fn pairs(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Vec<(String, String)>> {
    let dict = value.cast::<PyDict>().map_err(|_| wrong_type(name, value, "a dict of str to str"))?;
    dict.iter().map(|(key, value)| Ok((text(name, &key)?, text(name, &value)?))).collect()
}

/// A payload: large read-only buffers without a copy, others copied once.
pub(crate) fn payload(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    buffer::bytes_of(value).map_err(|problem| {
        // What has no buffer is a TypeError of Python's own, whose words name no argument.
        if problem.is_instance_of::<PyTypeError>(value.py()) {
            wrong_type(name, value, "bytes-like")
        } else {
            problem
        }
    })
}
