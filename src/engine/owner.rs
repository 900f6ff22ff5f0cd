//! What a controller makes of an object that is judged itself.
//!
//! The cluster's own controllers aren't sent to the webhook, so what names one of their kinds as its
//! owner comes from a person (`kubectl create job --from=cronjob/…`), a restore, or somebody who
//! would like to be taken for one: anybody can write an owner reference. So it excuses what the owner
//! itself asks for and nothing more, and only if the owner is there with that uid.

use super::Request;
use crate::facts::{NamespaceFacts, Owner, Reference};
use crate::object::{Kind, Metadata, OwnerReference};
use crate::verdict::Finding;

/// What is made by the cluster's own controllers, and of what.
const MAKERS: [(Kind, Kind); 7] = [
    (Kind::Job, Kind::CronJob),
    (Kind::ReplicaSet, Kind::Deployment),
    (Kind::Pod, Kind::DaemonSet),
    (Kind::Pod, Kind::Job),
    (Kind::Pod, Kind::ReplicaSet),
    (Kind::Pod, Kind::ReplicationController),
    (Kind::Pod, Kind::StatefulSet),
];

/// The owner that a request's object names, if such an owner makes such objects.
pub(super) fn named(request: &Request<'_>) -> Option<Reference> {
    let (kind, owner) = maker(request.kind, &request.object.metadata)?;
    Some(Reference::Owner(kind, owner.name.to_string()))
}

/// The same, if it is there.
pub(super) fn find<'f>(request: &Request<'_>, facts: &'f NamespaceFacts) -> Option<&'f Owner> {
    let (kind, owner) = maker(request.kind, &request.object.metadata)?;
    let found = facts.owner(kind, &owner.name)?;
    (!found.uid.is_empty() && *found.uid == *owner.uid).then_some(&**found)
}

/// Whether a finding is one of the owner's, and no worse there.
pub(super) fn has(owners: &[Finding], finding: &Finding) -> bool {
    owners.iter().any(|owners| owners.place == finding.place && owners.severity >= finding.severity)
}

/// The owner that an object of a kind says it was made by, if such an owner makes such objects.
pub fn maker<'r>(made: Kind, metadata: &'r Metadata<'_>) -> Option<(Kind, &'r OwnerReference<'r>)> {
    let owner = metadata.controller()?;
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let kind = Kind::from_group_kind(group, &owner.kind)?;
    MAKERS.contains(&(made, kind)).then_some((kind, owner))
}

/// Whether the cluster's own controllers make other objects of objects of a kind.
pub fn makes_others(kind: Kind) -> bool {
    MAKERS.iter().any(|(_, maker)| *maker == kind)
}
