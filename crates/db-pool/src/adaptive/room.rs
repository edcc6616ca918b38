//! How many connections the server still has room for, and this pool's share of it.
//!
//! Several processes find the limit of one server without knowing each other: each takes a part of what is
//! left, and when too little is left each gives a part of its own back, so that those with more give more and
//! all end up alike.

/// The part of what is left that one pool may take before it asks again: three that ask at once cannot take
/// too much.
const SHARE: usize = 4;
/// What a pool gives back: this part of what it has.
const TENTH: usize = 10;

/// After how many answers at most a pool that was refused asks for more again.
const LONGEST_WAIT: u32 = 64;

/// The most connections that the server lets this pool have.
#[derive(Debug)]
pub(crate) struct Room {
    leave_free: usize,
    most: usize,
    granted: usize,
    /// After a refusal: how many answers to let pass, and how many after the next one.
    wait: u32,
    next_wait: u32,
}

impl Room {
    /// Until the server has said how many it has left, `most` are the most.
    pub(crate) fn new(leave_free: usize, most: usize) -> Self {
        Room { leave_free, most, granted: most, wait: 0, next_wait: 1 }
    }

    /// What it may have in the end, if nobody else takes it.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// What it may have before it has asked again.
    pub(crate) fn granted(&self) -> usize {
        self.granted
    }

    /// The server has `free` connections left, while this pool has `open`.
    pub(crate) fn has(&mut self, free: usize, open: usize) {
        match free.checked_sub(self.leave_free) {
            Some(left) => {
                // One more even where nothing is left: of those that then give back, those with much give
                // more.
                self.may_have(open + left.max(1), open + left.div_ceil(SHARE).max(1));
            }
            None => {
                let fewer = open - (open + TENTH / 2) / TENTH;
                (self.most, self.granted) = (fewer, fewer);
            }
        }
    }

    /// The server refused a connection because it had none left (SQLSTATE 53300), while this pool had `open`.
    pub(crate) fn is_full(&mut self, open: usize) {
        let fewer = (open - open.div_ceil(TENTH)).max(1);
        (self.most, self.granted) = (fewer, fewer);
        self.wait = self.next_wait;
        self.next_wait = (self.next_wait * 2).min(LONGEST_WAIT);
    }

    /// The server does not say how many it has left: only a refusal bounds the pool.
    pub(crate) fn is_unknown(&mut self) {
        self.may_have(usize::MAX, usize::MAX);
    }

    /// What a refusal took away comes back later: there are limits that the server does not tell, as that of
    /// a role.
    fn may_have(&mut self, most: usize, granted: usize) {
        if self.wait == 0 {
            (self.most, self.granted) = (most, granted);
        } else {
            self.wait -= 1;
            (self.most, self.granted) = (most.min(self.most), granted.min(self.granted));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pools that want all they can get, asking in turns or at once.
    fn share_out(pools: &mut [usize], slots: usize, leave_free: usize, rounds: usize, at_once: bool) {
        let mut rooms: Vec<Room> = pools.iter().map(|_| Room::new(leave_free, 1)).collect();
        for _ in 0..rounds {
            let before = pools.to_vec();
            for index in 0..pools.len() {
                let seen = if at_once { &before[..] } else { &pools[..] };
                let free = slots.saturating_sub(seen.iter().sum());
                rooms[index].has(free, pools[index]);
                pools[index] = rooms[index].granted();
                assert!(pools.iter().sum::<usize>() <= slots, "{pools:?} of {slots}");
            }
        }
    }

    #[test]
    fn pools_that_want_all_take_what_is_left_and_no_more() {
        for at_once in [false, true] {
            for count in 1..=4 {
                let mut pools = vec![1; count];
                share_out(&mut pools, 97, 3, 100, at_once);
                let taken: usize = pools.iter().sum();
                assert!((80..=97).contains(&taken), "{pools:?}");
            }
        }
    }

    #[test]
    fn one_that_comes_late_gets_a_share() {
        let mut pools = [90, 1, 1];
        share_out(&mut pools, 97, 3, 300, false);
        assert!(pools.iter().all(|pool| (20..=45).contains(pool)), "{pools:?}");
    }

    #[test]
    fn a_refusal_takes_the_pool_below_what_it_has() {
        let mut room = Room::new(3, 100);
        room.is_full(40);
        assert_eq!(room.most(), 36);
        room.is_full(1);
        assert_eq!(room.most(), 1);
    }

    #[test]
    fn after_each_refusal_it_waits_longer_until_it_asks_for_more() {
        let (mut room, mut waits) = (Room::new(3, 100), Vec::new());
        for _ in 0..8 {
            room.is_full(6);
            assert_eq!((room.most(), room.granted()), (5, 5));
            let answers = (1..).find(|_| {
                room.has(90, 5);
                room.granted() > 5
            });
            waits.extend(answers);
        }
        assert_eq!(waits, [2, 3, 5, 9, 17, 33, 65, 65]);
        room.is_unknown();
        assert_eq!(room.most(), usize::MAX);
    }
}
