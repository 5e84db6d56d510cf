//! Which authority signs here while another one takes its place. Changes when pods learn of an authority in another time.
//!
//! The Secret of the authorities may be lost, and made anew by whichever replica comes first, or be restored from a copy.
//! Pods know nothing of the one in it until the leader has told them, and until then nobody may show a certificate of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Authorities, Authority};

/// Pods know an authority so long after the first of them could: the leader may look a round later, and the kubelet copies
/// a `ConfigMap` after a minute or two.
const LEARNED: Duration = Duration::from_mins(5);

/// The authorities as they are kept, and the one that signs here.
#[derive(Debug)]
pub struct Succession {
    kept: Authorities,
    signs: Authority,
    /// Certificates that pods are told to trust, and since when.
    told: BTreeMap<String, Instant>,
    /// Certificate of the one that signed before, for replicas that still show it.
    parting: Option<String>,
}

impl Succession {
    /// Whoever starts has nothing but what is kept.
    pub fn new(kept: Authorities) -> Self {
        let signs = kept.current.clone();
        Self { kept, signs, told: BTreeMap::new(), parting: None }
    }

    /// The one that signs.
    pub fn signs(&self) -> &Authority {
        &self.signs
    }

    /// What pods are to trust.
    pub fn bundle(&self) -> String {
        let mut bundle = self.kept.bundle();
        for certificate in [Some(&self.signs.certificate), self.parting.as_ref()].into_iter().flatten() {
            if !bundle.contains(certificate.trim()) {
                if !bundle.ends_with('\n') {
                    bundle.push('\n');
                }
                bundle.push_str(certificate);
            }
        }
        bundle
    }

    /// These are kept at `now`.
    pub fn saw(&mut self, kept: Authorities, now: Instant) {
        self.kept = kept;
        let current = &self.kept.current;
        let next = self.kept.next.as_ref().map(|next| &next.certificate);
        let trusted = [Some(&current.certificate), next].into_iter().flatten();
        let since = |certificate: &String| self.told.get(certificate).copied().unwrap_or(now);
        self.told = trusted.map(|certificate| (certificate.clone(), since(certificate))).collect();
        let learned = self.told.get(&current.certificate).is_some_and(|since| now >= *since + LEARNED);
        if current.certificate == self.signs.certificate {
            self.parting.take_if(|_| learned);
        } else if learned {
            let before = std::mem::replace(&mut self.signs, current.clone());
            self.parting = Some(before.certificate);
            // Other replicas take over within as long.
            self.told.insert(current.certificate.clone(), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::civil::Date;

    use super::*;

    fn made() -> Authorities {
        Authorities::generate(Date::constant(2026, 1, 1)).unwrap()
    }

    #[test]
    fn a_new_authority_signs_when_pods_have_had_time_to_learn_of_it() {
        let (old, new, start) = (made(), made(), Instant::now());
        let (first, second) = (&old.current, &new.current);
        let mut succession = Succession::new(old.clone());
        succession.saw(old.clone(), start);
        assert_eq!((succession.signs(), succession.bundle()), (first, old.bundle()));
        let late = Duration::from_secs(LEARNED.as_secs() - 1);
        for at in [start + LEARNED, start + LEARNED + late] {
            succession.saw(new.clone(), at);
            assert_eq!(succession.signs(), first, "pods do not know the other");
            assert!(succession.bundle().contains(&second.certificate), "they are told");
            assert!(succession.bundle().contains(&first.certificate));
        }
        succession.saw(new.clone(), start + 2 * LEARNED);
        assert_eq!(succession.signs(), second);
        assert!(succession.bundle().contains(&first.certificate), "another replica may still show it");
        succession.saw(new.clone(), start + 3 * LEARNED);
        assert_eq!((succession.signs(), succession.bundle()), (second, new.bundle()));
    }

    #[test]
    fn one_that_pods_know_signs_at_once() {
        let (mut kept, next, start) = (made(), made().current, Instant::now());
        kept.next = Some(next.clone());
        let mut succession = Succession::new(kept.clone());
        succession.saw(kept.clone(), start);
        let before = std::mem::replace(&mut kept.current, next.clone());
        (kept.next, kept.previous) = (None, Some((before.certificate, before.made)));
        succession.saw(kept, start + LEARNED);
        assert_eq!(succession.signs(), &next);
    }

    #[test]
    fn one_that_goes_away_again_never_signs() {
        let (old, new, start) = (made(), made(), Instant::now());
        let mut succession = Succession::new(old.clone());
        succession.saw(new.clone(), start);
        succession.saw(old.clone(), start + LEARNED);
        succession.saw(new, start + LEARNED + Duration::from_secs(1));
        assert_eq!(succession.signs(), &old.current, "it was told to pods a second ago");
    }
}
