//! The harness itself: what the other tests rely on is there, and can fail.

use anyhow::{Result, ensure};

use crate::set;

#[test]
fn the_observer_finds_two_masters_and_not_one_after_the_other() -> Result<()> {
    let mut set = set().members(2).make()?;
    for ordinal in [0, 1] {
        set.member_mut(ordinal)
            .start_server_with(&["--protected-mode", "no", "--save", ""])?;
        set.wait_for("the server answers", || {
            set.member(ordinal).info().map(|_| ())
        })?;
    }
    let written = |ordinal: usize| {
        set.wait_for("the observer writes", || {
            let found: Option<String> = set.member(ordinal).connect()?.ask("GET observer")?;
            ensure!(found.is_some(), "not yet");
            Ok(())
        })
    };
    let observer = set.observe();
    written(0)?;
    written(1)?;
    set.stays_as_it_is(std::time::Duration::from_millis(200))?;
    let found = observer.finish();
    ensure!(
        found
            .as_ref()
            .is_err_and(|e| e.to_string().contains("two masters")),
        "it found nothing: {found:?}"
    );
    // A role that moves is not two masters.
    let tell = |ordinal: usize, what: &str| set.member(ordinal).connect()?.tell(what);
    tell(0, "FLUSHALL")?;
    tell(1, "REPLICAOF 127.0.0.1 0")?;
    let observer = set.observe();
    written(0)?;
    tell(0, "REPLICAOF 127.0.0.1 0")?;
    tell(1, "FLUSHALL").err();
    tell(1, "REPLICAOF NO ONE")?;
    tell(1, "FLUSHALL")?;
    written(1)?;
    observer.finish()
}

#[test]
fn a_cut_parts_two_members_alone_and_a_heal_joins_them() -> Result<()> {
    let mut set = set().make()?;
    for ordinal in 0..3 {
        set.member_mut(ordinal)
            .start_server_with(&["--protected-mode", "no", "--save", ""])?;
        set.wait_for("the server answers", || {
            set.member(ordinal).info().map(|_| ())
        })?;
    }
    let reaches = |from: usize, to: usize| {
        let open = format!("</dev/tcp/{}/6379", set.member(to).address());
        set.member(from)
            .run("timeout", &["2", "bash", "-c", &open])
            .is_ok()
    };
    ensure!(reaches(0, 1) && reaches(1, 0), "the network does not work");
    set.member(0).cut_from(set.member(1))?;
    ensure!(!reaches(0, 1) && !reaches(1, 0), "the cut is none");
    ensure!(reaches(0, 2) && reaches(2, 1), "the cut parts others too");
    ensure!(
        set.member(0).info().is_ok(),
        "the harness is cut off as well"
    );
    set.member(0).heal_with(set.member(1))?;
    ensure!(reaches(0, 1) && reaches(1, 0), "they stay parted");
    Ok(())
}
