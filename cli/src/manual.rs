//! `shoal completions` and `shoal man`: made from the same declarations as the command line itself.

use std::path::PathBuf;

use crate::exit::Failure;
use crate::output;

/// Print a completion script for a shell.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  shoal completions bash > /usr/share/bash-completion/completions/shoal
  shoal completions zsh > ~/.zfunc/_shoal
  shoal completions fish > ~/.config/fish/completions/shoal.fish")]
pub struct CompletionsArguments {
    /// The shell
    shell: clap_complete::Shell,
}

/// Print the manual page, or write one page per command into a folder.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  shoal man | man -l -
  shoal man --output /usr/local/share/man/man1")]
pub struct ManArguments {
    /// Write shoal.1, shoal-agent.1 and so on into this folder
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Runs `shoal completions`.
pub fn completions(
    arguments: &CompletionsArguments,
    mut command: clap::Command,
) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "shoal", &mut script);
    print(&script)
}

/// Runs `shoal man`.
pub fn man(arguments: &ManArguments, command: clap::Command) -> Result<(), Failure> {
    let complain = |error| Failure::failed(format_args!("cannot write the manual: {error}"));
    match &arguments.output {
        Some(folder) => clap_mangen::generate_to(command, folder).map_err(complain),
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page).map_err(complain)?;
            print(&page)
        }
    }
}

fn print(bytes: &[u8]) -> Result<(), Failure> {
    output::print_line(String::from_utf8_lossy(bytes).trim_end())
}
