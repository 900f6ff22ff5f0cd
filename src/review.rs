//! One admission review from its bytes to its answer. If you read one file of Plimsoll, read this.
//!
//! ```text
//! bytes ── admission::Request ── engine::Request ── engine ─┬─ rests on other objects? read them live,
//!                                                           │  and judge once more
//!                                                           ├─ waives? ask whether the user may,
//!                                                           │  and judge once more
//!                                                           └─ record ── answer
//! ```

mod policy;
mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use futures::future::{BoxFuture, join_all};
use jiff::Timestamp;
use tokio::time::{Instant, timeout};
use tracing::{Instrument as _, error, error_span, warn};

use crate::admission::{Request, Response, Sent, Status, UserInfo};
use crate::audit::{AuditLog, Record};
use crate::engine::{self, Operation, Outcome, Permission};
use crate::facts::{Facts, NamespaceFacts, Reference};
use crate::metrics::{Confirmation, Metrics};
use crate::object::{Envelope, Kind, Object, ReadError, Text};
use crate::otlp;
use crate::policy::Policy;
use crate::policy::reload::Policies;
use crate::render;
use crate::verdict::{Action, State, Verdict};

/// How long all live reads of one request may take together.
const LIVE_READS: Duration = Duration::from_millis(500);
/// How long the cluster may take to say who may waive. All questions of a request are asked at once.
const AUTHORIZATION: Duration = Duration::from_secs(1);
/// How often the cluster is asked for one request. Each answer can make rules look at more: which policies
/// apply, then what the object acts on, then what else acts on that.
const ROUNDS: usize = 4;

/// Which webhook is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Phase {
    /// Fill in defaults.
    Mutate,
    /// Judge.
    Validate,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// An HTTP answer; its body is JSON.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status: 200 for every review that could be read, denied ones included.
    pub status: StatusCode,
    /// The body.
    pub body: Bytes,
}

/// What the server calls.
pub trait Review: Send + Sync + 'static {
    /// Answers one review before the deadline.
    fn review(self: Arc<Self>, phase: Phase, body: Bytes, deadline: Instant) -> BoxFuture<'static, Answer>;
}

/// The cluster itself, past all caches.
pub trait Live: Send + Sync {
    /// The given facts with what the references name read anew, as it is after the call, absence included.
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        references: &'a BTreeSet<Reference>,
        facts: &'a NamespaceFacts,
        within: Duration,
    ) -> BoxFuture<'a, Reading>;

    /// Whether a user may waive a rule in a namespace.
    fn may_waive<'a>(
        &'a self,
        user: &'a UserInfo<'a>,
        namespace: &'a str,
        rule: &'static str,
    ) -> BoxFuture<'a, Permission>;
}

/// Hears of every decision that was recorded. It neither waits nor fails: an answer is due.
pub trait Witness: Send + Sync {
    /// One decision; `uid` is the object's, if it exists.
    fn decided(&self, record: &Record, uid: Option<&str>);
}

/// What live reads brought.
#[derive(Debug)]
pub struct Reading {
    /// The facts, as they are now as far as they could be read.
    pub facts: NamespaceFacts,
    /// What could not be read, and why.
    pub failed: BTreeMap<Reference, LiveError>,
}

/// A live read failed or took too long.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LiveError(pub String);

/// What becomes of a request that only a waiver lets in when its record can't be written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, clap::ValueEnum)]
pub enum AuditFailure {
    /// It is let in.
    #[default]
    Allow,
    /// It is denied.
    Deny,
}

/// Everything that an answer takes.
pub struct Reviewer {
    /// The policies in force.
    pub policies: Policies,
    /// What the rest of the cluster looks like.
    pub facts: Arc<Facts>,
    /// The cluster, to confirm facts; `None` without one.
    pub live: Option<Arc<dyn Live>>,
    /// Where decisions are recorded.
    pub audit: AuditLog,
    /// What to do when they can't be.
    pub audit_failure: AuditFailure,
    /// This replica's name, for records.
    pub instance: String,
    /// Who else hears of decisions.
    pub witness: Option<Arc<dyn Witness>>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Review for Reviewer {
    fn review(self: Arc<Self>, phase: Phase, body: Bytes, deadline: Instant) -> BoxFuture<'static, Answer> {
        Box::pin(async move { self.answer(phase, &body, deadline).await })
    }
}

