//! The network of a run: a bridge in a namespace of its own, and a namespace with one address for each process.
//!
//! Cuts between two are rules of iptables in the namespace of whoever shall not hear; one that is cut off from all has its
//! port of the bridge disabled; a slow link is a token bucket on the sender's device. All of it is gone when the network is dropped; what a killed run left behind is removed by the next one.

use std::cell::RefCell;
use std::fs::File;
use std::net::TcpStream;
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use crate::Result;

/// Begins the names of all namespaces; the id of the process that made them follows.
const PREFIX: &str = "quark-chaos-";
/// The bridge's address: Redis listens there.
pub(crate) const HUB_ADDRESS: &str = "10.77.0.1";

/// The namespaces of one run.
pub(crate) struct Network {
    hub: String,
    places: RefCell<Vec<String>>,
}

/// Where one process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) address: String,
}

impl Network {
    pub(crate) fn new() -> Result<Self> {
        remove_leftovers();
        let hub = format!("{PREFIX}{}-hub", std::process::id());
        let hint = "chaos needs network namespaces: run it as root, with `ip` (iproute2), `tc` and `iptables` installed";
        // Made first, so that it is taken away whatever fails.
        let network = Self { hub: hub.clone(), places: RefCell::default() };
        ip(&["netns", "add", &hub]).map_err(|error| format!("{error}\n  hint: {hint}"))?;
        ip(&["-n", &hub, "link", "add", "bridge0", "type", "bridge"])?;
        ip(&["-n", &hub, "addr", "add", &format!("{HUB_ADDRESS}/24"), "dev", "bridge0"])?;
        ip(&["-n", &hub, "link", "set", "bridge0", "up"])?;
        ip(&["-n", &hub, "link", "set", "lo", "up"])?;
        run("ip", &["netns", "exec", &hub, "iptables", "-L", "-n"])
            .map_err(|error| format!("{error}\n  hint: {hint}"))?;
        Ok(network)
    }

    /// Where the bridge is.
    pub(crate) fn hub(&self) -> Place {
        Place { namespace: self.hub.clone(), address: HUB_ADDRESS.to_owned() }
    }

    /// A new namespace on the bridge.
    pub(crate) fn add_place(&self) -> Result<Place> {
        let number = self.places.borrow().len();
        let namespace = format!("{PREFIX}{}-{number}", std::process::id());
        let address = format!("10.77.0.{}", number + 11);
        let (hub, port) = (self.hub.as_str(), format!("port{number}"));
        self.places.borrow_mut().push(namespace.clone());
        ip(&["netns", "add", &namespace])?;
        ip(&["-n", hub, "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
        ip(&["-n", hub, "link", "set", &port, "master", "bridge0", "up"])?;
        ip(&["-n", &namespace, "addr", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        Ok(Place { namespace, address })
    }

    /// A place and everybody else do not hear each other; undone when what is returned is dropped.
    ///
    /// One command, so that the cut has one moment. What is sent is lost without a word: a rule of iptables for what goes
    /// out would tell the sender.
    pub(crate) fn cut_off(&self, place: &Place) -> Result<Undo> {
        let number = self.places.borrow().iter().position(|namespace| *namespace == place.namespace);
        let port = format!("port{}", number.ok_or("only a place on the bridge can be cut off")?);
        let set = |state| ["netns", "exec", &self.hub, "bridge", "link", "set", "dev", &port, "state", state];
        const DISABLED: &str = "0";
        const FORWARDING: &str = "3";
        ip(&set(DISABLED))?;
        Ok(Undo::by(&set(FORWARDING)))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in self.places.borrow().iter().chain([&self.hub]) {
            let _ = ip(&["netns", "delete", namespace]);
        }
    }
}

impl Place {
    /// A command that runs here, its process being the program itself.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, program]);
        command
    }

    /// A connection from here, for this process.
    pub(crate) fn connect(&self, address: &str) -> Result<TcpStream> {
        let (namespace, address) = (format!("/var/run/netns/{}", self.namespace), address.to_owned());
        // A socket stays in the namespace in which its thread made it, and the thread ends with that.
        let dialling = std::thread::spawn(move || {
            let namespace = File::open(namespace)?;
            // SAFETY: the descriptor is open, and the namespace becomes that of this thread only.
            if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                return Err(std::io::Error::last_os_error());
            }
            TcpStream::connect(address)
        });
        Ok(dialling.join().map_err(|_| "the thread that dialled has panicked")??)
    }

    /// No longer hears `other`; undone when what is returned is dropped.
    pub(crate) fn deafen(&self, other: &Self) -> Result<Undo> {
        let rule = |verb| {
            let words =
                ["netns", "exec", &self.namespace, "iptables", "-w", verb, "INPUT", "-s", &other.address];
            [&words[..], &["-j", "DROP"]].concat()
        };
        ip(&rule("-A"))?;
        Ok(Undo::by(&rule("-D")))
    }

    /// Sends no more than 256 kbit a second; undone when what is returned is dropped.
    pub(crate) fn slow_down(&self) -> Result<Undo> {
        let device = ["netns", "exec", &self.namespace, "tc", "qdisc"];
        let bucket = ["tbf", "rate", "256kbit", "burst", "16kb", "latency", "2s"];
        ip(&[&device[..], &["add", "dev", "eth0", "root"], &bucket].concat())?;
        Ok(Undo::by(&[&device[..], &["del", "dev", "eth0", "root"]].concat()))
    }
}

/// Undoes a fault of the network when it is dropped.
#[must_use = "it is undone at once"]
pub(crate) struct Undo(Vec<String>);

impl Undo {
    fn by(words: &[&str]) -> Self {
        Self(words.iter().map(|word| (*word).to_owned()).collect())
    }
}

impl Drop for Undo {
    fn drop(&mut self) {
        // At the end of a run the namespaces may be gone already.
        let _ = ip(&self.0.iter().map(String::as_str).collect::<Vec<_>>());
    }
}

fn remove_leftovers() {
    let Ok(listed) = Command::new("ip").args(["netns", "list"]).stderr(Stdio::null()).output() else {
        return;
    };
    for line in String::from_utf8_lossy(&listed.stdout).lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|owner| !std::path::Path::new(&format!("/proc/{owner}")).exists()) {
            let _ = ip(&["netns", "delete", name]);
        }
    }
}

fn ip(words: &[&str]) -> Result<()> {
    run("ip", words)
}

fn run(program: &str, words: &[&str]) -> Result<()> {
    let said = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("`{program}` cannot be run: {error}"))?;
    if said.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&said.stderr);
    Err(format!("`{program} {}` failed: {}", words.join(" "), complaint.trim()).into())
}
