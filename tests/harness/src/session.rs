//! A machine that runs: what it prints, what is typed, how it ends.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

use crate::machine::{Consoles, Machine};

/// How long a machine may print nothing at all: only a hang takes as long, also
/// on a host that is ten times slower than usual.
const SILENCE: Duration = Duration::from_secs(600);

/// How long a run may take as a whole, so that one that prints for ever ends too.
const WHOLE: Duration = Duration::from_secs(5400);

/// How often QEMU and the Secure console are looked at while nothing is printed.
const POLL: Duration = Duration::from_millis(500);

/// How often a long run says how far it is.
const PROGRESS: Duration = Duration::from_secs(60);

/// What the firmware prints each time it starts.
pub const BANNER: &str = "^bl31: version ";

/// What Linux says last when it turns the machine off. A CPU that has not heard yet
/// may still miss those that were stopped, and warn of it (seen of the broadcast of
/// timers), before PSCI is called. What EL3 has to say it says on its own console.
const LAST_WORDS: &[u8] = b"reboot: Power down";

/// How many lines of the console a failure shows.
const TAIL: usize = 25;

/// What went wrong in a run, with all that is needed to look into it.
#[derive(Debug)]
pub struct Failure {
    /// What was expected and what came instead.
    pub why: String,
    /// The command that does it again.
    pub command: String,
    /// The console's last lines.
    pub tail: String,
    /// The console in full.
    pub log: PathBuf,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.why)?;
        writeln!(f, "the last lines of {}:", self.log.display())?;
        for line in self.tail.lines() {
            writeln!(f, "    | {line}")?;
        }
        writeln!(f, "to see it again:")?;
        write!(f, "    {}", self.command)
    }
}

/// What the files of a run are called, before their extensions.
pub fn file_stem(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-")
}

/// A running QEMU. Dropping it ends QEMU.
#[derive(Debug)]
pub struct Session {
    child: Child,
    stdin: Option<ChildStdin>,
    output: Receiver<Vec<u8>>,
    text: Vec<u8>,
    /// Up to here `text` has been matched by what was expected.
    cursor: usize,
    /// Up to here `text` has been searched for what is forbidden.
    searched: usize,
    forbidden: RegexSet,
    /// [`LAST_WORDS`] were said, and nothing is forbidden any more.
    is_ending: bool,
    /// Up to here `text` has been shown on standard output, if it is at all.
    echoed: Option<usize>,
    log: File,
    log_path: PathBuf,
    secure: PathBuf,
    /// What QEMU itself says.
    errors: PathBuf,
    crash_expected: bool,
    command: String,
    name: String,
    started: Instant,
    /// When [`Session::tell`] last said something.
    told: Instant,
}

