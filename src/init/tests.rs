use clap::Parser as _;

use super::*;
use crate::config::{Cli, Command};

fn args(flags: &str) -> InitArgs {
    let line = format!("podzero init --pod-name redis-1 --namespace shop --service redis {flags}");
    let Command::Init(args) = Cli::try_parse_from(line.split_whitespace())
        .expect("parses")
        .command
    else {
        panic!("init")
    };
    *args
}

fn refusal(flags: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let failure = runtime.block_on(run(args(flags))).expect_err("refused");
    format!("{:?}: {failure}", failure.exit)
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_touched() {
    let dir = tempfile::tempdir().expect("a directory");
    let base = dir.path().join("redis.conf");
    let data = format!("--data-dir {}", dir.path().display());
    let refused = |base_text: &str, flags: &str| {
        std::fs::write(&base, base_text).expect("written");
        let flags = format!(
            "--base-conf {} --conf {}/conf/redis.conf {flags}",
            base.display(),
            dir.path().display()
        );
        refusal(&flags).replace(&dir.path().display().to_string(), "DIR")
    };
    std::fs::write(dir.path().join("dump.rdb"), b"REDIS0009\xFE\0").expect("written");
    let refusals = [
        refused("", "--username app"),
        refused("", "--password-file /nowhere/password"),
        refused("dir \"x\n", ""),
        refused("dir /var/lib/redis\n", &data),
        refused("appendonly yes\n", &data),
        refused("", "--data-dir /proc/nowhere")
            .split_once(" as user")
            .expect("words")
            .0
            .to_owned(),
    ];
    insta::assert_snapshot!(refusals.join("\n"), @r#"
    Usage: --username needs --password-file: podzero logs in with both or with neither
    Environment: cannot read the password file "/nowhere/password" (--password-file): is the Secret mounted there, with that key?: No such file or directory (os error 2)
    Environment: DIR/redis.conf:1: the quotes of this line do not balance: the server would not start with it
    Usage: DIR/redis.conf:1: dir is "/var/lib/redis", but --data-dir is "DIR": podzero checks the data of one directory and the server would use the other; make them the same, or take dir out of the base configuration
    RefusedForData: DIR/redis.conf:1: appendonly is yes, but "DIR" holds "dump.rdb" and no append-only file: the server would start empty and then overwrite "dump.rdb". Start once with appendonly no, give CONFIG SET appendonly yes, wait until INFO shows aof_rewrite_in_progress:0, and only then put appendonly yes into the configuration
    Environment: cannot write to the data directory (--data-dir) "/proc/nowhere"
    "#);
    assert!(!dir.path().join("conf/redis.conf").exists());
}
