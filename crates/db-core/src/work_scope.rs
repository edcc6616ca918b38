//! The name of the unit of work that a task is at, so that its statements can be attributed to it.

use std::cell::RefCell;
use std::cmp::Ordering as CmpOrdering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

thread_local! {
    static CURRENT: RefCell<Option<WorkScope>> = const { RefCell::new(None) };
}

/// The name of a unit of a service's work: a route, a job, a consumer. Cheap to clone.
///
/// Whatever checks a connection out inside it is attributed to it. Keep the names few: `GET /orders/{id}`,
/// never `GET /orders/17`. A spawned task is outside; [`carry`](WorkScope::carry) takes it along.
///
/// ```
/// use db_core::WorkScope;
///
/// # async fn handle() {}
/// # async fn run() {
/// WorkScope::named("GET /orders").run(async {
///     assert_eq!(WorkScope::current().unwrap().name(), "GET /orders");
///     handle().await;
/// }).await;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct WorkScope {
    name: Arc<str>,
    unit: u64,
}

impl WorkScope {
    /// A scope with this name.
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        WorkScope { name: name.into(), unit: next_unit() }
    }

    /// The scope that this task is in.
    pub fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which unit of work it is: every [`run`](WorkScope::run) is another one, also of the same name, and
    /// what is [carried](WorkScope::carry) belongs to the one that carries it.
    ///
    /// ```
    /// use db_core::WorkScope;
    ///
    /// # async fn run() {
    /// let route = WorkScope::named("GET /orders");
    /// let first = route.clone().run(async { WorkScope::current().unwrap() }).await;
    /// let second = route.run(async { WorkScope::current().unwrap() }).await;
    /// assert!(first == second && first.unit() != second.unit());
    /// # }
    /// ```
    pub fn unit(&self) -> u64 {
        self.unit
    }

    /// The same work, in this scope, as a unit of its own. An inner scope hides an outer one.
    pub fn run<F: Future>(self, work: F) -> InScope<F> {
        InScope { scope: Some(WorkScope { unit: next_unit(), ..self }), work }
    }

    /// The same work, in the scope that the caller is in now: for work that goes to a task of its own.
    ///
    /// ```
    /// # use db_core::WorkScope;
    /// # fn spawn<F: Future>(_: F) {}
    /// spawn(WorkScope::carry(async { /* attributed to whoever spawned it */ }));
    /// ```
    pub fn carry<F: Future>(work: F) -> InScope<F> {
        InScope { scope: WorkScope::current(), work }
    }
}

fn next_unit() -> u64 {
    static UNITS: AtomicU64 = AtomicU64::new(1);
    UNITS.fetch_add(1, Ordering::Relaxed)
}

impl fmt::Display for WorkScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Scopes of one name are equal.
impl PartialEq for WorkScope {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for WorkScope {}

impl Hash for WorkScope {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl PartialOrd for WorkScope {
    fn partial_cmp(&self, other: &Self) -> Option<CmpOrdering> {
        Some(self.cmp(other))
    }
}

impl Ord for WorkScope {
    fn cmp(&self, other: &Self) -> CmpOrdering {
        self.name.cmp(&other.name)
    }
}

pin_project! {
    /// Work in a [`WorkScope`]; dropping it drops the work.
    #[derive(Debug)]
    pub struct InScope<F> {
        scope: Option<WorkScope>,
        #[pin]
        work: F,
    }
}

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = Entered { outer: CURRENT.replace(this.scope.clone()) };
        this.work.poll(cx)
    }
}

/// Puts the outer scope back, also when the work panics.
struct Entered {
    outer: Option<WorkScope>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Where the thread is ending there is nothing to put back.
        let _ = CURRENT.try_with(|current| current.replace(self.outer.take()));
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::task::Waker;

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn now() -> Option<String> {
        WorkScope::current().map(|scope| scope.to_string())
    }

    #[test]
    fn a_scope_holds_while_its_work_is_polled_and_an_inner_one_hides_it() {
        let mut turns = 0;
        let work = std::pin::pin!(WorkScope::named("outer").run(async {
            assert_eq!(WorkScope::named("inner").run(async { now() }).await.unwrap(), "inner");
            std::future::poll_fn(|_| {
                turns += 1;
                if turns == 1 { Poll::Pending } else { Poll::Ready(()) }
            })
            .await;
            now()
        }));
        let mut work = work;
        assert!(poll(work.as_mut()).is_pending());
        assert_eq!(now(), None, "another task's turn");
        assert_eq!(poll(work), Poll::Ready(Some("outer".to_owned())));
        assert_eq!(now(), None);
    }

    #[test]
    fn carried_work_is_in_the_scope_of_who_spawned_it_and_a_panic_leaves_none() {
        let mut carried = None;
        let spawns = async { carried = Some(Box::pin(WorkScope::carry(async { now() }))) };
        assert!(poll(std::pin::pin!(WorkScope::named("job").run(spawns))).is_ready());
        assert_eq!(poll(carried.unwrap().as_mut()), Poll::Ready(Some("job".to_owned())));
        let panics = async { panic!("on purpose") };
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _: Poll<()> = poll(std::pin::pin!(WorkScope::named("panics").run(panics)));
        }));
        assert!(panicked.is_err() && now().is_none());
    }
}
