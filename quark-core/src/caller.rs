//! What a silo and a client have in common: the view of the cluster, and calls into it.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::envelope::{Envelope, Text};
use crate::error::Result;
use crate::explanation::Explanation;
use crate::handler::BoxFuture;
use crate::health::Health;
use crate::id::SiloId;
use crate::membership::View;
use crate::ownership::OwnershipWatch;
use crate::parcel::Parcel;
use crate::router::{Called, Router};
use crate::silo_info::SiloInfo;
use crate::telemetry::CounterValues;
use crate::transport::Endings;

/// Calls actors and sees the view. Cheap to clone; does not keep its silo or client running: after their stop every
/// call ends with `NOT_RUNNING`.
#[derive(Clone)]
pub struct Caller(pub(crate) Arc<Router>);

impl Caller {
    /// A call to an actor; awaiting it sends it.
    ///
    /// ```no_run
    /// # async fn example(silo: quark_core::Silo) -> quark_core::Result<()> {
    /// let reply = silo.call(("Counter", "42"), "increment", "1").timeout(std::time::Duration::from_secs(5)).await?;
    /// # Ok(()) }
    /// ```
    pub fn call(&self, actor: impl Into<Actor>, method: impl Into<Text>, payload: impl Into<Bytes>) -> Call {
        self.call_message(Message::new(actor, method, payload))
    }

    /// A call with this message.
    pub fn call_message(&self, message: Message) -> Call {
        Call { caller: self.clone(), message }
    }

    /// A one-way message to an actor. Awaiting it sends it and returns when it is queued on a live link or in the own
    /// inbox; it is handed over at most once, and what happens later is only counted.
    pub fn notify(
        &self,
        actor: impl Into<Actor>,
        method: impl Into<Text>,
        payload: impl Into<Bytes>,
    ) -> Notification {
        self.call(actor, method, payload).one_way()
    }

    /// Sends a request envelope of the caller's making and returns the response envelope.
    ///
    /// # Errors
    /// Those of the contract. An error that the handler gave is an `Ok` here: see [`Envelope::into_result`].
    pub async fn send(&self, envelope: Envelope, timeout: Option<Duration>) -> Result<Envelope> {
        self.0.call(Parcel::from(envelope), timeout).await.map(Parcel::open)
    }

    /// Sends a one-way envelope of the caller's making, as [`notify`](Self::notify) does.
    ///
    /// # Errors
    /// Those of the contract.
    pub async fn post(&self, envelope: Envelope, timeout: Option<Duration>) -> Result<()> {
        self.0.notify(Parcel::from(envelope), timeout).await
    }

    /// Calls, and tells `done` of the ending, exactly once, on whatever thread it comes; `done` must neither block nor
    /// panic. For language bindings and others who do not want a future for each call.
    pub fn call_with(
        &self,
        envelope: Envelope,
        timeout: Option<Duration>,
        done: impl FnOnce(Result<Bytes>) + Send + 'static,
    ) -> CallHandle {
        let message = Message { envelope: Parcel::from(envelope), timeout };
        Call { caller: self.clone(), message }.with(done)
    }

    /// Makes many calls at once, for less than they cost one by one, each with a key by which `endings` is told what became of
    /// it, exactly once. Those to one actor keep their order.
    ///
    /// ```no_run
    /// # fn example(silo: quark_core::Silo, ids: Vec<String>) {
    /// use std::sync::Arc;
    ///
    /// let messages = ids.into_iter().map(|id| quark_core::Message::new(("Counter", id), "increment", "1"));
    /// silo.caller().call_many(messages.enumerate(), Arc::new(|key, result| println!("{key}: {result:?}")));
    /// # }
    /// ```
    pub fn call_many(&self, calls: impl IntoIterator<Item = (usize, Message)>, endings: Arc<dyn Endings>) {
        let calls = calls.into_iter().map(|(key, Message { envelope, timeout })| (key, envelope, timeout));
        self.0.call_many(calls, &endings);
    }

    /// This silo's or client's id.
    #[must_use]
    pub fn id(&self) -> &SiloId {
        self.0.engine().local()
    }

