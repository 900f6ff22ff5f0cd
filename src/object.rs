//! Reading Kubernetes objects: typed, borrowed views of just what the rules look at.
//!
//! Every object, whether it came in an admission review, from a watch or from a file, is read from
//! its JSON text by [`Object::read`]. Fields that no rule reads are skipped, unknown ones are normal
//! (a newer apiserver), `null` is the same as absent (as in Kubernetes), and a field of the wrong
//! type is an error that names its path.

mod autoscaler;
mod budget;
pub mod duration;
mod few;
mod intent;
mod labels;
mod metadata;
mod pod;
pub mod schedule;
mod selector;
mod value;
mod workload;

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use autoscaler::{Autoscaler, Resource, ResourceMetric, ScaleTarget};
pub use budget::Budget;
pub(crate) use few::{few, few_entries, few_texts};
use few::{short, short_or_empty};
pub use intent::Intent;
pub use labels::Labels;
pub use metadata::{Annotations, Metadata, OwnerReference};
pub use pod::{
    Capabilities, Container, ContainerKind, EmptyDir, PodSecurityContext, PodSpec, PodTemplate, Quantity,
    Resources, SeccompProfile, SecurityContext, Volume, VolumeMount, clean_path,
};
pub use selector::{LabelSelector, LabelSelectorRequirement};
pub(crate) use value::is_same_json;
pub use value::{Count, Text, nullable};
pub use workload::{Claim, CronJob, OrderedUpdate, RollingUpdate, Scale, Strategy, UpdateStrategy, Workload};

/// The kinds that Plimsoll reads.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[allow(missing_docs, reason = "the names are Kubernetes' own")]
pub enum Kind {
    CronJob,
    DaemonSet,
    Deployment,
    HorizontalPodAutoscaler,
    Job,
    Namespace,
    PersistentVolumeClaim,
    Pod,
    PodDisruptionBudget,
    ReplicaSet,
    ReplicationController,
    ScaledObject,
    StatefulSet,
}

