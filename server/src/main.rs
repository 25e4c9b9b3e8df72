//! Entry point: reads the configuration, starts the runtime, runs the app, and sets the exit code.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use tenured::{
    app,
    config::{self, Config, Invocation, QuorumRecovery},
    tasks, telemetry,
};
use tracing::{error, warn};

/// One allocator for RocksDB and the rest: memory freed after a burst returns to the system.
/// `.cargo/config.toml` sets how soon.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Exit code for an invalid configuration.
const EXIT_CONFIG: u8 = 2;

/// Exit code of a member that was removed: a supervisor must not start it again.
const EXIT_REMOVED: u8 = 78;

fn main() -> ExitCode {
    match config::from_process() {
        Ok(Invocation::Print(text)) => print(&text),
        Ok(Invocation::Serve { config, .. }) if config.recovery == QuorumRecovery::Plan => {
            match app::recovery_plan(&config) {
                Ok(text) => print(&text),
                Err(error) => complain(&tenured::fatal::chain(&error), ExitCode::FAILURE),
            }
        }
        Ok(Invocation::Serve { config, warnings }) => {
            if let Err(error) = telemetry::start(&config) {
                return complain(&error.to_string(), ExitCode::FAILURE);
            }
            for warning in warnings {
                warn!("{warning}");
            }
            serve(config)
        }
        Err(errors) => complain(&errors.to_string(), ExitCode::from(EXIT_CONFIG)),
    }
}

fn serve(config: Arc<Config>) -> ExitCode {
    tasks::abort_on_panic();
    // One thread: on shared cores a wake-up across threads costs more than a second thread gains.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(app::run(config)),
        Err(error) => return complain(&format!("no runtime: {error}"), ExitCode::FAILURE),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let chain = tenured::fatal::chain(&failure);
            error!(cause = %chain, "the server stopped");
            let code = if failure.is_removal() {
                ExitCode::from(EXIT_REMOVED)
            } else {
                ExitCode::FAILURE
            };
            complain(&chain, code)
        }
    }
}

fn print(text: &str) -> ExitCode {
    // An error is ignored: it means that standard output is closed.
    _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn complain(what: &str, code: ExitCode) -> ExitCode {
    _ = writeln!(io::stderr(), "{}", what.trim_end());
    code
}