impl Reviewer {
    async fn answer(&self, phase: Phase, body: &[u8], deadline: Instant) -> Answer {
        let started = Instant::now();
        let mut request = match Request::read(body) {
            Ok(request) => request,
            Err(error) => return refuse(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        let Some(operation) = operation(&request) else {
            let problem = format!("unknown operation {:?}", render::sanitise(&request.operation));
            return refuse(StatusCode::BAD_REQUEST, &problem);
        };
        // Whatever is logged or done for the request says so, however little is logged.
        let span = error_span!("review", uid = %render::sanitise(&request.uid), phase = phase.as_str());
        let subject = match policy::is_about_policy(&request) {
            true => policy::fault(body, &self.policies).map_or(Ok(None), Err),
            false => {
                let objects = (request.object.take(), request.old_object.take());
                subject(&request, operation, objects)
            }
        };
        self.decide(phase, &request, operation, subject, started, deadline).instrument(span).await
    }

    async fn decide(
        &self,
        phase: Phase,
        request: &Request<'_>,
        operation: Operation,
        subject: Result<Option<engine::Request<'_>>, ReadError>,
        started: Instant,
        deadline: Instant,
    ) -> Answer {
        let mut response = Response::allow(&request.uid);
        match subject {
            Ok(Some(subject)) => {
                let verdict = match self.verdict(phase, &subject, &request.user_info).await {
                    Ok(verdict) => verdict,
                    Err(error) => return refuse(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
                };
                self.fill(&mut response, phase, &verdict);
                // What was not filled in is the validating webhook's to record.
                if phase == Phase::Validate || !verdict.patch.is_empty() {
                    let took = started.elapsed();
                    let record = record::record(request, &subject, &verdict, took, &self.instance);
                    let recorded = self.record(&record, deadline).await;
                    if phase == Phase::Validate {
                        self.tell(&record, &subject);
                    }
                    if !recorded && self.audit_failure == AuditFailure::Deny && only_waived(&verdict) {
                        let message = "a waiver lets this in, but the decision could not be recorded";
                        deny(&mut response, message.to_owned());
                    }
                }
            }
            // Mutation passes what it can't read; the validating webhook says what is wrong.
            Err(error)
                if phase == Phase::Validate
                    && (policy::is_about_policy(request) || self.governs(&request.namespace)) =>
            {
                let message = render::sanitise(&match policy::is_about_policy(request) {
                    true => format!("the policy can't be in force: {}", error.problem),
                    false => format!("the object can't be read: {error}"),
                });
                let record = record::unreadable(request, operation, &error, &message, &self.instance);
                self.record(&record, deadline).await;
                if let Some(witness) = &self.witness {
                    witness.decided(&record, None);
                }
                deny(&mut response, message);
            }
            Ok(None) | Err(_) => {}
        }
        let decision = if response.allowed { "Allowed" } else { "Denied" };
        let seconds = started.elapsed().as_secs_f64();
        // Each request passes both webhooks; it is counted where it is decided.
        if phase == Phase::Validate {
            let (operation, kind) = (&request.operation, &request.kind.kind);
            self.metrics.admission(operation, kind, decision, request.dry_run, seconds);
        }
        otlp::describe([
            ("operation", &request.operation),
            ("kind", &request.kind.kind),
            ("namespace", &request.namespace),
            ("name", &request.name),
            ("decision", decision),
        ]);
        match response.to_json() {
            Ok(json) => Answer { status: StatusCode::OK, body: json.into() },
            Err(error) => {
                error!(%error, "An answer could not be written as JSON.");
                refuse(StatusCode::INTERNAL_SERVER_ERROR, "the answer could not be written")
            }
        }
    }

    /// Runs the engine on what is cached and, as long as the verdict rests on other objects, once more
    /// on what the cluster says now.
    async fn verdict(
        &self,
        phase: Phase,
        request: &engine::Request<'_>,
        user: &UserInfo<'_>,
    ) -> Result<Verdict, LiveError> {
        let policies = self.policies.current();
        let mut facts = self.facts.namespace(request.namespace);
        let mut answers = BTreeMap::new();
        let mut outcome = self.run(phase, request, user, &policies, &facts, &mut answers).await;
        let Some(live) = &self.live else { return Ok(outcome.verdict) };
        let end = Instant::now() + LIVE_READS;
        let at_first = outcome.verdict.allowed();
        let (mut asked, mut confirmed) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..ROUNDS {
            let mut references = doubts(phase, &outcome);
            references.extend(self.outdated(phase, request, &outcome));
            references.retain(|reference| !reference.is_covered(&asked));
            if references.is_empty() {
                break;
            }
            let within = end.saturating_duration_since(Instant::now());
            let mut reading = live.read(request.namespace, &references, &facts, within).await;
            for (reference, error) in &reading.failed {
                warn!(%error, %reference, namespace = request.namespace, "A fact could not be confirmed.");
            }
            // Nobody knows which policies apply. An error lets the failure policy decide.
            let namespace = Reference::Object(Kind::Namespace, request.namespace.to_owned());
            if outcome.missing.contains(&namespace)
                && let Some(error) = reading.failed.remove(&namespace)
            {
                return Err(error);
            }
            confirmed.extend(references.difference(&reading.failed.into_keys().collect()).cloned());
            asked.extend(references);
            facts = Arc::new(reading.facts);
            outcome = self.run(phase, request, user, &policies, &facts, &mut answers).await;
        }
        // Without a denial, what findings rest on could only take warnings away.
        let matters = |doubt: &Reference| !outcome.verdict.allowed() || outcome.missing.contains(doubt);
        let doubt = doubts(phase, &outcome)
            .into_iter()
            .find(|reference| matters(reference) && !reference.is_covered(&confirmed));
        if phase == Phase::Validate && !asked.is_empty() {
            self.metrics.confirmation(match &doubt {
                Some(_) => Confirmation::Unconfirmed,
                None if outcome.verdict.allowed() == at_first => Confirmation::Confirmed,
                None => Confirmation::Overturned,
            });
        }
        if let Some(doubt) = doubt {
            engine::unconfirmed(&mut outcome.verdict, request, &doubt);
        }
        Ok(outcome.verdict)
    }

    /// Runs the engine, and once more if it takes the cluster's word on who may waive. Nobody is asked
    /// twice for one request.
    async fn run(
        &self,
        phase: Phase,
        request: &engine::Request<'_>,
        user: &UserInfo<'_>,
        policies: &[Policy],
        facts: &NamespaceFacts,
        answers: &mut BTreeMap<&'static str, Permission>,
    ) -> Outcome {
        let outcome = match phase {
            Phase::Mutate => return engine::fill_in(request, policies, facts, Timestamp::now()),
            Phase::Validate => engine::judge_authorized(request, policies, facts, answers, Timestamp::now()),
        };
        if outcome.asks.is_empty() {
            return outcome;
        }
        let ask = async |rule: &'static str| {
            let Some(live) = &self.live else {
                return (rule, Permission::Unknown("Plimsoll looks at no cluster".to_owned()));
            };
            let answer = timeout(AUTHORIZATION, live.may_waive(user, request.namespace, rule)).await;
            let late = |_| Permission::Unknown("the API server did not answer in time".to_owned());
            (rule, answer.unwrap_or_else(late))
        };
        answers.extend(join_all(outcome.asks.iter().map(|rule| ask(rule))).await);
        engine::judge_authorized(request, policies, facts, answers, Timestamp::now())
    }

    /// What the verdict looked at and the cache may well be wrong about. It is read if it can be, and
    /// believed otherwise, as it would be without a way to know better.
    ///
    /// A watch that is interrupted tells neither what came nor what went. And an autoscaler or a budget
    /// is new seldom, but then often right after another one, from the same file, that it clashes with.
    fn outdated(
        &self,
        phase: Phase,
        request: &engine::Request<'_>,
        outcome: &Outcome,
    ) -> BTreeSet<Reference> {
        if phase == Phase::Mutate {
            return BTreeSet::new();
        }
        let clash = [Kind::HorizontalPodAutoscaler, Kind::PodDisruptionBudget, Kind::ScaledObject];
        let is_new = request.operation == Operation::Create && clash.contains(&request.kind);
        let outdated = |reference: &&Reference| {
            let kind = reference.kind();
            (is_new && clash.contains(&kind)) || !self.facts.is_current(kind)
        };
        outcome.looked_at.iter().filter(outdated).cloned().collect()
    }

    /// Whether any policy applies in a namespace, as far as is known without asking the cluster.
    fn governs(&self, namespace: &str) -> bool {
        let facts = self.facts.namespace(namespace);
        let applies = |policy: &Policy| {
            let unknown = facts.labels.is_none() && self.live.is_some();
            unknown || policy.matching.namespace(namespace, facts.labels.as_ref())
        };
        self.policies.current().iter().any(applies)
    }

    fn fill(&self, response: &mut Response, phase: Phase, verdict: &Verdict) {
        response.warnings = render::warnings(verdict);
        response.audit_annotations = record::annotations(verdict);
        for judged in &verdict.findings {
            self.metrics.finding(judged.finding.rule, judged.action.as_str(), judged.state.as_str());
        }
        if phase == Phase::Mutate {
            if let Err(error) = response.patch(&verdict.patch) {
                error!(%error, "A patch could not be written as JSON.");
            }
        } else if !verdict.allowed() {
            response.allowed = false;
            response.status = Some(Status::forbidden(render::denial(verdict), render::causes(verdict)));
        }
    }

    /// Tells the witness. What is about to be created has a uid already, but may never exist.
    fn tell(&self, record: &Record, subject: &engine::Request<'_>) {
        let exists = subject.operation != Operation::Create;
        let uid = subject.object.metadata.uid.as_deref().filter(|_| exists);
        if let Some(witness) = &self.witness {
            witness.decided(record, uid);
        }
    }

    /// Writes a record, if its level is wanted. Whether it is safe in the log.
    async fn record(&self, record: &Record, deadline: Instant) -> bool {
        match self.audit.write(record, deadline).await {
            Ok(()) => true,
            Err(error) => {
                self.metrics.audit_write_failed();
                error!(%error, "A decision could not be recorded.");
                false
            }
        }
    }
}

fn deny(response: &mut Response, message: String) {
    response.allowed = false;
    response.status = Some(Status::forbidden(message, Vec::new()));
}

/// What has to be read live. Mutation needs to know which policies apply; the rest it may get wrong
/// on a stale cache, since the final state is judged anyway.
fn doubts(phase: Phase, outcome: &Outcome) -> BTreeSet<Reference> {
    let mut doubts = outcome.missing.clone();
    match phase {
        Phase::Mutate => {
            doubts.retain(|reference| matches!(reference, Reference::Object(Kind::Namespace, _)));
        }
        Phase::Validate => doubts.extend(outcome.rests_on.iter().cloned()),
    }
    doubts
}

/// Whether a waiver is all that lets the request in.
fn only_waived(verdict: &Verdict) -> bool {
    verdict.allowed()
        && verdict
            .findings
            .iter()
            .any(|judged| judged.state == State::Waived && judged.action == Action::Deny)
}

fn operation(request: &Request<'_>) -> Option<Operation> {
    match &*request.operation {
        "CONNECT" => Some(Operation::Connect),
        "CREATE" => Some(Operation::Create),
        "DELETE" => Some(Operation::Delete),
        "UPDATE" => Some(Operation::Update),
        _ => None,
    }
}

/// The request as the engine takes it; `None` if it is about nothing that is governed.
fn subject<'a>(
    request: &'a Request<'a>,
    operation: Operation,
    (object, old): (Option<Sent<'a>>, Option<Sent<'a>>),
) -> Result<Option<engine::Request<'a>>, ReadError> {
    let is_write = matches!(operation, Operation::Create | Operation::Update);
    let is_scale = &*request.sub_resource == "scale";
    // Whoever may write these may write the whole metadata with them, so they are judged as the object is.
    let is_back_door = matches!(&*request.sub_resource, "status" | "finalize");
    let is_asked = is_scale || is_back_door || request.sub_resource.is_empty();
    let kind = Kind::from_group_resource(&request.resource.group, &request.resource.resource);
    let (Some(kind), true) = (kind, is_write && is_asked) else {
        return Ok(None);
    };
    let Some(object) = object else {
        return Err(ReadError {
            path: "object".to_owned(),
            problem: "expected an object, found null".to_owned(),
        });
    };
    let object = object?;
    // An old object that can't be read is no excuse, but no reason to refuse its successor either.
    let old = old.filter(|_| operation == Operation::Update).and_then(Result::ok);
    let body = |of: &Envelope<'a>| if is_scale { of.scale() } else { of.body(kind) };
    let object = match (body(&object), &old) {
        (Ok(body), _) => Object::new(kind, object, body),
        // Whatever is in there was there before: a finalizer must come off all the same.
        (Err(_), Some(old)) if object.declares_the_same(old) => return Ok(None),
        (Err(error), _) => return Err(error),
    };
    let old = old.and_then(|old| body(&old).ok().map(|body| Object::new(kind, old, body)));
    Ok(Some(engine::Request {
        operation,
        kind,
        namespace: if kind == Kind::Namespace { &request.name } else { &request.namespace },
        user: &request.user_info.username,
        groups: request.user_info.groups.iter().map(Text::as_str).collect(),
        manager: request.options.field_manager.as_deref(),
        manifest: false,
        object,
        old,
    }))
}

fn refuse(status: StatusCode, problem: &str) -> Answer {
    let body = serde_json::json!({ "error": problem }).to_string();
    Answer { status, body: body.into() }
}
