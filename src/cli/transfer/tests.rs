//! What a file says, against what the service has.

use super::*;
use proptest::prelude::*;

fn there(id: &str, change: Value) -> view::Camera {
    let mut camera = view::tests::camera(id);
    for (key, value) in change.as_object().unwrap() {
        camera[key] = value.clone();
    }
    view::read(&camera).unwrap()
}

fn id(text: &str) -> CameraId {
    text.parse().unwrap()
}

fn one(text: &str) -> Entry {
    from_toml(&format!("[cameras.front]\n{text}")).unwrap().cameras.remove(&id("front")).unwrap()
}

#[test]
fn an_export_brings_nothing_new() {
    let cameras = [
        there("front", json!({})),
        there(
            "yard-2",
            json!({"name": "\"Hof\"\n\\ 門", "main_url": null, "vendor": "axis", "has_password": false,
                "source": "rtspsrc", "connect_seconds": 60}),
        ),
    ];
    let text = to_toml(&cameras).unwrap();
    let read = from_toml(&text).unwrap();
    assert_eq!(read.cameras.len(), 2);
    // A control character in a name is refused by the service; the text must survive all the same.
    assert_eq!(read.cameras[&id("yard-2")], Entry::of(&cameras[1]));
    assert_eq!(step(&id("front"), &read.cameras[&id("front")], Some(&cameras[0])), Ok(Step::Nothing));
    assert!(!text.contains("\npassword") && text.contains("# It has a password"), "{text}");
}

proptest! {
    #[test]
    fn what_is_exported_is_what_is_imported(name in "[^\\p{C}]{0,20}[!-~]", sub in any::<bool>(), port in 1u16.., secs in 2u32..3600,
                                            on in any::<bool>(), user in "[^\\p{C}]{0,8}") {
        let sub = sub.then_some("rtsp://h/a?b=c@d%22");
        let camera = there("front", json!({"name": name, "sub_url": sub, "rtsp_port": port, "segment_seconds": secs,
            "record_enabled": on, "username": if user.is_empty() { Value::Null } else { json!(user) },
            "has_password": !user.is_empty()}));
        let read = from_toml(&to_toml(std::slice::from_ref(&camera)).unwrap()).unwrap();
        prop_assert_eq!(step(&id("front"), &read.cameras[&id("front")], Some(&camera)), Ok(Step::Nothing));
        // The same into an empty service.
        let Ok(Step::Add(added)) = step(&id("front"), &read.cameras[&id("front")], None) else { panic!("no add") };
        prop_assert_eq!(&added["name"], &json!(name));
        prop_assert_eq!(added.get("sub_url").and_then(Value::as_str), sub);
        prop_assert!(!added.contains_key("password"));
    }
}

#[test]
fn only_what_differs_is_sent() {
    let now = there("front", json!({"sub_url": "rtsp://h/sub"}));
    let changed = |text: &str| match step(&id("front"), &one(text), Some(&now)).unwrap() {
        Step::Change(fields) => Value::from(fields),
        other => json!(other.word()),
    };
    assert_eq!(changed(""), json!("unchanged"));
    assert_eq!(changed("segment_seconds = 60"), json!("unchanged"));
    assert_eq!(changed("name = \"Yard\"\nsub_url = \"\""), json!({"name": "Yard", "sub_url": null}));
    assert_eq!(changed("password = \"new\""), json!({"password": "new"}));
    assert_eq!(
        changed("schedule = []\ntime_zone = \"\"\nrecord_mode = \"event\""),
        json!({"schedule": [], "time_zone": null, "record_mode": "event"})
    );
    assert_eq!(
        changed("mirror_enabled = false\nmirror_mode = \"continuous\""),
        json!({"mirror_enabled": false, "mirror_mode": "continuous"})
    );
    assert_eq!(changed("source = \"\"\nconnect_seconds = 15"), json!("unchanged"));
    let other = json!({"source": "native", "connect_seconds": 30});
    assert_eq!(changed("source = \"native\"\nconnect_seconds = 30"), other);
    let now_native = there("front", json!({"source": "native"}));
    let cleared = step(&id("front"), &one("source = \"\""), Some(&now_native)).unwrap();
    assert_eq!(cleared, Step::Change(Map::from_iter([("source".to_owned(), Value::Null)])));
    assert_eq!(changed("schedule = [\"mon-fri 08:00-18:10\"]"), json!("unchanged"));
    assert_eq!(changed("password = \"\""), json!({"password": null}));
    assert_eq!(
        changed("main_url = \"rtsp://bob:p%40@192.0.2.7/stream1\""),
        json!({"username": "bob", "password": "p@"})
    );
}

#[test]
fn a_mistake_is_named_and_no_secret_with_it() {
    let wrong = |text: &str| step(&id("front"), &one(text), None).unwrap_err().to_string();
    assert!(wrong("vendor = \"acme\"").starts_with("vendor: `acme`"));
    assert!(wrong("mirror_mode = \"always\"").starts_with("mirror_mode: `always`"));
    assert!(wrong("source = \"gstreamer\"").starts_with("source: `gstreamer`"));
    let short = wrong("main_url = \"rtsp://h/\"\nconnect_seconds = 4");
    assert_eq!(short, "connect_seconds: is 5 to 60");
    assert!(
        wrong("schedule = [\"mon 08:00-09:00\", \"mon 8-9\"]").starts_with("schedule[1]: start: must be")
    );
    assert!(
        wrong("time_zone = \"Mars\"\nmain_url = \"rtsp://h/\"").starts_with("time_zone: `Mars` is no IANA")
    );
    assert!(wrong("main_url = \"http://h/\"").starts_with("main_url:"));
    assert!(wrong("main_url = \"rtsp://h/\"\npassword = \"x\"").starts_with("username:"));
    let now = there("front", json!({}));
    let bad = step(&id("front"), &one("username = \"\""), Some(&now)).unwrap_err();
    assert_eq!(bad.to_string(), "username: is needed with a password");
    for (text, said) in [
        ("[cameras.front]\n\nmain_ulr = \"x\"", "line 3: unknown field `main_ulr`"),
        ("[camera.front]\n", "unknown field `camera`"),
        ("[cameras.\"../x\"]\n", "a camera id has"),
        ("[cameras.front]\npassword = 5150", "a password is a text in quotes"),
        ("[cameras.front]\npassword = \"hunter2\n", "line 2"),
        ("[cameras.front]\npassword = hunter2\n", "line 2"),
        ("[cameras.front]\nrtsp_port = 99999\n", "line 2"),
    ] {
        let error = from_toml(text).unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains(said), "{shown}");
        assert!(!shown.contains("hunter2") && !shown.contains("5150"), "{shown}");
    }
}
