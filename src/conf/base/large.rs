//! Configurations that are meant to harm whoever reads them.

use super::*;

#[test]
fn files_that_double_are_not_read_to_their_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |n: usize| folder.path().join(format!("{n}.conf"));
    for n in 0..28 {
        let next = path(n + 1).display().to_string();
        std::fs::write(path(n), format!("include {next}\ninclude {next}\n")).expect("written");
    }
    std::fs::write(path(28), "port 1\n").expect("written");
    let error = Base::read(&path(0), folder.path()).expect_err("too much");
    let error = error.to_string();
    assert!(
        error.contains("makes the configuration too large"),
        "{error}"
    );
    assert!(error.contains(".conf:"), "names no line: {error}");
}

#[test]
fn what_has_no_end_is_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("redis.conf");
    for what in ["/dev/zero", "/dev/tty", "/"] {
        std::fs::write(&path, format!("port 1\ninclude {what}\n")).expect("written");
        let error = Base::read(&path, folder.path()).expect_err("refused");
        let error = error.to_string();
        assert!(error.contains("redis.conf:2"), "{error}");
    }
}
