//! Numbers in the order in which they came, each at most once, any of which can leave at any time.

/// No number.
const NONE: u32 = u32::MAX;

/// A queue of the numbers 0 to its size: adding, removing and looking at the first cost a few accesses each, and memory
/// does not depend on how long anything waits.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Neighbours of each number: the one before, the one behind. One that is not in the lane is its own.
    links: Vec<(u32, u32)>,
    first: u32,
    last: u32,
}

impl Lane {
    /// For the numbers below `size`.
    pub(crate) fn new(size: usize) -> Self {
        Self { links: (0..size as u32).map(|n| (n, n)).collect(), first: NONE, last: NONE }
    }

    /// The number that came first.
    #[inline]
    pub(crate) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// Adds `n` behind all others; one that is in the lane goes to its end.
    #[inline]
    pub(crate) fn push(&mut self, n: u32) {
        self.remove(n);
        self.links[n as usize] = (self.last, NONE);
        match self.last {
            NONE => self.first = n,
            last => self.links[last as usize].1 = n,
        }
        self.last = n;
    }

    /// Takes `n` out, if it is in.
    #[inline]
    pub(crate) fn remove(&mut self, n: u32) {
        let (before, behind) = self.links[n as usize];
        if before == n {
            return;
        }
        match before {
            NONE => self.first = behind,
            before => self.links[before as usize].1 = behind,
        }
        match behind {
            NONE => self.last = before,
            behind => self.links[behind as usize].0 = before,
        }
        self.links[n as usize] = (n, n);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::SmallRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn it_behaves_like_a_list() {
        let mut random = SmallRng::seed_from_u64(7);
        let (mut lane, mut list) = (Lane::new(9), Vec::new());
        for _ in 0..10_000 {
            let n = random.random_range(0..9);
            list.retain(|x| *x != n);
            if random.random() {
                lane.push(n);
                list.push(n);
            } else {
                lane.remove(n);
            }
            assert_eq!(lane.first(), list.first().copied());
        }
        while let Some(n) = lane.first() {
            assert_eq!(list.remove(0), n);
            lane.remove(n);
        }
        assert!(list.is_empty());
    }
}
