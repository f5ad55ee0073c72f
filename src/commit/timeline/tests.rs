use super::*;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// The right time when a test begins.
const RIGHT: UnixMicros = UnixMicros::new(1_714_564_800_000_000);

pub(in crate::commit) fn reading(wall: UnixMicros, uptime_s: i64) -> Reading {
    Reading { wall, uptime: uptime_s * 1_000_000 }
}

/// A log that nobody has written to.
pub(in crate::commit) fn first_start(now: Reading) -> Timeline {
    Timeline::new(Stored::default(), UnixMicros::default(), 1, now)
}

/// A machine with a log: true time passes, the clock is wrong by something, and there are restarts.
struct Machine {
    timeline: Timeline,
    stored: Vec<Write>,
    boot: u128,
    /// True time since the test began, and when the machine was booted.
    passed: Duration,
    booted: Duration,
    wrong_s: i64,
    last_commit: UnixMicros,
}

impl Machine {
    fn with_clock_wrong_by(wrong_s: i64) -> Self {
        let mut machine = Machine {
            timeline: first_start(reading(RIGHT, 0)),
            stored: Vec::new(),
            boot: 1,
            passed: Duration::ZERO,
            booted: Duration::ZERO,
            wrong_s,
            last_commit: UnixMicros::default(),
        };
        machine.restart();
        machine
    }

    fn reading(&self) -> Reading {
        let wall = moved(RIGHT.plus(self.passed), self.wrong_s * 1_000_000);
        Reading { wall, uptime: (self.passed - self.booted).as_micros() as i64 }
    }

    /// Commits something; returns the time that it bears.
    fn commit(&mut self) -> UnixMicros {
        let now = self.reading();
        self.timeline.look(now);
        let commit = now.wall.max(self.last_commit);
        self.timeline.note(commit, now.wall, &mut self.stored);
        self.last_commit = commit;
        commit
    }

    fn wait(&mut self, time: Duration) {
        self.passed += time;
    }

    /// Sets the clock, and has the writer look at it.
    fn set_clock_wrong_by(&mut self, wrong_s: i64) {
        self.wrong_s = wrong_s;
        let now = self.reading();
        self.timeline.look(now);
        self.timeline.note_step(now.wall, &mut self.stored);
    }

    fn restart(&mut self) {
        let mut kept = std::collections::BTreeMap::new();
        for write in &self.stored {
            match write {
                Write::Put(Family::Meta, name, value) => drop(kept.insert(name.clone(), value.clone())),
                Write::Delete(Family::Meta, name) => drop(kept.remove(name)),
                write => panic!("{write:?}"),
            }
        }
        let seen = kept.remove(SEEN).and_then(|value| Entry::decode(&value));
        let next =
            kept.keys().last().map_or(0, |name| u64::from_be_bytes(name[PREFIX.len()..].try_into().unwrap()) + 1);
        let entries = kept.values().filter_map(|value| Entry::decode(value)).collect();
        self.timeline = Timeline::new(Stored { entries, next, seen }, self.last_commit, self.boot, self.reading());
    }

    fn reboot(&mut self) {
        self.boot += 1;
        self.booted = self.passed;
        self.restart();
    }

    /// How old what bears `commit` seems to be.
    fn age(&mut self, commit: UnixMicros) -> Duration {
        self.timeline.look(self.reading());
        self.timeline.now().since(self.timeline.steady(commit))
    }
}

/// Right, but for what counts as younger to be sure.
#[track_caller]
fn assert_right(age: Duration, right: Duration) {
    assert!(age <= right && age + 2 * SECOND >= right, "{age:?} for {right:?}");
}

#[test]
fn a_clock_that_was_slow_and_is_set_right_makes_nothing_old_at_the_next_start() {
    let mut machine = Machine::with_clock_wrong_by(-172_800);
    let slow = machine.commit();
    machine.wait(10 * SECOND);
    machine.set_clock_wrong_by(0);
    let right = machine.commit();
    assert!(right.since(slow) > DAY);
    for _ in 0..3 {
        machine.wait(60 * SECOND);
        machine.restart();
    }
    let (of_slow, of_right) = (machine.age(slow), machine.age(right));
    assert_right(of_slow, 190 * SECOND);
    assert_right(of_right, 180 * SECOND);
    machine.wait(2 * HOUR);
    machine.restart();
    let age = machine.age(slow);
    assert_right(age, 2 * HOUR + 190 * SECOND);
}

