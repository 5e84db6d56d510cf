//! Finding a program before it is started, so that a typing error in the configuration is reported as one.
//! Changes when the lookup rules change.

use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Used when neither the backend nor the gateway has a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why a program cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// No file of that name on the search path.
    #[error("program `{program}` was not found in PATH ({path}); install it, or give its full path")]
    NotInPath {
        /// As configured.
        program: String,
        /// The search path that the child would get.
        path: String,
    },
    /// The given path has no file.
    #[error("program `{0}` does not exist")]
    Missing(PathBuf),
    /// There is something that is not a program.
    #[error("`{0}` is not an executable file; check its permissions")]
    NotExecutable(PathBuf),
}

/// The file that `program` stands for. A name with a slash is taken as a path, relative to `directory`; any other name
/// is looked up in `path` as execvp(3) does.
pub fn find(program: &OsStr, path: Option<&OsStr>, directory: &Path) -> Result<PathBuf, ProgramError> {
    let given = Path::new(program);
    if program.as_encoded_bytes().contains(&b'/') {
        let file = directory.join(given);
        return match executable(&file) {
            Some(true) => Ok(file),
            Some(false) => Err(ProgramError::NotExecutable(file)),
            None => Err(ProgramError::Missing(file)),
        };
    }
    let path = path.map_or_else(|| OsString::from(DEFAULT_PATH), OsStr::to_owned);
    let mut not_executable = None;
    for entry in std::env::split_paths(&path) {
        let file = directory.join(entry).join(given);
        match executable(&file) {
            Some(true) => return Ok(file),
            Some(false) => not_executable = not_executable.or(Some(file)),
            None => {}
        }
    }
    Err(not_executable.map_or_else(
        || ProgramError::NotInPath {
            program: given.display().to_string(),
            path: path.to_string_lossy().into_owned(),
        },
        ProgramError::NotExecutable,
    ))
}

/// `None` when nothing is there.
fn executable(file: &Path) -> Option<bool> {
    let metadata = file.metadata().ok()?;
    Some(metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find_in(program: &str, path: &str, directory: &str) -> Result<PathBuf, ProgramError> {
        find(OsStr::new(program), Some(OsStr::new(path)), Path::new(directory))
    }

    #[test]
    fn names_are_searched_and_paths_are_taken_as_they_are() {
        assert_eq!(find_in("sh", "/nowhere:/bin", "/").unwrap(), Path::new("/bin/sh"));
        assert_eq!(find_in("/bin/sh", "", "/nowhere").unwrap(), Path::new("/bin/sh"));
        assert_eq!(find_in("./sh", "/nowhere", "/bin").unwrap(), Path::new("/bin/./sh"));
        assert_eq!(find_in("sh", "bin", "/").unwrap(), Path::new("/bin/sh"));
        assert!(find(OsStr::new("sh"), None, Path::new("/")).is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = find_in("npx-of-nobody", "/bin:/sbin", "/").unwrap_err().to_string();
        assert!(error.contains("`npx-of-nobody`") && error.contains("/bin:/sbin"), "{error}");
        assert_eq!(find_in("/bin/nothing", "", "/"), Err(ProgramError::Missing("/bin/nothing".into())));
        assert_eq!(find_in("/etc/passwd", "", "/"), Err(ProgramError::NotExecutable("/etc/passwd".into())));
        assert_eq!(find_in("passwd", "/etc", "/"), Err(ProgramError::NotExecutable("/etc/passwd".into())));
        assert_eq!(find_in("/bin/", "", "/"), Err(ProgramError::NotExecutable("/bin/".into())));
    }
}