impl Kind {
    /// Every kind.
    pub const ALL: &'static [Self] = &[
        Self::CronJob,
        Self::DaemonSet,
        Self::Deployment,
        Self::HorizontalPodAutoscaler,
        Self::Job,
        Self::Namespace,
        Self::PersistentVolumeClaim,
        Self::Pod,
        Self::PodDisruptionBudget,
        Self::ReplicaSet,
        Self::ReplicationController,
        Self::ScaledObject,
        Self::StatefulSet,
    ];

    /// The kind that an API group and a kind name stand for, or `None` if Plimsoll doesn't read it.
    pub fn from_group_kind(group: &str, kind: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.as_str() == kind && k.group() == group)
    }

    /// The kind that an API group and a plural resource name stand for.
    pub fn from_group_resource(group: &str, resource: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.group() == group && k.plural() == resource)
    }

    /// The kind's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CronJob => "CronJob",
            Self::DaemonSet => "DaemonSet",
            Self::Deployment => "Deployment",
            Self::HorizontalPodAutoscaler => "HorizontalPodAutoscaler",
            Self::Job => "Job",
            Self::Namespace => "Namespace",
            Self::PersistentVolumeClaim => "PersistentVolumeClaim",
            Self::Pod => "Pod",
            Self::PodDisruptionBudget => "PodDisruptionBudget",
            Self::ReplicaSet => "ReplicaSet",
            Self::ReplicationController => "ReplicationController",
            Self::ScaledObject => "ScaledObject",
            Self::StatefulSet => "StatefulSet",
        }
    }

    /// The API group, empty for the core group.
    pub fn group(self) -> &'static str {
        match self {
            Self::CronJob | Self::Job => "batch",
            Self::DaemonSet | Self::Deployment | Self::ReplicaSet | Self::StatefulSet => "apps",
            Self::HorizontalPodAutoscaler => "autoscaling",
            Self::Namespace | Self::PersistentVolumeClaim | Self::Pod | Self::ReplicationController => "",
            Self::PodDisruptionBudget => "policy",
            Self::ScaledObject => "keda.sh",
        }
    }

    /// The one version that is read; the apiserver converts others (`matchPolicy: Equivalent`).
    pub fn version(self) -> &'static str {
        match self {
            Self::HorizontalPodAutoscaler => "v2",
            Self::ScaledObject => "v1alpha1",
            _ => "v1",
        }
    }

    /// Group and version, as manifests have them.
    pub fn api_version(self) -> String {
        match self.group() {
            "" => self.version().to_owned(),
            group => format!("{group}/{}", self.version()),
        }
    }

    /// The plural resource name.
    pub fn plural(self) -> &'static str {
        match self {
            Self::CronJob => "cronjobs",
            Self::DaemonSet => "daemonsets",
            Self::Deployment => "deployments",
            Self::HorizontalPodAutoscaler => "horizontalpodautoscalers",
            Self::Job => "jobs",
            Self::Namespace => "namespaces",
            Self::PersistentVolumeClaim => "persistentvolumeclaims",
            Self::Pod => "pods",
            Self::PodDisruptionBudget => "poddisruptionbudgets",
            Self::ReplicaSet => "replicasets",
            Self::ReplicationController => "replicationcontrollers",
            Self::ScaledObject => "scaledobjects",
            Self::StatefulSet => "statefulsets",
        }
    }

    /// Whether it runs a number of pods that can be scaled.
    pub fn scales(self) -> bool {
        matches!(self, Self::Deployment | Self::ReplicaSet | Self::StatefulSet)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an object could not be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct ReadError {
    /// The offending field, `.` for the object itself.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What is inside an object, by kind.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController or Job.
    Workload(Workload<'a>),
    /// A Pod.
    Pod(PodSpec<'a>),
    /// A CronJob.
    CronJob(CronJob<'a>),
    /// A HorizontalPodAutoscaler or ScaledObject.
    Autoscaler(Autoscaler<'a>),
    /// A PodDisruptionBudget.
    Budget(Budget),
    /// A PersistentVolumeClaim.
    Claim(Claim<'a>),
    /// The scale subresource of a workload.
    Scale(Scale),
    /// A Namespace: nothing but its metadata is read.
    Namespace,
}

/// One Kubernetes object.
#[derive(Clone, Debug)]
pub struct Object<'a> {
    /// Its kind; for a scale request the kind of the workload that is scaled.
    pub kind: Kind,
    /// Its metadata.
    pub metadata: Metadata<'a>,
    /// Its content.
    pub body: Body<'a>,
    spec: Option<&'a str>,
}

impl<'a> Body<'a> {
    /// Reads the spec of a kind.
    fn read(kind: Kind, spec: &'a str) -> Result<Self, ReadError> {
        Ok(match kind {
            Kind::CronJob => Self::CronJob(read_spec(spec)?),
            Kind::DaemonSet
            | Kind::Deployment
            | Kind::Job
            | Kind::ReplicaSet
            | Kind::ReplicationController
            | Kind::StatefulSet => Self::Workload(read_spec(spec)?),
            Kind::HorizontalPodAutoscaler => Self::Autoscaler(Autoscaler::Horizontal(read_spec(spec)?)),
            Kind::ScaledObject => Self::Autoscaler(Autoscaler::Scaled(read_spec(spec)?)),
            Kind::Namespace => Self::Namespace,
            Kind::PersistentVolumeClaim => Self::Claim(read_spec(spec)?),
            Kind::Pod => Self::Pod(read_spec(spec)?),
            Kind::PodDisruptionBudget => Self::Budget(read_spec(spec)?),
        })
    }
}

/// The outermost fields; what is inside is read in a second step, once the kind is known.
#[derive(Clone, Debug)]
pub struct Envelope<'a> {
    metadata: Metadata<'a>,
    spec: Option<&'a RawValue>,
}

/// serde takes a list for a struct, field by field, and no patch for that would apply.
impl<'de: 'a, 'a> Deserialize<'de> for Envelope<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Fields<'a> {
            #[serde(borrow, default, deserialize_with = "nullable")]
            metadata: Metadata<'a>,
            #[serde(borrow)]
            spec: Option<&'a RawValue>,
        }

        struct FieldsVisitor<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for FieldsVisitor<'a> {
            type Value = Fields<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fields<'a>, A::Error> {
                Fields::deserialize(MapAccessDeserializer::new(map))
            }
        }

        let Fields { metadata, spec } = deserializer.deserialize_map(FieldsVisitor(PhantomData))?;
        Ok(Self { metadata, spec })
    }
}