#[test]
fn a_clock_that_is_set_right_while_nothing_is_committed_or_nobody_looks_makes_nothing_old() {
    let mut machine = Machine::with_clock_wrong_by(-172_800);
    let slow = machine.commit();
    machine.wrong_s = 0;
    machine.wait(HOUR);
    machine.restart();
    let age = machine.age(slow);
    assert_right(age, HOUR);
    let mut machine = Machine::with_clock_wrong_by(-172_800);
    let slow = machine.commit();
    machine.wait(60 * SECOND);
    machine.set_clock_wrong_by(0);
    machine.wait(HOUR);
    machine.reboot();
    let age = machine.age(slow);
    assert_right(age, HOUR + 60 * SECOND);
}

#[test]
fn a_reboot_is_bridged_by_the_wall_clock_and_steps_before_it_are_known() {
    let mut machine = Machine::with_clock_wrong_by(-172_800);
    let slow = machine.commit();
    machine.wait(SECOND * 30);
    machine.set_clock_wrong_by(0);
    let right = machine.commit();
    machine.wait(HOUR);
    machine.reboot();
    let (of_slow, of_right) = (machine.age(slow), machine.age(right));
    assert_right(of_slow, HOUR + 30 * SECOND);
    assert_right(of_right, HOUR);
}

#[test]
fn a_machine_without_a_clock_of_its_own_forgets_nothing_early() {
    // Each boot begins in 1970.
    let epoch = -(RIGHT.get() / 1_000_000);
    let mut machine = Machine::with_clock_wrong_by(0);
    let first = machine.commit();
    for _ in 0..3 {
        machine.wait(60 * SECOND);
        machine.wrong_s = epoch;
        machine.reboot();
        machine.commit();
        machine.set_clock_wrong_by(0);
        machine.commit();
    }
    assert!(machine.age(first) <= 180 * SECOND);
    machine.wait(2 * HOUR);
    machine.restart();
    let age = machine.age(first);
    assert!(age >= HOUR, "but it is not kept for ever: {age:?}");
}

#[test]
fn a_clock_that_was_far_ahead_at_the_start_makes_nothing_old() {
    let mut machine = Machine::with_clock_wrong_by(0);
    let before = machine.commit();
    machine.wait(60 * SECOND);
    machine.wrong_s = 172_800;
    machine.restart();
    assert_right(machine.age(before), 60 * SECOND);
    machine.set_clock_wrong_by(0);
    let after = machine.commit();
    machine.wait(30 * SECOND);
    assert_right(machine.age(before), 90 * SECOND);
    assert_right(machine.age(after), 30 * SECOND);
    machine.restart();
    assert_right(machine.age(after), 30 * SECOND);
}

#[test]
fn what_is_committed_while_commit_time_stands_still_counts_as_young() {
    let mut machine = Machine::with_clock_wrong_by(0);
    let before = machine.commit();
    machine.wait(60 * SECOND);
    machine.set_clock_wrong_by(-7200);
    let still = machine.commit();
    assert_eq!(still, before);
    machine.wait(60 * SECOND);
    machine.restart();
    assert!(machine.age(still) <= 60 * SECOND);
    machine.reboot();
    assert!(machine.age(still) <= 60 * SECOND);
    // Once the clock has caught up, ages are right again.
    machine.wait(3 * HOUR);
    let later = machine.commit();
    assert!(later > still);
    machine.wait(HOUR);
    machine.restart();
    assert_right(machine.age(later), HOUR);
}

#[test]
fn a_jump_ahead_that_returns_leaves_ages_right() {
    let mut machine = Machine::with_clock_wrong_by(0);
    let before = machine.commit();
    machine.wait(60 * SECOND);
    machine.set_clock_wrong_by(172_800);
    let ahead = machine.commit();
    machine.wait(60 * SECOND);
    machine.set_clock_wrong_by(0);
    machine.commit();
    machine.wait(60 * SECOND);
    for _ in 0..2 {
        assert_right(machine.age(before), 180 * SECOND);
        assert!(machine.age(ahead) <= 120 * SECOND);
        machine.restart();
    }
}

