//! Who may waive, asked of the API server's own authorizers.
//!
//! The resource is virtual: nothing is stored under `invariants.plimsoll.dev`, it is there for roles to
//! name. RBAC and every other authorizer of the cluster answer for it as for any resource.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::Api;
use kube::api::PostParams;

use super::{Cluster, brief};
use crate::admission::UserInfo;
use crate::engine::Permission;

/// The verb.
const VERB: &str = "waive";
/// The group of the resource.
const GROUP: &str = "plimsoll.dev";
/// The resource; an object of it is named after the rule.
const RESOURCE: &str = "invariants";

impl Cluster {
    /// Asks whether a user may waive a rule in a namespace. An answer that can't be had is none.
    pub async fn ask_may_waive(&self, user: &UserInfo<'_>, namespace: &str, rule: &str) -> Permission {
        let review = review(user, namespace, rule);
        let reviews: Api<SubjectAccessReview> = Api::all(self.client().clone());
        match reviews.create(&PostParams::default(), &review).await {
            Ok(review) => answer(review.status.unwrap_or_default()),
            Err(error) => Permission::Unknown(brief(&error)),
        }
    }
}

fn review(user: &UserInfo<'_>, namespace: &str, rule: &str) -> SubjectAccessReview {
    let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let all = |texts: &[crate::object::Text<'_>]| texts.iter().map(ToString::to_string).collect();
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: text(&user.username),
            uid: text(&user.uid),
            groups: Some(all(&user.groups)),
            extra: Some(user.extra.iter().map(|(key, values)| (key.to_string(), all(values))).collect()),
            resource_attributes: Some(ResourceAttributes {
                verb: text(VERB),
                group: text(GROUP),
                resource: text(RESOURCE),
                name: text(rule),
                namespace: text(namespace),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

/// An authorizer may fail and another allow, so an evaluation error only matters without a yes.
fn answer(status: SubjectAccessReviewStatus) -> Permission {
    let reason = status.reason.unwrap_or_default();
    match (status.allowed, status.evaluation_error) {
        (true, _) => Permission::Allowed(reason),
        (false, Some(error)) if !error.is_empty() && !status.denied.unwrap_or_default() => {
            Permission::Unknown(error)
        }
        (false, _) => Permission::Denied(reason),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cluster::scripted::scripted;

    async fn ask(status: u16, answer: Value) -> (Permission, Value) {
        let user: UserInfo<'_> = serde_json::from_str(
            r#"{"username": "alice", "uid": "7", "groups": ["shop"], "extra": {"example.com/scopes": ["a", "b"]}}"#,
        )
        .unwrap();
        let (cluster, asked) = scripted(vec![(status, answer.to_string())]);
        let answer = cluster.ask_may_waive(&user, "shop", "min-replicas").await;
        let asked = asked.lock().unwrap();
        assert_eq!(
            asked[0].0.split('?').next().unwrap(),
            "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        );
        (answer, serde_json::from_str(&asked[0].1).unwrap())
    }

    fn status(status: &Value) -> Value {
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {}, "status": status})
    }

    #[tokio::test]
    async fn the_whole_user_is_asked_for() {
        let (answer, asked) = ask(201, status(&json!({"allowed": true, "reason": "RBAC: because"}))).await;
        assert_eq!(answer, Permission::Allowed("RBAC: because".to_owned()));
        let expected = json!({
            "user": "alice", "uid": "7", "groups": ["shop"], "extra": {"example.com/scopes": ["a", "b"]},
            "resourceAttributes": {"verb": "waive", "group": "plimsoll.dev", "resource": "invariants",
                "name": "min-replicas", "namespace": "shop"},
        });
        assert_eq!(asked["spec"], expected);
    }

    #[tokio::test]
    async fn whatever_is_no_clear_yes_is_no_leave() {
        let no = ask(201, status(&json!({"allowed": false}))).await.0;
        assert_eq!(no, Permission::Denied(String::new()));
        let unclear = ask(201, status(&json!({"allowed": false, "evaluationError": "no such role"}))).await.0;
        assert_eq!(unclear, Permission::Unknown("no such role".to_owned()));
        let forbidden = json!({"kind": "Status", "status": "Failure", "message": "not you", "code": 403});
        assert_eq!(ask(403, forbidden).await.0, Permission::Unknown("not you".to_owned()));
        let nothing =
            json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {}});
        assert_eq!(ask(201, nothing).await.0, Permission::Denied(String::new()));
    }
}
