//! Commands in a running container. Changes when a container is isolated by something else.

use std::collections::BTreeMap;

use tokio::process::Command;

/// The inside of a running container.
#[derive(Clone, Debug)]
pub(super) struct Inside {
    /// Its process.
    pub(super) pid: u32,
    pub(super) variables: BTreeMap<String, String>,
    /// User and group, when not root.
    pub(super) user: Option<(i64, i64)>,
}

impl Inside {
    /// A command with the container's root, network, environment and user.
    pub(super) fn command(&self, words: &[String]) -> Command {
        let mut command = Command::new("/usr/bin/nsenter");
        command.args(["--target", &self.pid.to_string(), "--mount", "--net", "--root", "--wd", "--"]);
        if let Some((user, group)) = self.user {
            command.arg("/usr/bin/setpriv");
            command.args([&format!("--reuid={user}"), &format!("--regid={group}"), "--clear-groups", "--"]);
        }
        command.args(words).env_clear().envs(&self.variables);
        command
    }
}
