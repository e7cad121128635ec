//! Names and addresses: late, wrong, missing, moved.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::names::Trouble;

use crate::{all_have, set, write_everywhere};

#[test]
fn core_s13_the_master_comes_back_with_another_address() -> Result<()> {
    let mut set = set().start()?;
    write_everywhere(&set, 0, "s13", 100)?;
    set.member_mut(0).connect()?.tell("SAVE")?;
    set.member_mut(0).kill()?;
    crate::start_elsewhere(&mut set, 0)?;
    set.converge()?;
    all_have(&set, "s13", 100)
}

#[test]
fn s11_a_name_that_leads_to_this_pod_itself_is_not_followed() -> Result<()> {
    let mut set = set().make()?;
    let own = set.member(1).address();
    set.names().lie("redis-0", Some(&[own]));
    set.start_all()?;
    set.wait_for("pod-1 says so", || {
        let body = set.member(1).get("/status")?.body;
        ensure!(body.contains("this pod itself"), "{body}");
        set.member(1).info().map(|_| ())
    })?;
    ensure!(set.member(1).info()?.is_fenced(), "pod-1 follows itself");
    for wrong in ["127.0.0.1", "::1"] {
        set.names().lie("redis-0", Some(&[wrong.parse()?]));
        set.stays_as_it_is(Duration::from_secs(1))?;
        ensure!(set.member(1).info()?.is_fenced(), "pod-1 follows {wrong}");
    }
    set.names().lie("redis-0", None);
    set.converge()?;
    Ok(())
}

#[test]
fn s19_slow_and_failing_dns_changes_no_role() -> Result<()> {
    let set = set().start()?;
    let observer = set.observe();
    set.names().trouble(Trouble {
        servfail: 30,
        delay: Duration::from_secs(1),
        ..Trouble::default()
    });
    set.stays_as_it_is(Duration::from_secs(8))?;
    set.names().trouble(Trouble {
        silent: true,
        ..Trouble::default()
    });
    set.stays_as_it_is(Duration::from_secs(5))?;
    set.names().trouble(Trouble::default());
    ensure!(set.converge()? == 0, "the master changed");
    observer.finish()
}

#[test]
fn s19_a_set_starts_with_failing_and_truncating_dns() -> Result<()> {
    let mut set = set().make()?;
    set.names().trouble(Trouble {
        servfail: 30,
        truncate: true,
        ..Trouble::default()
    });
    set.start_all()?;
    set.converge()?;
    Ok(())
}

#[test]
fn s21_without_the_headless_service_the_wait_says_so() -> Result<()> {
    let set = set().env("PODZERO_DISCOVER", "3s").make()?;
    set.names().service_exists(false);
    let init = set.member(1).begin_init()?;
    set.wait_for("init names the Service", || {
        let log = init.log();
        ensure!(
            log.contains("headless") && log.contains("publishNotReadyAddresses"),
            "{log}"
        );
        Ok(())
    })?;
    ensure!(
        init.exit_code(Duration::from_secs(30))? == 0,
        "init must not fail for it"
    );
    Ok(())
}

#[test]
fn s21_a_service_that_lists_only_ready_pods_is_told_in_words() -> Result<()> {
    let mut set = set().make()?;
    // Nobody can become ready, so nobody gets a name.
    for ordinal in 0..3 {
        set.names().withdraw(&set.member(ordinal).pod());
    }
    set.start_all()?;
    set.wait_for("pod-0 names the setting", || {
        let page = set.member(0).get("/readyz")?;
        ensure!(
            page.code == 503 && page.body.contains("publishNotReadyAddresses"),
            "{page:?}"
        );
        Ok(())
    })?;
    ensure!(set.masters().is_empty(), "nobody may lead yet");
    for member in set.members() {
        member.publish_name();
    }
    set.converge().map(|_| ())
}

#[test]
fn a_settled_set_asks_for_addresses_less_often_than_it_looks() -> Result<()> {
    let set = set().start()?;
    let looks = || -> Result<u64> {
        let page = set.member(0).get("/metrics")?.body;
        let line = page
            .lines()
            .find(|l| l.starts_with("podzero_loop_turns_total"))
            .and_then(|l| l.rsplit(' ').next());
        Ok(line.context("no podzero_loop_turns_total")?.parse()?)
    };
    let asked = || set.names().queries("redis-0");
    let before = (looks()?, asked());
    set.wait_for("pod-0 looked eight times", || {
        ensure!(looks()? >= before.0 + 8, "not yet");
        Ok(())
    })?;
    let (more_looks, more_asked) = (looks()? - before.0, asked() - before.1);
    // Three members look; each would ask for both families every time.
    ensure!(
        more_asked < more_looks * 3,
        "{more_asked} questions for one name in {more_looks} looks of each member"
    );
    set.wait_for("addresses are asked for again after their TTL", || {
        ensure!(asked() > before.1 + more_asked, "not yet");
        Ok(())
    })
}

#[test]
fn s22_v6_only() -> Result<()> {
    let set = set().families(&[true]).start()?;
    write_everywhere(&set, 0, "v6", 10)?;
    ensure!(
        set.member(1).info()?.get("master_host").contains(':'),
        "not followed by its v6 address"
    );
    Ok(())
}

#[test]
fn s22_dual_stack_in_both_orders() -> Result<()> {
    for families in [[false, true], [true, false]] {
        let set = set().families(&families).start()?;
        write_everywhere(&set, 0, "dual", 10)?;
        let host = set.member(1).info()?.get("master_host").to_owned();
        ensure!(
            host.contains(':') == families[0] && !host.contains(' '),
            "followed at {host:?}"
        );
    }
    Ok(())
}
