//! Host code that gets requests: [`Handler`] for those who answer later, and the adapter for async Rust functions.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::context;
use crate::error::{Error, ErrorKind, Result};
use crate::request::{Request, Unanswered};
use crate::telemetry::HANDLER;

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
    senders: Vec<mpsc::UnboundedSender<Request>>,
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
        let lane = match lanes.senders.len() {
            1 => 0,
            n => lanes.hasher.hash_one((request.actor_type(), request.actor_id())) as usize % n,
        };
        // Bounded by the inbox, which let the request in. A lane ends with its runtime only.
        let _ = lanes.senders[lane].send(request.queued());
    }

    fn start(&self, runtime: &Handle) {
        self.lanes.get_or_init(|| {
            let lane = || {
                let (sender, receiver) = mpsc::unbounded_channel();
                runtime.spawn(run_lane(self.function.clone(), receiver));
                sender
            };
            let count = runtime.metrics().num_workers().max(1);
            Lanes {
                hasher: std::hash::RandomState::new(),
                senders: std::iter::repeat_with(lane).take(count).collect(),
            }
        });
    }
}

/// Starts the requests of one lane one after the other.
async fn run_lane<F, Fut, R>(function: Arc<F>, mut requests: mpsc::UnboundedReceiver<Request>)
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R>> + Send + 'static,
    R: Into<Bytes> + Send + 'static,
{
    let mut batch = Vec::with_capacity(64);
    while requests.recv_many(&mut batch, 64).await > 0 {
        crate::batch::run(|| {
            for request in batch.drain(..) {
                start(&function, request);
            }
        });
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
