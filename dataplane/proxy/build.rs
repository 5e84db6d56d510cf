//! Tells the program which commit it was built from. Changes when `--version` prints something else.
//!
//! Only release builds ask git: in development the answer would change with every commit and rebuild the crate.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

fn main() -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "cargo::rerun-if-changed=build.rs")?;
    let root = Path::new("../..");
    for (variable, format) in [("BUILD_GIT_COMMIT", "%h"), ("BUILD_TIME", "%cI")] {
        writeln!(out, "cargo::rerun-if-env-changed={variable}")?;
        let given = std::env::var(variable).ok().filter(|value| !value.is_empty());
        if let Some(value) = given.or_else(|| from_git(root, format)) {
            writeln!(out, "cargo::rustc-env={variable}={value}")?;
        }
    }
    let head = root.join(".git/logs/HEAD");
    if is_release() && head.exists() {
        writeln!(out, "cargo::rerun-if-changed={}", head.display())?;
    }
    Ok(())
}

fn is_release() -> bool {
    std::env::var("PROFILE").is_ok_and(|profile| profile == "release")
}

/// One field of the last commit. The commit's time stands for the build's, so that equal sources build equal programs.
fn from_git(root: &Path, format: &str) -> Option<String> {
    // A source archive inside somebody else's repository must not report that one's commit.
    if !is_release() || !root.join(".git").exists() {
        return None;
    }
    let log = Command::new("git")
        .args(["log", "-1", &format!("--format={format}")])
        .current_dir(root)
        .output()
        .ok()?;
    let text = String::from_utf8(log.stdout).ok()?;
    let line = text.trim();
    (log.status.success() && !line.is_empty() && !line.contains('\n')).then(|| line.to_owned())
}
