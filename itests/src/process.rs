//! Child processes whose output is kept and which end with the test.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, LazyLock, Mutex, PoisonError, mpsc},
    time::Duration,
};

use crate::{Result, eventually};

/// Closes what a child inherits beyond its three streams, then becomes the program: librdkafka, which runs in this process, opens
/// its sockets without the flag that closes them in children.
const WITHOUT_OTHERS_FILES: &str = "for file in /proc/self/fd/*; do file=${file##*/}; \
                                    ((file > 2)) && eval \"exec $file>&-\"; done; exec \"$@\"";

/// Lines of either stream that an error message shows.
const TAIL_LINES: usize = 15;

/// A running child. Dropping it kills it.
pub struct Process {
    name: String,
    child: Child,
    stdin: Mutex<Option<ChildStdin>>,
    stdout: Lines,
    stderr: Lines,
}

/// Lines that a child has written so far.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<String>>>);

impl Lines {
    fn read(&self, source: impl Read + Send + 'static) {
        let lines = self.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                lines.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
    }

    fn with<T>(&self, read: impl FnOnce(&[String]) -> T) -> T {
        read(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a process holds of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Resident memory in KiB.
    pub resident_kib: u64,
    /// Open file descriptors.
    pub descriptors: u64,
}

impl Process {
    /// What it holds now. Fails when it has ended.
    pub fn footprint(&self) -> Result<Footprint> {
        let id = self.child.id();
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).ok_or("no VmRSS")?;
        let descriptors = fs::read_dir(format!("/proc/{id}/fd"))?.count() as u64;
        Ok(Footprint { resident_kib: kib.parse()?, descriptors })
    }

    /// Starts a program. `name` is what errors call it.
    pub fn start(name: &str, program: &str, arguments: &[String]) -> Result<Self> {
        let mut own = Self::spawn(name, program, arguments, Stdio::null())?;
        if let Some(source) = own.child.stdout.take() {
            own.stdout.read(source);
        }
        Ok(own)
    }

    /// Starts a program that can be told something, line by line. Every line that it answers is given to `hear`, on a thread of
    /// its own, and is not kept here.
    pub fn converse(
        name: &str,
        program: &str,
        arguments: &[String],
        mut hear: impl FnMut(&str) + Send + 'static,
    ) -> Result<Self> {
        let mut own = Self::spawn(name, program, arguments, Stdio::piped())?;
        own.stdin = Mutex::new(own.child.stdin.take());
        if let Some(source) = own.child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(source).lines().map_while(std::result::Result::ok) {
                    hear(&line);
                }
            });
        }
        Ok(own)
    }

    fn spawn(name: &str, program: &str, arguments: &[String], stdin: Stdio) -> Result<Self> {
        // The kernel kills the child when the thread that started it ends, which is when this process does.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "bash", "-c", WITHOUT_OTHERS_FILES, "bash", program])
            .args(arguments)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = spawn_for_good(command)
            .map_err(|error| format!("{name}: cannot start {program}: {error}"))?;
        let (stdout, stderr) = (Lines::default(), Lines::default());
        if let Some(source) = child.stderr.take() {
            stderr.read(source);
        }
        Ok(Self { name: name.to_owned(), child, stdin: Mutex::default(), stdout, stderr })
    }

    /// Tells a program that was started by [`Self::converse`] something.
    pub fn say(&self, line: &str) -> Result<()> {
        let mut stdin = self.stdin.lock().unwrap_or_else(PoisonError::into_inner);
        let stdin = stdin.as_mut().ok_or_else(|| format!("{} listens to nobody", self.name))?;
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).map_err(|error| {
            format!("{}: {error}; its output ends:{}", self.name, self.tail()).into()
        })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What was written to standard output, line by line.
    pub fn stdout<T>(&self, read: impl FnOnce(&[String]) -> T) -> T {
        self.stdout.with(read)
    }

    /// What was written to standard error, line by line.
    pub fn stderr<T>(&self, read: impl FnOnce(&[String]) -> T) -> T {
        self.stderr.with(read)
    }

    /// The newest lines of both streams, for an error message.
    pub fn tail(&self) -> String {
        let last = |lines: &[String]| {
            let from = lines.len().saturating_sub(TAIL_LINES);
            indented(lines.get(from..).unwrap_or_default().iter())
        };
        format!("{}{}", self.stdout(last), self.stderr(last))
    }

    /// Sends a signal by its name, without `SIG`.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("{}: kill -s {signal}: {status}", self.name).into())
        }
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end.
    pub async fn end(&mut self, limit: Duration) -> Result<ExitStatus> {
        let what = format!("end of {}", self.name);
        let child = Mutex::new(&mut self.child);
        let ended = eventually(&what, limit, || async {
            child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok().flatten()
        })
        .await;
        ended.map_err(|error| format!("{error}; its output ends:{}", self.tail()).into())
    }
}

/// Starts a program from a thread that lasts as long as this process. The threads of a runtime come and go.
fn spawn_for_good(command: Command) -> io::Result<Child> {
    type Answer = mpsc::Sender<io::Result<Child>>;
    static STARTER: LazyLock<Mutex<mpsc::Sender<(Command, Answer)>>> = LazyLock::new(|| {
        let (orders, taken) = mpsc::channel::<(Command, Answer)>();
        std::thread::spawn(move || {
            for (mut command, answer) in taken {
                // Whoever does not wait for the answer does not want the child, which ends with it.
                drop(answer.send(command.spawn()));
            }
        });
        Mutex::new(orders)
    });
    let (answer, answered) = mpsc::channel();
    let order = STARTER.lock().unwrap_or_else(PoisonError::into_inner).send((command, answer));
    order.map_err(|_| io::ErrorKind::BrokenPipe)?;
    answered.recv().map_err(|_| io::ErrorKind::BrokenPipe)?
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error means that it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Each line on one of its own, indented, for the end of an error message.
pub(crate) fn indented<'a>(lines: impl Iterator<Item = &'a String>) -> String {
    lines.fold(String::new(), |text, line| text + "\n    " + line)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What a program has written to its two streams when it is at its end.
    fn written_by(program: &str, arguments: &[&str]) -> (String, String) {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut child = Process::start(program, program, &arguments).expect("a child");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let ended = runtime.expect("a runtime").block_on(child.end(Duration::from_secs(10)));
        assert!(ended.expect("its end").success(), "{}", child.tail());
        // The readers of its streams may be a moment behind.
        std::thread::sleep(Duration::from_millis(200));
        (child.stdout(|lines| lines.join("\n")), child.stderr(|lines| lines.join("\n")))
    }

    #[test]
    fn child_holds_no_socket_of_this_process() {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        socket2::SockRef::from(&socket).set_cloexec(false).expect("a flag");
        let (listed, _) = written_by("ls", &["-l", "/proc/self/fd"]);
        assert!(listed.contains(" 1 -> "), "{listed}");
        assert!(!listed.contains("socket:"), "{listed}");
    }

    /// The shell keeps streams that it has redirected for a while among the files that it is told to close.
    #[test]
    fn both_streams_of_a_child_are_read_and_nothing_is_added() {
        let written = written_by("sh", &["-c", "echo said; echo complained >&2"]);
        assert_eq!(written, ("said".to_owned(), "complained".to_owned()));
    }
}