impl<'a> Envelope<'a> {
    /// Reads the outermost fields of an object from its JSON text.
    ///
    /// # Errors
    /// When the text is no JSON, or something in the metadata has another type than in the API.
    pub fn read(text: &'a str) -> Result<Self, ReadError> {
        read_text(text, "")
    }

    /// Reads what is inside an object of a known kind.
    ///
    /// # Errors
    /// When a field that a rule reads has another type than in the API.
    pub fn body(&self, kind: Kind) -> Result<Body<'a>, ReadError> {
        Body::read(kind, self.spec_text())
    }

    /// Reads what is inside an `autoscaling/v1` Scale.
    ///
    /// # Errors
    /// As [`Envelope::body`].
    pub fn scale(&self) -> Result<Body<'a>, ReadError> {
        Ok(Body::Scale(read_spec(self.spec_text())?))
    }

    /// Whether both have the same spec and the same annotations.
    pub fn declares_the_same(&self, other: &Self) -> bool {
        let spec = |envelope: &Self| envelope.spec.map(RawValue::get);
        spec(self) == spec(other) && self.metadata.annotations == other.metadata.annotations
    }

    fn spec_text(&self) -> &'a str {
        self.spec.map_or(NO_SPEC, RawValue::get)
    }
}

/// The spec of an object without one.
const NO_SPEC: &str = "{}";

impl<'a> Object<'a> {
    /// Reads an object of a known kind from its JSON text.
    ///
    /// # Errors
    /// When the text is no JSON, or a field that a rule reads has another type than in the API.
    pub fn read(kind: Kind, text: &'a str) -> Result<Self, ReadError> {
        let envelope = Envelope::read(text)?;
        let body = envelope.body(kind)?;
        Ok(Self::new(kind, envelope, body))
    }

    /// Reads the `autoscaling/v1` Scale of a workload of the given kind.
    ///
    /// # Errors
    /// As [`Object::read`].
    pub fn read_scale(kind: Kind, text: &'a str) -> Result<Self, ReadError> {
        let envelope = Envelope::read(text)?;
        let body = envelope.scale()?;
        Ok(Self::new(kind, envelope, body))
    }

    /// The object of an envelope and what was inside.
    pub fn new(kind: Kind, envelope: Envelope<'a>, body: Body<'a>) -> Self {
        Self { kind, metadata: envelope.metadata, body, spec: envelope.spec.map(RawValue::get) }
    }

    /// The same object with another spec.
    ///
    /// # Errors
    /// As [`Object::read`].
    pub fn with_spec<'t>(&'t self, spec: &'t str) -> Result<Object<'t>, ReadError> {
        let body = match &self.body {
            Body::Scale(_) => Body::Scale(read_spec(spec)?),
            _ => Body::read(self.kind, spec)?,
        };
        Ok(Object { kind: self.kind, metadata: self.metadata.clone(), body, spec: Some(spec) })
    }

    /// Whether it has a spec at all.
    pub fn has_spec(&self) -> bool {
        self.spec.is_some()
    }

