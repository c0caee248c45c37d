//! The C ABI of Quark. `include/quark.h` is generated from the comments here and from `header_preamble.h`.
//!
//! This crate translates and decides nothing: pointers become checked references (`handle`), results become statuses
//! and error objects (`status`), panics stop at the border (`guard`), and C's callbacks run on threads of their own
//! (`hosting`). Every exported function does these four things around one call into `quark_core`.

// C's names, so that the header says what the sources say.
#![allow(non_camel_case_types)]
// What callers owe is said once for all functions in the preamble of the header, in the words of C.
#![allow(clippy::missing_safety_doc)]

// In the order of the header.
pub mod runtime;
pub mod status;
pub mod text;
pub mod view;

pub mod callback;
pub mod event_loop;
pub mod log;

pub mod config;
pub mod handlers;
pub mod ownership;
pub mod placement;
pub mod ranges;
pub mod request;
pub mod security;
pub mod silo;
pub mod silo_info;

pub mod call_many;
pub mod calls;
pub mod client;
pub mod owners;

pub mod balance;
pub mod envelope;
pub mod explanation;
pub mod membership;
pub mod ring;
pub mod transport;

mod fork;
mod guard;
mod handle;
mod hosting;
mod job;
mod lifecycle;
#[cfg(any(test, not(debug_assertions)))]
mod pieces;

// Not in debug builds: tests look in them for leaks and for memory that is used after it was freed.
#[cfg(not(debug_assertions))]
#[global_allocator]
static ALLOCATOR: pieces::Pieces = pieces::Pieces;
