//! One authority after another, so that no pod ever meets an operator that it does not trust. Changes when the rollover does.
//!
//! ```text
//!  day 0            335                 358                365
//!  current ─────────┬───────────────────┬──────────────────┬─▶
//!                   │ next is made      │ next becomes     │ the one before is
//!                   │ pods trust both   │ current and signs│ not trusted any more
//! ```

use k8s_openapi::jiff::civil::Date;

use super::certificate::{AUTHORITY_DAYS, Authority, CertificateError};

/// Days before its end at which the next one is made. Pods trust it by then for a long time.
const AHEAD: i64 = 30;
/// Days before its end at which an authority signs nothing any more: as long as a certificate of an operator lasts.
const LAST: i64 = 7;

/// The authorities of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorities {
    /// The one that signs.
    pub current: Authority,
    /// The one that will.
    pub next: Option<Authority>,
    /// Certificate of the one that did, PEM, and the day on which it was made.
    pub previous: Option<(String, Date)>,
}

impl Authorities {
    /// A first one.
    pub fn generate(today: Date) -> Result<Self, CertificateError> {
        Ok(Self { current: Authority::generate(today)?, next: None, previous: None })
    }

    /// What pods trust: never more than two.
    pub fn bundle(&self) -> String {
        let next = self.next.as_ref().map(|next| &next.certificate);
        let other = next.or(self.previous.as_ref().map(|(certificate, _)| certificate));
        let mut bundle = self.current.certificate.clone();
        if let Some(other) = other {
            if !bundle.ends_with('\n') {
                bundle.push('\n');
            }
            bundle.push_str(other);
        }
        bundle
    }

    /// What has to be different today; `None` for nothing.
    pub fn step(&self, today: Date) -> Result<Option<Self>, CertificateError> {
        let age = |made: Date| today.duration_since(made).as_hours() / 24;
        let mut after = self.clone();
        after.previous.take_if(|(_, made)| age(*made) >= AUTHORITY_DAYS);
        if age(self.current.made) >= AUTHORITY_DAYS - AHEAD && self.next.is_none() {
            after.next = Some(Authority::generate(today)?);
            after.previous = None;
        }
        // Only one that pods have had time to learn of takes over.
        let known = self.next.as_ref().is_some_and(|next| age(next.made) >= 1);
        if age(self.current.made) >= AUTHORITY_DAYS - LAST
            && let Some(next) = after.next.take_if(|_| known)
        {
            let before = std::mem::replace(&mut after.current, next);
            after.previous = Some((before.certificate, before.made));
        }
        Ok((after != *self).then_some(after))
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Span;

    use super::*;
    use crate::serve::server_config;

    const START: Date = Date::constant(2026, 1, 1);

    fn day(days: i64) -> Date {
        START.saturating_add(Span::new().days(days))
    }

    #[test]
    fn an_operator_is_trusted_by_every_pod_on_every_day_of_three_years() {
        let mut authorities = Authorities::generate(START).unwrap();
        // A pod learns of a new bundle a day late; an operator renews its certificate every day.
        let (mut known, mut changes) = (authorities.bundle(), 0);
        for today in 0..3 * 365 {
            if let Some(after) = authorities.step(day(today)).unwrap() {
                authorities = after;
                changes += 1;
            }
            assert!(known.contains(&authorities.current.certificate), "day {today}");
            let age = day(today).duration_since(authorities.current.made).as_hours() / 24;
            assert!(age < AUTHORITY_DAYS, "day {today}: it has ended");
            known = authorities.bundle();
            assert!(known.matches("BEGIN CERTIFICATE").count() <= 2, "day {today}");
        }
        assert!((6..=12).contains(&changes), "{changes}");
        server_config(&authorities.current, &["localhost".to_owned()], day(3 * 365)).unwrap();
    }

    #[test]
    fn the_next_one_is_made_a_month_ahead_and_takes_over_a_week_ahead() {
        let authorities = Authorities::generate(START).unwrap();
        assert_eq!(authorities.step(day(334)).unwrap(), None);
        let two = authorities.step(day(335)).unwrap().unwrap();
        assert_eq!(two.current, authorities.current);
        assert_eq!(two.step(day(357)).unwrap(), None);
        let turned = two.step(day(358)).unwrap().unwrap();
        assert_eq!(Some(&turned.current), two.next.as_ref());
        assert!(turned.bundle().contains(&authorities.current.certificate), "some operator still shows it");
        assert_eq!(turned.step(day(364)).unwrap(), None);
        let alone = turned.step(day(365)).unwrap().unwrap();
        assert_eq!(alone.bundle(), turned.current.certificate);
    }

    #[test]
    fn whoever_was_off_for_a_year_begins_with_both() {
        let authorities = Authorities::generate(START).unwrap();
        let two = authorities.step(day(400)).unwrap().unwrap();
        assert_eq!(two.current, authorities.current, "pods do not know the next one yet");
        let turned = two.step(day(401)).unwrap().unwrap();
        assert_eq!(Some(&turned.current), two.next.as_ref());
    }
}
