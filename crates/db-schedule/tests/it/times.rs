//! When jobs run: at their times, after a pause, and with clocks that are set.

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use db_schedule::{Missed, SchedulerError};

use crate::{HOUR, MINUTE, Told, Wall, at, cron, noting, pass};

#[tokio::test(start_paused = true)]
async fn jobs_run_at_their_times_and_say_when_they_are_next() {
    let (wall, runs) = (Wall::new(), Arc::default());
    let scheduler = wall.scheduler().job(noting("a", "15 */2 * * *", &runs)).start().unwrap();
    pass(5 * HOUR).await;
    assert_eq!(*runs.lock().unwrap(), ["01 00:15", "01 02:15", "01 04:15"]);
    let status = &scheduler.status()[0];
    assert_eq!(status.next, Some(at("2026-01-01T06:15:00Z")));
    assert_eq!((status.successes, status.failures, status.missed), (3, 0, 0));
    assert_eq!(status.last_success, Some(at("2026-01-01T04:15:00Z")));
    assert!(scheduler.stop(HOUR).await.cancelled.is_empty());
    pass(5 * HOUR).await;
    assert_eq!(runs.lock().unwrap().len(), 3, "nothing runs after the end");
}

#[tokio::test(start_paused = true)]
async fn a_host_that_slept_makes_up_for_it_once_or_not_at_all() {
    for (missed, expected) in [
        (Missed::RunOnce, &["01 01:00", "01 06:00", "01 07:00"][..]),
        (Missed::Skip, &["01 01:00", "01 07:00"]),
    ] {
        let (wall, runs, told) = (Wall::new(), Arc::default(), Arc::new(Told::default()));
        let job = noting("a", "0 * * * *", &runs).missed(missed);
        let scheduler = wall.scheduler().job(job).observer(told.clone()).start().unwrap();
        pass(HOUR + 30 * MINUTE).await;
        wall.set(TimeDelta::hours(5));
        pass(MINUTE).await;
        let sentence = match missed {
            Missed::RunOnce => "a missed 4 of its times: the host slept, or nothing ran",
            Missed::Skip => "a missed 5 of its times: the host slept, or nothing ran",
        };
        assert_eq!(told.count(sentence), 1, "{:?}", told.all());
        pass(HOUR).await;
        assert_eq!(*runs.lock().unwrap(), expected, "{missed:?}");
        drop(scheduler);
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_starts_late_makes_up_for_what_its_records_lack() {
    let (wall, runs) = (Wall::new(), Arc::default());
    let yesterday = Some(at("2025-12-31T02:30:05Z"));
    let daily = |name| noting(name, "30 23 * * *", &runs);
    let _scheduler = wall
        .scheduler()
        .job(daily("late").last_success(yesterday))
        .job(daily("new"))
        .job(daily("from the future").last_success(Some(at("2031-01-01T00:00:00Z"))))
        .start()
        .unwrap();
    pass(MINUTE).await;
    assert_eq!(*runs.lock().unwrap(), ["31 23:30"]);
    pass(24 * HOUR).await;
    assert_eq!(*runs.lock().unwrap(), ["31 23:30", "01 23:30", "01 23:30", "01 23:30"]);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_repeats_no_run_and_delays_none() {
    let (wall, runs) = (Wall::new(), Arc::default());
    let _scheduler = wall.scheduler().job(noting("a", "0 * * * *", &runs)).start().unwrap();
    pass(HOUR + MINUTE).await;
    wall.set(TimeDelta::minutes(-10));
    pass(50 * MINUTE).await;
    assert_eq!(*runs.lock().unwrap(), ["01 01:00"]);
    pass(20 * MINUTE).await;
    assert_eq!(*runs.lock().unwrap(), ["01 01:00", "01 02:00"]);
    // A year ahead, and back: it did not wait for a year.
    wall.set(TimeDelta::days(365));
    pass(MINUTE).await;
    wall.set(TimeDelta::days(-365));
    runs.lock().unwrap().clear();
    pass(HOUR).await;
    assert_eq!(*runs.lock().unwrap(), ["01 03:00"]);
}

#[tokio::test(start_paused = true)]
async fn jitter_delays_a_start_by_less_than_itself() {
    let (wall, starts) = (Wall::new(), Arc::new(Mutex::new(Vec::new())));
    let (clock, noted) = (wall.clone(), Arc::clone(&starts));
    let job = db_schedule::Job::new("a", cron("0 * * * *"), move |run| {
        noted.lock().unwrap().push(clock.now() - run.due);
        async { Ok(String::new()) }
    });
    let _scheduler = wall.scheduler().job(job.jitter(10 * MINUTE)).start().unwrap();
    pass(50 * HOUR).await;
    let starts = starts.lock().unwrap();
    assert!(starts.len() >= 49, "{starts:?}");
    assert!(
        starts.iter().all(|late| *late >= TimeDelta::zero() && *late <= TimeDelta::minutes(10)),
        "{starts:?}"
    );
    let (first, last) = (starts.iter().min().unwrap(), starts.iter().max().unwrap());
    assert!(*last - *first > TimeDelta::minutes(2), "it is spread: {starts:?}");
}

#[tokio::test(start_paused = true)]
async fn what_has_not_succeeded_for_long_is_said_once_until_it_succeeds() {
    let (wall, told, runs) = (Wall::new(), Arc::new(Told::default()), Arc::default());
    let weekly = noting("old", "0 0 * * SUN", &runs).last_success(Some(at("2025-12-31T12:00:00Z")));
    let scheduler = wall
        .scheduler()
        .job(weekly.expect_within(13 * HOUR))
        .job(noting("new", "0 0 * * SUN", &runs).expect_within(2 * HOUR))
        .observer(told.clone())
        .start()
        .unwrap();
    pass(59 * MINUTE).await;
    assert_eq!(told.all(), [""; 0]);
    pass(3 * HOUR).await;
    let old = "old has not succeeded since 2025-12-31T12:00:00Z, expected within 46800s";
    assert_eq!(told.all(), [old, "new has never succeeded, expected within 7200s"]);
    assert!(scheduler.status().iter().all(|status| status.is_overdue));
    scheduler.run_now("new").unwrap();
    pass(MINUTE).await;
    let overdue: Vec<bool> = scheduler.status().iter().map(|status| status.is_overdue).collect();
    assert_eq!(overdue, [true, false]);
    pass(3 * HOUR).await;
    assert_eq!(told.count("new has not succeeded since"), 1, "{:?}", told.all());
    assert_eq!(told.count("old has"), 1);
}

#[tokio::test(start_paused = true)]
async fn names_are_unique_and_known() {
    let (wall, runs) = (Wall::new(), Arc::default());
    let job = || noting("a", "@daily", &runs);
    let error = wall.scheduler().job(job()).job(job()).start().unwrap_err();
    assert_eq!(error, SchedulerError::SameName("a".to_owned()));
    let scheduler = wall.scheduler().job(job()).start().unwrap();
    let error = scheduler.run_now("b").unwrap_err().to_string();
    assert_eq!(error, "there is no job \"b\": the jobs are a");
}
