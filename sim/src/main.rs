//! The `switchyard-sim` command.

fn main() -> std::process::ExitCode {
    switchyard_sim::cli::main()
}
