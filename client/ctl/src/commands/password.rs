//! Passwords: asked for at a terminal, where they are not shown, or read from standard input.

use std::{
    io::{self, BufRead, IsTerminal},
    process::{Command, Stdio},
};

use crate::failure::Failure;

/// Reads a line of the terminal that is not shown, and turns showing on again whatever ends it: the
/// terminal belongs to the shell that comes after this program.
const HIDDEN_LINE: &str = "trap 'stty echo' EXIT; trap 'exit 130' INT TERM HUP; stty -echo; \
                           IFS= read -r line; printf %s \"$line\"";

/// Asks for the password of the user who runs a command; `None` when there is no terminal: standard
/// input may be the input of the command.
pub(super) fn asked(user: &str) -> Result<Option<String>, Failure> {
    if !io::stdin().is_terminal() {
        return Ok(None);
    }
    ask(&format!("Password of {user}: ")).map(Some)
}

/// Reads the new password of a user.
pub(super) fn read(user: &str, interactive: bool) -> Result<String, Failure> {
    let password = if interactive {
        let password = ask(&format!("Password of {user}: "))?;
        let again = ask(&format!("Type password of {user} again for confirmation: "))?;
        if password != again {
            return Err(Failure::usage("the two passwords are different"));
        }
        password
    } else {
        line()?
    };
    if password.is_empty() {
        return Err(Failure::usage(
            "the password is empty; give --no-password for a user who shows a certificate",
        ));
    }
    Ok(password)
}

fn ask(prompt: &str) -> Result<String, Failure> {
    eprint_prompt(prompt);
    if !io::stdin().is_terminal() {
        return line();
    }
    let read = Command::new("sh")
        .args(["-c", HIDDEN_LINE])
        .stdin(Stdio::inherit())
        .stderr(Stdio::inherit())
        .output()?;
    eprint_prompt("\n");
    if !read.status.success() {
        return Err(Failure::usage("the password was not entered"));
    }
    String::from_utf8(read.stdout).map_err(|_| Failure::usage("the password is no text"))
}

/// A line of standard input, without its end.
fn line() -> Result<String, Failure> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn eprint_prompt(text: &str) {
    use io::Write;
    // A closed standard error is ignored.
    _ = io::stderr().write_all(text.as_bytes());
}