    /// The spec's JSON text. Two objects from the same apiserver have the same text if and only if
    /// their specs are the same, but for the order of keys in maps of a custom resource.
    pub fn spec_text(&self) -> &'a str {
        self.spec.unwrap_or(NO_SPEC)
    }

    /// The JSON text of a workload's pod template, comparable as [`Object::spec_text`] is.
    pub fn template_text(&self) -> Option<&'a str> {
        #[derive(Deserialize)]
        struct Spec<'a> {
            #[serde(borrow)]
            template: Option<&'a RawValue>,
        }
        let spec: Spec<'a> = serde_json::from_str(self.spec_text()).ok()?;
        spec.template.map(RawValue::get)
    }

    /// What the object's pods are like and the path to where it says so, for kinds that make or are pods.
    pub fn pod_spec(&self) -> Option<(&PodSpec<'a>, &'static str)> {
        match &self.body {
            Body::Workload(workload) => Some((&workload.template.spec, "spec.template.spec")),
            Body::CronJob(cron) => {
                Some((&cron.job_template.spec.template.spec, "spec.jobTemplate.spec.template.spec"))
            }
            Body::Pod(spec) => Some((spec, "spec")),
            _ => None,
        }
    }

    /// The name, or the generateName followed by `…` when the apiserver hasn't made one up yet.
    pub fn display_name(&self) -> String {
        match (&self.metadata.name, &self.metadata.generate_name) {
            (Some(name), _) if !name.is_empty() => name.to_string(),
            (_, Some(prefix)) => format!("{prefix}…"),
            _ => String::new(),
        }
    }
}

fn read_spec<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, ReadError> {
    read_text(text, "spec")
}

/// Reads twice when the first attempt fails: the path of the error costs time that good input saves.
fn read_text<'a, T: Deserialize<'a>>(text: &'a str, at: &str) -> Result<T, ReadError> {
    // The same goes for what is inside an envelope.
    if text.trim_start().starts_with('[') {
        let path = if at.is_empty() { "." } else { at };
        let problem = "expected an object, found a list".to_owned();
        return Err(ReadError { path: path.to_owned(), problem });
    }
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let inner = error.path().to_string();
        let path = match (at.is_empty(), inner.as_str()) {
            (true, _) => inner,
            (false, ".") => at.to_owned(),
            (false, inner) => format!("{at}.{inner}"),
        };
        // The place in the text is one in JSON that nobody wrote; the path says more.
        let error = error.into_inner();
        let (text, place) =
            (error.to_string(), format!(" at line {} column {}", error.line(), error.column()));
        let problem = text.strip_suffix(&place).unwrap_or(&text);
        // Nor do the names of this program's types say anything to anybody.
        let problem = match problem.split_once("expected struct ") {
            Some((found, _)) => format!("{found}expected an object"),
            None => problem.to_owned(),
        };
        ReadError { path, problem }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_the_wrong_type_is_named() {
        let text = r#"{"metadata":{"name":"a"},"spec":{"template":{"spec":{"containers":[{"name":7}]}}}}"#;
        let error = Object::read(Kind::Deployment, text).unwrap_err();
        assert_eq!(error.path, "spec.template.spec.containers[0].name");
        assert!(error.problem.contains("expected a string"), "{error}");
    }

    #[test]
    fn a_list_is_no_object() {
        let read = |text| Object::read(Kind::Deployment, text).unwrap_err().to_string();
        assert_eq!(read(" [{},{}]"), ".: expected an object, found a list");
        assert_eq!(read(r#"{"spec":[1]}"#), "spec: expected an object, found a list");
    }

    #[test]
    fn null_is_absent() {
        let text = r#"{"metadata":{"name":"a","labels":null},"spec":{"replicas":null,"template":{"metadata":null,
            "spec":{"containers":null,"volumes":null,"securityContext":null}}},"status":null}"#;
        let object = Object::read(Kind::Deployment, text).unwrap();
        let Body::Workload(workload) = &object.body else { panic!("a Deployment is a workload") };
        assert_eq!(workload.replicas, None);
        assert!(object.metadata.labels.is_empty());
    }

    #[test]
    fn a_scale_to_zero_is_an_empty_spec() {
        let object = Object::read_scale(Kind::Deployment, r#"{"metadata":{"name":"a"},"spec":{}}"#).unwrap();
        let Body::Scale(scale) = object.body else { panic!("a scale") };
        assert_eq!(scale.replicas, 0);
    }
}
