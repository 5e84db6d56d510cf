//! Checks the files that a configuration names against this machine. Changes when a configuration can name more of them.

use std::fs;
use std::path::Path;

use super::compile::{FileUse, Role};
use super::decode::{Context, Problem};

/// Reports what is not there or cannot be read.
pub(crate) fn check(files: &[FileUse], cx: &mut Context<'_>) {
    for file in files {
        let path = file.path.display();
        match file.role {
            Role::Tls => {
                if let Err(error) = fs::File::open(&file.path)
                    .and_then(|file| file.metadata())
                    .and_then(|data| regular(&data))
                {
                    let problem = Problem::new(format!("cannot read `{path}`: {error}"));
                    cx.lacking(&file.at, problem.remedy("provide the file, or set `tls.enabled: false`"));
                }
            }
            Role::PublicKey => {
                if let Err(error) = bridge_auth::read_public_key(&file.path) {
                    let problem = Problem::new(error.to_string());
                    cx.warn(
                        &file.at,
                        problem.remedy("a gateway that starts like this refuses every request"),
                    );
                }
            }
            // One backend that cannot start must not stop the others.
            Role::WorkingDir => {
                if !file.path.is_dir() {
                    let problem = Problem::new(format!("`{path}` is not a directory on this machine"));
                    cx.warn(&file.at, problem.remedy("the backend cannot start until it is"));
                }
            }
            Role::Program => {
                if !is_program(&file.path, (cx.env)("PATH").as_deref()) {
                    let problem = Problem::new(format!("the program `{path}` is not on this machine"));
                    cx.warn(&file.at, problem.remedy("the backend cannot start until it is"));
                }
            }
        }
    }
}

/// Whether the system would find the program; unknown counts as found.
fn is_program(program: &Path, search: Option<&str>) -> bool {
    if program.components().count() > 1 || program.is_absolute() {
        return program.is_file();
    }
    search
        .is_none_or(|search| std::env::split_paths(search).any(|directory| directory.join(program).is_file()))
}

fn regular(metadata: &fs::Metadata) -> std::io::Result<()> {
    if metadata.is_dir() { Err(std::io::ErrorKind::IsADirectory.into()) } else { Ok(()) }
}
