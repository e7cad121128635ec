use super::*;

fn parse(line: &str) -> Result<Cli, clap::Error> {
    Cli::parse_from(line.split(' ').map(OsString::from))
}

#[test]
fn clap_agrees_with_itself() {
    Cli::command().debug_assert();
}

#[test]
fn every_flag_has_its_environment_twin() {
    for sub in ["init", "sidecar"] {
        let command = Cli::command();
        let sub = command.find_subcommand(sub).expect(sub);
        for arg in sub
            .get_arguments()
            .filter(|a| a.get_long().is_some_and(|l| l != "help" && l != "version"))
        {
            let long = arg.get_long().expect("filtered");
            let twin = format!("PODZERO_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(
                arg.get_env().and_then(|e| e.to_str()),
                Some(twin.as_str()),
                "--{long}"
            );
        }
    }
}

#[test]
fn a_pod_name_without_an_ordinal_is_a_usage_error_that_says_so() {
    let error =
        parse("podzero init --pod-name redis --namespace a --service b").expect_err("refused");
    assert!(error.to_string().contains("StatefulSet"), "{error}");
}

#[test]
fn lists_and_defaults() {
    let cli = parse("podzero sidecar --pod-name r-1 --namespace a --service b --pod-ip 10.0.0.1,fd00::1 --dns-server 10.0.0.10 --dns-server [fd00::a]:5353 --http 0.0.0.0:9000").expect("parses");
    let Command::Sidecar(args) = cli.command else {
        panic!("sidecar")
    };
    assert_eq!(args.set.pod_ip.len(), 2);
    assert_eq!(args.set.dns_server[0].port(), 53);
    assert_eq!(args.set.peer_http_port, 9000);
    assert_eq!(args.peer_wait, Duration::from_mins(5));
}

/// Help is what people read first, and flags are a contract: a change is seen in review.
#[test]
fn help() {
    for sub in ["init", "sidecar", "status", "resolve"] {
        let mut command = Cli::command().term_width(100);
        let sub = command.find_subcommand_mut(sub).expect(sub);
        let name = format!("help_{}", sub.get_name());
        insta::assert_snapshot!(name, sub.render_long_help().to_string());
    }
}
