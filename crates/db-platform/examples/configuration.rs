//! Prints docs/configuration.md, made from the settings themselves.
#![expect(clippy::print_stdout, reason = "printing is all it does")]

fn main() {
    print!("{}", db_platform::configuration_page());
}