impl Session {
    /// Starts `machine`; its consoles go to `NAME.log` and `NAME.secure.log` in
    /// the directory `logs`. A line that matches one of `forbidden` fails the
    /// run as soon as it is seen, and so does anything on the Secure console.
    ///
    /// # Errors
    ///
    /// When the logs cannot be written or QEMU does not start.
    pub fn start(
        machine: &Machine,
        name: &str,
        logs: &Path,
        forbidden: &[&str],
    ) -> Result<Self, Failure> {
        let stem = file_stem(name);
        let log_path = logs.join(format!("{stem}.log"));
        let secure = logs.join(format!("{stem}.secure.log"));
        let consoles = Consoles::Streams(&secure);
        let command = machine.command_line(consoles);
        let failure = |what: &str, error: io::Error| Failure {
            why: format!("{what}: {error}"),
            command: command.clone(),
            tail: String::new(),
            log: log_path.clone(),
        };

        fs::create_dir_all(logs).map_err(|error| failure("cannot make the logs", error))?;
        let mut log =
            File::create(&log_path).map_err(|error| failure("cannot write the log", error))?;
        // Left over from the run before, it would be taken for this one's.
        fs::write(&secure, "").map_err(|error| failure("cannot write the log", error))?;
        writeln!(log, "{command}").map_err(|error| failure("cannot write the log", error))?;
        // Apart, so that it never gets into the middle of a line of the console.
        let errors = logs.join(format!("{stem}.qemu.log"));
        let stderr =
            File::create(&errors).map_err(|error| failure("cannot write the log", error))?;
        // setpriv: QEMU ends with this program, whichever way that ends.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&machine.qemu.path)
            .args(machine.arguments(consoles))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|error| failure("cannot start QEMU with setpriv (util-linux)", error))?;
        let stdin = child.stdin.take();
        let (sender, output) = mpsc::channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || forward(stdout, &sender));
        }
        Ok(Self {
            child,
            stdin,
            output,
            text: Vec::new(),
            cursor: 0,
            searched: 0,
            is_ending: false,
            forbidden: RegexSetBuilder::new(forbidden)
                .build()
                .expect("the forbidden patterns are constants"),
            echoed: None,
            log,
            log_path,
            secure,
            errors,
            crash_expected: false,
            command,
            name: name.into(),
            started: Instant::now(),
            told: Instant::now(),
        })
    }

    /// Shows on standard output what the console shows, no further than the line
    /// that was expected last.
    pub fn echo(&mut self) {
        self.echoed = Some(0);
    }

    /// Waits until the console shows `pattern` after what was matched before, and
    /// returns the text that matched. `^` and `$` are the ends of a line.
    ///
    /// # Errors
    ///
    /// When something forbidden is printed, QEMU ends first, or nothing is
    /// printed for so long that the machine must hang.
    pub fn expect(&mut self, pattern: &str) -> Result<String, Failure> {
        let regex =
            multi_line(pattern).map_err(|error| self.failure(format!("bad pattern: {error}")))?;
        loop {
            if let Some(found) = self.find(&regex) {
                self.echo_up_to(self.cursor);
                return Ok(found);
            }
            self.echo_up_to(self.text.len());
            if !self.read(&format!("'{pattern}'"))? {
                let status = self.reap()?;
                return Err(self.failure(format!(
                    "QEMU ended ({status}) before the console showed '{pattern}'"
                )));
            }
        }
    }

    /// Types `line` and a carriage return on the machine's console.
    ///
    /// # Errors
    ///
    /// When QEMU no longer reads.
    pub fn type_line(&mut self, line: &str) -> Result<(), Failure> {
        let typed = match &mut self.stdin {
            Some(stdin) => write!(stdin, "{line}\r").and_then(|()| stdin.flush()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        typed.map_err(|error| self.failure(format!("cannot type '{line}': {error}")))
    }

    /// Waits for the machine to power itself off, which ends QEMU with status 0.
    ///
    /// # Errors
    ///
    /// As [`expect`](Self::expect), when the machine is reset instead, and when
    /// QEMU ends with another status.
    pub fn power_off(&mut self) -> Result<(), Failure> {
        let banner = multi_line(BANNER).expect("a constant");
        loop {
            let more = self.read("power-off")?;
            self.echo_up_to(self.text.len());
            if banner.is_match(&self.text[self.cursor..]) {
                return Err(self.failure("the machine was reset instead of powered off".into()));
            }
            if !more {
                break;
            }
        }
        let status = self.reap()?;
        if !status.success() {
            return Err(self.failure(format!("QEMU ended with {status}, expected 0")));
        }
        self.check_secure()
    }

    /// Ends QEMU, where the machine itself never would.
    ///
    /// # Errors
    ///
    /// When the Secure console shows a crash.
    pub fn stop(mut self) -> Result<(), Failure> {
        self.end();
        self.check_secure()
    }

    /// All that the console showed so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text).replace('\r', "")
    }

    /// A failure of this run for the reason `why`.
    pub fn failure(&self, mut why: String) -> Failure {
        let errors = fs::read(&self.errors).unwrap_or_default();
        if !errors.is_empty() {
            why.push_str("\nQEMU says: ");
            why.push_str(String::from_utf8_lossy(&errors).trim_end());
        }
        let text = self.text();
        let lines: Vec<&str> = text.lines().collect();
        Failure {
            why,
            command: self.command.clone(),
            tail: lines[lines.len().saturating_sub(TAIL)..].join("\n"),
            log: self.log_path.clone(),
        }
    }

    fn find(&mut self, regex: &Regex) -> Option<String> {
        let found = regex.find(&self.text[self.cursor..])?;
        let matched = String::from_utf8_lossy(found.as_bytes()).into_owned();
        self.cursor += found.end();
        Some(matched)
    }

    /// Shows the lines that begin before `end` and are complete.
    fn echo_up_to(&mut self, end: usize) {
        let Some(from) = self.echoed else { return };
        let lines = self.text[from..]
            .split_inclusive(|&byte| byte == b'\n')
            .filter(|line| line.ends_with(b"\n"));
        let mut to = from;
        for line in lines {
            if to >= end {
                break;
            }
            to += line.len();
        }
        let mut out = io::stdout().lock();
        // Without a reader there is nobody to show it to.
        let _ = out
            .write_all(&self.text[from..to])
            .and_then(|()| out.flush());
        self.echoed = Some(to);
    }

    /// Takes in what was printed since; false once QEMU has closed its output.
    fn read(&mut self, waiting_for: &str) -> Result<bool, Failure> {
        let since = Instant::now();
        loop {
            match self.output.recv_timeout(POLL) {
                Ok(mut bytes) => {
                    // All that there is at once: each piece is followed by a search.
                    while let Ok(more) = self.output.try_recv() {
                        bytes.extend(more);
                    }
                    self.take(&bytes)?;
                    self.tell();
                    return Ok(true);
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(false),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.check_secure()?;
            self.tell();
            if since.elapsed() > SILENCE {
                return Err(self.failure(format!(
                    "nothing printed for {} s while waiting for {waiting_for}",
                    SILENCE.as_secs()
                )));
            }
            if self.started.elapsed() > WHOLE {
                return Err(self.failure(format!(
                    "still waiting for {waiting_for} after {} minutes",
                    WHOLE.as_secs() / 60
                )));
            }
        }
    }

    /// Says now and then how far a long run is, where the console isn't shown.
    fn tell(&mut self) {
        if self.echoed.is_some() || self.told.elapsed() < PROGRESS {
            return;
        }
        self.told = Instant::now();
        let text = self.text();
        let last = text.lines().rfind(|line| !line.trim().is_empty());
        println!(
            "      {}, after {} s: {}",
            self.name,
            self.started.elapsed().as_secs(),
            last.unwrap_or("nothing yet").trim_end()
        );
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        // The log is for reading afterwards; a full disk shall not end the test.
        let _ = self.log.write_all(bytes);
        self.text
            .extend(bytes.iter().filter(|&&byte| byte != b'\r'));
        // Whole lines only, so that no pattern meets half of one.
        let Some(end) = self.text[self.searched..]
            .iter()
            .rposition(|&byte| byte == b'\n')
        else {
            return Ok(());
        };
        let end = self.searched + end;
        let mut bad = None;
        for line in self.text[self.searched..end].split(|&byte| byte == b'\n') {
            if self.is_ending || bad.is_some() {
                break;
            }
            if self.forbidden.is_match(line) {
                bad = Some(String::from_utf8_lossy(line).into_owned());
            }
            self.is_ending = line.ends_with(LAST_WORDS);
        }
        self.searched = end + 1;
        match bad {
            Some(line) => Err(self.failure(format!("the console shows '{line}'"))),
            None => Ok(()),
        }
    }

    /// From now on a crash report on the Secure console fails nothing.
    pub fn expect_crash(&mut self) {
        self.crash_expected = true;
    }

    /// What the Secure console shows once no more is added to it.
    pub fn secure_text(&self) -> String {
        let size = || fs::metadata(&self.secure).map_or(0, |metadata| metadata.len());
        let mut before = 0;
        while before != size() {
            before = size();
            thread::sleep(POLL);
        }
        let report = fs::read(&self.secure).unwrap_or_default();
        String::from_utf8_lossy(&report).replace('\r', "")
    }

    fn check_secure(&mut self) -> Result<(), Failure> {
        if self.crash_expected {
            return Ok(());
        }
        let report = self.secure_text();
        if report.is_empty() {
            return Ok(());
        }
        self.end();
        Err(self.failure(format!(
            "the Secure console ({}) says:\n{}",
            self.secure.display(),
            report.trim_end()
        )))
    }

    fn reap(&mut self) -> Result<ExitStatus, Failure> {
        self.child
            .wait()
            .map_err(|error| self.failure(format!("cannot wait for QEMU: {error}")))
    }

    fn end(&mut self) {
        // An error here only says that QEMU has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

fn multi_line(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).multi_line(true).build()
}

/// Sends on what is read, until either side ends.
fn forward(mut stdout: ChildStdout, sender: &Sender<Vec<u8>>) {
    let mut buffer = [0; 4096];
    while let Ok(size @ 1..) = stdout.read(&mut buffer) {
        if sender.send(buffer[..size].to_vec()).is_err() {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Qemu;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::LazyLock;

    /// Runs as a script what the machine names as its CPU. Written once, before any
    /// test forks: a file that a child still holds open cannot be run.
    static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
        let program = logs().join("qemu");
        let script = "#!/bin/sh\nwhile [ \"$1\" != -cpu ]; do shift; done\neval \"$2\"\n";
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        program
    });

    fn logs() -> PathBuf {
        let logs = std::env::temp_dir().join(format!("harness-{}", std::process::id()));
        fs::create_dir_all(&logs).unwrap();
        logs
    }

    /// A session with a shell script in QEMU's place.
    fn session(name: &str, script: &str, forbidden: &[&str]) -> Session {
        let qemu = Qemu {
            path: PROGRAM.clone(),
            version: (10, 0, 0),
        };
        let mut machine = Machine::new(&qemu, Path::new("bl31.bin"));
        machine.cpu = script.into();
        Session::start(&machine, name, &logs(), forbidden).unwrap()
    }

    #[test]
    fn lines_are_expected_in_order() {
        let mut session = session("order", "echo one; echo two; echo three", &[]);
        assert_eq!(session.expect("^t.*$").unwrap(), "two");
        assert_eq!(session.expect("^t.*$").unwrap(), "three");
        let failure = session.expect("one").unwrap_err();
        assert!(failure.why.contains("before the console showed 'one'"));
        assert_eq!(failure.tail, "one\ntwo\nthree");
    }

    #[test]
    fn what_is_typed_is_read() {
        let mut session = session("type", "read line; echo \"got $line\"", &[]);
        session.type_line("hello\n").unwrap();
        session.expect("got hello").unwrap();
        session.power_off().unwrap();
    }

    #[test]
    fn a_forbidden_line_fails_the_run() {
        let mut session = session("forbid", "echo fine; echo BUG: x; echo end", &["^BUG:"]);
        let failure = session.expect("end").unwrap_err();
        assert_eq!(failure.why, "the console shows 'BUG: x'");
    }

    #[test]
    fn nothing_is_forbidden_after_the_last_words() {
        let script = "echo '[ 1.0] reboot: Power down'; echo BUG: x; echo end";
        let mut session = session("last", script, &["^BUG:"]);
        session.expect("end").unwrap();
        session.power_off().unwrap();
    }

    #[test]
    fn another_exit_status_fails_the_run() {
        let mut session = session("status", "exit 3", &[]);
        let failure = session.power_off().unwrap_err();
        assert!(failure.why.contains("expected 0"), "{}", failure.why);
    }

    #[test]
    fn a_reset_is_no_power_off() {
        let mut session = session("reset", "echo bl31: version 1; echo bl31: version 1", &[]);
        session.expect(BANNER).unwrap();
        let failure = session.power_off().unwrap_err();
        assert!(failure.why.contains("reset instead"), "{}", failure.why);
    }

    #[test]
    fn the_secure_console_fails_the_run() {
        let script = "for a; do case $a in file:*) echo crash > ${a#file:};; esac; done";
        let mut session = session("secure", script, &[]);
        let failure = session.power_off().unwrap_err();
        assert!(failure.why.ends_with("crash"), "{}", failure.why);
    }
}
