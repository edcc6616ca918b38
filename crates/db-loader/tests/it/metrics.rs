//! What a loader reports.

use db_loader::LoaderConfig;
use db_testkit::{Exported, Kind};

use crate::squares;

#[tokio::test]
async fn a_loader_and_its_scopes_report_under_one_name() {
    let (loader, _) = squares(LoaderConfig::default());
    let exported = Exported::default();
    loader.observe_with(&exported.meter());
    loader.observe_with(&exported.meter());
    let scope = loader.scope();
    scope.get_many([1, 2, 2]).await;
    scope.get(1).await.unwrap();
    let figures = exported.figures();
    let value = |name: &str, by: Option<(&str, &str)>| {
        let of = figures.iter().filter(|figure| figure.name == name);
        let mut of = of.filter(|figure| by.is_none_or(|(key, value)| figure.attributes[key] == value));
        let figure = of.next().unwrap();
        assert_eq!(figure.attributes["db.loader.name"], "squares");
        assert!(of.next().is_none(), "{name} once");
        (figure.kind, figure.value, figure.count)
    };
    assert_eq!(value("db.loader.loads", Some(("source", "queued"))), (Kind::Counter, 2.0, 1));
    assert_eq!(value("db.loader.loads", Some(("source", "joined"))), (Kind::Counter, 1.0, 1));
    assert_eq!(value("db.loader.loads", Some(("source", "memo"))), (Kind::Counter, 1.0, 1));
    assert_eq!(value("db.loader.batches", Some(("outcome", "succeeded"))), (Kind::Counter, 1.0, 1));
    assert_eq!(value("db.loader.keys", None), (Kind::Counter, 2.0, 1));
    assert_eq!(value("db.loader.batch.size", None), (Kind::Histogram, 2.0, 1));
    assert_eq!(value("db.loader.batch.duration", None).2, 1);
}

#[tokio::test]
async fn the_figures_of_a_part_are_those_of_the_meter() {
    let (loader, _) = squares(LoaderConfig::default());
    let exported = Exported::default();
    loader.observe_with(&exported.meter());
    loader.get(1).await.unwrap();
    let meters: Vec<_> = exported.figures();
    for measure in loader.measures() {
        let same = meters.iter().find(|figure| {
            figure.name == measure.name
                && measure.attributes.iter().all(|(key, value)| figure.attributes.get(*key) == Some(value))
        });
        assert_eq!(same.unwrap().value, measure.value, "{}", measure.name);
    }
}
