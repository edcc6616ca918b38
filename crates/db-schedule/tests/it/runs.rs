//! One run: never beside itself, within its time, with its panics contained, and ended in good order.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use db_schedule::{Event, Job, Observer, Outcome};

use crate::{HOUR, MINUTE, Told, Wall, cron, noting, pass};

#[tokio::test(start_paused = true)]
async fn a_job_never_runs_beside_itself_and_delays_no_other() {
    let (wall, told) = (Wall::new(), Arc::new(Told::default()));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let peak = Arc::clone(&most);
    let slow = Job::new("slow", cron("0 * * * *"), move |_| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            pass(150 * MINUTE).await;
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(String::new())
        }
    });
    let others = Arc::default();
    let scheduler = wall
        .scheduler()
        .job(slow)
        .job(noting("other", "30 * * * *", &others))
        .observer(told.clone())
        .start()
        .unwrap();
    pass(2 * HOUR).await;
    scheduler.run_now("slow").unwrap();
    scheduler.run_now("slow").unwrap();
    pass(7 * HOUR).await;
    assert_eq!(most.load(Ordering::SeqCst), 1);
    // 01:00 to 03:30, the one that was asked for to 06:00, and that of 07:00.
    assert_eq!(told.count("the run of slow"), 3, "{:?}", told.all());
    assert_eq!(told.count("slow missed 2 of its times: it was still running"), 1, "{:?}", told.all());
    assert_eq!(others.lock().unwrap().len(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_told_and_the_next_run_comes() {
    let (wall, told) = (Wall::new(), Arc::new(Told::default()));
    let at_once = Job::new("at once", cron("0 * * * *"), |_| {
        if true {
            panic!("before the first await");
        }
        async { Ok(String::new()) }
    });
    let later = Job::new("later", cron("0 * * * *"), |_| async {
        tokio::task::yield_now().await;
        panic!("number {}", 7);
    });
    let scheduler = wall.scheduler().job(at_once).job(later).observer(told.clone()).start().unwrap();
    pass(2 * HOUR + MINUTE).await;
    assert_eq!(told.count("at once panicked: before the first await"), 2, "{:?}", told.all());
    assert_eq!(told.count("later panicked: number 7"), 2, "{:?}", told.all());
    assert_eq!(scheduler.status()[0].failures, 2);
    let (_, _, outcome) = scheduler.status()[1].last.clone().unwrap();
    assert_eq!(outcome, Outcome::Panicked("number 7".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_hurts_neither_jobs_nor_other_observers() {
    struct Broken;
    impl Observer for Broken {
        fn on_event(&self, _: &Event<'_>) {
            panic!("broken");
        }
    }
    let (wall, told, runs) = (Wall::new(), Arc::new(Told::default()), Arc::default());
    let job = noting("a", "0 * * * *", &runs);
    let _scheduler =
        wall.scheduler().job(job).observer(Arc::new(Broken)).observer(told.clone()).start().unwrap();
    pass(2 * HOUR + MINUTE).await;
    assert_eq!((runs.lock().unwrap().len(), told.count("succeeded")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn errors_are_told_with_their_causes() {
    let (wall, told) = (Wall::new(), Arc::new(Told::default()));
    let job = Job::new("a", cron("0 * * * *"), |_| async {
        let cause = std::io::Error::other("disk full");
        Err(Box::new(Outer(cause)) as _)
    });
    let _scheduler = wall.scheduler().job(job).observer(told.clone()).start().unwrap();
    pass(HOUR + MINUTE).await;
    assert_eq!(told.count("a failed: nothing was written: disk full"), 1, "{:?}", told.all());
}

#[derive(Debug)]
struct Outer(std::io::Error);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nothing was written")
    }
}

impl std::error::Error for Outer {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Tells when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_too_long_is_asked_to_end_and_then_dropped() {
    let (wall, told) = (Wall::new(), Arc::new(Told::default()));
    let dropped = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&dropped);
    let deaf = Job::new("deaf", cron("0 0 * * *"), move |_| {
        let dropped = Dropped(Arc::clone(&flag));
        async move {
            std::future::pending::<()>().await;
            drop(dropped);
            Ok(String::new())
        }
    });
    let polite = Job::new("polite", cron("0 0 * * *"), |run| async move {
        run.cancelled().await;
        Err("stopped half way".into())
    });
    let just = Job::new("just", cron("0 0 * * *"), |run| async move {
        run.cancelled().await;
        Ok("what there was".to_owned())
    });
    let limited = |job: Job| job.timeout(HOUR).cancel_grace(MINUTE);
    let scheduler = wall
        .scheduler()
        .job(limited(deaf))
        .job(limited(polite))
        .job(limited(just))
        .observer(told.clone())
        .start()
        .unwrap();
    for name in ["deaf", "polite", "just"] {
        scheduler.run_now(name).unwrap();
    }
    pass(HOUR - MINUTE).await;
    assert_eq!(scheduler.status().iter().filter(|status| status.running_since.is_some()).count(), 3);
    pass(MINUTE + MINUTE / 2).await;
    assert!(!dropped.load(Ordering::SeqCst));
    pass(MINUTE).await;
    assert!(dropped.load(Ordering::SeqCst));
    for name in ["deaf", "polite"] {
        let sentence = format!("{name} was cancelled because it took longer than 3600s");
        assert_eq!(told.count(&sentence), 1, "{:?}", told.all());
    }
    assert_eq!(told.count("just succeeded: what there was"), 1, "{:?}", told.all());
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_a_run_and_cancels_it_when_the_grace_is_over() {
    for (grace, cancelled, sentence) in [
        (2 * HOUR, &[][..], "long succeeded: all of it"),
        (MINUTE, &["long".to_owned()][..], "long was cancelled because the scheduler stops"),
    ] {
        let (wall, told) = (Wall::new(), Arc::new(Told::default()));
        let long = Job::new("long", cron("0 0 * * *"), |run| async move {
            tokio::select! {
                () = pass(HOUR) => Ok("all of it".to_owned()),
                () = run.cancelled() => Err("half of it".into()),
            }
        });
        let scheduler = wall.scheduler().job(long).observer(told.clone()).start().unwrap();
        scheduler.run_now("long").unwrap();
        pass(MINUTE).await;
        let stopped = scheduler.stop(grace).await;
        assert_eq!(stopped.cancelled, cancelled, "{grace:?}");
        assert_eq!(told.count(sentence), 1, "{:?}", told.all());
    }
}

#[tokio::test(start_paused = true)]
async fn no_run_begins_once_the_end_has_begun() {
    let (wall, runs) = (Wall::new(), Arc::new(Mutex::new(Vec::new())));
    let scheduler = wall.scheduler().job(noting("a", "* * * * * *", &runs)).start().unwrap();
    let watch = scheduler.watch();
    pass(MINUTE).await;
    let before = runs.lock().unwrap().len();
    assert!(before >= 59, "{before}");
    scheduler.stop(HOUR).await;
    pass(MINUTE).await;
    assert_eq!(runs.lock().unwrap().len(), before);
    assert_eq!(watch()[0].successes, before as u64);
}
