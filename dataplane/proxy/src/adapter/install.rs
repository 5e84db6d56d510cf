//! Putting this program where another image finds it. Changes when programs are put into pods in another way.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Anybody may run it: the image decides as whom.
const MODE: u32 = 0o755;

/// Why the program is not there now.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A path without a file name.
    #[error("--install: `{0}` is not a path of a file")]
    NotAFile(PathBuf),
    /// This program cannot be read.
    #[error("--install: this program cannot be read: {0}")]
    Own(io::Error),
    /// It cannot be written there.
    #[error("--install: cannot write `{path}`: {source}")]
    Write {
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Copies the running program to `path`, in one step as others see it. Nothing but the folder of `path` is written to.
pub fn install(path: &Path) -> Result<(), InstallError> {
    let Some(name) = path.file_name().filter(|_| !path.is_dir()) else {
        return Err(InstallError::NotAFile(path.to_owned()));
    };
    // What runs, even if the file was replaced since.
    let mut own = File::open("/proc/self/exe").map_err(InstallError::Own)?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", std::process::id()));
    let unfinished = path.with_file_name(hidden);
    let written = write(&mut own, &unfinished).and_then(|()| fs::rename(&unfinished, path));
    written.map_err(|source| {
        // What could not be written may not be there either.
        let _ = fs::remove_file(&unfinished);
        InstallError::Write { path: path.to_owned(), source }
    })
}

fn write(from: &mut File, to: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(to)?;
    io::copy(from, &mut file)?;
    // The umask may have taken some of it.
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    file.sync_all()
}
