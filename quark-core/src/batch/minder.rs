//! Wake-ups kept on a thread that runs foreign code, which may block or take long in its own ways: then somebody else
//! gives them out. One thread of the process looks at all of them while there are any, and at whether the runtime is
//! driven.

use std::cell::OnceCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use super::Wake;

/// How long a wake-up may be kept by foreign code, about.
const TICK: Duration = Duration::from_millis(1);
/// Looks at which nothing was found before the minder sleeps. Being woken costs foreign code more than these do.
const QUIET: u32 = 100;

/// What one thread keeps.
#[derive(Default)]
pub(super) struct Kept(Mutex<Vec<Arc<dyn Wake>>>);

impl Kept {
    fn kept(&self) -> MutexGuard<'_, Vec<Arc<dyn Wake>>> {
        self.0.lock().expect("no panic while wake-ups are locked")
    }

    /// Keeps a wake-up, or gives it back where nobody would mind it.
    pub(super) fn keep(&self, target: Arc<dyn Wake>) -> Option<Arc<dyn Wake>> {
        let Some(minder) = minder() else { return Some(target) };
        let mut kept = self.kept();
        kept.push(target);
        let first = kept.len() == 1;
        drop(kept);
        if first {
            minder.rouse();
        }
        None
    }

    pub(super) fn take(&self) -> Vec<Arc<dyn Wake>> {
        std::mem::take(&mut *self.kept())
    }
}

/// What this thread keeps; seen by the minder from now on.
pub(super) fn kept_here() -> Arc<Kept> {
    thread_local! {
        static HERE: OnceCell<Arc<Kept>> = const { OnceCell::new() };
    }
    HERE.with(|here| here.get_or_init(register).clone())
}

/// What every thread keeps that runs, or ran, foreign code.
static THREADS: Mutex<Vec<Weak<Kept>>> = Mutex::new(Vec::new());

fn threads() -> MutexGuard<'static, Vec<Weak<Kept>>> {
    THREADS.lock().expect("no panic while the threads are locked")
}

/// A place to keep some, seen by the minder.
pub(super) fn register() -> Arc<Kept> {
    let kept = Arc::new(Kept::default());
    threads().push(Arc::downgrade(&kept));
    kept
}

/// Gives out what any thread keeps; says whether there was something.
fn look() -> bool {
    let mut found = Vec::new();
    threads().retain(|thread| {
        let kept = thread.upgrade();
        found.extend(kept.iter().flat_map(|kept| kept.take()));
        kept.is_some()
    });
    let some = !found.is_empty();
    found.into_iter().for_each(|target| target.wake());
    crate::host::look_after_driver() || some
}

struct Minder {
    thread: Thread,
    /// It looks soon, by itself.
    awake: AtomicBool,
}

impl Minder {
    fn rouse(&self) {
        if !self.awake.swap(true, Ordering::SeqCst) {
            self.thread.unpark();
        }
    }
}

/// Lets the minder look soon, and until there is nothing to see; false when there is none.
pub(crate) fn mind() -> bool {
    minder().map(Minder::rouse).is_some()
}

/// The minder; nothing when there was no thread for it, and then nothing is kept.
fn minder() -> Option<&'static Minder> {
    static MINDER: OnceLock<Option<Minder>> = OnceLock::new();
    let start = || {
        let thread = thread::Builder::new().name("quark-minder".to_owned()).spawn(|| run(&MINDER)).ok()?;
        Some(Minder { thread: thread.thread().clone(), awake: AtomicBool::new(false) })
    };
    MINDER.get_or_init(start).as_ref()
}

fn run(minder: &'static OnceLock<Option<Minder>>) {
    let Some(minder) = minder.wait() else { return };
    loop {
        let mut quiet = 0;
        while quiet < QUIET {
            thread::sleep(TICK);
            quiet = if look() { 0 } else { quiet + 1 };
        }
        // In this order: who keeps something later finds it asleep, and what was there before is found here.
        minder.awake.store(false, Ordering::SeqCst);
        if look() {
            minder.awake.store(true, Ordering::SeqCst);
            continue;
        }
        while !minder.awake.load(Ordering::SeqCst) {
            thread::park();
        }
    }
}
