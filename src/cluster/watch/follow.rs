//! One watch: it lists, follows the changes from there on, and starts over when it lost the thread.
//!
//! kube's `watcher` does the same, but keeps bookmarks to itself, and a bookmark is the only sign of
//! life that a quiet kind gives: without it nobody can tell a cluster where nothing changes from a
//! cache that stopped moving. Nor does it see that the API server went back in time.

use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use jiff::Timestamp;
use kube::api::{WatchEvent, WatchParams};
use kube::core::Request;
use kube::runtime::utils::Backoff;
use kube::runtime::watcher::DefaultBackoff;
use serde_json::value::RawValue;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use super::cache::Cache;
use super::{Observer, WatchError};
use crate::cluster::request::{self, Page, SMALL_PAGE, path};
use crate::facts::Facts;
use crate::object::Kind;

/// The API server ends a watch after this time and the next one goes on where it left off. Short, so
/// that even without bookmarks every kind is heard of several times in the five minutes after which
/// silence is alarming.
const WATCH: Duration = Duration::from_secs(120);

/// A watch that outlives its end by this much hangs on a connection that nobody serves any more.
const MARGIN: Duration = Duration::from_secs(10);

/// How long the start of an answer may take: as long as the API server itself works on a request.
const ANSWER: Duration = Duration::from_secs(60);

/// A watch that ends this soon without a word did not work; going on at once would be a busy loop.
const TOO_SHORT: Duration = Duration::from_secs(1);

/// A watch that ran this long ran well; what came before it doesn't make the next try wait longer.
const STEADY: Duration = Duration::from_secs(10);

/// How often to look whether a kind that the cluster doesn't have has come. An answer to that costs
/// the API server next to nothing.
const ABSENT: Duration = Duration::from_secs(10);

/// The watch of one kind.
pub(super) struct Watch {
    client: kube::Client,
    kind: Kind,
    cache: Cache,
    facts: Arc<Facts>,
    observer: Arc<dyn Observer>,
    synced: bool,
    failing: bool,
    /// When the running watch began.
    since: Option<Instant>,
}

/// What to do next.
enum Next {
    /// List everything.
    List,
    /// Follow the changes since the list that brought this version.
    Watch(String),
    /// Take up a watch that ended at this version.
    Resume(String),
    /// Wait until the kind comes.
    Wait,
}

/// What interrupted a watch, and how it is to go on.
type Interruption = (WatchError, Next);

impl Watch {
    pub(super) fn new(
        client: kube::Client,
        kind: Kind,
        facts: Arc<Facts>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        facts.set_current(kind, false);
        let cache = Cache::new(kind, Arc::clone(&facts));
        Self { client, kind, cache, facts, observer, synced: false, failing: false, since: None }
    }

    /// Watches for ever.
    pub(super) async fn run(mut self) {
        // It forgets its failures by itself, after two minutes without one.
        let mut backoff = DefaultBackoff::default();
        let mut next = Next::List;
        loop {
            let was_resumed = matches!(next, Next::Resume(_));
            let result = match next {
                Next::List => self.list().await.map_err(|error| (error, Next::List)),
                Next::Watch(version) => self.watch(version).await,
                Next::Resume(version) => self.resume(version).await,
                Next::Wait => {
                    sleep(ABSENT).await;
                    Ok(Next::List)
                }
            };
            next = match result {
                Ok(next) => next,
                Err((error, next)) => {
                    self.failed(&error);
                    let ran = self.since.take().map(|since| since.elapsed()).unwrap_or_default();
                    sleep(pause(&mut backoff, &error, was_resumed, ran)).await;
                    next
                }
            };
        }
    }

    async fn list(&mut self) -> Result<Next, WatchError> {
        let mut listing = self.cache.list();
        let (mut token, mut text) = (None, String::new());
        loop {
            match self.page(SMALL_PAGE, token, &mut text).await {
                Ok(()) => {}
                Err(WatchError::List(error)) if self.is_absent(&error) => {
                    self.cache.replace(self.cache.list());
                    self.heard();
                    return Ok(Next::Wait);
                }
                Err(error) => return Err(error),
            }
            let page = Page::read(&text).map_err(WatchError::List)?;
            for item in &page.items {
                self.cache.list_item(&mut listing, item.get());
            }
            token = page.next();
            if token.is_none() {
                self.cache.replace(listing);
                self.heard();
                return Ok(Next::Watch(page.version()));
            }
        }
    }

    /// Takes up a watch where it ended, unless the API server has never been there: after etcd was
    /// restored from a backup its versions are earlier ones, and a watch from a later version is
    /// served without complaint and without events.
    async fn resume(&mut self, version: String) -> Result<Next, Interruption> {
        let mut text = String::new();
        match self.page(1, None, &mut text).await {
            Ok(()) => {}
            Err(WatchError::List(error)) if !may_resume(&error) => return Ok(Next::List),
            Err(error) => return Err((error, Next::Resume(version))),
        }
        let current = match Page::read(&text) {
            Ok(page) => page.version(),
            Err(error) => return Err((WatchError::List(error), Next::List)),
        };
        match (current.parse::<u64>(), version.parse::<u64>()) {
            (Ok(now), Ok(then)) if now < then => Err((WatchError::Reverted(version, current), Next::List)),
            _ => self.watch(version).await,
        }
    }

