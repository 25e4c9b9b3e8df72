//! Starts child processes that die with the test process, however that ends.
//!
//! `setpriv` asks the kernel to kill the child when the thread that started it ends. One thread
//! that lives as long as the process starts them all, so a test's own thread may end before.

use std::{
    env,
    ffi::OsString,
    fs::File,
    io,
    process::{Child, Command, Stdio},
    sync::{OnceLock, mpsc},
    thread,
};

use crate::tool::find_program;

/// What the variables of a server begin with. A test's own begin so, too, and a server refuses
/// those that it does not know, or takes etcd's for its settings.
const VARIABLES: [&str; 2] = ["TENURE_", "ETCD_"];
/// Starts that may wait for the thread: tests start children a few at a time.
const QUEUE_MAX: usize = 16;

/// A program to start.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The program and its arguments.
    pub(crate) words: Vec<OsString>,
}

struct Order {
    command: Command,
    reply: mpsc::SyncSender<io::Result<Child>>,
}

/// Starts `launch` with its output going to `log`.
///
/// # Panics
/// When the program cannot be started.
pub(crate) fn spawn(launch: &Launch, log: &File) -> Child {
    let mut words = match find_program("setpriv") {
        Some(setpriv) => vec![
            setpriv.into(),
            "--pdeathsig".into(),
            "KILL".into(),
            "--".into(),
        ],
        None => Vec::new(),
    };
    words.extend(launch.words.iter().cloned());
    let (program, arguments) = words.split_first().expect("a launch has a program");
    let output = || Stdio::from(log.try_clone().expect("a log file can be cloned"));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(output())
        .stderr(output());
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if VARIABLES.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    let (reply, started) = mpsc::sync_channel(1);
    orders()
        .send(Order { command, reply })
        .expect("the spawning thread lives as long as the process");
    started
        .recv()
        .expect("the spawning thread answers every order")
        .unwrap_or_else(|error| panic!("{} could not be started: {error}", program.display()))
}

fn orders() -> &'static mpsc::SyncSender<Order> {
    static ORDERS: OnceLock<mpsc::SyncSender<Order>> = OnceLock::new();
    ORDERS.get_or_init(|| {
        let (sender, orders) = mpsc::sync_channel::<Order>(QUEUE_MAX);
        thread::spawn(move || {
            for mut order in orders {
                // Whoever ordered it waits for the answer.
                _ = order.reply.send(order.command.spawn());
            }
        });
        sender
    })
}
