//! Loads under way in this process, one for each key: who comes later waits for the one before.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::clock::Moment;
use crate::entry::Found;
use crate::error::CacheError;
use crate::key_id::KeyId;
use crate::look::Stale;

/// The loads under way.
#[derive(Default)]
pub(crate) struct Flights(Mutex<HashMap<FlightKey, Arc<dyn Any + Send + Sync>>>);

/// Loads of one key that answer with different types are different loads.
#[derive(Clone, PartialEq, Eq, Hash)]
struct FlightKey {
    id: KeyId,
    types: TypeId,
}

/// How far a load is, for those who wait for it. They are woken in the order in which they came.
pub(crate) struct Board<V, E> {
    progress: Mutex<Progress<V, E>>,
    changed: Notify,
}

struct Progress<V, E> {
    /// What may be served until it is through.
    stale: Option<Arc<Stale<V>>>,
    landed: Option<Landed<V, E>>,
}

/// What a load came to.
pub(crate) enum Landed<V, E> {
    /// A value, and the moment at which its snapshot was at the earliest.
    Found(Found<V>, Moment),
    /// It failed, and this may be served instead, which was known not to be wrong at that moment.
    Instead(Found<V>, Moment),
    Failed(CacheError<E>),
    /// It was only to refresh, and another process does that.
    GaveUp,
}

/// A caller's place at a load.
pub(crate) enum Seat<V: Send + Sync + 'static, E: Send + Sync + 'static> {
    /// Another caller has begun it.
    Joined(Arc<Board<V, E>>),
    /// The caller is the first, and has to begin it.
    First(Arc<Board<V, E>>, Flight<V, E>),
}

/// A load under way: whoever carries it out reports here, and it ends when this is dropped.
pub(crate) struct Flight<V: Send + Sync + 'static, E: Send + Sync + 'static> {
    cache: std::sync::Weak<crate::cache::Shared>,
    key: FlightKey,
    board: Arc<Board<V, E>>,
}

impl Flights {
    /// Joins the load of a key, or begins one.
    pub(crate) fn join<V, E>(cache: &Arc<crate::cache::Shared>, id: &KeyId) -> Seat<V, E>
    where
        V: Send + Sync + 'static,
        E: Send + Sync + 'static,
    {
        let key = FlightKey { id: id.clone(), types: TypeId::of::<(V, E)>() };
        let mut flights = cache.flights.lock();
        let under_way = flights.get(&key).cloned().and_then(|flight| flight.downcast().ok());
        if let Some(board) = under_way {
            let board: Arc<Board<V, E>> = board;
            if board.landed().is_none() {
                return Seat::Joined(board);
            }
        }
        let progress = Mutex::new(Progress { stale: None, landed: None });
        let board = Arc::new(Board { progress, changed: Notify::new() });
        flights.insert(key.clone(), Arc::clone(&board) as Arc<dyn Any + Send + Sync>);
        drop(flights);
        Seat::First(Arc::clone(&board), Flight { cache: Arc::downgrade(cache), key, board })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FlightKey, Arc<dyn Any + Send + Sync>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V, E> Board<V, E> {
    /// What the load came to; it waits for that.
    pub(crate) async fn when_landed(&self) -> Landed<V, E> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(landed) = self.landed() {
                return landed;
            }
            changed.await;
        }
    }

    /// What may be served until the load is through.
    pub(crate) fn stale(&self) -> Option<Arc<Stale<V>>> {
        self.progress().stale.clone()
    }

    fn landed(&self) -> Option<Landed<V, E>> {
        self.progress().landed.clone()
    }

    fn progress(&self) -> MutexGuard<'_, Progress<V, E>> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V: Send + Sync + 'static, E: Send + Sync + 'static> Flight<V, E> {
    /// This may be served until the load is through.
    pub(crate) fn offer(&self, stale: Arc<Stale<V>>) {
        self.board.progress().stale = Some(stale);
    }

    /// The load is through.
    pub(crate) fn land(&self, landed: Landed<V, E>) {
        self.board.progress().landed = Some(landed);
        self.board.changed.notify_waiters();
    }
}

impl<V: Send + Sync + 'static, E: Send + Sync + 'static> Drop for Flight<V, E> {
    fn drop(&mut self) {
        if self.board.landed().is_none() {
            self.land(Landed::Failed(CacheError::Ended));
        }
        let Some(cache) = self.cache.upgrade() else { return };
        let mut flights = cache.flights.lock();
        let is_this = flights
            .get(&self.key)
            .is_some_and(|flight| std::ptr::addr_eq(Arc::as_ptr(flight), Arc::as_ptr(&self.board)));
        if is_this {
            flights.remove(&self.key);
        }
    }
}

impl<V, E> Clone for Landed<V, E> {
    fn clone(&self) -> Self {
        match self {
            Landed::Found(found, as_of) => Landed::Found(found.clone(), *as_of),
            Landed::Instead(found, as_of) => Landed::Instead(found.clone(), *as_of),
            Landed::Failed(error) => Landed::Failed(error.clone()),
            Landed::GaveUp => Landed::GaveUp,
        }
    }
}
