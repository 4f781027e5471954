//! What a course can do to nodes and their links.

use std::time::Duration;

use super::Fault;
use super::world::{Change, Event, FarSide, World};

impl<E> World<E> {
    /// A node is gone for good, disk and all.
    pub(super) fn kill(&mut self, node: usize) {
        self.count(Fault::Death);
        self.nodes[node].dead = true;
        self.nodes[node].disk.parts.clear();
        self.note_silence();
        self.changes.push(Change::Reach(node));
    }

    /// A node does nothing until then, and goes on as if nothing had been.
    pub(super) fn put_to_sleep(&mut self, node: usize, until: Duration) {
        let until = until.max(self.nodes[node].asleep_until);
        self.nodes[node].asleep_until = until;
        self.note_silence();
        self.changes.push(Change::Reach(node));
        self.at(until, Event::Wake(node));
    }

    pub(super) fn wake(&mut self, node: usize) {
        if self.nodes[node].is_up(self.now) {
            self.note_silence();
            self.changes.push(Change::Reach(node));
            self.poll_node(node);
        }
    }

    /// Those on the far side do not reach the others any more.
    pub(super) fn part(&mut self, far: FarSide) {
        self.count(Fault::Partition);
        self.far = far;
        self.note_silence();
    }

    pub(super) fn heal(&mut self) {
        self.far = FarSide::default();
        self.note_silence();
        for watcher in 0..self.watchers.len() {
            let state = self.ledger.state().clone();
            self.watchers[watcher].watch.handle_state(self.now, state);
            for body in std::mem::take(&mut self.watchers[watcher].unsaid) {
                self.say(watcher, body);
            }
        }
        for node in 0..self.nodes.len() {
            self.poll_node(node);
        }
    }

    pub(super) fn scrub(&mut self, node: usize) {
        if self.nodes[node].dead {
            return;
        }
        if self.nodes[node].is_up(self.now) {
            self.nodes[node].scrub(self.now);
            self.poll_node(node);
        }
        self.at(self.now + self.network.scrub_every, Event::Scrub(node));
    }

    /// Remembers who is silent, and for how long.
    fn note_silence(&mut self) {
        for node in 0..self.nodes.len() {
            let silent = !self.nodes[node].is_up(self.now) || !self.is_near(node);
            let before = self.nodes[node].silent_since;
            if let (Some(since), false) = (before, silent) {
                self.nodes[node].last_silence = Some((self.now, self.now - since));
            }
            self.nodes[node].silent_since = before.or(Some(self.now)).filter(|_| silent);
        }
    }
}
