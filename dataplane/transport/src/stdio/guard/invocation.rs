//! The command line between supervisor, guard and the program's first instant. Changes when either end needs another
//! argument.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use rustix::process::Pid;

/// First argument of a program that shall become a guard.
pub(super) const SUBCOMMAND: &str = "stdio-guard";

/// What this process was started as.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invocation {
    pub(super) role: Role,
    /// The process that must still be our parent.
    pub(super) parent: Pid,
    /// Program and arguments; never empty.
    pub(super) program: Vec<OsString>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Watches the program; `grace` between TERM and KILL.
    Guard { grace: Duration },
    /// Becomes the program.
    Exec,
}

impl Invocation {
    /// Everything after the program name.
    pub(super) fn to_arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec![SUBCOMMAND.into()];
        match self.role {
            Role::Guard { grace } => {
                arguments.extend(["--grace-ms".into(), grace.as_millis().to_string().into()]);
            }
            Role::Exec => arguments.push("--exec".into()),
        }
        arguments.extend(["--parent".into(), self.parent.as_raw_pid().to_string().into(), "--".into()]);
        arguments.extend(self.program.iter().cloned());
        arguments
    }

    /// Reads what [`Self::to_arguments`] wrote, without the subcommand.
    pub(super) fn parse(arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut arguments = arguments;
        let (mut grace, mut exec, mut parent) = (None, false, None);
        loop {
            let argument = arguments.next().ok_or("`--` and a program are missing")?;
            match argument.to_str() {
                Some("--") => break,
                Some("--exec") => exec = true,
                Some("--grace-ms") => grace = Some(number(arguments.next().as_deref(), "--grace-ms")?),
                Some("--parent") => parent = Some(number(arguments.next().as_deref(), "--parent")?),
                _ => return Err(format!("argument {} is unknown", argument.display())),
            }
        }
        let program: Vec<OsString> = arguments.collect();
        if program.is_empty() {
            return Err("a program is missing after `--`".to_owned());
        }
        let parent = parent
            .and_then(|parent| i32::try_from(parent).ok())
            .and_then(Pid::from_raw)
            .ok_or("--parent needs a process id")?;
        let role = match (exec, grace) {
            (true, None) => Role::Exec,
            (false, Some(grace)) => Role::Guard { grace: Duration::from_millis(grace) },
            _ => return Err("exactly one of --exec and --grace-ms is needed".to_owned()),
        };
        Ok(Self { role, parent, program })
    }
}

fn number(text: Option<&OsStr>, name: &str) -> Result<u64, String> {
    text.and_then(OsStr::to_str)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("{name} needs a whole number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_survive_the_way_through_the_command_line() {
        for role in [Role::Exec, Role::Guard { grace: Duration::from_millis(1500) }] {
            let program = ["prog", "--parent", "--", "x y", ""].map(OsString::from).to_vec();
            let sent = Invocation { role, parent: Pid::from_raw(77).unwrap(), program };
            let mut arguments = sent.to_arguments().into_iter();
            assert_eq!(arguments.next().unwrap(), SUBCOMMAND);
            assert_eq!(Invocation::parse(arguments), Ok(sent));
        }
    }

    #[test]
    fn a_wrong_command_line_is_explained() {
        for (line, problem) in [
            ("--exec --parent 7", "`--` and a program are missing"),
            ("--exec --parent 7 --", "a program is missing"),
            ("--exec -- x", "--parent needs a process id"),
            ("--exec --parent 0 -- x", "--parent needs a process id"),
            ("--exec --parent -7 -- x", "--parent needs a whole number"),
            ("--parent 7 -- x", "exactly one of"),
            ("--verbose", "--verbose is unknown"),
        ] {
            let error = Invocation::parse(line.split(' ').map(OsString::from)).unwrap_err();
            assert!(error.contains(problem), "{line}: {error}");
        }
    }
}
