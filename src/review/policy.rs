//! Reviews of policies themselves: one that couldn't be in force is refused where it is written.

use serde::Deserialize;
use serde_json::Value;

use crate::admission::Request;
use crate::object::ReadError;
use crate::policy::crd;
use crate::policy::reload::Policies;

/// Whether the request writes an `InvariantPolicy`.
pub(super) fn is_about_policy(request: &Request<'_>) -> bool {
    let is_write = matches!(&*request.operation, "CREATE" | "UPDATE");
    let resource = &request.resource;
    is_write
        && &*resource.group == crd::GROUP
        && &*resource.resource == crd::PLURAL
        && request.sub_resource.is_empty()
}

/// A review whose objects are kept as they came: unknown fields are what this is about.
#[derive(Deserialize)]
struct Review {
    request: Written,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
}

/// What is wrong with the policy that a review writes.
pub(super) fn fault(review: &[u8], policies: &Policies) -> Option<ReadError> {
    let Written { object, old_object } = match serde_json::from_slice::<Review>(review) {
        Ok(review) => review.request,
        Err(error) => return Some(ReadError { path: ".".to_owned(), problem: error.to_string() }),
    };
    // A finalizer must come off a bad one, too.
    if !old_object.is_null() && old_object.get("spec") == object.get("spec") {
        return None;
    }
    let faults = policies.faults(&object);
    let first = faults.first()?;
    let path = first.split_once(": ").map_or_else(String::new, |(path, _)| path.to_owned());
    Some(ReadError { path, problem: faults.join("; ") })
}
