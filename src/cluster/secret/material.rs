//! What the Secret holds, and when it is to be something else.
//!
//! An authority signs one server certificate after the other, so that the `caBundle` stays the same
//! for years. Its successor comes in three steps, each of which every replica may take: first both
//! authorities are trusted and the old certificate is served; once every configuration has both in
//! its bundle, the certificate comes from the new one; and when no replica can be serving the old
//! certificate any more, the old authority goes.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::cluster::webhooks::trust;
use crate::server::{Authority, AuthorityError, Inspection, inspect};

/// How long both authorities are in the bundles before the new one signs. An API server hears of a
/// changed configuration within a second; one that is cut off has more urgent trouble.
const OVERLAP: SignedDuration = SignedDuration::from_secs(10);

/// How long the old authority is kept after the new one has signed. Replicas look at the Secret every
/// half a minute.
const RETIREMENT: SignedDuration = SignedDuration::from_hours(1);

/// The most authorities in a bundle. More than two are there only if somebody keeps asking for more.
const AUTHORITIES: usize = 3;

/// What the replicas share.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Material {
    /// The authorities to trust, PEM, the one that signs first: `ca.crt`.
    pub ca_pem: String,
    /// The key of the first one: `ca.key`.
    pub ca_key_pem: String,
    /// The chain that is served, PEM: `tls.crt`.
    pub certificate_pem: String,
    /// Its key: `tls.key`.
    pub key_pem: String,
}

/// What somebody asked to be renewed before its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Renewal {
    /// The authority, and the certificate with it.
    Authority,
    /// The certificate.
    Certificate,
}

/// What there is to know besides the material.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The names that the certificate has to be valid for.
    pub names: &'a BTreeSet<String>,
    /// What somebody asked for.
    pub asked: Option<Renewal>,
    /// Whether every webhook configuration trusts all of [`Material::ca_pem`] already.
    pub is_bundled: bool,
    /// The time.
    pub now: Timestamp,
}

/// A step to take.
#[derive(Debug)]
pub struct Step {
    /// What the Secret has to hold then.
    pub material: Material,
    /// Whether it is what somebody asked for.
    pub is_asked: bool,
    /// What it is, for the log.
    pub what: &'static str,
}

impl Material {
    /// A new authority and a certificate.
    ///
    /// # Errors
    /// If a name is none or no key can be made.
    pub fn new(names: &BTreeSet<String>, now: Timestamp) -> Result<Self, AuthorityError> {
        let authority = Authority::new(now)?;
        let material = Self {
            ca_pem: authority.certificate_pem().to_owned(),
            ca_key_pem: authority.key_pem().to_owned(),
            certificate_pem: String::new(),
            key_pem: String::new(),
        };
        material.signed(&authority, names, now)
    }

    /// What is to be done to it, if anything.
    ///
    /// # Errors
    /// If the authority can't be used, or nothing can be made from it.
    pub fn next(&self, circumstances: &Circumstances<'_>) -> Result<Option<Step>, AuthorityError> {
        let Circumstances { names, asked, is_bundled, now } = *circumstances;
        let authorities = split(&self.ca_pem);
        let first = authorities.first().map_or("", String::as_str);
        let authority = Authority::from_pem(first, &self.ca_key_pem)?;
        let step = |material, what, is_asked| Ok(Some(Step { material, is_asked, what }));
        let Ok(served) = inspect(&self.certificate_pem, &self.key_pem, now) else {
            return step(
                self.signed(&authority, names, now)?,
                "a certificate for one that can't be used",
                false,
            );
        };
        if !is_of(&served, first, now) {
            // The key of the authority that signed it is gone: only the new one can sign.
            let is_trusted = is_bundled && now.duration_since(authority.made()) >= OVERLAP;
            return match is_trusted {
                true => {
                    step(self.signed(&authority, names, now)?, "a certificate of the new authority", false)
                }
                false => Ok(None),
            };
        }
        if asked == Some(Renewal::Authority) || authority.is_ending(now) {
            let successor = Authority::new(now)?;
            let kept = authorities.iter().take(AUTHORITIES - 1).map(String::as_str);
            let material = Self {
                ca_pem: std::iter::once(successor.certificate_pem()).chain(kept).collect(),
                ca_key_pem: successor.key_pem().to_owned(),
                ..self.clone()
            };
            return step(
                material,
                "a second authority beside the old one",
                asked == Some(Renewal::Authority),
            );
        }
        let known: BTreeSet<&String> = served.names.iter().collect();
        let is_short = names.iter().any(|name| !known.contains(name));
        let life = served.not_after.duration_since(served.not_before);
        let is_due = served.not_after.duration_since(now) < life / 3;
        if is_due || is_short || asked == Some(Renewal::Certificate) {
            // A name that only another replica knows of stays until the certificate is due.
            let mut all = names.clone();
            if !is_due {
                all.extend(served.names);
            }
            let is_asked = asked == Some(Renewal::Certificate);
            return step(self.signed(&authority, &all, now)?, "a certificate", is_asked);
        }
        if authorities.len() > 1 && now.duration_since(served.not_before) >= RETIREMENT + BACKDATED {
            let material = Self { ca_pem: first.to_owned(), ..self.clone() };
            return step(material, "the new authority alone", false);
        }
        Ok(None)
    }

    /// Whether a new authority waits to sign: something is to be done soon, by the clock.
    pub fn is_in_succession(&self, now: Timestamp) -> bool {
        let served = inspect(&self.certificate_pem, &self.key_pem, now);
        let authorities = split(&self.ca_pem);
        served.is_ok_and(|served| authorities.first().is_none_or(|first| !is_of(&served, first, now)))
    }

