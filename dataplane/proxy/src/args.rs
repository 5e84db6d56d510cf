//! The command line. Changes when a flag or a subcommand is added.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::adapter::StdioAdapter;
use crate::admin::Admin;
use crate::config::LogLevel;

/// Where the configuration is when nobody says so, as in the original.
pub const DEFAULT_CONFIG: &str = "/etc/mcp-gateway/gateway.yaml";

/// One door from any MCP client to any MCP server.
#[derive(Debug, Parser)]
#[command(name = "mcp-gateway", disable_version_flag = true, args_conflicts_with_subcommands = false)]
pub struct Args {
    /// Configuration file.
    #[arg(short, long, value_name = "FILE", env = "CONFIG_PATH", default_value = DEFAULT_CONFIG, global = true)]
    pub config: PathBuf,

    /// Run as a pod of an operator's gateway: this file says where operators are, and they send the configuration.
    #[arg(long, value_name = "FILE", conflicts_with = "config")]
    pub cluster_config: Option<PathBuf>,

    /// Least severe level that is logged: trace, debug, info, warn, error. Wins over the file and the environment.
    #[arg(long, value_name = "LEVEL", global = true)]
    pub log_level: Option<LogLevel>,

    /// Print addresses, a client configuration and a command to try, once the backends are there.
    #[arg(long)]
    pub welcome: bool,

    /// Print version, build time and commit.
    #[arg(short = 'v', long)]
    pub version: bool,

    /// The process that started this one for the work; the two are one program.
    #[arg(long, value_name = "PID", hide = true)]
    pub child_of: Option<i32>,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check the configuration file and exit: 0 when it can be used, 1 when it cannot.
    Check,
    /// Print a JSON Schema of the configuration file, for editors.
    Schema,
    /// Make tokens; what else the original offered here says what to use instead.
    #[command(subcommand)]
    Admin(Admin),
    /// Serve one stdio server over Streamable HTTP: what runs in the pod of an isolated stdio backend.
    StdioAdapter(StdioAdapter),
}

/// What `--version` prints: four lines, as in the original.
pub fn version() -> String {
    format!(
        "mcp-gateway\nVersion: v{}\nBuild Time: {}\nGit Commit: {}\n",
        env!("CARGO_PKG_VERSION"),
        option_env!("BUILD_TIME").unwrap_or("unknown"),
        option_env!("BUILD_GIT_COMMIT").unwrap_or("unknown"),
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::admin::Token;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_of_the_original_are_kept() {
        let args = parse("mcp-gateway --config /tmp/g.yaml --log-level debug").unwrap();
        assert_eq!((args.config, args.log_level), (PathBuf::from("/tmp/g.yaml"), Some(LogLevel::Debug)));
        let args = parse("mcp-gateway -c g.yaml -v").unwrap();
        assert!(args.version && args.command.is_none());
        assert_eq!(parse("mcp-gateway --log-level WARNING").unwrap().log_level, Some(LogLevel::Warn));
    }

    #[test]
    fn flags_may_follow_the_subcommand() {
        let args = parse("mcp-gateway check --config g.yaml").unwrap();
        assert!(matches!(args.command, Some(Command::Check)));
        assert_eq!(args.config, PathBuf::from("g.yaml"));
    }

    #[test]
    fn tokens_are_made_with_the_flags_of_the_original() {
        let create = |line: &str| match parse(line).unwrap().command {
            Some(Command::Admin(Admin::Token(Token::Create(create)))) => create,
            other => panic!("{other:?}"),
        };
        let plain = create("mcp-gateway admin token create");
        assert_eq!((plain.user.as_str(), plain.expiry.as_secs()), ("default", 8760 * 3600));
        assert_eq!(plain.scopes, ["mcp:*:read", "mcp:*:write"]);
        let short = create("mcp-gateway admin token create -u alice -e 1h30m -s a,b --scopes c");
        let long = create("mcp-gateway admin token create --user alice --expiry 90m --scopes a,b,c");
        assert_eq!((short.user, short.expiry, short.scopes), (long.user, long.expiry, long.scopes));
    }

    #[test]
    fn an_expiry_is_a_duration_of_go_above_zero() {
        for wrong in ["7d", "0", "0s", "-1h", "soon", "87601h"] {
            let error =
                parse(&format!("mcp-gateway admin token create --expiry={wrong}")).unwrap_err().to_string();
            assert!(error.contains("allowed: "), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_wrong_level_says_what_is_allowed() {
        let error = parse("mcp-gateway --log-level loud").unwrap_err().to_string();
        assert!(error.contains("trace, debug, info, warn, error"), "{error}");
    }

    #[test]
    fn the_version_has_four_lines() {
        let text = version();
        let starts: Vec<&str> = text.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
        assert_eq!(starts, ["mcp-gateway", "Version:", "Build", "Git"]);
        assert!(text.contains(concat!("Version: v", env!("CARGO_PKG_VERSION"), "\n")), "{text}");
    }
}
