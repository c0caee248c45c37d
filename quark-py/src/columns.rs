//! Many strings at once, as a program has them: an iterable, a column of Arrow's (pyarrow, polars, pandas), or an array of
//! NumPy's.
//!
//! No library is needed for that: a column of Arrow's comes by its C data interface
//! (<https://arrow.apache.org/docs/format/CDataInterface.html>), whose structs are declared here and only read, an array of
//! NumPy's by the buffer protocol. Their strings become no Python objects.

mod arrow;

use std::ops::Range;

use pyo3::exceptions::PyTypeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyMemoryView, PyString, PyTuple};
use quark_core::Error;

use crate::errors::raise;
use crate::{args, buffer};

/// Gives the strings to `take`, in their order, in one piece or several.
///
/// # Errors
/// `TypeError` for what is neither, and for what is no string in it; `InvalidArgumentError` for a string without UTF-8. Both name
/// the argument and the place.
pub(crate) fn each(name: &str, values: &Bound<'_, PyAny>, mut take: impl FnMut(&[&str])) -> PyResult<()> {
    if values.is_instance_of::<PyList>() || values.is_instance_of::<PyTuple>() {
        return of_iterable(name, values, take);
    }
    if arrow::each(name, values, &mut take)? {
        return Ok(());
    }
    match Fixed::of(values)? {
        Some(array) => array.each(name, take),
        None => of_iterable(name, values, take),
    }
}

fn of_iterable(name: &str, values: &Bound<'_, PyAny>, mut take: impl FnMut(&[&str])) -> PyResult<()> {
    let wrong = |_| args::wrong_type(name, values, "an iterable of strings");
    if values.is_instance_of::<PyString>() {
        return Err(wrong(()));
    }
    let values: Vec<_> = values.try_iter().map_err(|_| wrong(()))?.collect::<PyResult<_>>()?;
    let mut texts = Vec::with_capacity(values.len());
    for value in &values {
        let text = args::borrowed_text("", value);
        texts.push(text.or_else(|_| args::borrowed_text(&format!("{name}[{}]", texts.len()), value))?);
    }
    take(&texts);
    Ok(())
}

/// A string of a column that is none.
fn missing(name: &str, place: usize) -> PyErr {
    PyTypeError::new_err(format!("{name}[{place}]=null: must be str, not null"))
}

fn invalid(py: Python<'_>, name: &str, place: usize, shown: &str, problem: &str) -> PyErr {
    raise(py, &Error::invalid(&format!("{name}[{place}]"), shown, problem))
}

/// An array of strings that all have the same room (NumPy's `<U12`): four bytes for each character, zeros behind the last.
struct Fixed<'py> {
    values: Bound<'py, PyAny>,
    /// Bytes of one string.
    room: usize,
    count: usize,
    is_big_endian: bool,
}

impl<'py> Fixed<'py> {
    /// Nothing when it is something else.
    fn of(values: &Bound<'py, PyAny>) -> PyResult<Option<Self>> {
        let py = values.py();
        // What hides some of its strings says so only one by one.
        if values.hasattr(intern!(py, "mask"))? {
            return Ok(None);
        }
        let Ok(view) = PyMemoryView::from(values) else { return Ok(None) };
        let format: String = view.getattr(intern!(py, "format"))?.extract()?;
        let Ok((count,)) = view.getattr(intern!(py, "shape"))?.extract::<(usize,)>() else { return Ok(None) };
        let kind = format.trim_start_matches(['<', '>', '=', '@', '!']);
        if kind.trim_start_matches(|digit: char| digit.is_ascii_digit()) != "w" {
            return Ok(None);
        }
        let is_big_endian = match format.as_bytes()[0] {
            b'<' => false,
            b'>' | b'!' => true,
            _ => cfg!(target_endian = "big"),
        };
        let room = view.getattr(intern!(py, "itemsize"))?.extract()?;
        Ok(Some(Self { values: values.clone(), room, count, is_big_endian }))
    }

    fn each(&self, name: &str, mut take: impl FnMut(&[&str])) -> PyResult<()> {
        let bytes = buffer::bytes_of(&self.values)?;
        // All of them one behind the other.
        let (mut all, mut ranges) = (String::with_capacity(bytes.len() / 4), Vec::with_capacity(self.count));
        for place in 0..self.count {
            let characters = bytes[place * self.room..][..self.room].as_chunks().0;
            let end =
                characters.iter().rposition(|character| *character != [0; 4]).map_or(0, |last| last + 1);
            let from = all.len();
            for character in &characters[..end] {
                let number = match self.is_big_endian {
                    true => u32::from_be_bytes(*character),
                    false => u32::from_le_bytes(*character),
                };
                let problem = |all: &str| invalid(self.values.py(), name, place, all, "is not valid Unicode");
                all.push(char::from_u32(number).ok_or_else(|| problem(&all[from..]))?);
            }
            ranges.push(from..all.len());
        }
        take(&ranges.into_iter().map(|range: Range<usize>| &all[range]).collect::<Vec<_>>());
        Ok(())
    }
}
