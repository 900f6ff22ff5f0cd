//! Reviews of policies themselves: one that couldn't be in force is refused where it is written.

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

/// What is wrong with the policy that the request writes.
pub(super) fn fault(request: &Request<'_>, policies: &Policies) -> Option<ReadError> {
    let object = match serde_json::from_str::<Value>(request.object?.get()) {
        Ok(object) => object,
        Err(error) => return Some(ReadError { path: ".".to_owned(), problem: error.to_string() }),
    };
    // A finalizer must come off a bad one, too.
    let old = request.old_object.and_then(|old| serde_json::from_str::<Value>(old.get()).ok());
    if old.is_some_and(|old| old.get("spec") == object.get("spec")) {
        return None;
    }
    let faults = policies.faults(&object);
    let first = faults.first()?;
    let path = first.split_once(": ").map_or_else(String::new, |(path, _)| path.to_owned());
    Some(ReadError { path, problem: faults.join("; ") })
}
