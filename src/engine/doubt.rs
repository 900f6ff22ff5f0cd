//! What becomes of a verdict whose facts could not be confirmed.

use super::Request;
use super::subject::subject;
use crate::facts::Reference;
use crate::verdict::{Action, Finding, Judged, State, Verdict};

/// What stands for a rule where a fact is missing.
const UNCONFIRMED: &str = "unconfirmed";

/// A denial that rests on a fact that may be old says so. What is let in only because nobody could
/// say what a partner looks like is denied: an absence is a fact too.
pub fn unconfirmed(verdict: &mut Verdict, request: &Request<'_>, doubt: &Reference) {
    let mut denials = verdict.findings.iter_mut().filter(|judged| judged.denies()).peekable();
    if denials.peek().is_some() {
        let remark = format!("{doubt} could not be confirmed with the cluster");
        for judged in denials {
            judged.remark.get_or_insert_with(|| remark.clone());
        }
        return;
    }
    let finding = Finding {
        rule: UNCONFIRMED,
        subject: subject(request, request.object.display_name()),
        path: "metadata.name".to_owned(),
        place: String::new(),
        severity: 0,
        observed: doubt.to_string(),
        required: "an answer from the cluster".to_owned(),
        says: format!("depends on {doubt}, which could not be confirmed with the cluster"),
        needs: "to know".to_owned(),
        remedy: "Try again".to_owned(),
        ceiling: Action::Deny,
        fix: Vec::new(),
        container: None,
    };
    let policies = verdict.policies.clone();
    verdict.findings.push(Judged {
        finding,
        action: Action::Deny,
        state: State::New,
        policies,
        waiver: None,
        waivable: false,
        on_parent: false,
        remark: None,
    });
}