    fn signed(
        &self,
        authority: &Authority,
        names: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<Self, AuthorityError> {
        let names: Vec<String> = names.iter().cloned().collect();
        let issued = authority.issue(&names, now)?;
        Ok(Self { certificate_pem: issued.certificate_pem, key_pem: issued.key_pem, ..self.clone() })
    }
}

/// Certificates are valid from an hour before they were made.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// The certificates of a bundle, each as PEM.
fn split(bundle: &str) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let blocks = bundle.split_inclusive(END).map(|block| format!("{}\n", block.trim_start()));
    blocks.filter(|block| CertificateDer::from_pem_slice(block.as_bytes()).is_ok()).collect()
}

/// Whether a certificate leads to this authority.
fn is_of(served: &Inspection, authority: &str, now: Timestamp) -> bool {
    let name = served.names.first().map_or("", String::as_str);
    trust::verify(authority.as_bytes(), name, &served.chain, now).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "plimsoll.plimsoll-system.svc";

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn hours(n: i64) -> SignedDuration {
        SignedDuration::from_hours(n)
    }

    fn quiet(names: &BTreeSet<String>, now: Timestamp) -> Circumstances<'_> {
        Circumstances { names, asked: None, is_bundled: true, now }
    }

    fn served(material: &Material, now: Timestamp) -> Inspection {
        inspect(&material.certificate_pem, &material.key_pem, now).unwrap()
    }

    #[test]
    fn a_certificate_is_renewed_when_a_third_is_left_and_the_authority_stays() {
        let (now, names) = (Timestamp::now(), names(&[SERVICE]));
        let first = Material::new(&names, now).unwrap();
        assert!(first.next(&quiet(&names, now + hours(24 * 59))).unwrap().is_none());
        let later = now + hours(24 * 61);
        let step = first.next(&quiet(&names, later)).unwrap().unwrap();
        assert_eq!(step.material.ca_pem, first.ca_pem);
        assert!(served(&step.material, later).not_after > served(&first, later).not_after);
        assert!(step.material.next(&quiet(&names, later)).unwrap().is_none());
    }

    #[test]
    fn names_are_added_at_once_and_go_with_the_next_renewal() {
        let now = Timestamp::now();
        let (few, more) = (names(&["a.b.svc"]), names(&["c.d.svc"]));
        let first = Material::new(&few, now).unwrap();
        let both = first.next(&quiet(&more, now)).unwrap().unwrap().material;
        assert_eq!(served(&both, now).names, ["a.b.svc", "c.d.svc"]);
        assert!(both.next(&quiet(&few, now)).unwrap().is_none());
        let later = now + hours(24 * 80);
        let renewed = both.next(&quiet(&more, later)).unwrap().unwrap().material;
        assert_eq!(served(&renewed, later).names, ["c.d.svc"]);
    }

    #[test]
    fn an_authority_is_succeeded_in_three_steps_and_trusted_at_each() {
        let (now, names) = (Timestamp::now(), names(&[SERVICE]));
        let old = Material::new(&names, now).unwrap();
        let asked = Circumstances { asked: Some(Renewal::Authority), ..quiet(&names, now) };
        let both = old.next(&asked).unwrap().unwrap();
        assert!(both.is_asked);
        let both = both.material;
        assert_eq!((split(&both.ca_pem).len(), &both.certificate_pem), (2, &old.certificate_pem));
        assert!(is_of(&served(&both, now), &both.ca_pem, now), "the old one is trusted still");
        assert!(both.is_in_succession(now) && !old.is_in_succession(now));

        let soon = now + OVERLAP;
        assert!(both.next(&quiet(&names, now)).unwrap().is_none(), "the API servers may not know yet");
        let unbundled = Circumstances { is_bundled: false, ..quiet(&names, soon) };
        assert!(both.next(&unbundled).unwrap().is_none(), "nobody would trust it");
        let signed = both.next(&quiet(&names, soon)).unwrap().unwrap().material;
        assert_eq!(signed.ca_pem, both.ca_pem);
        assert!(is_of(&served(&signed, soon), &split(&both.ca_pem)[0], soon));

        assert!(signed.next(&quiet(&names, soon)).unwrap().is_none());
        let alone = signed.next(&quiet(&names, soon + RETIREMENT)).unwrap().unwrap().material;
        assert_eq!(alone.ca_pem, split(&both.ca_pem)[0]);
        assert!(alone.next(&quiet(&names, soon + RETIREMENT)).unwrap().is_none());
    }

    #[test]
    fn an_authority_near_its_end_is_succeeded_unasked() {
        let (now, names) = (Timestamp::now(), names(&[SERVICE]));
        let old = Material::new(&names, now).unwrap();
        let late = now + hours(24 * 3600);
        let renewed = old.next(&quiet(&names, late)).unwrap().unwrap().material;
        let both = renewed.next(&quiet(&names, late)).unwrap().unwrap().material;
        assert_eq!(split(&both.ca_pem).len(), 2);
        let again = Circumstances { asked: Some(Renewal::Authority), ..quiet(&names, late) };
        assert!(both.next(&again).unwrap().is_none(), "one succession at a time");
    }

    #[test]
    fn what_cannot_be_served_is_made_anew_and_what_cannot_sign_is_an_error() {
        let (now, names) = (Timestamp::now(), names(&[SERVICE]));
        let good = Material::new(&names, now).unwrap();
        let broken = Material { key_pem: "x".to_owned(), ..good.clone() };
        let mended = broken.next(&quiet(&names, now)).unwrap().unwrap().material;
        assert_eq!(mended.ca_pem, good.ca_pem);
        served(&mended, now);
        let broken = Material { ca_key_pem: Authority::new(now).unwrap().key_pem().to_owned(), ..good };
        assert!(broken.next(&quiet(&names, now)).unwrap_err().to_string().contains("does not belong"));
    }
}
