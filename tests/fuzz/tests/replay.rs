//! Replays the corpus of every fuzz target with the stable compiler.

use std::path::Path;

use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{} holds nothing", folder.display());
    files
}

macro_rules! replay {
    ($($name:ident $target:literal $body:path;)*) => {
        $(#[test]
        fn $name() {
            for (file, data) in corpus($target) {
                println!("{}/{file}", $target);
                $body(&data);
            }
        })*
    };
}

replay! {
    envelope "envelope" bridge_fuzz::fuzz_envelope;
    sse "sse" bridge_fuzz::fuzz_sse;
    framing "framing" bridge_fuzz::fuzz_framing;
    merge "merge" bridge_fuzz::fuzz_merge;
    cursor "cursor" bridge_fuzz::fuzz_cursor;
    params "params" bridge_fuzz::fuzz_params;
    binary "binary" bridge_fuzz::fuzz_binary;
    wrapper "wrapper" bridge_fuzz::fuzz_wrapper;
    translate "translate" bridge_fuzz::fuzz_translate;
}

#[test]
fn messages_of_the_specification_are_read_and_bad_ones_refused() {
    for (file, data) in corpus("envelope") {
        let read = Frame::parse(data.into(), &Limits::client(1 << 16, 64));
        match file.split('-').next() {
            Some("valid") => assert!(read.is_ok(), "{file}: {read:?}"),
            Some("bad") => assert!(read.is_err(), "{file}"),
            _ => {}
        }
    }
}