#[test]
fn nothing_is_stored_while_nothing_happens_and_never_much() {
    let mut machine = Machine::with_clock_wrong_by(0);
    for _ in 0..1000 {
        machine.wait(SECOND);
        machine.commit();
    }
    machine.restart();
    machine.commit();
    assert_eq!(machine.stored.len(), 1, "{:?}", machine.stored);
    let first = machine.commit();
    for round in 0..200 {
        machine.wait(60 * SECOND);
        machine.set_clock_wrong_by(if round % 2 == 0 { -172_800 } else { 0 });
        machine.commit();
        machine.restart();
    }
    assert_eq!(machine.timeline.entries.len(), ENTRIES_MAX);
    assert!(machine.age(first) <= 12_000 * SECOND, "what the oldest entries said is gone: never too old");
}

#[test]
fn a_log_of_an_older_release_is_judged_by_the_wall_clock() {
    let stored = Stored::default();
    let old = RIGHT.minus(HOUR);
    let timeline = Timeline::new(stored, old, 1, reading(RIGHT, 5));
    assert_right(timeline.now().since(timeline.steady(old)), HOUR);
}

#[test]
fn version_1_never_changes() {
    let entry = Entry { from: UnixMicros::new(1), steady: UnixMicros::new(2), ahead: -1, base: 4, boot: 5 };
    let mut stored = vec![1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0];
    stored.extend([255; 8]);
    stored.extend([4, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(entry.encode(), stored);
    assert_eq!(Entry::decode(&stored), Some(entry));
    for cut in 0..stored.len() {
        assert_eq!(Entry::decode(&stored[..cut]), None);
    }
    stored[0] = 2;
    assert_eq!(Entry::decode(&stored), None);
    assert_eq!(name(258), b"clock/\0\0\0\0\0\0\x01\x02");
}

#[test]
fn a_clock_that_went_back_while_nothing_was_committed_makes_nothing_old_after_a_reboot() {
    for wrong_s in [-3600, -172_800, -1_714_564_800] {
        let mut machine = Machine::with_clock_wrong_by(0);
        let right = machine.commit();
        machine.wait(10 * SECOND);
        machine.set_clock_wrong_by(wrong_s);
        machine.wrong_s = 0;
        machine.reboot();
        let age = machine.age(right);
        assert!(age <= 10 * SECOND, "{wrong_s}: {age:?}");
    }
}

#[test]
fn a_boot_without_a_clock_between_two_right_ones_makes_nothing_old() {
    let mut machine = Machine::with_clock_wrong_by(0);
    let right = machine.commit();
    machine.wait(SECOND);
    machine.wrong_s = -1_714_564_800;
    machine.reboot();
    machine.wait(8 * SECOND);
    machine.set_clock_wrong_by(-1_714_564_800);
    machine.wrong_s = 0;
    machine.reboot();
    let age = machine.age(right);
    assert!(age <= 9 * SECOND, "{age:?}");
}

#[test]
fn a_step_back_that_is_undone_before_anybody_looks_makes_nothing_old_after_a_reboot() {
    let mut machine = Machine::with_clock_wrong_by(0);
    machine.commit();
    machine.wait(SECOND);
    machine.set_clock_wrong_by(-172_800);
    machine.wrong_s = 0;
    machine.wait(SECOND);
    let right = machine.commit();
    machine.wait(60 * SECOND);
    machine.reboot();
    let age = machine.age(right);
    assert!(age <= 60 * SECOND, "{age:?}");
}

#[test]
fn what_only_the_wall_clock_tells_of_a_reboot_is_not_counted_in_that_start() {
    let mut machine = Machine::with_clock_wrong_by(0);
    let commit = machine.commit();
    machine.wait(HOUR);
    machine.wrong_s = 40 * 86_400;
    machine.reboot();
    machine.wait(HOUR);
    // The age of ids goes by the wall clock over a reboot.
    assert_right(machine.age(commit), 40 * DAY + 2 * HOUR);
    assert_right(machine.timeline.counted().since(machine.timeline.steady(commit)), HOUR);
    // Without a reboot all of it is counted.
    machine.commit();
    machine.restart();
    assert_eq!(machine.timeline.counted(), machine.timeline.now());
}
