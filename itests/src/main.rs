//! The `switchyard-itests` command.

fn main() -> std::process::ExitCode {
    switchyard_itests::cli::main()
}
