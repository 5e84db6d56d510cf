//! Whose log messages may still come on a wire that many share. Changes when such messages say whose they are.
//!
//! A server may log for a call that was left before its answer, for as long as it likes. So from then on a message may be
//! about that call, and only whoever made it may read any, until the wire ends.

use bridge_policy::principal::Principal;

/// Who made a call that wants logs; `None` when that is not known.
#[derive(Debug, Clone)]
pub(super) struct LogReader(pub(super) Option<Principal>);

/// Whose calls that wanted logs were left before their answer.
#[derive(Debug, Default)]
pub(super) enum LateLogs {
    #[default]
    Nobodys,
    One(Principal),
    Several,
}

impl LateLogs {
    /// A call was left.
    pub(super) fn left_by(&mut self, reader: LogReader) {
        *self = match (std::mem::take(self), reader.0) {
            (Self::Nobodys, Some(asker)) => Self::One(asker),
            (Self::One(earlier), Some(asker)) if earlier == asker => Self::One(earlier),
            _ => Self::Several,
        };
    }

    /// Whether a message that comes during the call of `reader` is nobody else's.
    pub(super) fn may_be_read_by(&self, reader: &LogReader) -> bool {
        match self {
            Self::Nobodys => true,
            Self::One(earlier) => reader.0.as_ref() == Some(earlier),
            Self::Several => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bridge_policy::principal::Grant;

    use super::*;

    fn reader(subject: &str) -> LogReader {
        LogReader(Some(Principal::authenticated(Grant {
            issuer: String::new(),
            subject: subject.to_owned(),
            scopes: Vec::new(),
            expires_at: SystemTime::UNIX_EPOCH,
            token_id: None,
            rate_limit: None,
        })))
    }

    #[test]
    fn late_logs_are_read_by_whom_they_may_be_about_and_nobody_else() {
        let mut late = LateLogs::default();
        assert!(late.may_be_read_by(&reader("ann")) && late.may_be_read_by(&LogReader(None)));
        late.left_by(reader("ann"));
        late.left_by(reader("ann"));
        assert!(late.may_be_read_by(&reader("ann")));
        assert!(!late.may_be_read_by(&reader("bob")) && !late.may_be_read_by(&LogReader(None)));
        late.left_by(reader("bob"));
        assert!(!late.may_be_read_by(&reader("ann")) && !late.may_be_read_by(&reader("bob")));
    }

    #[test]
    fn a_call_of_somebody_unknown_may_be_anybodys() {
        let mut late = LateLogs::default();
        late.left_by(LogReader(None));
        assert!(!late.may_be_read_by(&LogReader(None)) && !late.may_be_read_by(&reader("ann")));
    }
}
