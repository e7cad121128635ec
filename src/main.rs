//! The `podzero` binary: parses the command line and runs one command.

use std::io::Write as _;
use std::process::ExitCode;

use podzero::config::{Cli, Command};
use podzero::exit::{Exit, Failure, OrExit as _};
use podzero::{commands, init, log, sidecar};

fn main() -> ExitCode {
    let cli = match Cli::parse_from(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output, mistakes to standard error.
            let _ = error.print();
            let exit = if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Done
            };
            return exit.into();
        }
    };
    match run(cli) {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            // Nothing is left to tell if standard error is closed.
            let _ = writeln!(std::io::stderr(), "podzero: {failure}");
            failure.exit.into()
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .or_exit(Exit::Environment)?;
    match cli.command {
        Command::Init(args) => {
            log::init(&args.set.log, args.set.log_format)?;
            runtime.block_on(init::run(*args))
        }
        Command::Sidecar(args) => {
            log::init(&args.set.log, args.set.log_format)?;
            runtime.block_on(sidecar::run(*args))
        }
        Command::Status(args) => runtime.block_on(commands::status(args)),
        Command::Resolve(args) => runtime.block_on(commands::resolve(args)),
        Command::Prestop(args) => runtime.block_on(commands::prestop(args)),
        Command::Failover(args) => runtime.block_on(commands::failover(args)),
    }
}
