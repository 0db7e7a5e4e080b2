use super::*;

fn properties(library: Library, role: Role, text: &str) -> Properties {
    let text = format!("bootstrap.servers=a:1\n{text}");
    Properties::parse(library, role, &text).expect("properties are good")
}

fn producer(library: Library, text: &str) -> Result<ProducerSettings, PropertyError> {
    ProducerSettings::new(&properties(library, Role::Producer, text))
}

#[test]
fn catalogues_have_each_name_once_and_sorted_and_their_defaults_pass_their_own_checks() {
    for library in [Library::Java, Library::Librdkafka] {
        for pair in library.properties().windows(2) {
            let order = (pair[0].name, pair[0].roles).cmp(&(pair[1].name, pair[1].roles));
            assert!(pair[0].name <= pair[1].name, "{} {order:?}", pair[1].name);
            let twice = pair[0].name == pair[1].name;
            let both = pair[0].roles.0 && pair[1].roles.0 || pair[0].roles.1 && pair[1].roles.1;
            assert!(!(twice && both), "`{}` stands twice", pair[0].name);
        }
        for property in library.properties().iter().filter(|property| !property.default.is_empty())
        {
            assert_eq!(check(property, property.default), Ok(()), "{}", property.name);
        }
    }
}

#[test]
fn defaults_are_those_that_the_libraries_are_known_for() {
    let java = producer(Library::Java, "").expect("defaults");
    assert_eq!(java.delivery_timeout, Some(Duration::from_mins(2)));
    assert_eq!(java.common.request_timeout, Duration::from_secs(30));
    assert_eq!(java.linger, Duration::from_millis(5));
    assert_eq!(java.common.in_flight_max, 5);
    assert_eq!(java.max_block, Some(Duration::from_mins(1)));
    assert!(java.idempotence);
    let librdkafka = producer(Library::Librdkafka, "").expect("defaults");
    assert_eq!(librdkafka.delivery_timeout, Some(Duration::from_mins(5)));
    assert_eq!(librdkafka.common.request_timeout, Duration::from_mins(1));
    assert_eq!(librdkafka.common.in_flight_max, 1_000_000);
    assert_eq!(librdkafka.max_block, None);
    assert!(!librdkafka.idempotence);
}

#[test]
fn a_misspelled_name_is_answered_with_the_name_that_was_meant() {
    let faults = Properties::new(Library::Java, Role::Producer, [("delivery.timout.ms", "1")])
        .expect_err("misspelled");
    assert_eq!(
        faults[0].to_string(),
        "`delivery.timout.ms` is no producer property of the Java client: did you mean \
         `delivery.timeout.ms`?"
    );
    let faults =
        Properties::new(Library::Java, Role::Producer, [("xyzzy", "1")]).expect_err("none");
    assert_eq!(faults[0].to_string(), "`xyzzy` is no producer property of the Java client");
}

#[test]
fn every_fault_of_a_file_is_listed() {
    let text = "acks=2\nnonsense\nbatch.size=-1\n";
    let faults = Properties::parse(Library::Java, Role::Producer, text).expect_err("three faults");
    let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "line 2: expected `name=value`",
            "`acks=2`: expected one of all, -1, 0, 1",
            "`batch.size=-1`: expected an integer from 0 to 2147483647",
        ]
    );
}

#[test]
fn files_are_read_as_java_reads_them() {
    let text = "# comment\n! another\n  acks : 1\nlinger.ms 7\nclient.id = a\\\n   b\n";
    let properties = properties(Library::Java, Role::Producer, text);
    assert_eq!(properties.text("acks"), "1");
    assert_eq!(properties.int("linger.ms"), 7);
    assert_eq!(properties.text("client.id"), "ab");
}

#[test]
fn aliases_of_librdkafka_are_the_properties_they_stand_for() {
    let settings = producer(Library::Librdkafka, "delivery.timeout.ms=7000").expect("an alias");
    assert_eq!(settings.delivery_timeout, Some(Duration::from_secs(7)));
}

#[test]
fn idempotence_by_default_gives_way_and_idempotence_asked_for_does_not() {
    assert!(!producer(Library::Java, "acks=1").expect("gives way").idempotence);
    assert!(producer(Library::Java, "acks=1\nenable.idempotence=true").is_err());
    let settings = producer(Library::Librdkafka, "enable.idempotence=true").expect("adjusts");
    assert_eq!((settings.acks, settings.common.in_flight_max), (Acks::All, 5));
    assert!(producer(Library::Librdkafka, "enable.idempotence=true\nacks=1").is_err());
}

#[test]
fn a_delivery_timeout_below_linger_and_request_timeout_is_refused_by_java() {
    assert!(producer(Library::Java, "delivery.timeout.ms=30004").is_err());
    assert!(producer(Library::Java, "delivery.timeout.ms=30005").is_ok());
}

#[test]
fn assignors_are_named_as_each_library_names_them() {
    let consumer = |library, text: &str| {
        let text = format!("group.id=g\n{text}");
        ConsumerSettings::new(&properties(library, Role::Consumer, &text)).map(|it| it.assignors)
    };
    assert_eq!(consumer(Library::Java, ""), Ok(vec!["range", "cooperative-sticky"]));
    assert_eq!(consumer(Library::Librdkafka, ""), Ok(vec!["range", "roundrobin"]));
    assert!(consumer(Library::Java, "partition.assignment.strategy=com.example.Mine").is_err());
}
