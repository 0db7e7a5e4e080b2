//! Help texts: each command explains itself and shows an example.

use super::*;

const COMMANDS: [&str; 8] =
    ["run", "check", "schema", "status", "fence", "unfence", "switchover", "completions"];

#[test]
fn help_names_every_command_and_shows_examples() {
    let said = run(&["--help"]);
    assert_eq!(said.code, Some(0));
    for command in COMMANDS {
        assert!(said.out.contains(&format!("  {command}")), "{command}: {}", said.out);
    }
    assert!(said.out.contains("Examples:"));
}

#[test]
fn help_of_every_command_has_an_example_and_fits_a_terminal() {
    for command in COMMANDS {
        let said = run(&[command, "--help"]);
        assert_eq!(said.code, Some(0), "{command}");
        assert!(said.out.contains("Example"), "{command}: {}", said.out);
        for line in said.out.lines() {
            assert!(line.chars().count() <= 120, "{command}: {line}");
        }
    }
}

#[test]
fn completions_for_every_shell_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let said = run(&["completions", shell]);
        assert_eq!(said.code, Some(0), "{shell}");
        assert!(said.out.contains("switchover"), "{shell}");
    }
}

#[test]
fn unknown_argument_is_bad_input() {
    let said = run(&["switchover", "--root", "r"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("--route"), "{}", said.err);
}