    async fn watch(&mut self, mut version: String) -> Result<Next, Interruption> {
        let params = WatchParams::default().timeout(u32::try_from(WATCH.as_secs()).unwrap_or(u32::MAX));
        let request = Request::new(path(self.kind, None)).watch(&params, &version);
        let request =
            request.map_err(|error| (WatchError::Start(kube::Error::BuildRequest(error)), Next::List))?;
        let started = Instant::now();
        let events = match timeout(ANSWER, self.client.request_events::<Box<RawValue>>(request)).await {
            Ok(Ok(events)) => events,
            Ok(Err(error)) if self.is_absent(&error) => return Ok(Next::List),
            Ok(Err(error)) => {
                let next = if may_resume(&error) { Next::Resume(version) } else { Next::List };
                return Err((WatchError::Start(error), next));
            }
            Err(_) => return Err((WatchError::Silent, Next::Resume(version))),
        };
        let mut events = std::pin::pin!(events);
        let mut quiet = true;
        self.since = Some(Instant::now());
        self.heard();
        loop {
            let newer = match timeout(WATCH + MARGIN, events.try_next()).await {
                Ok(Ok(Some(WatchEvent::Added(object) | WatchEvent::Modified(object)))) => {
                    self.cache.put(object.get())
                }
                Ok(Ok(Some(WatchEvent::Deleted(object)))) => self.cache.remove(object.get()),
                Ok(Ok(Some(WatchEvent::Bookmark(bookmark)))) => Some(bookmark.metadata.resource_version),
                Ok(Ok(Some(WatchEvent::Error(status)))) => {
                    let (code, message) = (status.code, status.message);
                    return Err((WatchError::GivenUp { code, message }, Next::List));
                }
                Ok(Ok(None)) if quiet && started.elapsed() < TOO_SHORT => {
                    return Err((WatchError::TooShort, Next::Resume(version)));
                }
                Ok(Ok(None)) => return Ok(Next::Resume(version)),
                Ok(Err(error)) => {
                    let next = if may_resume(&error) { Next::Resume(version) } else { Next::List };
                    return Err((WatchError::Broken(error), next));
                }
                Err(_) => return Err((WatchError::Silent, Next::Resume(version))),
            };
            version = newer.unwrap_or(version);
            quiet = false;
            self.heard();
        }
    }

    async fn page(&self, limit: u32, token: Option<String>, text: &mut String) -> Result<(), WatchError> {
        let path = path(self.kind, None);
        let answer = timeout(ANSWER, request::list(&self.client, &path, limit, token, text)).await;
        answer.map_err(|_| WatchError::Silent)?.map_err(WatchError::List)
    }

    /// Only KEDA's kind comes with something that a cluster may lack. The others are part of every
    /// API server, so one that denies having them is not to be believed.
    fn is_absent(&self, error: &kube::Error) -> bool {
        self.kind == Kind::ScaledObject && request::is_status(error, 404)
    }

    fn heard(&mut self) {
        self.facts.set_current(self.kind, true);
        if !self.synced {
            self.synced = true;
            info!(kind = %self.kind, objects = self.cache.count(), "cache is filled");
            self.observer.synced(self.kind);
        }
        if self.failing {
            self.failing = false;
            info!(kind = %self.kind, objects = self.cache.count(), "watch has recovered");
        }
        self.observer.heard(self.kind, self.cache.count(), Timestamp::now());
    }

    fn failed(&mut self, error: &WatchError) {
        self.facts.set_current(self.kind, false);
        // That the API server forgot the changes since is everyday, and a list mends it.
        if self.failing || matches!(error, WatchError::GivenUp { code: 410, .. }) {
            debug!(kind = %self.kind, %error, "watch is interrupted");
        } else {
            self.failing = true;
            warn!(kind = %self.kind, %error, "watch is interrupted");
        }
        self.observer.failed(self.kind, error);
    }
}

/// How long to wait after a failure. An API server that refuses to take up a watch of before is back:
/// what made the waits grow is over, and until the list is there every decision reads live. A watch
/// that is refused right after a list is another matter: that would be list upon list. Nor do failures
/// of before count when the watch `ran` well since.
fn pause(backoff: &mut impl Backoff, error: &WatchError, was_resumed: bool, ran: Duration) -> Duration {
    let is_back = was_resumed && matches!(error, WatchError::GivenUp { code: 410, .. });
    if is_back || ran >= STEADY {
        backoff.reset();
    }
    backoff.next().unwrap_or(ABSENT)
}

/// Whether a watch may be taken up where it broke off. Not when an event was lost because it made no
/// sense, nor when the API server itself objects, unless it objects to being asked at all.
fn may_resume(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 401 | 403 | 429 | 503),
        kube::Error::SerdeError(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests;
