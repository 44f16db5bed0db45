//! Running commands: each is shown, its output streams, and steps tell their wall time.

use std::{
    collections::VecDeque,
    env,
    ffi::OsString,
    fmt::Display,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// A message for the person; stdout is kept for results.
pub(crate) fn say(message: impl Display) {
    eprintln!("{message}");
}

/// Does `work` under a heading and says how long it took, also when it fails.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> (Result<T>, Duration) {
    say(format!("==> {name}"));
    let start = Instant::now();
    let result = work();
    let took = start.elapsed();
    say(format!("==> {name}: {} after {}", if result.is_ok() { "done" } else { "FAILED" }, seconds(took)));
    (result, took)
}

/// Runs the command with its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    say(format!("    $ {shown}"));
    let status = command.status().with_context(|| format!("starting `{shown}`"))?;
    if !status.success() {
        bail!("`{}` failed: {status}", brief(command));
    }
    Ok(())
}

/// Lines of a failed command's stderr that its error repeats.
const LAST_WORDS: usize = 20;

/// Runs the command, hands each line of its stdout to `line` and passes it on at once. If it fails, the error ends with the last
/// of its stderr.
pub(crate) fn stream(command: &mut Command, mut line: impl FnMut(&str)) -> Result<()> {
    let shown = show(command);
    say(format!("    $ {shown}"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting `{shown}`"))?;
    let stdout = child.stdout.take().context("no pipe to the child's stdout")?;
    let stderr = child.stderr.take().context("no pipe to the child's stderr")?;
    let complaints = thread::spawn(move || last_words(stderr));
    for bytes in BufReader::new(stdout).split(b'\n') {
        let bytes = bytes.with_context(|| format!("reading the output of `{shown}`"))?;
        let text = String::from_utf8_lossy(&bytes);
        println!("{text}");
        line(&text);
    }
    let status = child.wait().with_context(|| format!("waiting for `{shown}`"))?;
    let last_words = complaints.join().ok().context("passing on its stderr")?;
    if !status.success() {
        bail!("`{}` failed: {status}{last_words}", brief(command));
    }
    Ok(())
}

/// Passes all lines on to our stderr; the last ones, each on a line of its own.
fn last_words(stderr: impl Read) -> String {
    let mut last = VecDeque::new();
    for bytes in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        say(&text);
        if last.len() == LAST_WORDS {
            last.pop_front();
        }
        last.push_back(format!("\n    {text}"));
    }
    last.into_iter().collect()
}

/// What a command says on stdout, without showing it.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    output(command).map(|text| text.trim().to_owned())
}

/// The same with every blank in it.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let shown = show(command);
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting `{shown}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{shown}` failed: {}: {}", output.status, stderr.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Every executable of that name: along `PATH`, then where Debian keeps what an ordinary `PATH` leaves out.
pub(crate) fn find_all(name: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/bin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut found: Vec<PathBuf> = Vec::new();
    for file in env::split_paths(&path).chain(more).map(|dir| dir.join(name)).filter(|file| file.is_file()) {
        if !found.contains(&file) {
            found.push(file);
        }
    }
    found
}

/// Whether there is an executable of that name.
pub(crate) fn has(name: &str) -> bool {
    !find_all(name).is_empty()
}

/// The cargo that started us, so that every step uses the same one.
pub(crate) fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A duration as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// The command as it would be typed, with the variables that it sets.
pub(crate) fn show(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(key, value)| {
        // cargo separates encoded flags by the unit separator (0x1f), which no terminal shows.
        let value = value?.to_string_lossy().replace('\u{1f}', " ");
        Some(format!("{}={}", key.to_string_lossy(), quote(&value)))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    variables.chain(words.map(|word| quote(&word.to_string_lossy()))).collect::<Vec<_>>().join(" ")
}

/// Program and first argument: the whole was shown when it started.
fn brief(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_else(|| command.get_program());
    let words = std::iter::once(program).chain(command.get_args().take(1));
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{word}'") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_as_typed() {
        let mut command = Command::new("cargo");
        command.args(["build", "--cfg=a=\"b\"", ""]).env("FLAGS", "-a\u{1f}-b").env_remove("RUSTFLAGS");
        assert_eq!(show(&command), "FLAGS='-a -b' cargo build '--cfg=a=\"b\"' ''");
        assert_eq!(brief(&command), "cargo build");
    }

    #[test]
    fn a_stream_is_seen_line_by_line_and_its_failure_too() {
        let mut seen = Vec::new();
        let says = "seq 30 >&2; echo one; printf two; exit 3";
        let result = stream(Command::new("sh").args(["-c", says]), |l| seen.push(l.to_owned()));
        assert_eq!(seen, ["one", "two"]);
        let error = result.unwrap_err().to_string();
        assert!(error.contains("exit status: 3\n    11\n") && error.ends_with("\n    30"), "{error}");
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        assert!(has("sh"));
        assert!(!has("no-such-program-here"));
    }
}
