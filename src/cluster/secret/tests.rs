use super::*;
use crate::cluster::scripted::{Asked, scripted};

const NAME: &str = "plimsoll-certificate";

fn status(code: u16, reason: &str) -> (u16, String) {
    (code, format!(r#"{{"status":"Failure","message":"{reason} it is","reason":"{reason}","code":{code}}}"#))
}

fn names() -> BTreeSet<String> {
    ["plimsoll.plimsoll-system.svc".to_owned()].into()
}

/// The Secret as the API server gives it back.
fn stored(material: &Material, version: &str, asked: Option<&str>) -> (u16, String) {
    let annotations = asked.map(|what| [(RENEW.to_owned(), what.to_owned())].into());
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            resource_version: Some(version.to_owned()),
            annotations,
            ..ObjectMeta::default()
        },
        data: Some(data(material)),
        ..Secret::default()
    };
    (200, serde_json::to_string(&secret).unwrap())
}

fn sent(asked: &Asked, index: usize) -> Secret {
    serde_json::from_str(&asked.lock().unwrap()[index].1).unwrap()
}

async fn sync(secret: &mut SharedSecret) -> Result<Material, SecretError> {
    secret.sync(&names(), |_| true, Timestamp::now()).await
}

#[tokio::test]
async fn who_comes_second_takes_what_the_first_one_made() {
    let first = Material::new(&names(), Timestamp::now()).unwrap();
    let answers = vec![status(404, "NotFound"), status(409, "AlreadyExists"), stored(&first, "1", None)];
    let (cluster, asked) = scripted(answers);
    let mut secret = SharedSecret::new(&cluster, "plimsoll-system", NAME);
    assert_eq!(sync(&mut secret).await.unwrap(), first);
    let offered = sent(&asked, 1);
    assert_eq!(offered.type_.as_deref(), Some("kubernetes.io/tls"));
    assert_ne!(read(&offered), first);
}

#[tokio::test]
async fn a_renewal_names_the_version_it_is_for_and_gives_way_to_another_one() {
    let now = Timestamp::now();
    let old = Material::new(&names(), now).unwrap();
    let new = Material::new(&names(), now).unwrap();
    let answers =
        vec![stored(&old, "7", Some("certificate")), status(409, "Conflict"), stored(&new, "8", None)];
    let (cluster, asked) = scripted(answers);
    let mut secret = SharedSecret::new(&cluster, "plimsoll-system", NAME);
    assert_eq!(sync(&mut secret).await.unwrap(), new);
    let offered = sent(&asked, 1);
    assert_eq!(offered.metadata.resource_version.as_deref(), Some("7"));
    assert_eq!(offered.metadata.annotations, Some(BTreeMap::new()), "it is done once, not for ever");
    let offered = read(&offered);
    assert_eq!((offered.ca_pem == old.ca_pem, offered.certificate_pem == old.certificate_pem), (true, false));
}

#[tokio::test]
async fn what_is_deleted_or_broken_is_written_again_as_it_was() {
    let good = Material::new(&names(), Timestamp::now()).unwrap();
    let broken = Material { ca_pem: "nothing".to_owned(), ..good.clone() };
    let answers = vec![
        stored(&good, "1", None),
        status(404, "NotFound"),
        (201, stored(&good, "3", None).1),
        stored(&broken, "4", None),
        stored(&good, "5", None),
    ];
    let (cluster, asked) = scripted(answers);
    let mut secret = SharedSecret::new(&cluster, "plimsoll-system", NAME);
    for _ in 0..3 {
        assert_eq!(sync(&mut secret).await.unwrap(), good);
    }
    assert_eq!(read(&sent(&asked, 2)), good);
    assert_eq!(read(&sent(&asked, 4)), good);
}

#[tokio::test]
async fn a_broken_one_is_left_to_those_who_know_better() {
    let good = Material::new(&names(), Timestamp::now()).unwrap();
    let broken = Material { ca_key_pem: String::new(), ..good };
    let (cluster, asked) = scripted(vec![stored(&broken, "1", None)]);
    let mut secret = SharedSecret::new(&cluster, "plimsoll-system", NAME);
    let error = sync(&mut secret).await.unwrap_err().to_string();
    assert!(error.starts_with("Secret plimsoll-system/plimsoll-certificate can't be used: "), "{error}");
    assert!(error.ends_with("delete it to have another one made"), "{error}");
    assert_eq!(asked.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn without_the_namespace_it_keeps_its_own_until_there_is_one() {
    let missing = || vec![status(404, "NotFound"), status(404, "NotFound")];
    let mut answers = missing();
    answers.extend(missing());
    let made = Material::new(&names(), Timestamp::now()).unwrap();
    answers.extend([status(404, "NotFound"), stored(&made, "1", None)]);
    let (cluster, asked) = scripted(answers);
    let mut secret = SharedSecret::new(&cluster, "plimsoll-system", NAME);
    let own = sync(&mut secret).await.unwrap();
    assert_eq!(sync(&mut secret).await.unwrap(), own);
    assert_eq!(sync(&mut secret).await.unwrap(), own);
    assert_eq!(read(&sent(&asked, 5)), own);
}

#[tokio::test]
async fn what_it_may_not_do_is_said() {
    let (cluster, _) = scripted(vec![status(404, "NotFound"), status(403, "Forbidden")]);
    let mut secret = SharedSecret::new(&cluster, "ns", NAME);
    let error = sync(&mut secret).await.unwrap_err().to_string();
    assert_eq!(error, "failed to create Secret ns/plimsoll-certificate: Forbidden it is");
}
