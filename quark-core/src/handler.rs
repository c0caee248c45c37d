//! Host code that gets requests: [`Handler`] for those who answer later, and the adapter for async Rust functions.

use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::BuildHasher as _;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::task::AtomicWaker;
use tokio::runtime::Handle;

use crate::batch::{self, Wake};
use crate::context;
use crate::error::{Error, ErrorKind, Result};
use crate::request::{Request, Unanswered};
use crate::telemetry::HANDLER;

/// Requests that are started before the answers to the first of them leave.
const AT_ONCE: usize = 64;
/// Memory for more of them is not kept.
const MANY: usize = 4096;

/// Takes requests. Implemented by the language bindings; Rust programs rather give an async function.
pub trait Handler: Send + Sync + 'static {
    /// Takes a request; answers it now or later. Called in the order of arrival, on the runtime's thread or on the
    /// thread of a local caller; must not block.
    fn handle(&self, request: Request);

    /// The silo starts on this runtime.
    fn start(&self, _runtime: &Handle) {}
}

/// An async function as a handler.
///
/// Requests of one actor start in the order of arrival; they may overlap afterwards. On a runtime with several workers,
/// different actors run on several of them.
pub(crate) struct AsyncHandler<F> {
    function: Arc<F>,
    lanes: OnceLock<Lanes>,
}

struct Lanes {
    hasher: std::hash::RandomState,
    lanes: Vec<Arc<Lane>>,
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.lanes.iter().for_each(|lane| lane.close());
    }
}

/// Requests on their way to the task that starts them. Bounded by the inbox, which let them in.
#[derive(Default)]
struct Lane {
    state: Mutex<Waiting>,
    starter: AtomicWaker,
    /// The task has been, or is about to be, woken.
    woken: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    requests: Vec<Request>,
    closed: bool,
}

impl Wake for Lane {
    fn wake(&self) {
        self.starter.wake();
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.state.lock().expect("no panic while a lane is locked")
    }

    fn push(self: &Arc<Self>, request: Request) {
        self.lock().requests.push(request);
        // The task takes the lock after it has said that it sleeps.
        if !self.woken.load(Ordering::Acquire) && !self.woken.swap(true, Ordering::AcqRel) {
            batch::wake(self.clone());
        }
    }

    /// No more come.
    fn close(&self) {
        self.lock().closed = true;
        self.starter.wake();
    }

    /// Swaps what has come for what is empty; false when no more will come.
    fn poll_take(&self, cx: &Context<'_>, empty: &mut Vec<Request>) -> Poll<bool> {
        self.starter.register(cx.waker());
        self.woken.store(false, Ordering::Release);
        let mut waiting = self.lock();
        if waiting.requests.is_empty() {
            return if waiting.closed { Poll::Ready(false) } else { Poll::Pending };
        }
        std::mem::swap(&mut waiting.requests, empty);
        Poll::Ready(true)
    }
}

impl<F, Fut, R> AsyncHandler<F>
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R>> + Send + 'static,
    R: Into<Bytes> + Send + 'static,
{
    pub(crate) fn new(function: F) -> Self {
        Self { function: Arc::new(function), lanes: OnceLock::new() }
    }
}

impl<F, Fut, R> Handler for AsyncHandler<F>
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R>> + Send + 'static,
    R: Into<Bytes> + Send + 'static,
{
    fn handle(&self, request: Request) {
        let Some(lanes) = self.lanes.get() else {
            return request.refuse(Error::new(ErrorKind::NotRunning, "the handler was not started"));
        };
        let lane = match lanes.lanes.len() {
            1 => 0,
            n => lanes.hasher.hash_one((request.actor_type(), request.actor_id())) as usize % n,
        };
        lanes.lanes[lane].push(request.queued());
    }

    fn start(&self, runtime: &Handle) {
        self.lanes.get_or_init(|| {
            let lane = || {
                let lane = Arc::<Lane>::default();
                runtime.spawn(run_lane(self.function.clone(), lane.clone()));
                lane
            };
            let count = runtime.metrics().num_workers().max(1);
            Lanes {
                hasher: std::hash::RandomState::new(),
                lanes: std::iter::repeat_with(lane).take(count).collect(),
            }
        });
    }
}

/// Starts the requests of one lane one after the other.
async fn run_lane<F, Fut, R>(function: Arc<F>, lane: Arc<Lane>)
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R>> + Send + 'static,
    R: Into<Bytes> + Send + 'static,
{
    let mut taken = Vec::new();
    while poll_fn(|cx| lane.poll_take(cx, &mut taken)).await {
        let mut requests = taken.drain(..);
        while requests.len() > 0 {
            batch::run(|| requests.by_ref().take(AT_ONCE).for_each(|request| start(&function, request)));
            tokio::task::coop::consume_budget().await;
        }
        drop(requests);
        if taken.capacity() > MANY {
            taken = Vec::new();
        }
    }
}

/// Polls the handler once here, which is what starts it, and leaves the rest to a task.
fn start<F, Fut, R>(function: &Arc<F>, request: Request)
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R>> + Send + 'static,
    R: Into<Bytes> + Send + 'static,
{
    let Some(mut request) = request.unless_abandoned() else { return };
    let answer = request.take_answer();
    let context = context::Current::of(&request);
    let function = function.clone();
    let work = async move { function(request).await.map(Into::into) };
    let mut work = Box::pin(context.scope(AssertUnwindSafe(work).catch_unwind()));
    match work.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(ended) => finish(answer, ended),
        Poll::Pending => {
            tokio::spawn(async move { finish(answer, work.await) });
        }
    }
}

fn finish(answer: Option<Unanswered>, ended: std::thread::Result<Result<Bytes>>) {
    let result = ended.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let message = format!("the handler panicked: {}", text.unwrap_or("(no message)"));
        tracing::error!(target: HANDLER, %message, "handler panicked");
        Err(Error::new(ErrorKind::HandlerFailed, message))
    });
    if let Some(answer) = answer {
        let _ = answer.finish(result);
    } else if let Err(error) = result {
        tracing::warn!(target: HANDLER, %error, "a one-way request failed");
    }
}

/// Handlers by actor type, with an optional one for all other types.
#[derive(Default)]
pub(crate) struct Handlers {
    pub(crate) by_type: HashMap<String, Arc<dyn Handler>>,
    pub(crate) catch_all: Option<Arc<dyn Handler>>,
}

impl Handlers {
    /// The types to declare: all when there is a catch-all handler.
    pub(crate) fn actor_types(&self) -> Option<Vec<String>> {
        if self.catch_all.is_some() {
            return None;
        }
        let mut types: Vec<_> = self.by_type.keys().cloned().collect();
        types.sort();
        Some(types)
    }
}

/// A boxed future, as bindings and traits need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
