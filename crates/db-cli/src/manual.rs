//! `dbctl completions` and `dbctl man`: written from the command line's own description.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;

use crate::args::Args;
use crate::error::CliError;

pub(crate) fn completions(shell: clap_complete::Shell) -> ExitCode {
    clap_complete::generate(shell, &mut Args::command(), "dbctl", &mut std::io::stdout());
    ExitCode::SUCCESS
}

pub(crate) fn man(out: Option<&Path>) -> Result<ExitCode, CliError> {
    match out {
        Some(directory) => {
            std::fs::create_dir_all(directory).map_err(CliError::file(directory))?;
            clap_mangen::generate_to(Args::command(), directory).map_err(CliError::file(directory))?;
        }
        None => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Args::command()).render(&mut page);
            let written = rendered.and_then(|()| std::io::stdout().write_all(&page));
            written.map_err(CliError::file(Path::new("standard output")))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
