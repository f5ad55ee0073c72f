use crate::{Cluster, Config, ConfigError, Names, Partition};
use event::UnixMicros;

fn config() -> Config {
    Config::new(["http://a:8123", "https://b:8443"])
}

#[test]
fn the_defaults_are_fine_and_a_prefix_too() {
    assert_eq!(config().check(), Ok(()));
    assert_eq!(Config { names: Names::with_prefix("shop_"), ..config() }.check(), Ok(()));
}

#[test]
fn what_cannot_work_is_said() {
    for url in ["", "http://", "ftp://a", "http://a/path", "http://user:password@a", "a:8123", "http://a?b"] {
        assert_eq!(Config::new([url]).check(), Err(ConfigError::Url(url.into())));
    }
    assert_eq!(Config::new(Vec::<String>::new()).check(), Err(ConfigError::NoUrl));
    assert_eq!(Config::new(["http://a", "http://a"]).check(), Err(ConfigError::UrlTwice("http://a".into())));
    for name in ["", "1a", "a b", "a`b", "a.b", "ä"] {
        let names = Names { raw: name.into(), ..Names::with_prefix("") };
        assert_eq!(Config { names, ..config() }.check(), Err(ConfigError::Name { key: "raw", name: name.into() }));
    }
    let names = Names { errors: "events_raw".into(), ..Names::with_prefix("") };
    assert_eq!(Config { names, ..config() }.check(), Err(ConfigError::NameTwice("events_raw".into())));
    let cluster = Some(Cluster::new("c'"));
    assert_eq!(Config { cluster, ..config() }.check(), Err(ConfigError::Quote { key: "cluster", text: "c'".into() }));
    assert_eq!(Config { batch_rows_max: 0, ..config() }.check(), Err(ConfigError::Zero("batch_rows_max")));
}

#[test]
fn the_password_is_not_printed() {
    let config = Config { password: "hunter2".into(), ..config() };
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn partitions_are_months_in_utc() {
    for (micros, month) in [
        (0, 197_001),
        (-1, 196_912),
        (1_291_191_960_000_001, 201_012),
        (1_796_083_199_999_999, 202_611),
        (1_796_083_200_000_000, 202_612),
    ] {
        assert_eq!(Partition::of(UnixMicros::new(micros)).number(), month);
    }
}
