//! Copying a table while it stays in use: slots go out in order, and what changes before its turn is saved as it was.

/// Where the copy of a table is.
#[derive(Debug, Clone)]
pub(crate) struct Copying<T> {
    next: usize,
    end: usize,
    /// A bit for each slot from the beginning of the copy that was saved already.
    saved: Vec<u64>,
    /// Slots as they were when the copy began, in runs of at most [`RUN`]: a table that waits long for its turn gathers
    /// many megabytes, which are neither moved when they grow nor when some of them go out.
    undo: Vec<Vec<(u32, T)>>,
}

/// Saved slots that go out together.
const RUN: usize = 256;

/// A piece of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slice<T> {
    /// Number of the first slot.
    pub(crate) first: u32,
    /// Slots as they are now; some of them may have changed since the copy began, and are undone by `undo` of this
    /// slice or a later one.
    pub(crate) slots: Vec<T>,
    /// Slots as they were when the copy began.
    pub(crate) undo: Vec<(u32, T)>,
}

impl<T: Copy> Copying<T> {
    /// Of the slots from `next` to before `end`.
    pub(crate) fn new(next: usize, end: usize) -> Self {
        Self { next, end, saved: vec![0; end.div_ceil(64)], undo: Vec::new() }
    }

    /// Slot `n` is about to change.
    #[inline]
    pub(crate) fn save(&mut self, n: usize, old: &T) {
        if n < self.next || n >= self.end {
            return;
        }
        let (word, bit) = (n / 64, 1 << (n % 64));
        if self.saved[word] & bit == 0 {
            self.saved[word] |= bit;
            match self.undo.last_mut() {
                Some(run) if run.len() < RUN => run.push((n as u32, *old)),
                _ => {
                    let mut run = Vec::with_capacity(RUN);
                    run.push((n as u32, *old));
                    self.undo.push(run);
                }
            }
        }
    }

    /// The next slots, at most `count`, and a run of what was saved; nothing when all of them and everything saved went out.
    pub(crate) fn next(&mut self, count: usize, slot: impl Fn(usize) -> T) -> Option<Slice<T>> {
        if self.next >= self.end && self.undo.is_empty() {
            return None;
        }
        let undo = self.undo.pop().unwrap_or_default();
        let first = self.next;
        self.next = first.saturating_add(count).min(self.end);
        let slots = (first..self.next).map(slot).collect();
        Some(Slice { first: first as u32, slots, undo })
    }
}
