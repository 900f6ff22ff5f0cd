use super::*;
use crate::object::Kind;

fn build(object: &Value, old: Option<&Value>, edits: &mut [Edit]) -> Vec<PatchOperation> {
    let (text, old) = (object.to_string(), old.map(Value::to_string));
    let object = Object::read(Kind::Pod, &text).unwrap();
    let old = old.as_ref().map(|old| Object::read(Kind::Pod, old).unwrap());
    let mut draft = Draft::new(&object, old.as_ref());
    assert!(draft.apply(edits));
    draft.into_patch()
}

fn apply(object: &Value, edits: &[Edit]) -> Value {
    let operations = build(object, None, &mut edits.to_vec());
    let mut patched = object.clone();
    json_patch::patch(&mut patched, &operations).unwrap();
    patched
}

#[test]
fn missing_parents_come_first() {
    let object = json!({"spec": {"containers": [{"name": "a"}]}});
    let pointer = "/spec/containers/0/securityContext/readOnlyRootFilesystem".to_owned();
    let patched = apply(&object, &[Edit::SetBoolean(pointer, true)]);
    assert_eq!(
        patched,
        json!({"spec": {"containers": [
        {"name": "a", "securityContext": {"readOnlyRootFilesystem": true}}]}})
    );
}

#[test]
fn edits_are_made_all_or_none_and_of_the_spec_alone() {
    let text = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a"}]}});
    let text = text.to_string();
    let object = Object::read(Kind::Pod, &text).unwrap();
    let mut draft = Draft::new(&object, None);
    let right = Edit::SetBoolean("/spec/containers/0/stdin".to_owned(), true);
    for wrong in ["/metadata/labels/c", "/spec/containers/7/stdin"] {
        assert!(!draft.apply(&mut [right.clone(), Edit::SetBoolean(wrong.to_owned(), true)]), "{wrong}");
        assert_eq!(draft.spec(), None);
    }
    assert!(draft.into_patch().is_empty());
}

#[test]
fn each_container_gets_a_tmp_of_its_own_under_a_free_name() {
    let object = json!({"spec": {
        "volumes": [{"name": "plimsoll-tmp", "configMap": {"name": "x"}}],
        "containers": [{"name": "a"}, {"name": "b", "volumeMounts": null}]}});
    let mount = |index: u8| Edit::MountTmp {
        container: format!("/spec/containers/{index}"),
        pod: "/spec".to_owned(),
        size_limit: "64Mi".to_owned(),
    };
    let patched = apply(&object, &[mount(0), mount(1), mount(1)]);
    let names: Vec<_> =
        patched["spec"]["volumes"].as_array().unwrap().iter().map(|v| v["name"].clone()).collect();
    assert_eq!(names, ["plimsoll-tmp", "plimsoll-tmp-2", "plimsoll-tmp-3"]);
    assert_eq!(
        patched["spec"]["containers"][1]["volumeMounts"],
        json!([{"name": "plimsoll-tmp-3", "mountPath": "/tmp"}])
    );
}

#[test]
fn a_field_is_set_in_the_pod_only_if_every_container_is_to_have_it() {
    let object = json!({"spec": {"containers": [{"name": "a"}, {"name": "b"}]}});
    let edit = |index: u8| Edit::SetInherited {
        field: "/securityContext/seccompProfile",
        kind: "RuntimeDefault",
        container: format!("/spec/containers/{index}"),
        pod: "/spec".to_owned(),
    };
    let profile = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    let one = apply(&object, &[edit(1)]);
    assert_eq!(one["spec"]["containers"][1]["securityContext"], profile);
    assert!(
        one["spec"].get("securityContext").is_none()
            && one["spec"]["containers"][0].get("securityContext").is_none()
    );
    let both = apply(&object, &[edit(0), edit(1)]);
    assert_eq!(
        both["spec"],
        json!({"securityContext": profile, "containers": [{"name": "a"}, {"name": "b"}]})
    );
}

#[test]
fn what_was_filled_in_before_comes_back_as_it_was() {
    let mount = |index: u8| Edit::MountTmp {
        container: format!("/spec/containers/{index}"),
        pod: "/spec".to_owned(),
        size_limit: "128Mi".to_owned(),
    };
    let manifest = json!({"spec": {
        "volumes": [{"name": "v", "configMap": {"name": "x"}}],
        "containers": [
            {"name": "a", "volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            {"name": "b"}]}});
    // The second container came first, the volume `v` last, and the policy allowed less.
    let old = json!({"spec": {
        "volumes": [
            {"name": "plimsoll-tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "plimsoll-tmp-2", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "v", "configMap": {"name": "x"}}],
        "containers": [
            {"name": "a", "volumeMounts": [
                {"name": "plimsoll-tmp-2", "mountPath": "/tmp"}, {"name": "v", "mountPath": "/v"}]},
            {"name": "b", "volumeMounts": [{"name": "plimsoll-tmp", "mountPath": "/tmp"}]}]}});
    let mut edits = [mount(0), mount(1)];
    let operations = build(&manifest, Some(&old), &mut edits);
    assert!(matches!(&edits[0], Edit::MountTmp { size_limit, .. } if size_limit == "64Mi"));
    let mut patched = manifest.clone();
    json_patch::patch(&mut patched, &operations).unwrap();
    assert_eq!(patched, old);
}

#[test]
fn a_volume_that_lost_its_mount_is_mounted_again() {
    let mount = Edit::MountTmp {
        container: "/spec/containers/0".to_owned(),
        pod: "/spec".to_owned(),
        size_limit: "64Mi".to_owned(),
    };
    let object = json!({"spec": {
        "volumes": [
            {"name": "plimsoll-tmp", "emptyDir": {"sizeLimit": "64Mi"}},
            {"name": "plimsoll-tmp-2", "emptyDir": {"sizeLimit": "64Mi"}}],
        "containers": [
            {"name": "a"},
            {"name": "b", "volumeMounts": [{"name": "plimsoll-tmp", "mountPath": "/tmp"}]}]}});
    let patched = apply(&object, &[mount]);
    assert_eq!(patched["spec"]["volumes"], object["spec"]["volumes"]);
    assert_eq!(patched["spec"]["containers"][0]["volumeMounts"][0]["name"], "plimsoll-tmp-2");
}
