//! How the program ends: its exit codes, and failures as one line that says what to do.

use std::fmt::Display;

/// Why the program stops before it did what it was asked. Codes: 0 done, 1 failed, 2 usage.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The request was sound and could not be carried out.
    Failed(String),
    /// The request itself has to change: a flag, a file, an address.
    Usage(String),
}

impl Failure {
    /// A [`Failure::Failed`] with this message.
    pub fn failed(message: impl Display) -> Failure {
        Failure::Failed(message.to_string())
    }

    /// A [`Failure::Usage`] with this message.
    pub fn usage(message: impl Display) -> Failure {
        Failure::Usage(message.to_string())
    }

    /// Reads clap's report, which fills several lines, as one.
    pub fn from_clap(error: &clap::Error) -> Failure {
        let report = error.to_string();
        let mut message = String::new();
        let mut command = "";
        for line in report.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if let Some(usage) = line.strip_prefix("Usage: ") {
                // Its words up to the first option or placeholder are the command whose help explains
                // more.
                let end = usage.find(['[', '<', '-']).unwrap_or(usage.len());
                command = usage[..end].trim_end();
                break;
            }
            if line.starts_with("For more information") {
                break;
            }
            if let Some(tip) = line.strip_prefix("tip: ") {
                if let Some((_, similar)) = tip.split_once(" exists: ") {
                    message += &format!("; did you mean {similar}?");
                }
                continue;
            }
            if let Some(values) = line.strip_prefix("[possible values: ") {
                message += &format!(", expected {}", values.trim_end_matches(']'));
                continue;
            }
            if !message.is_empty() {
                message.push(' ');
            }
            message += line.strip_prefix("error: ").unwrap_or(line);
        }
        let message = message.replace("invalid digit found in string", "expected a whole number");
        let command =
            if command.is_empty() { "see --help" } else { &format!("see {command} --help") };
        Failure::usage(format_args!("{message} ({command})"))
    }

    /// The line, without the program's name.
    pub fn message(&self) -> &str {
        match self {
            Failure::Failed(message) | Failure::Usage(message) => message,
        }
    }

    /// Prints the line and gives the exit code.
    pub fn report(&self) -> u8 {
        let (message, code) = match self {
            Failure::Failed(message) => (message, 1),
            Failure::Usage(message) => (message, 2),
        };
        // Control characters would break the promise of one line.
        let line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        eprintln!("shoal: {line}");
        code
    }
}
