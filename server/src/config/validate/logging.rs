//! Rules for logs.

use super::Check;
use crate::config::settings::{LogFormat, LogLevel, LogOutput};

impl Check<'_> {
    pub(super) fn log_level(&self) -> LogLevel {
        match self.sources.text("log-level").as_str() {
            "debug" => LogLevel::Debug,
            "warn" => LogLevel::Warn,
            "error" | "panic" | "fatal" => LogLevel::Error,
            _ => LogLevel::Info,
        }
    }

    pub(super) fn log_format(&self) -> LogFormat {
        match self.sources.text("log-format").as_str() {
            "console" => LogFormat::Console,
            _ => LogFormat::Json,
        }
    }

    pub(super) fn log_outputs(&mut self) -> Vec<LogOutput> {
        let mut outputs = Vec::new();
        for word in self.sources.words("log-outputs") {
            let output = match word.as_str() {
                "default" | "stderr" => LogOutput::Stderr,
                "stdout" => LogOutput::Stdout,
                _ => {
                    let remedy = format!(
                        "{word:?} is neither stderr nor stdout; log files are not built yet, so \
                         redirect one of those"
                    );
                    self.bad("log-outputs", remedy);
                    continue;
                }
            };
            if !outputs.contains(&output) {
                outputs.push(output);
            }
        }
        if outputs.is_empty() {
            outputs.push(LogOutput::Stderr);
        }
        outputs
    }
}