    /// The current view. Never waits.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.0.view()
    }

    /// The silos of the current view, sorted by id.
    #[must_use]
    pub fn silos(&self) -> Vec<Arc<SiloInfo>> {
        self.view().silos().cloned().collect()
    }

    /// The version of the current view.
    #[must_use]
    pub fn view_version(&self) -> u64 {
        self.view().version()
    }

    /// The owner of an actor on the ring, if anybody serves its type.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming the type or the id.
    pub fn owner(&self, actor_type: &str, actor_id: &str) -> Result<Option<SiloId>> {
        crate::id::check_actor(actor_type, actor_id)?;
        Ok(self.view().owner(actor_type, actor_id).cloned())
    }

    /// Whether this silo owns an actor by its current view and serves it: not while it is cut off, was told that it is out or
    /// cannot be sure, not when it leaves or has stopped. Never true of a client. Never waits.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming the type or the id.
    pub fn owns(&self, actor_type: &str, actor_id: &str) -> Result<bool> {
        self.0.owns(actor_type, actor_id)
    }

    /// Where an actor belongs by the current view, and where it would go. Never waits.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming the type or the id.
    pub fn explain(&self, actor_type: &str, actor_id: &str) -> Result<Explanation> {
        self.0.explain(actor_type, actor_id)
    }

    /// Watches what this silo gains and loses of the ring of an actor type, beginning with all that it owns: when silos
    /// come and go, and when it has to stop serving ([`owns`](Self::owns)), which loses everything, and may serve again.
    ///
    /// Changes come in order, and those that came since the host looked last come as one. What is lost is told when this
    /// silo has begun to refuse it or to pass it on, what is gained when it has begun to take it: requests may come before
    /// the host hears. With [`SiloBuilder::start_closed`](crate::SiloBuilder::start_closed) none comes before the first change.
    ///
    /// A stop waits until those who watch have been told that everything is lost and ask for more, or drop the watch.
    ///
    /// `None` is the type that this silo serves if it serves one, and the types that no silo declares if it serves all.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming the type when it is no name, when this silo does not serve it, or when it is not given and the
    /// silo serves several.
    pub fn watch_ownership(&self, actor_type: Option<&str>) -> Result<OwnershipWatch> {
        self.0.watch_ownership(actor_type)
    }

    /// Who would own an actor if its owner went, then if that one went too, and so on, `most` at most; see
    /// [`View::next_owners`].
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming the type or the id.
    pub fn next_owners(&self, actor_type: &str, actor_id: &str, most: usize) -> Result<Vec<SiloId>> {
        crate::id::check_actor(actor_type, actor_id)?;
        Ok(self.view().next_owners(actor_type, actor_id, most))
    }

    /// The owner of an actor and the silos for its copies, spread over zones, `most` at most; see [`View::successors`].
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming the type or the id.
    pub fn successors(&self, actor_type: &str, actor_id: &str, most: usize) -> Result<Vec<SiloId>> {
        crate::id::check_actor(actor_type, actor_id)?;
        Ok(self.view().successors(actor_type, actor_id, most))
    }

    /// A receiver that wakes at each new view; compare two with [`View::events_since`].
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.0.membership().watch()
    }

    /// How it fares. Never waits.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.membership().health()
    }

    /// A receiver that wakes when [`health`](Self::health) changes.
    #[must_use]
    pub fn watch_health(&self) -> watch::Receiver<Health> {
        self.0.membership().watch_health()
    }

    /// What was only counted since the start.
    #[must_use]
    pub fn counters(&self) -> CounterValues {
        self.0.engine().counters().values()
    }

    /// Whether it has been started and not stopped.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.0.engine().is_running()
    }
}

/// An actor: its type and its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Actor {
    /// The type.
    pub actor_type: Text,
    /// The id.
    pub actor_id: Text,
}

impl<T: Into<Text>, I: Into<Text>> From<(T, I)> for Actor {
    fn from((actor_type, actor_id): (T, I)) -> Self {
        Self { actor_type: actor_type.into(), actor_id: actor_id.into() }
    }
}

/// What is asked of an actor: one of many calls that are [made at once](Caller::call_many).
pub struct Message {
    envelope: Parcel,
    timeout: Option<Duration>,
}

impl Message {
    /// To this actor.
    #[must_use]
    pub fn new(actor: impl Into<Actor>, method: impl Into<Text>, payload: impl Into<Bytes>) -> Self {
        Self { envelope: Parcel::request(actor.into(), method.into(), payload.into()), timeout: None }
    }

    /// Ends the call with an error when there is no reply by then. Default 30 s, configurable.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The correlation id; without it, that of the request being handled, else a new one.
    #[must_use]
    pub fn correlation_id(mut self, id: impl Into<Text>) -> Self {
        self.envelope.correlation_id = id.into();
        self
    }

    /// The W3C traceparent.
    #[must_use]
    pub fn traceparent(mut self, traceparent: impl Into<Text>) -> Self {
        self.envelope.traceparent = traceparent.into();
        self
    }
}

/// A call that is sent when it is awaited.
#[must_use = "a call is sent when it is awaited"]
pub struct Call {
    caller: Caller,
    message: Message,
}

impl Call {
    /// Ends the call with an error when there is no reply by then. Default 30 s, configurable.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.message = self.message.timeout(timeout);
        self
    }

    /// The same one way: see [`Caller::notify`].
    pub fn one_way(self) -> Notification {
        Notification(self)
    }

    /// Sends it now, and tells `done` of the ending: [`Caller::call_with`] without an envelope of the caller's making.
    pub fn with(self, done: impl FnOnce(Result<Bytes>) + Send + 'static) -> CallHandle {
        let called = self.caller.0.call_with(self.message.envelope, self.message.timeout, Box::new(done));
        CallHandle { caller: self.caller, called }
    }

    /// The correlation id; without it, that of the request being handled, else a new one.
    pub fn correlation_id(mut self, id: impl Into<Text>) -> Self {
        self.message = self.message.correlation_id(id);
        self
    }

    /// The W3C traceparent.
    pub fn traceparent(mut self, traceparent: impl Into<Text>) -> Self {
        self.message = self.message.traceparent(traceparent);
        self
    }
}

impl IntoFuture for Call {
    type Output = Result<Bytes>;
    type IntoFuture = BoxFuture<'static, Result<Bytes>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Message { envelope, timeout } = self.message;
            self.caller.0.call(envelope, timeout).await?.into_result()
        })
    }
}

/// A one-way message that is sent when it is awaited.
#[must_use = "a notification is sent when it is awaited"]
pub struct Notification(Call);

impl Notification {
    /// How long to wait for a link. Default 30 s, configurable.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self(self.0.timeout(timeout))
    }

    /// The correlation id; without it, that of the request being handled, else a new one.
    pub fn correlation_id(self, id: impl Into<Text>) -> Self {
        Self(self.0.correlation_id(id))
    }
}

impl IntoFuture for Notification {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Message { envelope, timeout } = self.0.message;
            self.0.caller.0.notify(envelope, timeout).await
        })
    }
}

/// A call made with a callback. Dropping it changes nothing.
pub struct CallHandle {
    caller: Caller,
    called: Called,
}

impl CallHandle {
    /// Gives up: the callback gets `CANCELLED`, unless the call has ended before. Says whether it still waited.
    pub fn cancel(&self) -> bool {
        self.caller.0.cancel(&self.called)
    }
}
